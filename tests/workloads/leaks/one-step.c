// case: quiet
// mode: exact
// seconds: 45
// what: an index is built once, fifteen seconds after the start
#include "service.h"

enum { PARTS = 300 };

static char *parts[PARTS];

__attribute__((noinline)) void build_index(void) {
    for (int i = 0; i < PARTS; i++) parts[i] = filled(malloc(4096), 4096);
}

__attribute__((noinline)) void handle_request(void) {
    char *answer = filled(malloc(512), 512);
    free(answer);
}

int main(void) {
    for (int turn = 0; next_turn(20); turn++) {
        if (turn == 15 * 50) build_index();
        handle_request();
    }
    return 0;
}
