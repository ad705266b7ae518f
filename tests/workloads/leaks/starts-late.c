// case: leak
// function: spool_message
// mode: exact
// seconds: 45
// what: the leak begins ten seconds after the start of the program
#include "service.h"

__attribute__((noinline)) char *spool_message(void) { return filled(malloc(200), 200); }

int main(void) {
    while (next_turn(20)) {
        char *message = spool_message();
        bool receiver_is_gone = uptime() > 10;
        if (!receiver_is_gone || random_below(2) == 0) free(message);
    }
    return 0;
}
