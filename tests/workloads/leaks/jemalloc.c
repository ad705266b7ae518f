// case: leak
// function: index_document
// mode: exact
// seconds: 40
// flags: -l:libjemalloc.so.2
// what: a small leak in a program that is linked with jemalloc
#include "service.h"

__attribute__((noinline)) char *index_document(void) { return filled(malloc(96), 96); }

__attribute__((noinline)) void answer_search(void) {
    char *answer = filled(malloc(4096), 4096);
    free(answer);
}

int main(void) {
    for (int number = 0; next_turn(5); number++) {
        answer_search();
        if (number % 10 != 0) continue;
        char *entry = index_document();
        if (random_below(3) != 0) free(entry);
    }
    return 0;
}
