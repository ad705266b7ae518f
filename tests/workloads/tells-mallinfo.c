// Allocates in several threads as the lines on its standard input say, and tells what glibc counts.
//
//   keep COUNT SIZE     keeps so many blocks
//   holes COUNT SIZE    keeps so many blocks, of which every other is freed
//   mixed COUNT         keeps so many blocks of many sizes, of which half are freed: hardly a bin is empty
//   large COUNT         keeps so many blocks of 1 MiB, each with a mapping of its own
//   risen               frees a block of 4 MiB, so that the thresholds rise
//   threads COUNT       starts threads that allocate 1000 blocks each and wait
//   churn COUNT         starts threads that allocate and free without end
//   stats               prints mallinfo2 and malloc_info
//
// Telling allocates nothing that stays: its output buffer is there from the start.
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *kept[1 << 20];
static size_t count;
static char buffer[1 << 16], told[1 << 20];
static FILE *file;

static void keep(size_t number, size_t size, int holes) {
    size_t first = count;
    while (number--) memset(kept[count++] = malloc(size), 1, size);
    for (size_t at = first; holes && at < count; at += 2) free(kept[at]);
}

static void mixed(size_t number) {
    size_t first = count;
    unsigned seed = 1;
    while (number--) kept[count++] = malloc(16 + rand_r(&seed) % (number % 20 ? 1500 : 60000));
    for (size_t last = count, at = first; at < last; at++)
        if (rand_r(&seed) % 2) free(kept[at]);
    // What is free is sorted into its bins when nothing of it fits.
    kept[count++] = malloc(70000);
}

static void *churn(void *argument) {
    static __thread void *own[2000];
    unsigned seed = 1;
    write(1, "started\n", 8);
    for (;;) {
        int at = rand_r(&seed) % 2000;
        free(own[at]);
        own[at] = malloc(rand_r(&seed) % 5000);
    }
    return argument;
}

static void *thread(void *argument) {
    void *own[1000];
    for (int at = 0; at < 1000; at++) own[at] = malloc(500 + at);
    for (int at = 0; at < 1000; at += 3) free(own[at]);
    write(1, "started\n", 8);
    pause();
    return argument;
}

static void stats(void) {
    memset(told, 0, sizeof told);
    rewind(file);
    malloc_info(0, file);
    struct mallinfo2 info = mallinfo2();
    for (char *at = told; *at; at++)
        if (*at == '\n' || *at == '"') *at = *at == '"' ? '\'' : ' ';
    printf("{\"arena\":%zu,\"ordblks\":%zu,\"smblks\":%zu,\"hblks\":%zu,\"hblkhd\":%zu,\"fsmblks\":%zu,\"uordblks\":%zu,"
           "\"fordblks\":%zu,\"keepcost\":%zu,\"xml\":\"%s\"}\n",
           info.arena, info.ordblks, info.smblks, info.hblks, info.hblkhd, info.fsmblks, info.uordblks, info.fordblks,
           info.keepcost, told);
}

int main(void) {
    char line[256], word[32];
    setvbuf(stdout, buffer, _IOLBF, sizeof buffer);
    file = fmemopen(told, sizeof told, "w");
    setvbuf(file, NULL, _IONBF, 0);
    setvbuf(stdin, malloc(4096), _IOFBF, 4096);
    puts("ready");
    while (fgets(line, sizeof line, stdin)) {
        size_t number = 0, size = 0;
        sscanf(line, "%31s %zu %zu", word, &number, &size);
        if (!strcmp(word, "stats")) {
            stats();
            continue;
        }
        if (!strcmp(word, "keep")) keep(number, size, 0);
        if (!strcmp(word, "holes")) keep(number, size, 1);
        if (!strcmp(word, "large")) keep(number, 1 << 20, 0);
        if (!strcmp(word, "risen")) free(memset(malloc(4 << 20), 1, 4 << 20));
        if (!strcmp(word, "mixed")) mixed(number);
        if (!strcmp(word, "threads") || !strcmp(word, "churn"))
            while (number--) {
                pthread_t id;
                pthread_create(&id, NULL, *word == 't' ? thread : churn, NULL);
            }
        puts("done");
    }
}
