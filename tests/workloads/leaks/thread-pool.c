// case: quiet
// mode: exact
// seconds: 40
// what: eight threads start one after the other in the first six seconds, each with its buffers
#include "service.h"
#include <pthread.h>

static void *serve(void *nothing) {
    char *buffer = filled(malloc(20000), 20000);
    while (next_turn(40)) {
        size_t size = 100 + random_below(4000);
        char *answer = filled(malloc(size), size);
        free(answer);
    }
    free(buffer);
    return nothing;
}

__attribute__((noinline)) pthread_t start_worker(void) {
    pthread_t worker;
    if (pthread_create(&worker, NULL, serve, NULL) != 0) abort();
    return worker;
}

int main(void) {
    pthread_t workers[8];
    for (int i = 0; i < 8 && next_turn(750); i++) workers[i] = start_worker();
    for (int i = 0; i < 8; i++) pthread_join(workers[i], NULL);
    return 0;
}
