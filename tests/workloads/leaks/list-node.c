// case: leak
// function: replace_route
// mode: exact
// seconds: 40
// what: a node of a list is replaced and the old one is lost
#include "service.h"

enum { ROUTES = 64 };

struct route {
    struct route *next;
    int target, metric;
    char name[40];
};

static struct route *first;

__attribute__((noinline)) void replace_route(int target) {
    struct route **place = &first;
    while ((*place)->target != target) place = &(*place)->next;
    struct route *route = filled(malloc(sizeof *route), sizeof *route);
    *route = (struct route){(*place)->next, target, (int)random_below(16), "replaced"};
    *place = route;
}

__attribute__((noinline)) void load_routes(void) {
    for (int target = 0; target < ROUTES; target++) {
        struct route *route = filled(malloc(sizeof *route), sizeof *route);
        *route = (struct route){first, target, 1, "loaded"};
        first = route;
    }
}

int main(void) {
    load_routes();
    while (next_turn(50)) replace_route((int)random_below(ROUTES));
    return 0;
}
