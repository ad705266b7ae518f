/*
 * Allocates by every form of operator new, and counts what it does by itself. One thread; between "ready" and the end of its input
 * it allocates nothing else. For each line on stdin it answers with one line:
 *
 *   run SEED CALLS   makes so many calls; answers with its truth since the start, as counts-itself does
 *   throw ROUNDS     asks so often for more than there is, and catches what is thrown; answers "caught ROUNDS"
 */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <unistd.h>

constexpr int SITES = 8, SLOTS = 512;
constexpr std::align_val_t ALIGNMENT{64};

struct Counts {
    uint64_t alloc_count, alloc_bytes, free_count, free_bytes;
};

struct Slot {
    void *block;
    size_t size;
    int site;
};

static Counts counts[SITES];
static Slot slots[SLOTS];
static uint64_t calls, failed, state;

/* xorshift64* (Vigna 2016). */
static uint64_t below(uint64_t limit)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * 0x2545f4914f6cdd1d >> 32) % limit;
}

/* Each form through a function of its own, none of which is inlined or left by a jump. */
#define SITE(n, call)                                                  \
    extern "C" __attribute__((noipa)) void *site_##n(size_t size)      \
    {                                                                  \
        void *block = call;                                            \
        __asm__ volatile("" : "+r"(block) : : "memory");               \
        return block;                                                  \
    }
SITE(0, operator new(size))
SITE(1, operator new[](size))
SITE(2, operator new(size, ALIGNMENT))
SITE(3, operator new[](size, ALIGNMENT))
SITE(4, operator new(size, std::nothrow))
SITE(5, operator new[](size, std::nothrow))
SITE(6, operator new(size, ALIGNMENT, std::nothrow))
SITE(7, operator new[](size, ALIGNMENT, std::nothrow))

static void *(*const sites[SITES])(size_t) = {site_0, site_1, site_2, site_3, site_4, site_5, site_6, site_7};

/* With or without the size, as the language allows; arrays by the operator for arrays. */
static void release(const Slot &slot)
{
    bool aligned = slot.site % 4 >= 2, array = slot.site % 2 == 1;
    switch (below(3) * 4 + aligned * 2 + array) {
    case 0: return operator delete(slot.block);
    case 1: return operator delete[](slot.block);
    case 2: return operator delete(slot.block, ALIGNMENT);
    case 3: return operator delete[](slot.block, ALIGNMENT);
    case 4: return operator delete(slot.block, slot.size);
    case 5: return operator delete[](slot.block, slot.size);
    case 6: return operator delete(slot.block, slot.size, ALIGNMENT);
    case 7: return operator delete[](slot.block, slot.size, ALIGNMENT);
    case 8: return operator delete(slot.block, std::nothrow);
    case 9: return operator delete[](slot.block, std::nothrow);
    case 10: return operator delete(slot.block, ALIGNMENT, std::nothrow);
    default: return operator delete[](slot.block, ALIGNMENT, std::nothrow);
    }
}

static void call_once(Slot &slot)
{
    calls++;
    if (slot.block != nullptr) {
        release(slot);
        counts[slot.site].free_count++;
        counts[slot.site].free_bytes += slot.size;
        slot.block = nullptr;
        return;
    }
    int site = below(SITES);
    size_t size = below(10) < 8 ? 1 + below(2048) : 1 + below(1 << 20);
    slot = Slot{sites[site](size), size, site};
    memset(slot.block, 1, size < 64 ? size : 64);
    counts[site].alloc_count++;
    counts[site].alloc_bytes += size;
}

/* More than any address space has. */
static uint64_t throw_and_catch(uint64_t rounds)
{
    uint64_t caught = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        try {
            /* Volatile, so that the compiler does not warn about it. */
            volatile size_t size = SIZE_MAX / 2 - 4096;
            release(Slot{sites[i % 4](size), size, static_cast<int>(i % 4)});
        } catch (const std::bad_alloc &) {
            caught++;
        }
    }
    return caught;
}

static void say(const char *line, size_t length)
{
    if (write(STDOUT_FILENO, line, length) != static_cast<ssize_t>(length)) _exit(1);
}

static int write_counts(char *to, const Counts &c)
{
    return sprintf(to,
        "{\"alloc_count\":%llu,\"alloc_bytes\":%llu,\"free_count\":%llu,\"free_bytes\":%llu,"
        "\"live_count\":%llu,\"live_bytes\":%llu}",
        (unsigned long long)c.alloc_count, (unsigned long long)c.alloc_bytes, (unsigned long long)c.free_count,
        (unsigned long long)c.free_bytes, (unsigned long long)(c.alloc_count - c.free_count),
        (unsigned long long)(c.alloc_bytes - c.free_bytes));
}

static void tell()
{
    static char line[8192];
    Counts total = {};
    for (const Counts &c : counts) {
        total.alloc_count += c.alloc_count;
        total.alloc_bytes += c.alloc_bytes;
        total.free_count += c.free_count;
        total.free_bytes += c.free_bytes;
    }
    int length = sprintf(line, "{\"calls\":%llu,\"failed\":%llu,\"total\":", (unsigned long long)calls,
                         (unsigned long long)failed);
    length += write_counts(line + length, total);
    length += sprintf(line + length, ",\"sites\":");
    for (int s = 0; s < SITES; s++) {
        line[length++] = s == 0 ? '[' : ',';
        length += write_counts(line + length, counts[s]);
    }
    length += sprintf(line + length, "]}\n");
    say(line, length);
}

int main()
{
    static char line[256], input[4096];
    setvbuf(stdin, input, _IOFBF, sizeof input);
    /* Else mimalloc, which is compiled as C, ends the program where others throw. */
    std::set_new_handler([] { throw std::bad_alloc(); });
    say("ready\n", 6);
    while (fgets(line, sizeof line, stdin) != nullptr) {
        unsigned long long seed, number;
        if (sscanf(line, "run %llu %llu", &seed, &number) == 2) {
            state = seed * 0x9e3779b97f4a7c15 + 1;
            for (; number > 0; number--) call_once(slots[below(SLOTS)]);
            tell();
        } else if (sscanf(line, "throw %llu", &number) == 1) {
            char answer[64];
            say(answer, sprintf(answer, "caught %llu\n", (unsigned long long)throw_and_catch(number)));
        } else {
            return 1;
        }
    }
    return 0;
}
