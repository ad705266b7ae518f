// case: leak
// function: append_history
// mode: exact
// seconds: 40
// what: one buffer is made longer for ever
#include "service.h"

static char *history;
static size_t length, capacity;

__attribute__((noinline)) void append_history(const char *text, size_t size) {
    if (length + size > capacity) {
        capacity += 8192;
        history = realloc(history, capacity);
        if (history == NULL) abort();
    }
    memcpy(history + length, text, size);
    length += size;
}

int main(void) {
    char *line = filled(malloc(600), 600);
    while (next_turn(20)) append_history(line, 300 + random_below(300));
    free(line);
    return 0;
}
