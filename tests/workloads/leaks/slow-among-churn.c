// case: leak
// function: log_session_start
// mode: exact
// seconds: 60
// load: heavy
// flags: -fno-omit-frame-pointer
// capture: --ring-bytes 128MiB
// what: 16 bytes a second are lost beside some 100,000 allocations a second
#include "service.h"

static void *last_session;

__attribute__((noinline)) void log_session_start(void) { last_session = filled(malloc(16), 16); }

__attribute__((noinline)) void answer_query(void) {
    size_t size = 16 + random_below(240);
    char *answer = malloc(size);
    if (answer == NULL) abort();
    __asm__ volatile("" : : "r"(answer) : "memory");
    free(answer);
}

int main(void) {
    for (int second = 0; next_turn(5);) {
        for (int i = 0; i < 600; i++) answer_query();
        if (uptime() < second) continue;
        log_session_start();
        second++;
    }
    return 0;
}
