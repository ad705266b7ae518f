// case: quiet
// mode: exact
// seconds: 40
// what: the last 256 messages are kept in a ring, of any size
#include "service.h"

enum { RING = 256 };

static char *ring[RING];

__attribute__((noinline)) void keep_message(unsigned number) {
    size_t size = 20 + random_below(2000);
    char *message = filled(malloc(size), size);
    free(ring[number % RING]);
    ring[number % RING] = message;
}

int main(void) {
    for (unsigned number = 0; next_turn(20); number++) keep_message(number);
    return 0;
}
