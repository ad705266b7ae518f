// case: quiet
// mode: exact
// seconds: 40
// what: the program maps and unmaps buffers, four of them at any time
#include "service.h"
#include <sys/mman.h>

enum { BUFFERS = 4, SIZE = 256 * 1024 };

static char *buffers[BUFFERS];

__attribute__((noinline)) void renew_buffer(unsigned number) {
    char **buffer = &buffers[number % BUFFERS];
    if (*buffer != NULL) munmap(*buffer, SIZE);
    *buffer = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (*buffer == MAP_FAILED) abort();
    filled(*buffer, SIZE);
}

int main(void) {
    for (unsigned number = 0; next_turn(200); number++) renew_buffer(number);
    return 0;
}
