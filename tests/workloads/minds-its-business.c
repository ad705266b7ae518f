// A program that nobody captures. For each line "WHAT MILLISECONDS" on stdin it does one thing for so long:
// `allocations` (malloc and free), `calls` (the cheapest system call), `mappings` (mmap, a page fault, munmap).
// The answer is "OPERATIONS PROCESSOR_NS ELAPSED_NS".
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// Operations between two looks at the clock.
enum { BATCH = 256 };

static uint64_t now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void allocation(void) {
    char *p = malloc(64);
    *(volatile char *)p = 1;
    free(p);
}

static void call(void) { syscall(SYS_getppid); }

static void mapping(void) {
    char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) abort();
    *(volatile char *)p = 1;
    munmap(p, 4096);
}

static void (*named(const char *what))(void) {
    if (!strcmp(what, "allocations")) return allocation;
    if (!strcmp(what, "calls")) return call;
    if (!strcmp(what, "mappings")) return mapping;
    exit(2);
}

int main(void) {
    char what[16];
    long milliseconds;
    printf("ready\n");
    fflush(stdout);
    while (scanf("%15s %ld", what, &milliseconds) == 2) {
        void (*operation)(void) = named(what);
        uint64_t operations = 0, processor = now(CLOCK_PROCESS_CPUTIME_ID), from = now(CLOCK_MONOTONIC), took;
        do {
            for (int i = 0; i < BATCH; i++) operation();
            operations += BATCH;
            took = now(CLOCK_MONOTONIC) - from;
        } while (took < (uint64_t)milliseconds * 1000000u);
        processor = now(CLOCK_PROCESS_CPUTIME_ID) - processor;
        printf("%llu %llu %llu\n", (unsigned long long)operations, (unsigned long long)processor, (unsigned long long)took);
        fflush(stdout);
    }
    return 0;
}
