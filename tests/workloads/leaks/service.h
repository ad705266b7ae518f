// What the cases share: a clock that paces them and a random sequence that is the same in every run.
//
// A case runs by itself and says nothing. It has begun its work well before the capture begins.
#ifndef SERVICE_H
#define SERVICE_H
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// Longer than any capture and its attach.
enum { RUN_SECONDS = 90 };

static inline double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double service_start;

// Called once the program is loaded, before any thread.
__attribute__((constructor)) static void service_begins(void) { service_start = seconds_now(); }

// Seconds since the program started.
static inline double uptime(void) { return seconds_now() - service_start; }

// Sleeps for the rest of this thread's turn of so many milliseconds; false once the program has run for
// long enough. Turns that came late are made up for, but for 50 milliseconds at most.
static inline bool next_turn(int milliseconds) {
    static __thread double due;
    double now = seconds_now(), length = milliseconds * 1e-3;
    due = due + length > now - 0.05 ? due + length : now + length;
    if (due > now) {
        double rest = due - now;
        struct timespec pause = {(time_t)rest, (long)((rest - (double)(time_t)rest) * 1e9)};
        nanosleep(&pause, NULL);
    }
    return uptime() < RUN_SECONDS;
}

// A number below `bound`, the same sequence in every run and thread (xorshift32).
static inline uint32_t random_below(uint32_t bound) {
    static __thread uint32_t state = 2463534242u;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return (uint32_t)(((uint64_t)state * bound) >> 32);
}

// Writes to a block as its owner would; the compiler must neither drop the block nor the writing.
static inline void *filled(void *block, size_t size) {
    if (block == NULL) abort();
    memset(block, 'x', size);
    __asm__ volatile("" : : "r"(block) : "memory");
    return block;
}
#endif
