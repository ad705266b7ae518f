// case: quiet
// mode: exact
// seconds: 55
// what: producers are faster than the consumer for fifteen seconds, then the backlog drains
#include "service.h"
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

struct Message {
    char text[300];
};

static std::deque<std::unique_ptr<Message>> backlog;
static std::mutex guard;

__attribute__((noinline)) void produce_message() {
    auto message = std::make_unique<Message>();
    std::lock_guard lock(guard);
    backlog.push_back(std::move(message));
}

__attribute__((noinline)) void consume_message() {
    std::lock_guard lock(guard);
    if (!backlog.empty()) backlog.pop_front();
}

int main() {
    std::thread producer([] {
        while (next_turn(uptime() < 15 ? 10 : 40)) produce_message();
    });
    while (next_turn(20)) consume_message();
    producer.join();
    return 0;
}
