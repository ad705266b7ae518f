// A library that is loaded, or replaced on disk, while a capture runs. Built in two versions, whose functions
// have other names and other places.
#include <stdlib.h>
#include <string.h>

#ifndef KEEP
#define KEEP keep_in_plugin
#endif

#ifdef PADDED
// Moves everything behind it, so that an address of one version means something else in the other.
__attribute__((used, noinline)) static int padding(int x) {
    for (int i = 0; i < 10; i++) x = x * 31 + i;
    return x ^ 0x1234;
}
__attribute__((used, noinline)) static int more_padding(int x) { return padding(x) * padding(x + 1); }
#endif

__attribute__((noinline)) void *KEEP(size_t size) {
    void *block = malloc(size);
    if (block != NULL) memset(block, 1, size);
    return block;
}

size_t work(size_t size, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (KEEP(size) == NULL) return 0;
    return size * count;
}
