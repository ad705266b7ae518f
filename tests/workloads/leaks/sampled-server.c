// case: quiet
// mode: sample
// seconds: 40
// what: a server with four threads replaces entries of a full cache of 16 MiB, seen by sampling
#include "service.h"
#include <pthread.h>

enum { ENTRIES = 2000, SIZE = 8192 };

struct worker {
    pthread_t thread;
    char *entries[ENTRIES / 4];
};

__attribute__((noinline)) void replace_entry(char **entry) {
    free(*entry);
    *entry = filled(malloc(SIZE), SIZE);
}

static void *serve(void *argument) {
    struct worker *worker = argument;
    for (int i = 0; i < ENTRIES / 4; i++) replace_entry(&worker->entries[i]);
    while (next_turn(20))
        for (int i = 0; i < 5; i++) replace_entry(&worker->entries[random_below(ENTRIES / 4)]);
    return NULL;
}

int main(void) {
    static struct worker workers[4];
    for (int i = 0; i < 4; i++)
        if (pthread_create(&workers[i].thread, NULL, serve, &workers[i]) != 0) abort();
    for (int i = 0; i < 4; i++) pthread_join(workers[i].thread, NULL);
    return 0;
}
