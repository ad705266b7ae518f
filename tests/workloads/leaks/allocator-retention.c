// case: quiet
// mode: exact
// seconds: 40
// what: 24 MiB are freed but for a pin at the top of the heap, so that the allocator keeps them
#include "service.h"

enum { BLOCKS = 24 * 256, SIZE = 4000 };

static char *blocks[BLOCKS];
static char *pin;

__attribute__((noinline)) void load_report(void) {
    for (int i = 0; i < BLOCKS; i++) blocks[i] = filled(malloc(SIZE), SIZE);
    free(pin);
    pin = filled(malloc(SIZE), SIZE);
}

__attribute__((noinline)) void drop_report(void) {
    for (int i = 0; i < BLOCKS; i++) free(blocks[i]);
}

// A report once in fifteen seconds.
int main(void) {
    for (int turn = 0; next_turn(100); turn++) {
        if (turn % 150 == 20) load_report();
        if (turn % 150 == 30) drop_report();
    }
    return 0;
}
