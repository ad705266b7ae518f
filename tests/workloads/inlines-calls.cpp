// Allocates in a function that is inlined into another, in a namespace and a template.
#include <cstdio>
#include <vector>

static std::vector<char *> kept;

namespace shop {
template <typename T> struct Basket {
    // Inlined by force: the frame exists in the debug information alone.
    __attribute__((always_inline)) inline void put(unsigned count) { kept.push_back(reinterpret_cast<char *>(new T[count])); }
    __attribute__((noinline)) void fill(unsigned count) {
        put(count);
        asm volatile("" ::: "memory");
    }
};
}

int main() {
    kept.reserve(1000);
    shop::Basket<long> basket;
    char line[16];
    std::puts("ready");
    std::fflush(stdout);
    if (!std::fgets(line, sizeof line, stdin)) return 1;
    for (int i = 0; i < 100; i++) basket.fill(125);
    std::puts("{}");
    std::fflush(stdout);
    while (std::fgets(line, sizeof line, stdin)) {}
    return 0;
}
