// case: quiet
// mode: exact
// seconds: 40
// what: pools and tables are made in the first four seconds, then requests come and go
#include "service.h"

enum { OBJECTS = 400 };

static char *pool[OBJECTS];

__attribute__((noinline)) void fill_pool(int number) { pool[number] = filled(malloc(2048), 2048); }

__attribute__((noinline)) void handle_request(void) {
    size_t size = 100 + random_below(900);
    char *answer = filled(malloc(size), size);
    free(answer);
}

int main(void) {
    for (int made = 0; next_turn(10);) {
        if (made < OBJECTS) fill_pool(made++);
        handle_request();
    }
    return 0;
}
