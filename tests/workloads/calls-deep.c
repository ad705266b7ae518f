// Allocates at the ends of chains of calls of many depths and frame sizes.
//
// Writes `ready`. At the line `go` every chain that begins in `from_left` keeps one block of LEFT bytes for each frame size, every
// chain that begins in `from_right` one of RIGHT bytes, and one on a stack of its own, which ends right behind its first
// frames, keeps a block of CORNER bytes. Then writes `done` and ends with its input.
#define _GNU_SOURCE
#include <alloca.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

enum { LEFT = 40, RIGHT = 72, CORNER = 104, STACK = 64 * 1024, PAGE = 4096 };

static const int depths[] = {1, 2, 3, 5, 8, 13, 21, 40, 100};
// Below, at and above what is read of the stack at once.
static const size_t frame_sizes[] = {16, 48, 112, 176, 240, 256, 272, 528, 4096};
#define COUNT(array) (sizeof(array) / sizeof *(array))

static void *volatile kept;
static ucontext_t outer, inner;

__attribute__((noinline)) void keeps(size_t bytes) {
    kept = malloc(bytes);
    if (kept == NULL) abort();
}

__attribute__((noinline)) void descends(int depth, size_t frame, size_t bytes) {
    volatile char *room = alloca(frame);
    room[0] = 1;
    if (depth > 1) {
        descends(depth - 1, frame, bytes);
    } else {
        keeps(bytes);
    }
    room[0] = 2; // no tail call
}

#define CHAIN(name, bytes)                                      \
    __attribute__((noinline)) void name(int depth) {            \
        for (size_t i = 0; i < COUNT(frame_sizes); i++) {       \
            descends(depth, frame_sizes[i], bytes);             \
        }                                                       \
    }
CHAIN(from_left, LEFT)
CHAIN(from_right, RIGHT)

void in_the_corner(void) {
    keeps(CORNER);
    __asm__ volatile("");
}

static void allocates_in_the_corner(void) {
    char *pages = mmap(NULL, STACK + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || munmap(pages + STACK, PAGE) != 0 || getcontext(&inner) != 0) abort();
    inner.uc_stack.ss_sp = pages;
    inner.uc_stack.ss_size = STACK;
    inner.uc_link = &outer;
    makecontext(&inner, in_the_corner, 0);
    if (swapcontext(&outer, &inner) != 0) abort();
}

static void say(const char *text) {
    if (write(STDOUT_FILENO, text, strlen(text)) < 0) abort();
}

int main(void) {
    say("ready\n");
    char order[16];
    if (read(STDIN_FILENO, order, sizeof order) <= 0) return 1;
    for (size_t i = 0; i < COUNT(depths); i++) {
        from_left(depths[i]);
        from_right(depths[i]);
    }
    allocates_in_the_corner();
    say("done\n");
    while (read(STDIN_FILENO, order, sizeof order) > 0) {}
    return 0;
}
