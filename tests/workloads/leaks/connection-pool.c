// case: quiet
// mode: exact
// seconds: 50
// what: connections follow a load that wanders about its mean
#include "service.h"

enum { LEAST = 10, MEAN = 70, MOST = 130 };

static char *connections[MOST];
static int open_connections;

__attribute__((noinline)) void open_connection(void) {
    connections[open_connections++] = filled(malloc(3000), 3000);
}

__attribute__((noinline)) void close_connection(void) { free(connections[--open_connections]); }

int main(void) {
    int load = MEAN;
    while (next_turn(50)) {
        load += (int)random_below(25) - 12 + (MEAN - load) / 20;
        if (load < LEAST) load = LEAST;
        if (load > MOST) load = MOST;
        while (open_connections < load) open_connection();
        while (open_connections > load) close_connection();
    }
    return 0;
}
