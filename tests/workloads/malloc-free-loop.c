// Times pairs of malloc and free. For each line "PAIRS SIZE" on stdin it runs that many pairs in
// every thread and answers with the nanoseconds that the slowest thread took.
// usage: malloc-free-loop THREADS
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long pairs, size;
static int threads;
static pthread_barrier_t begin, end;
static uint64_t took[256];

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

__attribute__((noinline)) static void pair(void) {
    char *p = malloc((size_t)size);
    *(volatile char *)p = 1;
    free(p);
}

static void *work(void *index) {
    for (;;) {
        pthread_barrier_wait(&begin);
        uint64_t from = now();
        for (long i = 0; i < pairs; i++) pair();
        took[(long)index] = now() - from;
        pthread_barrier_wait(&end);
    }
    return NULL;
}

int main(int argc, char **argv) {
    threads = argc > 1 ? atoi(argv[1]) : 1;
    if (threads < 1 || threads > 256) return 2;
    pthread_barrier_init(&begin, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&end, NULL, (unsigned)threads + 1);
    for (long i = 0; i < threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, (void *)i)) return 1;
    }
    printf("ready\n");
    fflush(stdout);
    while (scanf("%ld %ld", &pairs, &size) == 2) {
        pthread_barrier_wait(&begin);
        pthread_barrier_wait(&end);
        uint64_t slowest = 0;
        for (int i = 0; i < threads; i++)
            if (took[i] > slowest) slowest = took[i];
        printf("%llu\n", (unsigned long long)slowest);
        fflush(stdout);
    }
    return 0;
}
