// A program that chooses jemalloc's options itself, and holds 40 MiB.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *malloc_conf = "dirty_decay_ms:1234,narenas:3,tcache:false";

int main(void) {
    static char *kept[10];
    for (int at = 0; at < 10; at++) memset(kept[at] = malloc(4 << 20), 1, 4 << 20);
    puts("ready");
    fflush(stdout);
    return getchar() != EOF;
}
