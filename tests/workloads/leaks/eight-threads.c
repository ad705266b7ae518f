// case: leak
// function: handle_upload
// mode: sample
// seconds: 40
// what: a server with eight threads loses 1 MiB a second beside eight times as much traffic
#include "service.h"
#include <pthread.h>

enum { CHUNK = 8192 };

__attribute__((noinline)) char *handle_upload(void) { return filled(malloc(CHUNK), CHUNK); }

__attribute__((noinline)) void handle_download(void) {
    char *chunk = filled(malloc(CHUNK), CHUNK);
    free(chunk);
}

// Each thread loses 16 chunks of 8 KiB a second.
static void *serve(void *nothing) {
    while (next_turn(125)) {
        for (int i = 0; i < 16; i++) handle_download();
        for (int i = 0; i < 4; i++) {
            char *upload = handle_upload();
            if (i % 2 == 0) free(upload);
        }
    }
    return nothing;
}

int main(void) {
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        if (pthread_create(&threads[i], NULL, serve, NULL) != 0) abort();
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    return 0;
}
