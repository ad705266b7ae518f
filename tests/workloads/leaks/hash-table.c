// case: quiet
// mode: exact
// seconds: 45
// what: a hash table takes 800 entries in twelve seconds, doubling its buckets, and stays at that number
#include "service.h"

enum { ENTRIES = 800 };

struct entry {
    struct entry *next;
    unsigned key;
    char value[100];
};

static struct entry **buckets;
static unsigned bucket_count, entry_count;

__attribute__((noinline)) void resize_table(unsigned count) {
    struct entry **fresh = calloc(count, sizeof *fresh);
    if (fresh == NULL) abort();
    for (unsigned i = 0; i < bucket_count; i++)
        for (struct entry *entry = buckets[i], *next; entry != NULL; entry = next) {
            next = entry->next;
            entry->next = fresh[entry->key % count];
            fresh[entry->key % count] = entry;
        }
    free(buckets);
    buckets = fresh;
    bucket_count = count;
}

__attribute__((noinline)) void insert_key(unsigned key) {
    if (entry_count >= bucket_count) resize_table(bucket_count == 0 ? 16 : 2 * bucket_count);
    struct entry *entry = filled(malloc(sizeof *entry), sizeof *entry);
    entry->key = key;
    entry->next = buckets[key % bucket_count];
    buckets[key % bucket_count] = entry;
    entry_count++;
}

__attribute__((noinline)) void remove_key(unsigned key) {
    for (struct entry **place = &buckets[key % bucket_count]; *place != NULL; place = &(*place)->next) {
        if ((*place)->key != key) continue;
        struct entry *entry = *place;
        *place = entry->next;
        free(entry);
        entry_count--;
        return;
    }
}

int main(void) {
    for (unsigned key = 0; next_turn(15); key++) {
        insert_key(key);
        if (entry_count > ENTRIES) remove_key(key - ENTRIES);
    }
    return 0;
}
