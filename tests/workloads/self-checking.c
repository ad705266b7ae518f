// Threads that allocate, fill, check and free without a pause. A byte that is not as it was written, or a
// block that is not aligned, ends the program with status 1. On SIGTERM it checks once more and says `checked CALLS`.
//
//   self-checking THREADS
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SLOTS = 256, MAX_SIZE = 2048 };

struct slot {
    unsigned char *block;
    size_t size;
    unsigned char fill;
};

static atomic_bool done;
static atomic_ulong calls;

static void fail(const char *what) {
    fprintf(stderr, "self-check failed: %s\n", what);
    _exit(1);
}

static void check(const struct slot *slot) {
    if ((uintptr_t)slot->block % 16 != 0) fail("alignment");
    for (size_t i = 0; i < slot->size; i++)
        if (slot->block[i] != slot->fill) fail("contents");
}

static void fill(struct slot *slot, size_t size, unsigned char byte) {
    if (slot->block == NULL) fail("no memory");
    memset(slot->block, byte, size);
    slot->size = size;
    slot->fill = byte;
}

__attribute__((noinline)) static void turn_over(struct slot *slot, uint64_t random) {
    size_t size = 1 + (random >> 8) % MAX_SIZE;
    unsigned char byte = (unsigned char)(random >> 40);
    check(slot);
    switch (random % 4) {
    case 0: {
        size_t kept = slot->size < size ? slot->size : size;
        slot->block = realloc(slot->block, size);
        if (slot->block == NULL) fail("no memory");
        slot->size = kept;
        check(slot);
        break;
    }
    case 1:
        free(slot->block);
        slot->block = calloc(1, size);
        slot->size = size;
        slot->fill = 0;
        check(slot);
        break;
    default:
        free(slot->block);
        slot->block = malloc(size);
    }
    fill(slot, size, byte);
}

static void *work(void *seed) {
    uint64_t random = (uint64_t)(uintptr_t)seed * 0x9e3779b97f4a7c15u + 1;
    struct slot *slots = calloc(SLOTS, sizeof *slots);
    for (int i = 0; i < SLOTS; i++) {
        slots[i].block = malloc(16);
        fill(&slots[i], 16, 1);
    }
    for (unsigned long i = 0; !done; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        turn_over(&slots[(random >> 50) % SLOTS], random);
        if (i % 1024 == 0) calls += 1024;
    }
    for (int i = 0; i < SLOTS; i++) {
        check(&slots[i]);
        free(slots[i].block);
    }
    free(slots);
    return NULL;
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pthread_t *ids = calloc((size_t)threads, sizeof *ids);
    for (int i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, work, (void *)(uintptr_t)(i + 1)) != 0) fail("threads");
    puts("ready");
    fflush(stdout);
    int signal;
    sigwait(&set, &signal);
    done = 1;
    for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
    printf("checked %lu\n", (unsigned long)calls);
    return 0;
}
