// Changes its size as the lines on its standard input say, and answers each with one line:
//
//   grow MIB          allocates, touches and keeps         -> done
//   shrink            frees all of it                      -> done
//   leak KIB SECONDS  goes on at once with the commands, while a thread loses so much every 10 ms -> done
//   thrash FILE MS    reads a mapped file page by page again and again -> done
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

enum { MIB = 1 << 20, MOST = 4096 };

static char *kept[MOST];
static size_t kept_count;
static size_t leak_kib, leak_steps;
static char *volatile lost;

__attribute__((noinline)) void lose_a_session(size_t size) {
    char *block = malloc(size);
    if (block == NULL) abort();
    memset(block, 1, size);
    lost = block;
}

static void *leak(void *unused) {
    for (; leak_steps > 0; leak_steps--) {
        lose_a_session(leak_kib * 1024);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return unused;
}

static void thrash(const char *path, long milliseconds) {
    int file = open(path, O_RDONLY);
    struct stat status;
    if (file < 0 || fstat(file, &status) != 0) abort();
    const volatile char *bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, file, 0);
    if (bytes == MAP_FAILED) abort();
    // Page by page: what is read ahead is not waited for.
    if (madvise((void *)bytes, (size_t)status.st_size, MADV_RANDOM) != 0) abort();
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        for (off_t at = 0; at < status.st_size; at += 4096) (void)bytes[at];
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 < milliseconds);
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    char line[4200], path[4096];
    while (fgets(line, sizeof line, stdin) != NULL) {
        size_t mib, kib, seconds;
        long milliseconds;
        if (sscanf(line, "grow %zu", &mib) == 1) {
            for (; mib > 0 && kept_count < MOST; mib--) {
                char *block = malloc(MIB);
                if (block == NULL) abort();
                memset(block, 1, MIB);
                kept[kept_count++] = block;
            }
        } else if (strncmp(line, "shrink", 6) == 0) {
            while (kept_count > 0) free(kept[--kept_count]);
        } else if (sscanf(line, "leak %zu %zu", &kib, &seconds) == 2) {
            pthread_t thread;
            leak_kib = kib;
            leak_steps = seconds * 100;
            if (pthread_create(&thread, NULL, leak, NULL) != 0) abort();
        } else if (sscanf(line, "thrash %4095s %ld", path, &milliseconds) == 2) {
            thrash(path, milliseconds);
        } else {
            return 1;
        }
        puts("done");
    }
}
