// A library to preload: leaks 1 MiB a second, in function seeded_leak, in a thread of its own. It does so in the
// processes that begin or are forked while the file exists that SEEDED_LEAK names.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// 8 blocks of 1 KiB every 1/128 s.
enum { BLOCK = 1024, BLOCKS = 8, TURNS = 128 };

__attribute__((noinline)) void seeded_leak(void) {
    for (int i = 0; i < BLOCKS; i++) {
        char *block = malloc(BLOCK);
        if (block != NULL) memset(block, 0x5a, BLOCK);
        __asm__ volatile("" : : "r"(block) : "memory");
    }
}

static void *leak(void *unused) {
    // By the clock, so that a machine that is busy does not make the leak smaller.
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (;;) {
        seeded_leak();
        next.tv_nsec += 1000000000 / TURNS;
        if (next.tv_nsec >= 1000000000) {
            next.tv_nsec -= 1000000000;
            next.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    return unused;
}

static void begin(void) {
    const char *file = getenv("SEEDED_LEAK");
    if (file == NULL || access(file, F_OK) != 0) return;
    // The signals of the process are for its own threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    if (pthread_create(&thread, NULL, leak, NULL) != 0) abort();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

__attribute__((constructor)) static void load(void) {
    pthread_atfork(NULL, NULL, begin);
    begin();
}
