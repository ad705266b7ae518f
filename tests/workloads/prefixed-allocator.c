// An allocator of a program's own: the usual functions with `acme_` before their names, on memory that it maps
// itself. An allocation above a limit calls a handler, which may leave by longjmp, as those of databases do.
#include <setjmp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

enum { ARENA = 64 << 20, LIMIT = 1 << 20 };

struct header {
    size_t size;
    struct header *next;
};

static char *arena;
static size_t used;
static struct header *spare;
static jmp_buf give_up;

__attribute__((noinline)) static void too_large(void) { longjmp(give_up, 1); }

__attribute__((noinline)) void *acme_malloc(size_t size) {
    if (size > LIMIT) too_large();
    if (arena == NULL) {
        arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (arena == MAP_FAILED) return NULL;
    }
    for (struct header **at = &spare; *at != NULL; at = &(*at)->next) {
        if ((*at)->size >= size) {
            struct header *found = *at;
            *at = found->next;
            return found + 1;
        }
    }
    size_t whole = sizeof(struct header) + ((size + 15) & ~(size_t)15);
    if (used + whole > ARENA) return NULL;
    struct header *made = (struct header *)(arena + used);
    used += whole;
    made->size = size;
    return made + 1;
}

__attribute__((noinline)) void acme_free(void *block) {
    if (block == NULL) return;
    struct header *header = (struct header *)block - 1;
    header->next = spare;
    spare = header;
}

__attribute__((noinline)) size_t keep_some(size_t size, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (acme_malloc(size) == NULL) return 0;
        acme_free(acme_malloc(size / 2 + 1));
    }
    return size * count;
}

__attribute__((noinline)) static size_t keep_deeper(size_t size, size_t count, int depth) {
    volatile char frame[512];
    frame[0] = (char)depth;
    if (depth > 0) return keep_deeper(size, count, depth - 1) + (size_t)(frame[0] - depth);
    return keep_some(size, count);
}

// Leaves the allocator once, and from then on calls it further down the stack.
__attribute__((noinline)) size_t give_up_and_keep_deeper(size_t size, size_t count) {
    if (setjmp(give_up) == 0) acme_malloc(LIMIT + 1);
    return keep_deeper(size, count, 10);
}

// Every second call is too large and never returns from the allocator.
__attribute__((noinline)) size_t give_up_and_keep(size_t size, size_t count) {
    for (volatile size_t i = 0; i < count; i++) {
        if (setjmp(give_up) == 0) acme_malloc(LIMIT + 1);
        if (acme_malloc(size) == NULL) return 0;
    }
    return size * count;
}
