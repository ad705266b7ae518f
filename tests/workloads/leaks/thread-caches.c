// case: quiet
// mode: exact
// seconds: 45
// what: four threads fill a cache of their own, each at its own speed, and then replace in it
#include "service.h"
#include <pthread.h>

enum { ENTRIES = 200 };

__attribute__((noinline)) void cache_lookup(char **entry) {
    free(*entry);
    size_t size = 64 + random_below(400);
    *entry = filled(malloc(size), size);
}

static void *serve(void *argument) {
    static __thread char *entries[ENTRIES];
    int pause = *(int *)argument;
    for (unsigned number = 0; next_turn(pause); number++) cache_lookup(&entries[number % ENTRIES]);
    return NULL;
}

int main(void) {
    int pauses[4] = {15, 25, 35, 50};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, serve, &pauses[i]) != 0) abort();
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    return 0;
}
