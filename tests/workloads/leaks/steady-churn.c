// case: quiet
// mode: exact
// seconds: 40
// load: heavy
// flags: -fno-omit-frame-pointer
// capture: --ring-bytes 128MiB
// what: some 100,000 allocations a second, a hundred of them live at any time
#include "service.h"

enum { LIVE = 100 };

static char *live[LIVE];

__attribute__((noinline)) void handle_packet(void) {
    char **packet = &live[random_below(LIVE)];
    free(*packet);
    *packet = malloc(16 + random_below(500));
    if (*packet == NULL) abort();
    **packet = 'p';
}

int main(void) {
    while (next_turn(5))
        for (int i = 0; i < 600; i++) handle_packet();
    return 0;
}
