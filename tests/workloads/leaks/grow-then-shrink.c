// case: quiet
// mode: exact
// seconds: 55
// what: work piles up for twenty seconds and is done in the next twenty
#include "service.h"

enum { ITEMS = 1000 };

static char *items[ITEMS];
static int length;

__attribute__((noinline)) void pile_up(void) {
    if (length < ITEMS) items[length++] = filled(malloc(700), 700);
}

__attribute__((noinline)) void work_off(void) {
    if (length > 0) free(items[--length]);
}

int main(void) {
    while (next_turn(20)) {
        if (uptime() < 20) pile_up();
        else work_off();
    }
    return 0;
}
