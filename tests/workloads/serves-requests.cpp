// A small service: worker threads take requests through a few functions, a template and a callback
// from the C library, and keep what they allocate. No frame pointers.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

struct Order {
    std::unique_ptr<char[]> body;
    std::string note;
};
static std::map<int, Order> orders;
static std::vector<std::unique_ptr<char[]>> sorted;

__attribute__((noinline)) void store_order(int id) {
    Order order;
    order.body = std::make_unique<char[]>(77777); // a size that only this call asks for
    order.note = std::string(300, 'n');
    orders[id] = std::move(order);
    asm volatile("" ::: "memory");
}

template <typename Step> __attribute__((noinline)) void in_transaction(int id, Step step) {
    step(id);
    asm volatile("" ::: "memory");
}

__attribute__((noinline)) void handle_request(int id) {
    in_transaction(id, [](int id) { store_order(id); });
    asm volatile("" ::: "memory");
}

// Called back by qsort: the stack leads through the C library's own frames.
static int compare_and_keep(const void *a, const void *b) {
    if (sorted.size() < 50) sorted.push_back(std::make_unique<char[]>(33333));
    return *static_cast<const int *>(a) - *static_cast<const int *>(b);
}

__attribute__((noinline)) void sort_orders() {
    int ids[64];
    for (int i = 0; i < 64; i++) ids[i] = (i * 37) % 64;
    std::qsort(ids, 64, sizeof ids[0], compare_and_keep);
    asm volatile("" ::: "memory");
}

static void work() {
    for (int i = 0; i < 50; i++) handle_request(i);
    sort_orders();
}

int main() {
    char line[16];
    std::puts("ready");
    std::fflush(stdout);
    if (!std::fgets(line, sizeof line, stdin)) return 1;
    std::thread(work).join();
    std::puts("{}");
    std::fflush(stdout);
    while (std::fgets(line, sizeof line, stdin)) {}
    return 0;
}
