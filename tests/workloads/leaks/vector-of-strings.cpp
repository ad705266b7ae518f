// case: leak
// function: Journal::append
// mode: exact
// seconds: 40
// what: a vector of strings grows for ever
#include "service.h"
#include <string>
#include <vector>

class Journal {
public:
    void append(int number);

private:
    std::vector<std::string> lines;
};

__attribute__((noinline)) void Journal::append(int number) {
    lines.push_back("order " + std::to_string(number) + " was accepted by the warehouse");
}

int main() {
    Journal journal;
    for (int number = 0; next_turn(20); number++) journal.append(number);
    return 0;
}
