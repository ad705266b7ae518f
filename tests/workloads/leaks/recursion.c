// case: leak
// function: parse_value
// mode: exact
// seconds: 40
// what: a recursive parser loses a block at any depth, so that the leak has many stacks
#include "service.h"

struct value {
    struct value *inner;
    char text[56];
};

__attribute__((noinline)) struct value *parse_value(int depth) {
    struct value *value = filled(malloc(sizeof *value), sizeof *value);
    value->inner = depth > 0 ? parse_value(depth - 1) : NULL;
    return value;
}

__attribute__((noinline)) void free_value(struct value *value) {
    while (value != NULL) {
        struct value *inner = value->inner;
        free(value);
        value = inner;
    }
}

int main(void) {
    while (next_turn(10)) {
        struct value *document = parse_value((int)random_below(12));
        // Forgets the part below a value that is skipped.
        if (random_below(20) == 0) document->inner = NULL;
        free_value(document);
    }
    return 0;
}
