// case: leak
// function: open_channel
// mode: exact
// seconds: 30
// what: a table from calloc is made for each channel, and closing a channel frees its name only
#include "service.h"

struct channel {
    char *name;
    int *subscribers;
};

__attribute__((noinline)) struct channel open_channel(void) {
    struct channel channel = {filled(malloc(32), 32), calloc(32, sizeof *channel.subscribers)};
    if (channel.subscribers == NULL) abort();
    __asm__ volatile("" : : "r"(channel.subscribers) : "memory");
    return channel;
}

__attribute__((noinline)) void close_channel(struct channel *channel) { free(channel->name); }

int main(void) {
    while (next_turn(25)) {
        struct channel channel = open_channel();
        close_channel(&channel);
    }
    return 0;
}
