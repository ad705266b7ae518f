// case: leak
// function: read_page
// mode: exact
// seconds: 30
// what: page buffers from posix_memalign are freed unless the page was dirty
#include "service.h"

__attribute__((noinline)) char *read_page(void) {
    void *page = NULL;
    if (posix_memalign(&page, 4096, 4096) != 0) abort();
    return filled(page, 4096);
}

int main(void) {
    while (next_turn(20)) {
        char *page = read_page();
        bool dirty = random_below(10) == 0;
        if (!dirty) free(page);
    }
    return 0;
}
