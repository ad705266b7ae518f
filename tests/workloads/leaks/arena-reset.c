// case: quiet
// mode: exact
// seconds: 40
// what: an arena takes chunks while a job runs and keeps only the first when it is reset
#include "service.h"

enum { CHUNK = 16 * 1024 };

struct chunk {
    struct chunk *next;
    size_t used;
};

static struct chunk *arena;

__attribute__((noinline)) void grow_arena(void) {
    struct chunk *chunk = filled(malloc(CHUNK), CHUNK);
    *chunk = (struct chunk){arena, sizeof *chunk};
    arena = chunk;
}

__attribute__((noinline)) void *take(size_t size) {
    if (arena == NULL || arena->used + size > CHUNK) grow_arena();
    char *taken = (char *)arena + arena->used;
    arena->used += size;
    return filled(taken, size);
}

__attribute__((noinline)) void reset_arena(void) {
    while (arena->next != NULL) {
        struct chunk *next = arena->next;
        free(arena);
        arena = next;
    }
    arena->used = sizeof *arena;
}

// A job of about three seconds.
int main(void) {
    for (int turn = 1; next_turn(10); turn++) {
        take(500 + random_below(3000));
        if (turn % 300 == 0) reset_arena();
    }
    return 0;
}
