// case: quiet
// mode: exact
// seconds: 45
// what: a cache fills in ten seconds and then replaces its entries in turn
#include "service.h"

enum { ENTRIES = 500 };

static char *entries[ENTRIES];

__attribute__((noinline)) void cache_result(unsigned number) {
    char **entry = &entries[number % ENTRIES];
    free(*entry);
    size_t size = 300 + random_below(200);
    *entry = filled(malloc(size), size);
}

int main(void) {
    for (unsigned number = 0; next_turn(20); number++) cache_result(number);
    return 0;
}
