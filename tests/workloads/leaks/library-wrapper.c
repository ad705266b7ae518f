// case: leak
// function: load_certificate
// mode: exact
// seconds: 30
// what: everything is allocated through a wrapper, and one of its callers leaks
#include "service.h"

__attribute__((noinline)) void *xmalloc(size_t size) { return filled(malloc(size), size); }

__attribute__((noinline)) char *load_certificate(void) { return xmalloc(900); }

__attribute__((noinline)) char *load_page(void) { return xmalloc(1500 + random_below(1500)); }

char *certificate;

int main(void) {
    for (int number = 0; next_turn(10); number++) {
        char *page = load_page();
        if (number % 10 == 0) certificate = load_certificate();
        free(page);
    }
    return 0;
}
