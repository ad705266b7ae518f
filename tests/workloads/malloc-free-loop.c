// Times pairs of malloc and free. For each line "MILLISECONDS SIZE" on stdin every thread runs pairs for so
// long, every few milliseconds in turn with calls of reference(), which has a probe that never changes: what
// it costs says how fast the machine is in that very moment. The answer is
//   PAIRS PAIRS_NS REFERENCES REFERENCES_NS ELAPSED_NS
// in sums over all threads. Nanoseconds are processor time of the threads, but for the last figure: from the
// first thread's begin to the last one's end.
// usage: malloc-free-loop THREADS
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

// Calls between two looks at the clock, and how long pairs and references take turns.
enum { BATCH = 32, PAIRS_NS = 2000000, REFERENCES_NS = 1000000, MOST_THREADS = 256 };

struct work {
    uint64_t calls, processor;
};

static long milliseconds, size;
static int threads;
static pthread_barrier_t begin, end;
static struct {
    struct work pairs, references;
    uint64_t from, to;
} took[MOST_THREADS];

static uint64_t now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

__attribute__((noinline)) static void pair(void) {
    char *p = malloc((size_t)size);
    *(volatile char *)p = 1;
    free(p);
}

// The kernel emulates a probed nop, as it does what stands where memmgr puts its probes.
__attribute__((noinline)) void reference(void) { __asm__ volatile("nop"); }

static void repeat(void (*call)(void), uint64_t time, struct work *work) {
    uint64_t processor = now(CLOCK_THREAD_CPUTIME_ID), from = now(CLOCK_MONOTONIC);
    do {
        for (int i = 0; i < BATCH; i++) call();
        work->calls += BATCH;
    } while (now(CLOCK_MONOTONIC) - from < time);
    work->processor += now(CLOCK_THREAD_CPUTIME_ID) - processor;
}

static void *work(void *index) {
    for (;;) {
        pthread_barrier_wait(&begin);
        struct work pairs = {0, 0}, references = {0, 0};
        uint64_t from = now(CLOCK_MONOTONIC), to;
        do {
            repeat(pair, PAIRS_NS, &pairs);
            repeat(reference, REFERENCES_NS, &references);
            to = now(CLOCK_MONOTONIC);
        } while (to - from < (uint64_t)milliseconds * 1000000u);
        took[(long)index].pairs = pairs;
        took[(long)index].references = references;
        took[(long)index].from = from;
        took[(long)index].to = to;
        pthread_barrier_wait(&end);
    }
    return NULL;
}

static void add(struct work *sum, struct work work) {
    sum->calls += work.calls;
    sum->processor += work.processor;
}

int main(int argc, char **argv) {
    threads = argc > 1 ? atoi(argv[1]) : 1;
    if (threads < 1 || threads > MOST_THREADS) return 2;
    pthread_barrier_init(&begin, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&end, NULL, (unsigned)threads + 1);
    for (long i = 0; i < threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, (void *)i)) return 1;
    }
    printf("ready\n");
    fflush(stdout);
    while (scanf("%ld %ld", &milliseconds, &size) == 2) {
        pthread_barrier_wait(&begin);
        pthread_barrier_wait(&end);
        struct work pairs = {0, 0}, references = {0, 0};
        uint64_t from = UINT64_MAX, to = 0;
        for (int i = 0; i < threads; i++) {
            add(&pairs, took[i].pairs);
            add(&references, took[i].references);
            if (took[i].from < from) from = took[i].from;
            if (took[i].to > to) to = took[i].to;
        }
        uint64_t figures[] = {pairs.calls, pairs.processor, references.calls, references.processor, to - from};
        for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
            printf("%llu%c", (unsigned long long)figures[i], i + 1 < sizeof figures / sizeof *figures ? ' ' : '\n');
        fflush(stdout);
    }
    return 0;
}
