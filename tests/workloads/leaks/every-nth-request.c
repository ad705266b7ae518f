// case: leak
// function: begin_transaction
// mode: exact
// seconds: 40
// what: of the blocks of one call site each 250th is never freed
#include "service.h"

__attribute__((noinline)) char *begin_transaction(void) { return filled(malloc(320), 320); }

__attribute__((noinline)) void end_transaction(char *transaction) { free(transaction); }

int main(void) {
    for (int number = 1; next_turn(10);)
        for (int i = 0; i < 10; i++, number++) {
            char *transaction = begin_transaction();
            if (number % 250 != 0) end_transaction(transaction);
        }
    return 0;
}
