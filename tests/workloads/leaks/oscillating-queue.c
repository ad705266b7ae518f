// case: quiet
// mode: exact
// seconds: 45
// flags: -lm
// what: the length of a queue swings between 100 and 700 jobs every seven seconds
#include "service.h"
#include <math.h>

enum { CAPACITY = 1024 };

static char *queue[CAPACITY];
static unsigned head, tail;

__attribute__((noinline)) void enqueue_job(void) { queue[tail++ % CAPACITY] = filled(malloc(180), 180); }

__attribute__((noinline)) void finish_job(void) { free(queue[head++ % CAPACITY]); }

int main(void) {
    while (next_turn(20)) {
        unsigned wanted = (unsigned)(400 + 300 * sin(uptime() * 2 * 3.14159 / 7));
        for (int i = 0; i < 5; i++) enqueue_job();
        while (tail - head > wanted) finish_job();
        while (tail - head < wanted) enqueue_job();
    }
    return 0;
}
