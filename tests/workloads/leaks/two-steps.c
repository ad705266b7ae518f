// case: quiet
// mode: exact
// seconds: 60
// what: the configuration is read again twice, and each version is longer than the one before
#include "service.h"

enum { MAX_RULES = 1000 };

static char *rules[MAX_RULES];
static int length;

__attribute__((noinline)) void load_configuration(int count) {
    while (length > 0) free(rules[--length]);
    while (length < count) rules[length++] = filled(malloc(160), 160);
}

__attribute__((noinline)) void match_request(void) {
    char *match = filled(malloc(64), 64);
    free(match);
}

int main(void) {
    for (int turn = 0; next_turn(20); turn++) {
        if (turn == 0) load_configuration(500);
        if (turn == 12 * 50) load_configuration(700);
        if (turn == 25 * 50) load_configuration(900);
        match_request();
    }
    return 0;
}
