// case: quiet
// mode: exact
// seconds: 20
// what: a program waits
#include "service.h"

static char *state;

int main(void) {
    state = filled(malloc(100000), 100000);
    while (next_turn(1000)) {}
    return 0;
}
