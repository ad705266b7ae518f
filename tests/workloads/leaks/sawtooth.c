// case: quiet
// mode: exact
// seconds: 40
// what: a batch fills for four seconds and is then written out and freed
#include "service.h"

enum { BATCH = 400 };

static char *batch[BATCH];
static int length;

__attribute__((noinline)) void add_to_batch(void) { batch[length++] = filled(malloc(350), 350); }

__attribute__((noinline)) void write_batch(void) {
    while (length > 0) free(batch[--length]);
}

int main(void) {
    while (next_turn(10)) {
        add_to_batch();
        if (length == BATCH) write_batch();
    }
    return 0;
}
