// Maps memory as the lines on its standard input say, and answers each with the bytes that it has mapped since it began.
//
//   map COUNT KIB     maps so many ranges
//   unmap             unmaps all of them
//   grow KIB          makes the last range larger, wherever that is
//   break KIB         moves the end of the heap
//   direct KIB        maps by a system call of its own
//   storm MS          maps and unmaps one page all the time for so long
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, MOST = 4096, KIB = 1024 };

static struct { char *start; size_t length; } ranges[MOST];
static size_t count, mapped;

static char *checked(void *memory) {
    if (memory == MAP_FAILED) abort();
    return memory;
}

__attribute__((noinline)) char *map_range(size_t length) {
    return checked(mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static void map(size_t wanted, size_t length) {
    while (wanted-- > 0 && count < MOST) {
        ranges[count].start = map_range(length);
        ranges[count++].length = length;
        mapped += length;
    }
}

static void unmap(void) {
    while (count > 0) {
        count--;
        if (munmap(ranges[count].start, ranges[count].length) != 0) abort();
        mapped -= ranges[count].length;
    }
}

static void grow(size_t more) {
    size_t length = ranges[count - 1].length;
    ranges[count - 1].start = checked(mremap(ranges[count - 1].start, length, length + more, MREMAP_MAYMOVE));
    ranges[count - 1].length = length + more;
    mapped += more;
}

__attribute__((noinline)) void move_break(size_t more) {
    if (sbrk((intptr_t)more) == (void *)-1) abort();
    mapped += more;
}

__attribute__((noinline)) void map_directly(size_t length) {
    checked((void *)syscall(SYS_mmap, NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mapped += length;
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

__attribute__((noinline)) void storm(int64_t milliseconds) {
    for (int64_t end = now_ms() + milliseconds; now_ms() < end;) {
        for (int times = 0; times < 100; times++) {
            if (munmap(map_range(PAGE), PAGE) != 0) abort();
        }
    }
}

int main(void) {
    static char input[1 << 12], output[1 << 12];
    setvbuf(stdin, input, _IOFBF, sizeof input);
    setvbuf(stdout, output, _IOLBF, sizeof output);
    // From then on the end of the heap is known.
    free(malloc(1));
    puts("ready");
    char line[256];
    while (fgets(line, sizeof line, stdin) != NULL) {
        size_t first, second;
        if (sscanf(line, "map %zu %zu", &first, &second) == 2) map(first, second * KIB);
        else if (strcmp(line, "unmap\n") == 0) unmap();
        else if (sscanf(line, "grow %zu", &first) == 1) grow(first * KIB);
        else if (sscanf(line, "break %zu", &first) == 1) move_break(first * KIB);
        else if (sscanf(line, "direct %zu", &first) == 1) map_directly(first * KIB);
        else if (sscanf(line, "storm %zu", &first) == 1) storm((int64_t)first);
        else return 1;
        printf("%zu\n", mapped);
    }
}
