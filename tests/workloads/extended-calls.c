/*
 * Allocates by the functions that one allocator alone has, and counts what it does by itself. One thread.
 *
 * Arguments: the allocator's kind (jemalloc, tcmalloc, mimalloc) and a seed. It writes "ready", and then does what each line on
 * stdin says, and answers with one line:
 *
 *   open LIBRARY  loads it, apart from everything else, and takes its functions; answers "opened"
 *   run CALLS     makes so many calls; answers with its truth since the start, as counts-itself does
 *   free          frees every block; the same answer
 *
 * Bytes are those asked for. A resize is a free of the old block and an allocation of the new one.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SITES = 8, SLOTS = 512, MOST = 80 };

/* How a function is called; what stands behind the names of its arguments does not change its meaning for the books. */
enum shape {
    SIZE, SIZE_ALIGN, SIZE_ALIGN_AT, ALIGN_SIZE, COUNT_SIZE, COUNT_SIZE_ALIGN, SIZE_FLAGS, OUT_ALIGN_SIZE,
    HEAP_SIZE, HEAP_SIZE_ALIGN, HEAP_COUNT_SIZE,
    BLOCK_NEWSIZE, BLOCK_NEWSIZE_ALIGN, BLOCK_COUNT_NEWSIZE, BLOCK_NEWSIZE_FLAGS, HEAP_BLOCK_NEWSIZE,
    HEAP_BLOCK_COUNT_NEWSIZE, IN_PLACE, XALLOCX,
    BLOCK, BLOCK_SIZE, BLOCK_ALIGN, BLOCK_SIZE_ALIGN, BLOCK_FLAGS, BLOCK_SIZE_FLAGS,
};
#define IS_ALLOC(shape) ((shape) <= HEAP_COUNT_SIZE)
#define IS_FREE(shape) ((shape) >= BLOCK)

struct row {
    const char *name;
    enum shape shape;
    void *function;
};

static struct row jemalloc_rows[MOST] = {
    {"mallocx", SIZE_FLAGS}, {"malloc", SIZE}, {"aligned_alloc", ALIGN_SIZE},
    {"rallocx", BLOCK_NEWSIZE_FLAGS}, {"xallocx", XALLOCX}, {"xallocx", XALLOCX},
    {"dallocx", BLOCK_FLAGS}, {"sdallocx", BLOCK_SIZE_FLAGS}, {"free", BLOCK},
};

static struct row tcmalloc_rows[MOST] = {
    {"tc_malloc", SIZE}, {"tc_malloc_skip_new_handler", SIZE}, {"tc_new_nothrow", SIZE}, {"tc_newarray_nothrow", SIZE},
    {"tc_new_aligned_nothrow", SIZE_ALIGN}, {"tc_newarray_aligned_nothrow", SIZE_ALIGN}, {"tc_memalign", ALIGN_SIZE},
    {"tc_calloc", COUNT_SIZE}, {"tc_posix_memalign", OUT_ALIGN_SIZE},
    {"tc_realloc", BLOCK_NEWSIZE},
    {"tc_free", BLOCK}, {"tc_cfree", BLOCK}, {"tc_delete", BLOCK}, {"tc_deletearray", BLOCK}, {"tc_delete_nothrow", BLOCK},
    {"tc_deletearray_nothrow", BLOCK}, {"tc_free_sized", BLOCK_SIZE}, {"tc_delete_sized", BLOCK_SIZE},
    {"tc_deletearray_sized", BLOCK_SIZE}, {"tc_delete_aligned", BLOCK_ALIGN}, {"tc_deletearray_aligned", BLOCK_ALIGN},
    {"tc_delete_sized_aligned", BLOCK_SIZE_ALIGN}, {"tc_deletearray_sized_aligned", BLOCK_SIZE_ALIGN},
    {"_ZdlPvm", BLOCK_SIZE}, {"_ZdaPvSt11align_val_t", BLOCK_ALIGN}, {"_ZdlPvmSt11align_val_t", BLOCK_SIZE_ALIGN},
};

static struct row mimalloc_rows[MOST] = {
    {"mi_malloc", SIZE}, {"mi_zalloc", SIZE}, {"mi_new_nothrow", SIZE},
    {"mi_malloc_aligned", SIZE_ALIGN}, {"mi_zalloc_aligned", SIZE_ALIGN}, {"mi_new_aligned_nothrow", SIZE_ALIGN},
    {"mi_malloc_aligned_at", SIZE_ALIGN_AT}, {"mi_zalloc_aligned_at", SIZE_ALIGN_AT},
    {"mi_memalign", ALIGN_SIZE}, {"mi_aligned_alloc", ALIGN_SIZE}, {"mi_posix_memalign", OUT_ALIGN_SIZE},
    {"mi_calloc", COUNT_SIZE}, {"mi_mallocn", COUNT_SIZE}, {"mi_calloc_aligned", COUNT_SIZE_ALIGN},
    {"mi_heap_malloc", HEAP_SIZE}, {"mi_heap_zalloc", HEAP_SIZE}, {"mi_heap_malloc_aligned", HEAP_SIZE_ALIGN},
    {"mi_heap_zalloc_aligned", HEAP_SIZE_ALIGN}, {"mi_heap_calloc", HEAP_COUNT_SIZE}, {"mi_heap_mallocn", HEAP_COUNT_SIZE},
    {"mi_realloc", BLOCK_NEWSIZE}, {"mi_rezalloc", BLOCK_NEWSIZE}, {"mi_reallocf", BLOCK_NEWSIZE},
    {"mi_realloc_aligned", BLOCK_NEWSIZE_ALIGN}, {"mi_rezalloc_aligned", BLOCK_NEWSIZE_ALIGN},
    {"mi_reallocn", BLOCK_COUNT_NEWSIZE}, {"mi_recalloc", BLOCK_COUNT_NEWSIZE}, {"mi_reallocarray", BLOCK_COUNT_NEWSIZE},
    {"mi_heap_realloc", HEAP_BLOCK_NEWSIZE}, {"mi_heap_rezalloc", HEAP_BLOCK_NEWSIZE},
    {"mi_heap_reallocn", HEAP_BLOCK_COUNT_NEWSIZE}, {"mi_heap_recalloc", HEAP_BLOCK_COUNT_NEWSIZE},
    {"mi_expand", IN_PLACE},
    {"mi_free", BLOCK}, {"mi_cfree", BLOCK}, {"mi_free_size", BLOCK_SIZE}, {"mi_free_aligned", BLOCK_ALIGN},
    {"mi_free_size_aligned", BLOCK_SIZE_ALIGN},
};

struct block {
    void *address; /* NULL: none */
    uint64_t size, alignment;
    /* Whether a free may be told its size: a block that was resized may be of another size class than one of its size. */
    int sized;
    unsigned site;
};

struct counts {
    uint64_t alloc_count, alloc_bytes, free_count, free_bytes;
};

static struct row *rows;
static void *(*default_heap)(void);
static struct block slots[SLOTS];
static struct counts by_site[SITES];
static uint64_t calls, failed, state;

static void fail(const char *what)
{
    fprintf(stderr, "extended-calls: %s\n", what);
    _exit(1);
}

/* xorshift64* (Vigna 2016). */
static uint64_t below(uint64_t limit)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * 0x2545f4914f6cdd1d >> 32) % limit;
}

static uint64_t any_size(void)
{
    uint64_t class = below(100);
    if (class < 50) return 1 + below(256);
    if (class < 85) return 257 + below(8 << 10);
    if (class < 98) return (8 << 10) + below(256 << 10);
    return (256 << 10) + below(4 << 20);
}

/* ---- Calls, each through one of the sites ---- */

struct call {
    const struct row *row;
    struct block *old;
    uint64_t count, size, alignment;
    uint64_t usable; /* what xallocx returns */
};

static int flags_of(uint64_t alignment)
{
    /* MALLOCX_LG_ALIGN of jemalloc(3). */
    return alignment ? __builtin_ctzll(alignment) : 0;
}

static inline __attribute__((always_inline)) void *perform(struct call *call)
{
    void *f = call->row->function, *old = call->old->address, *out = NULL;
    uint64_t n = call->count, size = call->size, align = call->alignment;
    uint64_t old_size = call->old->size, old_align = call->old->alignment;
    switch (call->row->shape) {
    case SIZE: return ((void *(*)(size_t))f)(size);
    case SIZE_ALIGN: return ((void *(*)(size_t, size_t))f)(size, align);
    case SIZE_ALIGN_AT: return ((void *(*)(size_t, size_t, size_t))f)(size, align, 0);
    case ALIGN_SIZE: return ((void *(*)(size_t, size_t))f)(align, size);
    case COUNT_SIZE: return ((void *(*)(size_t, size_t))f)(n, size);
    case COUNT_SIZE_ALIGN: return ((void *(*)(size_t, size_t, size_t))f)(n, size, align);
    case SIZE_FLAGS: return ((void *(*)(size_t, int))f)(size, flags_of(align));
    case OUT_ALIGN_SIZE: return ((int (*)(void **, size_t, size_t))f)(&out, align, size) ? NULL : out;
    case HEAP_SIZE: return ((void *(*)(void *, size_t))f)(default_heap(), size);
    case HEAP_SIZE_ALIGN: return ((void *(*)(void *, size_t, size_t))f)(default_heap(), size, align);
    case HEAP_COUNT_SIZE: return ((void *(*)(void *, size_t, size_t))f)(default_heap(), n, size);
    case BLOCK_NEWSIZE: return ((void *(*)(void *, size_t))f)(old, size);
    case BLOCK_NEWSIZE_ALIGN: return ((void *(*)(void *, size_t, size_t))f)(old, size, align);
    case BLOCK_COUNT_NEWSIZE: return ((void *(*)(void *, size_t, size_t))f)(old, n, size);
    case BLOCK_NEWSIZE_FLAGS: return ((void *(*)(void *, size_t, int))f)(old, size, flags_of(align));
    case HEAP_BLOCK_NEWSIZE: return ((void *(*)(void *, void *, size_t))f)(default_heap(), old, size);
    case HEAP_BLOCK_COUNT_NEWSIZE: return ((void *(*)(void *, void *, size_t, size_t))f)(default_heap(), old, n, size);
    case IN_PLACE: return ((void *(*)(void *, size_t))f)(old, size);
    case XALLOCX:
        call->usable = ((size_t (*)(void *, size_t, size_t, int))f)(old, size, below(2) * 4096, flags_of(old_align));
        return old;
    case BLOCK: ((void (*)(void *))f)(old); break;
    case BLOCK_SIZE: ((void (*)(void *, size_t))f)(old, old_size); break;
    case BLOCK_ALIGN: ((void (*)(void *, size_t))f)(old, old_align ? old_align : 16); break;
    case BLOCK_SIZE_ALIGN: ((void (*)(void *, size_t, size_t))f)(old, old_size, old_align ? old_align : 16); break;
    case BLOCK_FLAGS: ((void (*)(void *, int))f)(old, flags_of(old_align)); break;
    case BLOCK_SIZE_FLAGS: ((void (*)(void *, size_t, int))f)(old, old_size, flags_of(old_align)); break;
    }
    return NULL;
}

/* As in counts-itself.h. */
#define SITE(n)                                             \
    __attribute__((noipa)) void *site_##n(struct call *call) \
    {                                                       \
        void *address = perform(call);                      \
        __asm__ volatile("" : "+r"(address) : : "memory");  \
        return address;                                     \
    }
SITE(0) SITE(1) SITE(2) SITE(3) SITE(4) SITE(5) SITE(6) SITE(7)

static void *(*const sites[SITES])(struct call *) = {
    site_0, site_1, site_2, site_3, site_4, site_5, site_6, site_7,
};

static const struct row *any_row(const struct block *slot, int (*wanted)(enum shape, const struct block *))
{
    const struct row *row;
    unsigned count = 0;
    while (rows[count].name != NULL) count++;
    do row = &rows[below(count)];
    while (!wanted(row->shape, slot));
    return row;
}

static int allocates(enum shape shape, const struct block *slot)
{
    (void)slot;
    return IS_ALLOC(shape);
}

static int resizes(enum shape shape, const struct block *slot)
{
    (void)slot;
    return !IS_ALLOC(shape) && !IS_FREE(shape);
}

/* A free that is told a size or an alignment must be told the right ones. */
static int frees(enum shape shape, const struct block *slot)
{
    switch (shape) {
    case BLOCK_SIZE: return slot->sized && slot->alignment == 0;
    case BLOCK_SIZE_ALIGN: return slot->sized && slot->alignment != 0;
    case BLOCK_SIZE_FLAGS: return slot->sized;
    default: return IS_FREE(shape);
    }
}

static void gained(struct block *slot, void *address, uint64_t size, uint64_t alignment, int sized, unsigned site)
{
    *slot = (struct block){address, size, alignment, sized, site};
    by_site[site].alloc_count++;
    by_site[site].alloc_bytes += size;
}

static void lost(struct block *slot)
{
    by_site[slot->site].free_count++;
    by_site[slot->site].free_bytes += slot->size;
    slot->address = NULL;
}

static int is_aligned_shape(enum shape shape)
{
    return shape == SIZE_ALIGN || shape == SIZE_ALIGN_AT || shape == ALIGN_SIZE || shape == COUNT_SIZE_ALIGN
        || shape == SIZE_FLAGS || shape == OUT_ALIGN_SIZE || shape == HEAP_SIZE_ALIGN || shape == BLOCK_NEWSIZE_ALIGN
        || shape == BLOCK_NEWSIZE_FLAGS;
}

static void call_once(struct block *slot)
{
    unsigned site = below(SITES);
    struct call call = {.old = slot, .count = 1, .size = any_size()};
    calls++;
    if (slot->address != NULL && below(2)) {
        call.row = any_row(slot, frees);
        sites[site](&call);
        lost(slot);
        return;
    }
    call.row = any_row(slot, slot->address == NULL ? allocates : resizes);
    if (slot->address != NULL && below(2)) call.size = slot->size - slot->size / 8 + below(slot->size / 4 + 2);
    if (call.row->shape == COUNT_SIZE || call.row->shape == COUNT_SIZE_ALIGN || call.row->shape == HEAP_COUNT_SIZE
        || call.row->shape == BLOCK_COUNT_NEWSIZE || call.row->shape == HEAP_BLOCK_COUNT_NEWSIZE) {
        call.count = 1 + below(8);
        call.size = call.size / call.count + 1;
    }
    if (call.size == 0) call.size = 1;
    if (is_aligned_shape(call.row->shape)) {
        call.alignment = 16 << below(6);
        /* aligned_alloc and jemalloc's sized frees want whole multiples. */
        call.size = (call.size + call.alignment - 1) & -call.alignment;
    }
    uint64_t bytes = call.count * call.size, alignment = call.alignment;
    void *address = sites[site](&call);
    if (call.row->shape == XALLOCX) {
        alignment = slot->alignment;
        if (call.usable < bytes) address = NULL;
    }
    if (call.row->shape == IN_PLACE) alignment = slot->alignment;
    if (address == NULL) {
        /* Only what must stay where it is may fail. */
        if (call.row->shape != XALLOCX && call.row->shape != IN_PLACE) fail(call.row->name);
        failed++;
        return;
    }
    memset(address, 1, bytes < 64 ? bytes : 64);
    if (slot->address != NULL) lost(slot);
    gained(slot, address, bytes, alignment, IS_ALLOC(call.row->shape) || call.row->shape == BLOCK_NEWSIZE_FLAGS, site);
}

/* ---- Words ---- */

static int write_counts(char *to, const struct counts *c)
{
    return sprintf(to,
        "{\"alloc_count\":%llu,\"alloc_bytes\":%llu,\"free_count\":%llu,\"free_bytes\":%llu,"
        "\"live_count\":%llu,\"live_bytes\":%llu}",
        (unsigned long long)c->alloc_count, (unsigned long long)c->alloc_bytes,
        (unsigned long long)c->free_count, (unsigned long long)c->free_bytes,
        (unsigned long long)(c->alloc_count - c->free_count),
        (unsigned long long)(c->alloc_bytes - c->free_bytes));
}

static void say(const char *line, size_t length)
{
    if (write(STDOUT_FILENO, line, length) != (ssize_t)length) _exit(1);
}

static void tell(void)
{
    static char line[8192];
    struct counts total = {0};
    for (int s = 0; s < SITES; s++) {
        total.alloc_count += by_site[s].alloc_count;
        total.alloc_bytes += by_site[s].alloc_bytes;
        total.free_count += by_site[s].free_count;
        total.free_bytes += by_site[s].free_bytes;
    }
    int length = sprintf(line, "{\"calls\":%llu,\"failed\":%llu,\"total\":", (unsigned long long)calls,
                         (unsigned long long)failed);
    length += write_counts(line + length, &total);
    length += sprintf(line + length, ",\"sites\":[");
    for (int s = 0; s < SITES; s++) {
        if (s > 0) line[length++] = ',';
        length += write_counts(line + length, &by_site[s]);
    }
    length += sprintf(line + length, "]}\n");
    say(line, length);
}

static void open_library(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) fail(dlerror());
    for (struct row *row = rows; row->name != NULL; row++) {
        row->function = dlsym(library, row->name);
        if (row->function == NULL) fail(row->name);
    }
    default_heap = (void *(*)(void))dlsym(library, "mi_heap_get_default");
}

int main(int count, char **arguments)
{
    static char line[4096], input[4096];
    if (count != 3) fail("KIND SEED");
    rows = !strcmp(arguments[1], "jemalloc") ? jemalloc_rows
        : !strcmp(arguments[1], "tcmalloc") ? tcmalloc_rows : mimalloc_rows;
    state = strtoull(arguments[2], NULL, 10) * 0x9e3779b97f4a7c15 + 1;
    setvbuf(stdin, input, _IOFBF, sizeof input);
    say("ready\n", 6);
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (!strncmp(line, "open ", 5)) {
            open_library(line + 5);
            say("opened\n", 7);
            continue;
        }
        if (!strncmp(line, "run ", 4)) {
            for (uint64_t n = strtoull(line + 4, NULL, 10); n > 0; n--) call_once(&slots[below(SLOTS)]);
        } else if (!strcmp(line, "free")) {
            for (int i = 0; i < SLOTS; i++) {
                if (slots[i].address == NULL) continue;
                struct call call = {.row = any_row(&slots[i], frees), .old = &slots[i]};
                sites[slots[i].site](&call);
                lost(&slots[i]);
            }
        } else {
            fail("a word that it does not know");
        }
        tell();
    }
    return 0;
}
