// Touches memory as the lines on its standard input say, each kind in a function of its own, and answers each line
// with the bytes that are there for it then.
//
//   map KIB             maps memory and touches every page of it
//   blocks KIB          allocates blocks of 1000 bytes and fills them
//   give-back           gives the memory of the last map back, but keeps the mapping
//   churn KIB TIMES     maps memory, touches it and gives it back so many times, and unmaps it
//   huge MIB            touches huge pages
//   read KIB, write     reads memory that nobody wrote, and writes it later
//   fork                writes the memory of the last map while a child shares it
//   leak KIB SECONDS    every tenth of a second a tenth of so much memory, to and fro between map and blocks
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, HUGE_PAGE = 2 << 20, BLOCK = 1000 };

static char *last;
static size_t last_length;
void *volatile held;

static char *map(size_t length) {
    char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) abort();
    return memory;
}

__attribute__((noinline)) void touch_each(volatile char *memory, size_t length) {
    for (size_t at = 0; at < length; at += PAGE) memory[at] = 1;
}

__attribute__((noinline)) size_t touch_mapped(size_t length) {
    last = map(length);
    last_length = length;
    touch_each(last, length);
    return length;
}

__attribute__((noinline)) size_t fill_blocks(size_t length) {
    for (size_t filled = 0; filled < length; filled += BLOCK) {
        held = malloc(BLOCK);
        if (held == NULL) abort();
        memset(held, 0x5a, BLOCK);
    }
    return length;
}

__attribute__((noinline)) size_t give_back(void) {
    if (madvise(last, last_length, MADV_DONTNEED) != 0) abort();
    return 0;
}

__attribute__((noinline)) size_t churn_pages(size_t length, int times) {
    char *memory = map(length);
    for (int i = 0; i < times; i++) {
        touch_each(memory, length);
        if (madvise(memory, length, MADV_DONTNEED) != 0) abort();
    }
    touch_each(memory, length);
    munmap(memory, length);
    return 0;
}

__attribute__((noinline)) size_t touch_huge(size_t length) {
    char *memory = map(length + HUGE_PAGE);
    memory += HUGE_PAGE - (uintptr_t)memory % HUGE_PAGE;
    if (madvise(memory, length, MADV_HUGEPAGE) != 0) abort();
    // Not where a huge page begins: the fault's address is not its page's.
    for (size_t at = 5 * PAGE; at < length; at += HUGE_PAGE) ((volatile char *)memory)[at] = 1;
    return length;
}

__attribute__((noinline)) size_t only_read(size_t length) {
    last = map(length);
    last_length = length;
    volatile char *memory = last;
    for (size_t at = 0; at < length; at += PAGE) (void)memory[at];
    return 0;
}

__attribute__((noinline)) size_t write_later(void) {
    touch_each(last, last_length);
    return last_length;
}

__attribute__((noinline)) size_t write_shared(void) {
    int ends[2];
    char byte;
    if (pipe(ends) != 0) abort();
    pid_t child = fork();
    if (child == 0) {
        close(ends[1]);
        _exit((int)read(ends[0], &byte, 1));
    }
    touch_each(last, last_length);
    close(ends[1]);
    close(ends[0]);
    if (waitpid(child, NULL, 0) != child) abort();
    return last_length;
}

__attribute__((noinline)) size_t leak_steadily(size_t per_second, int seconds) {
    size_t part = per_second / 10;
    for (int i = 0; i < 10 * seconds; i++) {
        if (i % 2 == 0) {
            touch_mapped(part);
        } else {
            fill_blocks(part);
        }
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    return per_second * (size_t)seconds;
}

static size_t obey(const char *line) {
    size_t size;
    int times;
    if (sscanf(line, "map %zu", &size) == 1) return touch_mapped(size << 10);
    if (sscanf(line, "blocks %zu", &size) == 1) return fill_blocks(size << 10);
    if (strcmp(line, "give-back\n") == 0) return give_back();
    if (sscanf(line, "churn %zu %d", &size, &times) == 2) return churn_pages(size << 10, times);
    if (sscanf(line, "huge %zu", &size) == 1) return touch_huge(size << 20);
    if (sscanf(line, "read %zu", &size) == 1) return only_read(size << 10);
    if (strcmp(line, "write\n") == 0) return write_later();
    if (strcmp(line, "fork\n") == 0) return write_shared();
    if (sscanf(line, "leak %zu %d", &size, &times) == 2) return leak_steadily(size << 10, times);
    fprintf(stderr, "no such command: %s", line);
    exit(1);
}

int main(void) {
    char line[256];
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    while (fgets(line, sizeof line, stdin) != NULL) printf("%zu\n", obey(line));
    return 0;
}
