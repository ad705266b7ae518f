// case: quiet
// mode: exact
// seconds: 60
// what: dead objects pile up and are freed every eight seconds; one in ten is still alive then
#include "service.h"

enum { OBJECTS = 1000, TENURED = 60 };

static char *young[OBJECTS], *tenured[TENURED];
static int length;
static unsigned survivors;

__attribute__((noinline)) void new_object(void) { young[length++] = filled(malloc(256), 256); }

// A survivor takes the place of an older one, which is dead by now.
__attribute__((noinline)) void collect_garbage(void) {
    for (int i = 0; i < length; i++) {
        if (i % 10 != 0) {
            free(young[i]);
            continue;
        }
        char **place = &tenured[survivors++ % TENURED];
        free(*place);
        *place = young[i];
    }
    length = 0;
}

int main(void) {
    for (int turn = 1; next_turn(10); turn++) {
        new_object();
        if (turn % 800 == 0) collect_garbage();
    }
    return 0;
}
