// case: leak
// function: parse_request
// mode: exact
// seconds: 40
// what: one request of a hundred is malformed, and its error path frees nothing
#include "service.h"

struct request {
    char *body;
    int method;
};

__attribute__((noinline)) struct request *parse_request(bool malformed) {
    struct request *request = filled(malloc(sizeof *request), sizeof *request);
    size_t size = 200 + random_below(400);
    request->body = filled(malloc(size), size);
    if (malformed) return NULL;
    return request;
}

int main(void) {
    for (int number = 0; next_turn(10);) {
        for (int i = 0; i < 4; i++) {
            struct request *request = parse_request(++number % 100 == 0);
            if (request == NULL) continue;
            free(request->body);
            free(request);
        }
    }
    return 0;
}
