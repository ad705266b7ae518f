// case: quiet
// mode: exact
// seconds: 45
// what: a cache of 600 entries throws out the one that was used least recently
#include "service.h"
#include <list>
#include <string>
#include <unordered_map>

class LruCache {
public:
    const std::string &get(unsigned key);

private:
    struct Entry {
        unsigned key;
        std::string value;
    };
    std::list<Entry> entries;
    std::unordered_map<unsigned, std::list<Entry>::iterator> by_key;
};

__attribute__((noinline)) const std::string &LruCache::get(unsigned key) {
    auto found = by_key.find(key);
    if (found != by_key.end()) {
        entries.splice(entries.begin(), entries, found->second);
    } else {
        entries.push_front({key, std::string(200 + key % 100, 'v')});
        by_key[key] = entries.begin();
    }
    if (entries.size() > 600) {
        by_key.erase(entries.back().key);
        entries.pop_back();
    }
    return entries.front().value;
}

int main() {
    LruCache cache;
    while (next_turn(10))
        for (int i = 0; i < 2; i++) cache.get(random_below(3000));
    return 0;
}
