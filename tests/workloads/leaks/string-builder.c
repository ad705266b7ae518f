// case: quiet
// mode: exact
// seconds: 40
// what: a text grows by realloc for two seconds, is sent and freed
#include "service.h"

struct builder {
    char *text;
    size_t length, capacity;
};

__attribute__((noinline)) void append_text(struct builder *builder, size_t size) {
    if (builder->length + size > builder->capacity) {
        builder->capacity = 2 * builder->capacity + size;
        builder->text = realloc(builder->text, builder->capacity);
        if (builder->text == NULL) abort();
    }
    memset(builder->text + builder->length, 't', size);
    builder->length += size;
}

__attribute__((noinline)) void send_text(struct builder *builder) {
    free(builder->text);
    *builder = (struct builder){0};
}

int main(void) {
    struct builder builder = {0};
    for (int turn = 1; next_turn(10); turn++) {
        append_text(&builder, 200 + random_below(400));
        if (turn % 200 == 0) send_text(&builder);
    }
    return 0;
}
