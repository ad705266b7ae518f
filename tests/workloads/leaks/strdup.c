// case: leak
// function: remember_user_agent
// mode: exact
// seconds: 30
// what: a field that was set before gets a new copy of a string
#include "service.h"
#include <stdio.h>

// Not static, or the compiler would see that nobody reads it.
struct connection {
    char *user_agent;
} connection;

__attribute__((noinline)) void remember_user_agent(const char *name) {
    connection.user_agent = strdup(name);
}

int main(void) {
    char name[80];
    for (int i = 0; next_turn(20); i++) {
        snprintf(name, sizeof name, "Agent/%d (compatible; build %u)", i, random_below(100000));
        remember_user_agent(name);
    }
    return 0;
}
