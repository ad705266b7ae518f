// case: leak
// function: QueryCache::store
// mode: exact
// seconds: 40
// what: results are cached by a text that hardly ever comes twice
#include "service.h"
#include <map>
#include <string>

class QueryCache {
public:
    const std::string *find(const std::string &query) const {
        auto entry = results.find(query);
        return entry == results.end() ? nullptr : &entry->second;
    }
    void store(const std::string &query);

private:
    std::map<std::string, std::string> results;
};

__attribute__((noinline)) void QueryCache::store(const std::string &query) {
    results.emplace(query, std::string(300, 'r'));
}

int main() {
    QueryCache cache;
    while (next_turn(20)) {
        std::string query = "select * from orders where id = " + std::to_string(random_below(1000000));
        if (cache.find(query) == nullptr) cache.store(query);
    }
    return 0;
}
