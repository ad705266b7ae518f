// case: leak
// function: read_template
// mode: exact
// seconds: 40
// what: files are opened and never closed; descriptors leak with the memory
#include "service.h"
#include <stdio.h>

static size_t length;

__attribute__((noinline)) void read_template(void) {
    char line[128];
    FILE *file = fopen("/proc/self/cmdline", "r");
    if (file == NULL) abort();
    length += fread(line, 1, sizeof line, file);
}

int main(void) {
    while (next_turn(200)) read_template();
    return 0;
}
