// case: leak
// function: worker_context
// mode: exact
// seconds: 40
// what: each worker thread keeps a block in thread-specific storage and the key has no destructor
#include "service.h"
#include <pthread.h>

static pthread_key_t context;

__attribute__((noinline)) char *worker_context(void) {
    char *block = pthread_getspecific(context);
    if (block == NULL) {
        block = filled(malloc(400), 400);
        pthread_setspecific(context, block);
    }
    return block;
}

static void *work(void *nothing) {
    for (int i = 0; i < 20; i++) {
        char *copy = filled(malloc(256), 256);
        memcpy(copy, worker_context(), 256);
        free(copy);
    }
    return nothing;
}

int main(void) {
    pthread_key_create(&context, NULL);
    while (next_turn(100)) {
        pthread_t worker;
        if (pthread_create(&worker, NULL, work, NULL) == 0) pthread_join(worker, NULL);
    }
    return 0;
}
