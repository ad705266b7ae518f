// Allocates without a pause and ends by itself after so many milliseconds, without being asked.
//
//   ends-by-itself MILLISECONDS
#include <stdlib.h>
#include <time.h>

static long long milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

__attribute__((noinline)) static void *keep(size_t size) { return malloc(size); }

int main(int argc, char **argv) {
    long long end = milliseconds() + (argc > 1 ? atoi(argv[1]) : 0);
    while (milliseconds() < end) {
        void *volatile kept = keep(100);
        free(keep(200));
        (void)kept;
    }
    return 0;
}
