// case: quiet
// mode: exact
// seconds: 45
// flags: -l:libjemalloc.so.2
// what: sessions of any length come and go under jemalloc, about two hundred at a time
#include "service.h"

enum { SESSIONS = 400 };

static struct session {
    char *state;
    double end;
} sessions[SESSIONS];

__attribute__((noinline)) void open_session(struct session *session) {
    size_t size = 200 + random_below(800);
    session->state = filled(malloc(size), size);
    session->end = uptime() + 1 + random_below(9000) * 1e-3;
}

int main(void) {
    while (next_turn(25)) {
        int wanted = 1;
        for (int i = 0; i < SESSIONS; i++) {
            struct session *session = &sessions[i];
            if (session->state != NULL && session->end < uptime()) {
                free(session->state);
                session->state = NULL;
            }
            if (session->state == NULL && wanted-- > 0) open_session(session);
        }
    }
    return 0;
}
