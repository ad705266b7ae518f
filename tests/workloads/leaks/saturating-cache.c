// case: quiet
// mode: exact
// seconds: 55
// what: results for 600 keys are kept, and ever fewer requests ask for a new one
#include "service.h"

enum { KEYS = 600 };

static char *results[KEYS];

__attribute__((noinline)) void compute_result(unsigned key) {
    results[key] = filled(malloc(400), 400);
}

int main(void) {
    while (next_turn(10)) {
        unsigned key = random_below(KEYS);
        if (results[key] == NULL) compute_result(key);
    }
    return 0;
}
