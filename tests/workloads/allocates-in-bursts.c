// Every thread runs pairs of malloc and free in bursts of 100, with a pause after each; without one it is a storm.
// Ten times a second it prints "NANOSECONDS PAIRS": CLOCK_MONOTONIC, and the pairs of all threads until then.
// usage: allocates-in-bursts THREADS PAUSE_MICROSECONDS
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { BURST = 100, SIZE = 64, MOST_THREADS = 256 };

// A cache line each.
static struct {
    _Alignas(64) _Atomic uint64_t pairs;
} done[MOST_THREADS];
static useconds_t pause_us;

__attribute__((noinline)) static void pair(void) {
    char *p = malloc(SIZE);
    *(volatile char *)p = 1;
    free(p);
}

static void *work(void *index) {
    for (uint64_t pairs = BURST;; pairs += BURST) {
        for (int i = 0; i < BURST; i++) pair();
        atomic_store_explicit(&done[(long)index].pairs, pairs, memory_order_relaxed);
        if (pause_us) usleep(pause_us);
    }
    return NULL;
}

int main(int argc, char **argv) {
    int threads = argc == 3 ? atoi(argv[1]) : 0;
    if (threads < 1 || threads > MOST_THREADS) return 2;
    pause_us = (useconds_t)atoi(argv[2]);
    for (long i = 0; i < threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, (void *)i)) return 1;
    }
    for (;;) {
        usleep(100000);
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        uint64_t pairs = 0;
        for (int i = 0; i < threads; i++) pairs += atomic_load_explicit(&done[i].pairs, memory_order_relaxed);
        printf("%llu %llu\n", t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec, (unsigned long long)pairs);
        if (fflush(stdout)) return 0;
    }
}
