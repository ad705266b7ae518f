// case: quiet
// mode: exact
// seconds: 60
// what: a batch fills for thirteen seconds and is then freed
#include "service.h"

enum { BATCH = 650 };

static char *batch[BATCH];
static int length;

__attribute__((noinline)) void collect_metric(void) { batch[length++] = filled(malloc(500), 500); }

__attribute__((noinline)) void upload_metrics(void) {
    while (length > 0) free(batch[--length]);
}

int main(void) {
    while (next_turn(20)) {
        collect_metric();
        if (length == BATCH) upload_metrics();
    }
    return 0;
}
