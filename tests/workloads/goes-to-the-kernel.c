// Makes malloc take memory of the kernel in every way it has, and leaves its heap full of holes. Does as the lines on its standard input say:
//
//   calls     takes memory by brk, by mmap, by mremap and for the arena of a thread; answers with its allocations
//   churn MS  allocates and frees a large block for so long; answers with its allocations
//   holes     fills the heap with small blocks and frees most of them; answers with the pages and bytes that the others keep
//
// It answers by write alone, and stdin has its buffer: what stdio allocates would count.
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { KIB = 1024, PAGE = 4096, LARGE = 300 * KIB, SMALL = 1008, HOLES = 32768, KEEP_EVERY = 16 };

static volatile long allocations;
static pthread_barrier_t begin, end;
static char *small[HOLES];

static void *checked(void *block) {
    if (block == NULL) abort();
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    return block;
}

static void say(const char *text) {
    if (write(STDOUT_FILENO, text, strlen(text)) < 0) abort();
}

__attribute__((noinline)) static void *load_page(size_t size) {
    return checked(malloc(size));
}

__attribute__((noinline)) static void fill_heap(void) {
    char *blocks[512];
    for (int i = 0; i < 512; i++) blocks[i] = checked(malloc(2 * KIB));
    for (int i = 0; i < 512; i++) free(blocks[i]);
}

// A thread that waits, so that its stack is older than the count.
static void *thread(void *unused) {
    (void)unused;
    pthread_barrier_wait(&begin);
    char *blocks[64];
    for (int i = 0; i < 64; i++) blocks[i] = checked(calloc(1, KIB));
    for (int i = 0; i < 64; i++) free(blocks[i]);
    pthread_barrier_wait(&end);
    return NULL;
}

static void calls(void) {
    fill_heap();
    char *blocks[20];
    for (int i = 0; i < 20; i++) blocks[i] = load_page(LARGE);
    for (int i = 0; i < 5; i++) blocks[i] = checked(realloc(blocks[i], 3 * LARGE));
    for (int i = 0; i < 20; i++) free(blocks[i]);
    pthread_barrier_wait(&begin);
    pthread_barrier_wait(&end);
}

static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void churn(long ms) {
    for (long until = now_ms() + ms; now_ms() < until; usleep(500)) {
        char *block = load_page(LARGE);
        block[0] = 1;
        free(block);
    }
}

__attribute__((noinline)) static char *keep_few(void) {
    return checked(malloc(SMALL));
}

static void holes(char *answer) {
    for (int i = 0; i < HOLES; i++) memset(small[i] = keep_few(), 1, SMALL);
    uintptr_t last = 0;
    long pages = 0, bytes = 0;
    for (int i = 0; i < HOLES; i++) {
        // None near what is there beside them.
        if (i % KEEP_EVERY != KEEP_EVERY / 2) {
            free(small[i]);
            continue;
        }
        uintptr_t from = (uintptr_t)small[i] / PAGE, to = ((uintptr_t)small[i] + SMALL - 1) / PAGE;
        // Blocks that are kept are far apart: no page has two.
        if (from <= last) abort();
        pages += to - from + 1;
        bytes += SMALL;
        last = to;
    }
    sprintf(answer, "[%ld, %ld]\n", pages, bytes);
}

int main(void) {
#ifdef M_MMAP_THRESHOLD
    // Without this glibc's threshold would rise with the first block that is freed.
    mallopt(M_MMAP_THRESHOLD, 128 * KIB);
    mallopt(M_TRIM_THRESHOLD, 512 * KIB);
#endif
    pthread_barrier_init(&begin, NULL, 2);
    pthread_barrier_init(&end, NULL, 2);
    pthread_t id;
    if (pthread_create(&id, NULL, thread, NULL) != 0) abort();
    say("ready\n");
    // Nothing that stdio would allocate.
    static char input[64];
    setvbuf(stdin, input, _IOFBF, sizeof input);
    char order[64], answer[64];
    while (fgets(order, sizeof order, stdin) != NULL) {
        if (strncmp(order, "holes", 5) == 0) {
            holes(answer);
        } else {
            if (strncmp(order, "churn", 5) == 0) churn(atol(order + 5));
            else calls();
            sprintf(answer, "%ld\n", allocations);
        }
        say(answer);
    }
}
