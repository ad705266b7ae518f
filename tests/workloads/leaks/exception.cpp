// case: leak
// function: import_record
// mode: exact
// seconds: 40
// what: an exception leaves the function before its delete[]
#include "service.h"
#include <stdexcept>

__attribute__((noinline)) void check_record(const char *record, bool valid) {
    if (!valid) throw std::runtime_error("a record without an end");
    __asm__ volatile("" : : "r"(record) : "memory");
}

__attribute__((noinline)) void import_record(bool valid) {
    char *record = new char[500];
    filled(record, 500);
    check_record(record, valid);
    delete[] record;
}

int main() {
    while (next_turn(10)) {
        try {
            import_record(random_below(20) != 0);
        } catch (const std::runtime_error &) {
            // The next record may be better.
        }
    }
    return 0;
}
