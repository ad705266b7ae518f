// case: leak
// function: build_document
// mode: exact
// seconds: 40
// what: parent and child hold each other by shared_ptr
#include "service.h"
#include <memory>

struct Node {
    std::shared_ptr<Node> other;
    char text[80] = {};
};

__attribute__((noinline)) std::shared_ptr<Node> build_document() {
    auto parent = std::make_shared<Node>();
    parent->other = std::make_shared<Node>();
    parent->other->other = parent;
    return parent;
}

int main() {
    while (next_turn(40)) {
        auto document = build_document();
        // Only some documents are taken apart.
        if (random_below(2) == 0) document->other->other.reset();
    }
    return 0;
}
