// Holds memory in the ways that actions of `memmgr optimize` are about, as the lines on its standard input say, and answers each
// with one line:
//
//   hold MIB      maps memory of its own and fills it with numbers                   -> done
//   sum           adds up what it holds: whatever happened to it, it must be there  -> {"sum": N, "wrong": N}
//   hot           goes on at once, while a thread touches all that it holds          -> done
//   warm MS       the same, with so many milliseconds between two times              -> done
//   retain MIB    allocates small blocks and frees all but the last                  -> done
//   trim          calls malloc_trim(0) itself                                        -> done
//   same MIB      maps pages that are all equal, and offers them for merging         -> done
//   pieces MIB    maps memory and gives back all but every eighth page of it         -> done
//   read FILE     reads a file to its end                                            -> done
//   map FILE      maps a file and touches all of it                                  -> done
//   rss           tells what it has in memory                                        -> {"rss_bytes": N}
#define _GNU_SOURCE
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, BLOCK = 1000 };

static uint64_t *held;
static size_t held_words;
static void *volatile last;

static char *map(size_t size) {
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) abort();
    return memory;
}

static void hold(size_t size) {
    held = (uint64_t *)map(size);
    held_words = size / sizeof *held;
    // Not what a compressing swap makes nothing of.
    for (size_t at = 0; at < held_words; at++) held[at] = at * 0x9e3779b97f4a7c15u;
}

static void sum(void) {
    uint64_t sum = 0, wrong = 0;
    for (size_t at = 0; at < held_words; at++) {
        sum += held[at] & 0xff;
        wrong += held[at] != at * 0x9e3779b97f4a7c15u;
    }
    printf("{\"sum\": %llu, \"wrong\": %llu}\n", (unsigned long long)sum, (unsigned long long)wrong);
}

static useconds_t pause_us = 1000;

static void *touch(void *unused) {
    for (volatile uint64_t *words = held;;) {
        for (size_t at = 0; at < held_words; at += PAGE / sizeof *held) (void)words[at];
        usleep(pause_us);
    }
    return unused;
}

static void retain(size_t size) {
    size_t count = size / BLOCK;
    char **blocks = malloc(count * sizeof *blocks);
    if (blocks == NULL) abort();
    for (size_t at = 0; at < count; at++) {
        blocks[at] = malloc(BLOCK);
        if (blocks[at] == NULL) abort();
        memset(blocks[at], 1, BLOCK);
    }
    // What lies above all that is free keeps glibc from giving it back by itself.
    last = malloc(BLOCK);
    for (size_t at = 0; at < count; at++) free(blocks[at]);
    free(blocks);
}

static void same(size_t size) {
    char *memory = map(size);
    memset(memory, 7, size);
    if (madvise(memory, size, MADV_MERGEABLE) != 0) abort();
}

static void pieces(size_t size) {
    char *memory = map(size);
    if (madvise(memory, size, MADV_NOHUGEPAGE) != 0) abort();
    memset(memory, 1, size);
    for (size_t at = 0; at < size; at += 8 * PAGE) {
        if (madvise(memory + at + PAGE, 7 * PAGE, MADV_DONTNEED) != 0) abort();
    }
}

static void read_all(const char *path) {
    static char buffer[1 << 16];
    int file = open(path, O_RDONLY);
    if (file < 0) abort();
    while (read(file, buffer, sizeof buffer) > 0) {}
    close(file);
}

static void map_file(const char *path) {
    int file = open(path, O_RDONLY);
    if (file < 0) abort();
    off_t size = lseek(file, 0, SEEK_END);
    char *memory = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, file, 0);
    if (memory == MAP_FAILED) abort();
    close(file);
    for (off_t at = 0; at < size; at += PAGE) (void)((volatile char *)memory)[at];
}

static void rss(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long long size, resident;
    if (file == NULL || fscanf(file, "%llu %llu", &size, &resident) != 2) abort();
    fclose(file);
    printf("{\"rss_bytes\": %llu}\n", resident * PAGE);
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    char line[4200], path[4096];
    while (fgets(line, sizeof line, stdin) != NULL) {
        size_t mib;
        pthread_t thread;
        if (sscanf(line, "hold %zu", &mib) == 1) {
            hold(mib << 20);
        } else if (strcmp(line, "sum\n") == 0) {
            sum();
            continue;
        } else if (strcmp(line, "hot\n") == 0 || sscanf(line, "warm %zu", &mib) == 1) {
            if (line[0] == 'w') pause_us = mib * 1000;
            if (pthread_create(&thread, NULL, touch, NULL) != 0) abort();
        } else if (sscanf(line, "retain %zu", &mib) == 1) {
            retain(mib << 20);
        } else if (strcmp(line, "trim\n") == 0) {
            malloc_trim(0);
        } else if (sscanf(line, "same %zu", &mib) == 1) {
            same(mib << 20);
        } else if (sscanf(line, "pieces %zu", &mib) == 1) {
            pieces(mib << 20);
        } else if (sscanf(line, "read %4095s", path) == 1) {
            read_all(path);
        } else if (sscanf(line, "map %4095s", path) == 1) {
            map_file(path);
        } else if (strcmp(line, "rss\n") == 0) {
            rss();
            continue;
        } else {
            return 1;
        }
        puts("done");
    }
}
