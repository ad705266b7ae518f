/*
 * The allocator calls of counts-itself, each made through one of its call sites, which a report can
 * tell apart. To be included after `#define _GNU_SOURCE`.
 */
#ifndef COUNTS_ITSELF_H
#define COUNTS_ITSELF_H

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SITES = 8, LONGEST_TEXT = 4096 };

enum function {
    MALLOC, CALLOC, REALLOC, REALLOCARRAY, POSIX_MEMALIGN, ALIGNED_ALLOC, MEMALIGN,
    VALLOC, PVALLOC, STRDUP, FUNCTIONS
};

static const char *const function_names[FUNCTIONS] = {
    "malloc", "calloc", "realloc", "reallocarray", "posix_memalign", "aligned_alloc", "memalign",
    "valloc", "pvalloc", "strdup",
};

/* What strdup copies the end of. */
static char text[LONGEST_TEXT + 1];

static void fail(const char *what)
{
    fprintf(stderr, "counts-itself: %s\n", what);
    _exit(1);
}

struct call {
    enum function function;
    uint64_t count, size, alignment;
    void *old;
};

static inline __attribute__((always_inline)) void *perform(const struct call *call)
{
    /* A failing posix_memalign leaves this: it must not be taken for a block. */
    void *out = call->old;

    switch (call->function) {
    case MALLOC: return malloc(call->size);
    case CALLOC: return calloc(call->count, call->size);
    case REALLOC: return realloc(call->old, call->size);
    case REALLOCARRAY: return reallocarray(call->old, call->count, call->size);
    case POSIX_MEMALIGN: return posix_memalign(&out, call->alignment, call->size) ? NULL : out;
    case ALIGNED_ALLOC: return aligned_alloc(call->alignment, call->size);
    case MEMALIGN: return memalign(call->alignment, call->size);
#ifdef __GLIBC__
    case VALLOC: return valloc(call->size);
    case PVALLOC: return pvalloc(call->size);
#endif
    case STRDUP: return strdup(text + LONGEST_TEXT + 1 - call->size);
    default: fail("a function that this C library does not have"); return NULL;
    }
}

/* `noipa`: neither inlined nor merged with its likes, and called as the debugger would see it. The
   empty statement keeps the call from becoming a jump, which would take the site off the stack. */
#define SITE(n)                                                   \
    __attribute__((noipa)) void *site_##n(const struct call *call) \
    {                                                             \
        void *address = perform(call);                            \
        __asm__ volatile("" : "+r"(address) : : "memory");        \
        return address;                                           \
    }
SITE(0) SITE(1) SITE(2) SITE(3) SITE(4) SITE(5) SITE(6) SITE(7)

static void *(*const sites[SITES])(const struct call *) = {
    site_0, site_1, site_2, site_3, site_4, site_5, site_6, site_7,
};

/* Calls that no allocator can grant. */
static const struct call hopeless[] = {
    {MALLOC, 1, PTRDIFF_MAX, 16, NULL},
    {CALLOC, SIZE_MAX / 2, 4, 16, NULL},
    {REALLOC, 1, PTRDIFF_MAX, 16, NULL},
    {REALLOCARRAY, SIZE_MAX / 2, 4, 16, NULL},
    {POSIX_MEMALIGN, 1, 64, 3, NULL},
    {POSIX_MEMALIGN, 1, PTRDIFF_MAX, 64, NULL},
    {ALIGNED_ALLOC, 1, PTRDIFF_MAX - 63, 64, NULL},
    {MEMALIGN, 1, PTRDIFF_MAX - 63, 64, NULL},
    {VALLOC, 1, PTRDIFF_MAX - 63, 1, NULL},
    {PVALLOC, 1, PTRDIFF_MAX - 63, 1, NULL},
};

#endif
