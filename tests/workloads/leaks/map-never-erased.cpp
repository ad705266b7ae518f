// case: leak
// function: SessionTable::open
// mode: exact
// seconds: 40
// what: closed sessions are marked and stay in an unordered_map
#include "service.h"
#include <unordered_map>

struct Session {
    bool open = true;
    char state[100] = {};
};

class SessionTable {
public:
    void open(int id);
    void close(int id) { sessions.at(id).open = false; }

private:
    std::unordered_map<int, Session> sessions;
};

__attribute__((noinline)) void SessionTable::open(int id) { sessions.try_emplace(id); }

int main() {
    SessionTable table;
    for (int id = 0; next_turn(20); id++) {
        table.open(id);
        if (id >= 50) table.close(id - 50);
    }
    return 0;
}
