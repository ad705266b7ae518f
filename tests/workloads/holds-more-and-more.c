// Holds 10 blocks before main, then every 10 ms one more, and ends after so many milliseconds with a code:
//     holds-more-and-more MILLISECONDS CODE
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SIZE = 1000 };

__attribute__((noinline)) void *hold_one(void) {
    void *block = malloc(SIZE);
    if (block == NULL) abort();
    memset(block, 1, SIZE);
    return block;
}

void *volatile held;

__attribute__((constructor, noinline)) static void hold_before_main(void) {
    for (int i = 0; i < 10; i++) held = hold_one();
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    for (int left = atoi(argv[1]); left > 0; left -= 10) {
        held = hold_one();
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return atoi(argv[2]);
}
