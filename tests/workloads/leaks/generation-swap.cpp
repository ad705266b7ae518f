// case: quiet
// mode: exact
// seconds: 50
// what: a new generation of a table is built for five seconds, then it replaces the old one
#include "service.h"
#include <map>
#include <memory>
#include <string>

using Table = std::map<int, std::string>;

static std::shared_ptr<const Table> current;

__attribute__((noinline)) void add_row(Table &table, int row) {
    table.emplace(row, std::string(150 + random_below(100), 'r'));
}

__attribute__((noinline)) void publish(std::shared_ptr<Table> &next) {
    current = std::move(next);
    next = std::make_shared<Table>();
}

int main() {
    auto next = std::make_shared<Table>();
    for (int turn = 1; next_turn(20); turn++) {
        add_row(*next, turn);
        if (turn % 250 == 0) publish(next);
    }
    return 0;
}
