// case: leak
// function: map_snapshot
// mode: exact
// seconds: 40
// what: the program maps memory for each snapshot and unmaps every second one
#include "service.h"
#include <sys/mman.h>

enum { SNAPSHOT = 64 * 1024 };

__attribute__((noinline)) char *map_snapshot(void) {
    char *snapshot =
        mmap(NULL, SNAPSHOT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (snapshot == MAP_FAILED) abort();
    return filled(snapshot, SNAPSHOT);
}

int main(void) {
    for (int number = 0; next_turn(100); number++) {
        char *snapshot = map_snapshot();
        if (number % 2 == 0) munmap(snapshot, SNAPSHOT);
    }
    return 0;
}
