// case: leak
// function: enqueue_job
// mode: exact
// seconds: 60
// flags: -lm
// what: a queue swells and drains every six seconds, and one job of a hundred is never freed
#include "service.h"
#include <math.h>

enum { CAPACITY = 1024 };

static char *queue[CAPACITY];
static unsigned head, tail;

__attribute__((noinline)) void enqueue_job(void) { queue[tail++ % CAPACITY] = filled(malloc(240), 240); }

__attribute__((noinline)) void finish_job(void) {
    char *job = queue[head++ % CAPACITY];
    if (head % 100 != 0) free(job);
}

// Jobs come and go at about 250 a second.
int main(void) {
    while (next_turn(20)) {
        unsigned wanted = (unsigned)(400 + 300 * sin(uptime() * 2 * 3.14159 / 6));
        for (int i = 0; i < 5; i++) enqueue_job();
        while (tail - head > wanted) finish_job();
        while (tail - head < wanted) enqueue_job();
    }
    return 0;
}
