// case: leak
// function: collect_batch
// mode: exact
// seconds: 50
// what: every five seconds a batch of blocks is lost at once
#include "service.h"

static char *batch[200];

__attribute__((noinline)) void collect_batch(void) {
    for (int i = 0; i < 200; i++) batch[i] = filled(malloc(128), 128);
}

__attribute__((noinline)) void poll_sensor(void) {
    char *reading = filled(malloc(64), 64);
    free(reading);
}

int main(void) {
    for (int turn = 0; next_turn(10); turn++) {
        poll_sensor();
        if (turn % 500 == 0) collect_batch();
    }
    return 0;
}
