/*
 * Allocates in every way that C offers, from many threads, and counts what it does by itself.
 *
 * Arguments are NAME=VALUE, see `struct options`. It writes "ready" once its threads wait, and then
 * does what each line on stdin says, and answers with its truth since the start as one line of JSON:
 *
 *   run CALLS            every thread makes its share of so many allocator calls
 *   storm                the threads make calls until `stop`; answers only then
 *   stop
 *   churn THREADS CALLS  so many short-lived threads make so many calls each
 *   free                 frees every block
 *
 * Between "ready" and the end of its input it allocates nothing but what it counts, short-lived
 * threads apart: the C library allocates for those. Bytes are those asked for. A resize is a free of
 * the old block and an allocation of the new one; a call that fails counts nothing; a resize to 0
 * that returns NULL is a free.
 */
#define _GNU_SOURCE
#include "counts-itself.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { MOST_THREADS = 64, CELLS = 256 };

static struct options {
    uint64_t seed;
    uint64_t threads;
    /* Bit n: `enum function` n is called. */
    uint64_t functions;
    /* Blocks that a thread holds at most. */
    uint64_t slots;
    /* 0: nothing is freed or resized but by the word `free`. */
    uint64_t frees;
    /* 1: one call in 64 is one that cannot succeed. */
    uint64_t failing;
    /* 1: every site asks for one size only, see `site_sizes`. */
    uint64_t site_sizes;
    /* After so many calls of its own a thread waits for a millisecond, one thread at a time; 0: never. */
    uint64_t pause;
} options = {.seed = 1, .threads = 1, .functions = (1 << FUNCTIONS) - 1, .slots = 1024, .frees = 1};

static const uint64_t site_sizes[SITES] = {16, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10};
/* Out of 1000, so that every size has its share of the bytes. */
static const unsigned site_weights[SITES] = {400, 250, 150, 100, 60, 30, 8, 2};

struct block {
    void *address; /* NULL: none */
    uint64_t size;
    unsigned site;
};

struct counts {
    uint64_t alloc_count, alloc_bytes, free_count, free_bytes;
};

struct worker {
    pthread_t thread;
    uint64_t random;
    uint64_t next_slot;
    uint64_t calls, failed;
    uint64_t until_pause;
    struct block *slots;
    struct counts sites[SITES];
};

static struct worker workers[MOST_THREADS];

/* Where threads hand blocks to each other. */
static struct cell {
    pthread_mutex_t lock;
    struct block block;
} cells[CELLS];

/* What the threads are to do; a new turn starts them. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t begin, end;
    uint64_t turn, calls, running;
} work = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0};
static atomic_bool stopping;
static pthread_mutex_t pausing = PTHREAD_MUTEX_INITIALIZER;

/* ---- Choices ---- */

/* xorshift64* (Vigna 2016). */
static uint64_t draw(struct worker *worker)
{
    uint64_t x = worker->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    worker->random = x;
    return x * 0x2545f4914f6cdd1d;
}

static uint64_t below(struct worker *worker, uint64_t limit)
{
    return (draw(worker) >> 32) % limit;
}

static uint64_t between(struct worker *worker, uint64_t low, uint64_t high)
{
    return low + below(worker, high - low + 1);
}

static uint64_t mixed_size(struct worker *worker)
{
    uint64_t class = below(worker, 10000);
    if (class < 200) return 0;
    if (class < 4500) return between(worker, 1, 64);
    if (class < 7700) return between(worker, 65, 1 << 10);
    if (class < 9500) return between(worker, 1 << 10, 32 << 10);
    if (class < 9900) return between(worker, 32 << 10, 256 << 10);
    if (class < 9995) return between(worker, 256 << 10, 1 << 20);
    return between(worker, 1 << 20, 40 << 20);
}

static enum function any_function(struct worker *worker)
{
    for (;;) {
        enum function function = below(worker, FUNCTIONS);
        if (options.functions >> function & 1) return function;
    }
}

static unsigned any_site(struct worker *worker)
{
    unsigned site = 0;
    if (!options.site_sizes) return below(worker, SITES);
    for (unsigned ticket = below(worker, 1000); ticket >= site_weights[site]; site++)
        ticket -= site_weights[site];
    return site;
}

static void choose(struct worker *worker, struct call *call, unsigned site)
{
    uint64_t size = options.site_sizes ? site_sizes[site] : mixed_size(worker);
    call->count = 1;
    call->size = size;
    call->alignment = (uint64_t)sizeof(void *) << below(worker, 10);
    if (call->function == CALLOC || call->function == REALLOCARRAY) {
        call->count = 1u << below(worker, 4);
        call->size = size / call->count;
    } else if (call->function == STRDUP) {
        call->size = size % LONGEST_TEXT + 1;
    }
}

/* ---- Counting ---- */

static void called(struct worker *worker)
{
    const struct timespec millisecond = {0, 1000000};
    worker->calls++;
    if (options.pause == 0 || --worker->until_pause > 0) return;
    worker->until_pause = options.pause;
    pthread_mutex_lock(&pausing);
    nanosleep(&millisecond, NULL);
    pthread_mutex_unlock(&pausing);
}

static void gained(struct worker *worker, struct block *slot, void *address, uint64_t size, unsigned site)
{
    *slot = (struct block){address, size, site};
    worker->sites[site].alloc_count++;
    worker->sites[site].alloc_bytes += size;
}

static void lost(struct worker *worker, struct block *slot)
{
    worker->sites[slot->site].free_count++;
    worker->sites[slot->site].free_bytes += slot->size;
    slot->address = NULL;
}

/* ---- Steps ---- */

static void allocate(struct worker *worker, struct block *slot)
{
    unsigned site = any_site(worker);
    struct call call = {.function = any_function(worker)};
    choose(worker, &call, site);
    void *address = sites[site](&call);
    called(worker);
    if (address != NULL) gained(worker, slot, address, call.count * call.size, site);
    else worker->failed++;
}

static void resize(struct worker *worker, struct block *slot, enum function function)
{
    unsigned site = any_site(worker);
    struct call call = {.function = function, .old = slot->address};
    choose(worker, &call, site);
    /* Often by a little, which is done in place. */
    if (below(worker, 2) == 0) {
        call.count = 1;
        call.size = slot->size - slot->size / 8 + below(worker, slot->size / 4 + 1);
    }
    void *address = sites[site](&call);
    called(worker);
    if (address != NULL) {
        lost(worker, slot);
        gained(worker, slot, address, call.count * call.size, site);
    } else if (call.count * call.size == 0) {
        lost(worker, slot);
    } else {
        worker->failed++;
    }
}

static void release(struct worker *worker, struct block *slot)
{
    free(slot->address);
    called(worker);
    lost(worker, slot);
}

/* `slot` keeps its block. */
static void ask_for_too_much(struct worker *worker, struct block *slot)
{
    struct call call = hopeless[below(worker, sizeof hopeless / sizeof *hopeless)];
    if (!(options.functions >> call.function & 1)) return;
    call.old = slot->address;
    if (sites[below(worker, SITES)](&call) != NULL) fail("a call succeeded that cannot");
    called(worker);
    worker->failed++;
}

/* What this thread held another thread may free or resize from now on, and the other way round. */
static void exchange(struct worker *worker, struct block *slot)
{
    struct cell *cell = &cells[below(worker, CELLS)];
    pthread_mutex_lock(&cell->lock);
    struct block other = cell->block;
    cell->block = *slot;
    *slot = other;
    pthread_mutex_unlock(&cell->lock);
}

static void step(struct worker *worker)
{
    if (!options.frees) {
        if (worker->next_slot == options.slots) fail("more calls than slots");
        allocate(worker, &worker->slots[worker->next_slot++]);
        return;
    }
    struct block *slot = &worker->slots[below(worker, options.slots)];
    uint64_t resizers = options.functions & (1 << REALLOC | 1 << REALLOCARRAY);
    if (options.failing && below(worker, 64) == 0) ask_for_too_much(worker, slot);
    else if (below(worker, 8) == 0) exchange(worker, slot);
    else if (slot->address == NULL) allocate(worker, slot);
    else if (resizers != 0 && below(worker, 3) == 0)
        resize(worker, slot, resizers & 1 << REALLOC && (below(worker, 2) || !(resizers & 1 << REALLOCARRAY))
                                 ? REALLOC : REALLOCARRAY);
    else release(worker, slot);
}

static void make_calls(struct worker *worker, uint64_t calls)
{
    uint64_t end = worker->calls + calls;
    while (worker->calls < end && !atomic_load_explicit(&stopping, memory_order_relaxed)) step(worker);
}

/* ---- Threads ---- */

static void *pool_thread(void *argument)
{
    struct worker *worker = argument;
    for (uint64_t seen = 0;; seen++) {
        pthread_mutex_lock(&work.lock);
        while (work.turn == seen) pthread_cond_wait(&work.begin, &work.lock);
        uint64_t calls = work.calls;
        pthread_mutex_unlock(&work.lock);
        make_calls(worker, calls);
        pthread_mutex_lock(&work.lock);
        if (--work.running == 0) pthread_cond_signal(&work.end);
        pthread_mutex_unlock(&work.lock);
    }
    return NULL;
}

static void begin(uint64_t calls_each)
{
    pthread_mutex_lock(&work.lock);
    work.calls = calls_each;
    work.running = options.threads;
    work.turn++;
    pthread_cond_broadcast(&work.begin);
    pthread_mutex_unlock(&work.lock);
}

static void await_end(void)
{
    pthread_mutex_lock(&work.lock);
    while (work.running > 0) pthread_cond_wait(&work.end, &work.lock);
    pthread_mutex_unlock(&work.lock);
}

static uint64_t churn_calls;

static void *short_lived_thread(void *argument)
{
    make_calls(argument, churn_calls);
    return NULL;
}

static void churn(uint64_t threads, uint64_t calls)
{
    churn_calls = calls;
    while (threads > 0) {
        uint64_t batch = threads < options.threads ? threads : options.threads;
        for (uint64_t i = 0; i < batch; i++)
            if (pthread_create(&workers[i].thread, NULL, short_lived_thread, &workers[i])) fail("no thread");
        for (uint64_t i = 0; i < batch; i++) pthread_join(workers[i].thread, NULL);
        threads -= batch;
    }
}

static void free_everything(void)
{
    for (uint64_t i = 0; i < options.threads; i++) {
        for (uint64_t j = 0; j < options.slots; j++)
            if (workers[i].slots[j].address != NULL) release(&workers[i], &workers[i].slots[j]);
        workers[i].next_slot = 0;
    }
    for (uint64_t i = 0; i < CELLS; i++)
        if (cells[i].block.address != NULL) release(&workers[0], &cells[i].block);
}

/* ---- The truth ---- */

static void say(const char *line, size_t length)
{
    while (length > 0) {
        ssize_t written = write(STDOUT_FILENO, line, length);
        if (written <= 0) _exit(1);
        line += written;
        length -= written;
    }
}

static void held(struct counts *counts, const struct block *block)
{
    if (block->address == NULL) return;
    counts[block->site].alloc_count++;
    counts[block->site].alloc_bytes += block->size;
}

static int write_counts(char *to, size_t room, const struct counts *c)
{
    return snprintf(to, room,
        "{\"alloc_count\":%llu,\"alloc_bytes\":%llu,\"free_count\":%llu,\"free_bytes\":%llu,"
        "\"live_count\":%llu,\"live_bytes\":%llu}",
        (unsigned long long)c->alloc_count, (unsigned long long)c->alloc_bytes,
        (unsigned long long)c->free_count, (unsigned long long)c->free_bytes,
        (unsigned long long)(c->alloc_count - c->free_count),
        (unsigned long long)(c->alloc_bytes - c->free_bytes));
}

static void tell(void)
{
    static char line[8192];
    struct counts by_site[SITES] = {0}, holding[SITES] = {0}, total = {0};
    uint64_t calls = 0, failed = 0;
    for (uint64_t i = 0; i < options.threads; i++) {
        calls += workers[i].calls;
        failed += workers[i].failed;
        for (int s = 0; s < SITES; s++) {
            by_site[s].alloc_count += workers[i].sites[s].alloc_count;
            by_site[s].alloc_bytes += workers[i].sites[s].alloc_bytes;
            by_site[s].free_count += workers[i].sites[s].free_count;
            by_site[s].free_bytes += workers[i].sites[s].free_bytes;
        }
        for (uint64_t j = 0; j < options.slots; j++) held(holding, &workers[i].slots[j]);
    }
    for (int i = 0; i < CELLS; i++) held(holding, &cells[i].block);

    int length = 0;
    for (int s = 0; s < SITES; s++) {
        /* It knows what it holds in two ways. */
        if (by_site[s].alloc_count - by_site[s].free_count != holding[s].alloc_count
            || by_site[s].alloc_bytes - by_site[s].free_bytes != holding[s].alloc_bytes)
            fail("it does not know its own truth");
        total.alloc_count += by_site[s].alloc_count;
        total.alloc_bytes += by_site[s].alloc_bytes;
        total.free_count += by_site[s].free_count;
        total.free_bytes += by_site[s].free_bytes;
    }
    length += snprintf(line, sizeof line, "{\"calls\":%llu,\"failed\":%llu,\"total\":",
                       (unsigned long long)calls, (unsigned long long)failed);
    length += write_counts(line + length, sizeof line - length, &total);
    length += snprintf(line + length, sizeof line - length, ",\"sites\":[");
    for (int s = 0; s < SITES; s++) {
        if (s > 0) line[length++] = ',';
        length += write_counts(line + length, sizeof line - length, &by_site[s]);
    }
    length += snprintf(line + length, sizeof line - length, "]}\n");
    say(line, length);
}

/* ---- Words ---- */

static uint64_t number(const char *digits)
{
    return strtoull(digits, NULL, 10);
}

static uint64_t function_set(char *names)
{
    uint64_t set = 0;
    for (char *name = strtok(names, ","); name != NULL; name = strtok(NULL, ",")) {
        int function = 0;
        while (function < FUNCTIONS && strcmp(name, function_names[function]) != 0) function++;
        if (function == FUNCTIONS) fail("a function that it does not know");
        set |= 1 << function;
    }
    return set;
}

static void take_option(char *argument)
{
    char *value = strchr(argument, '=');
    if (value == NULL) fail("arguments are NAME=VALUE");
    *value++ = '\0';
    if (!strcmp(argument, "seed")) options.seed = number(value);
    else if (!strcmp(argument, "threads")) options.threads = number(value);
    else if (!strcmp(argument, "functions")) options.functions = function_set(value);
    else if (!strcmp(argument, "slots")) options.slots = number(value);
    else if (!strcmp(argument, "frees")) options.frees = number(value);
    else if (!strcmp(argument, "failing")) options.failing = number(value);
    else if (!strcmp(argument, "site_sizes")) options.site_sizes = number(value);
    else if (!strcmp(argument, "pause")) options.pause = number(value);
    else fail("an argument that it does not know");
}

static int read_line(char *line, size_t room)
{
    size_t length = 0;
    while (length + 1 < room) {
        if (read(STDIN_FILENO, line + length, 1) <= 0) return 0;
        if (line[length] == '\n') break;
        length++;
    }
    line[length] = '\0';
    return 1;
}

static void obey(const char *line)
{
    unsigned long long a, b;
    if (sscanf(line, "run %llu", &a) == 1) {
        begin(a / options.threads);
        await_end();
    } else if (!strcmp(line, "storm")) {
        begin(UINT64_MAX / 2);
        return;
    } else if (!strcmp(line, "stop")) {
        atomic_store(&stopping, 1);
        await_end();
        atomic_store(&stopping, 0);
    } else if (sscanf(line, "churn %llu %llu", &a, &b) == 2) {
        churn(a, b);
    } else if (!strcmp(line, "free")) {
        free_everything();
    } else {
        fail("a word that it does not know");
    }
    tell();
}

int main(int argc, char **argv)
{
    char line[128];
    for (int i = 1; i < argc; i++) take_option(argv[i]);
    if (options.threads < 1 || options.threads > MOST_THREADS || options.functions == 0 || options.slots == 0)
        fail("arguments out of range");
    memset(text, 'a', LONGEST_TEXT);
    for (int i = 0; i < CELLS; i++) pthread_mutex_init(&cells[i].lock, NULL);
    for (uint64_t i = 0; i < options.threads; i++) {
        struct worker *worker = &workers[i];
        worker->random = (options.seed * MOST_THREADS + i + 1) * 0x9e3779b97f4a7c15;
        worker->until_pause = options.pause;
        worker->slots = mmap(NULL, options.slots * sizeof *worker->slots, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (worker->slots == MAP_FAILED) fail("no room for its slots");
        if (pthread_create(&worker->thread, NULL, pool_thread, worker)) fail("no thread");
    }
    say("ready\n", 6);
    while (read_line(line, sizeof line)) obey(line);
    /* The threads still wait: nothing is freed by ending them. */
    _exit(0);
}
