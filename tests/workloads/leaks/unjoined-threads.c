// case: leak
// function: start_mailer
// mode: exact
// seconds: 40
// what: finished threads are neither joined nor detached and keep their stacks
#include "service.h"
#include <pthread.h>

static void *send_mail(void *nothing) {
    char *mail = filled(malloc(2000), 2000);
    free(mail);
    return nothing;
}

__attribute__((noinline)) void start_mailer(void) {
    pthread_t mailer;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    if (pthread_create(&mailer, &attributes, send_mail, NULL) != 0) abort();
    pthread_attr_destroy(&attributes);
}

int main(void) {
    while (next_turn(200)) start_mailer();
    return 0;
}
