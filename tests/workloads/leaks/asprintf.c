// case: leak
// function: format_label
// mode: exact
// seconds: 30
// what: the text that asprintf made is used and never freed
#define _GNU_SOURCE
#include "service.h"
#include <stdio.h>

static size_t written;

__attribute__((noinline)) char *format_label(int host, unsigned load) {
    char *label = NULL;
    if (asprintf(&label, "host=%d load=%u zone=eu-%d rack=%d", host, load, host % 3, host / 40) < 0) abort();
    return label;
}

int main(void) {
    for (int i = 0; next_turn(20); i++) written += strlen(format_label(i % 400, random_below(100)));
    return 0;
}
