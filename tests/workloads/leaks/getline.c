// case: leak
// function: read_process_state
// mode: exact
// seconds: 30
// what: the line buffer that getline made is left behind when the file is closed
#define _GNU_SOURCE
#include "service.h"
#include <stdio.h>

__attribute__((noinline)) int read_process_state(void) {
    FILE *status = fopen("/proc/self/status", "r");
    if (status == NULL) return -1;
    char *line = NULL;
    size_t capacity = 0;
    int lines = 0;
    while (getline(&line, &capacity, status) > 0) lines++;
    fclose(status);
    return lines;
}

int main(void) {
    while (next_turn(50)) read_process_state();
    return 0;
}
