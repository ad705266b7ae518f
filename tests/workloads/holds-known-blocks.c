// Holds blocks and mappings whose number and size it knows, and says so.
//
// Starts a second thread on the last processor and writes `ready`. At the line `go` both threads allocate,
// resize, free and map, the second one ends, and one line of JSON says what is left. Ends with its input.
// After `ready` nothing but the code below allocates: no stdio, no new thread.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BLOCKS = 3000, REGION = 256 * 1024, REGIONS = 4 };

struct truth {
    long live_count, live_bytes, mapped_bytes;
};

static void *held[2][BLOCKS];
static struct truth truths[2];
static sem_t go;

static void *checked(void *block) {
    if (block == NULL || block == MAP_FAILED) abort();
    return block;
}

// A third of the blocks is freed at once; the others stay.
__attribute__((noinline)) void holds_blocks(int who) {
    for (int i = 0; i < BLOCKS; i++) {
        size_t size = 24 + (size_t)i * 37 % 4000;
        void *block = NULL;
        switch (i % 4) {
        case 0: block = checked(malloc(size)); break;
        case 1: block = checked(calloc(1, size)); break;
        case 2: block = checked(realloc(checked(malloc(size / 2)), size)); break;
        case 3: if (posix_memalign(&block, 64, size) != 0) abort(); break;
        }
        memset(block, who + 1, size);
        if (i % 3 == 0) {
            free(block);
            continue;
        }
        held[who][i] = block;
        truths[who].live_count++;
        truths[who].live_bytes += (long)size;
    }
}

// One region is given back whole, one by half.
__attribute__((noinline)) void holds_mappings(int who) {
    char *region[REGIONS];
    for (int i = 0; i < REGIONS; i++) {
        region[i] = checked(
            mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        truths[who].mapped_bytes += REGION;
    }
    if (munmap(region[0], REGION) != 0 || munmap(region[1], REGION / 2) != 0) abort();
    truths[who].mapped_bytes -= REGION + REGION / 2;
}

__attribute__((noinline)) void holds(int who) {
    holds_blocks(who);
    holds_mappings(who);
    __asm__ volatile(""); // no tail call: this frame is part of every stack
}

static void *second_thread(void *nothing) {
    cpu_set_t last;
    CPU_ZERO(&last);
    CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &last);
    sched_setaffinity(0, sizeof last, &last);
    while (sem_wait(&go) != 0) {}
    holds(1);
    return nothing;
}

static void say(const char *text) {
    if (write(STDOUT_FILENO, text, strlen(text)) < 0) abort();
}

int main(void) {
    pthread_t second;
    if (sem_init(&go, 0, 0) != 0 || pthread_create(&second, NULL, second_thread, NULL) != 0) abort();
    say("ready\n");
    char order[16];
    if (read(STDIN_FILENO, order, sizeof order) <= 0) return 1;
    sem_post(&go);
    holds(0);
    pthread_join(second, NULL);
    char line[160];
    snprintf(line, sizeof line, "{\"live_count\":%ld,\"live_bytes\":%ld,\"mapped_bytes\":%ld}\n",
             truths[0].live_count + truths[1].live_count, truths[0].live_bytes + truths[1].live_bytes,
             truths[0].mapped_bytes + truths[1].mapped_bytes);
    say(line);
    while (read(STDIN_FILENO, order, sizeof order) > 0) {}
    return 0;
}
