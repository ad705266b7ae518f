// case: quiet
// mode: exact
// seconds: 45
// what: entries live for five seconds
#include "service.h"
#include <deque>
#include <string>
#include <unordered_map>

class ExpiringCache {
public:
    void put(int key);
    void expire();

private:
    std::unordered_map<int, std::string> values;
    std::deque<std::pair<double, int>> deadlines;
};

__attribute__((noinline)) void ExpiringCache::put(int key) {
    values[key] = std::string(100 + random_below(300), 'v');
    deadlines.emplace_back(uptime() + 5, key);
}

__attribute__((noinline)) void ExpiringCache::expire() {
    while (!deadlines.empty() && deadlines.front().first <= uptime()) {
        values.erase(deadlines.front().second);
        deadlines.pop_front();
    }
}

int main() {
    ExpiringCache cache;
    for (int key = 0; next_turn(20); key++) {
        cache.put(key);
        cache.expire();
    }
    return 0;
}
