// case: leak
// function: handle_request
// mode: exact
// seconds: 40
// what: one function makes three blocks a request and forgets the smallest of each hundredth
#include "service.h"

__attribute__((noinline)) void handle_request(int number) {
    char *header = filled(malloc(128), 128);
    char *body = filled(malloc(1024 + random_below(1024)), 1024);
    char *trace = filled(malloc(48), 48);
    free(body);
    free(header);
    if (number % 100 != 0) free(trace);
}

int main(void) {
    for (int number = 0; next_turn(10);)
        for (int i = 0; i < 10; i++) handle_request(number++);
    return 0;
}
