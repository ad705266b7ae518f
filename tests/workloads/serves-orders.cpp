// A service that is always busy: two threads take orders as text, parse them, price them, keep the newest in a
// map, and answer with JSON. Ten times a second it prints "NANOSECONDS REQUESTS": CLOCK_MONOTONIC, and all
// requests until then.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <unistd.h>
#include <unordered_map>
#include <vector>

struct Item {
    std::string article;
    unsigned count;
};

struct Order {
    std::string customer, note;
    std::vector<Item> items;
};

static std::string field(const std::string &text, const std::string &name) {
    size_t from = text.find(name + '=');
    if (from == std::string::npos) return "";
    from += name.size() + 1;
    return text.substr(from, text.find('&', from) - from);
}

__attribute__((noinline)) static std::unique_ptr<Order> parse_order(const std::string &text) {
    auto order = std::make_unique<Order>();
    order->customer = field(text, "customer");
    order->note = field(text, "note");
    std::string items = field(text, "items");
    for (size_t from = 0; from < items.size();) {
        size_t end = items.find(',', from);
        if (end == std::string::npos) end = items.size();
        size_t colon = items.find(':', from);
        order->items.push_back({items.substr(from, colon - from), static_cast<unsigned>(std::stoul(items.substr(colon + 1, end - colon - 1)))});
        from = end + 1;
    }
    return order;
}

class Shop {
  public:
    Shop() {
        for (unsigned i = 0; i < 500; i++) prices["article-with-a-long-name-" + std::to_string(i)] = 100 + i;
    }

    std::string handle(uint64_t id, const std::string &text) {
        std::unique_ptr<Order> order = parse_order(text);
        uint64_t sum = 0;
        std::string answer = "{\"id\":" + std::to_string(id) + ",\"items\":[";
        for (const Item &item : order->items) {
            auto price = prices.find(item.article);
            if (price == prices.end()) continue;
            sum += price->second * item.count;
            answer += "{\"article\":\"" + item.article + "\",\"sum\":" + std::to_string(price->second * item.count) + "},";
        }
        answer += "],\"sum\":" + std::to_string(sum) + ",\"sign\":\"" + sign(text) + "\"}";
        keep(id, std::move(order));
        return answer;
    }

  private:
    // What a service computes beside what it allocates.
    static std::string sign(const std::string &text) {
        uint64_t hash = 14695981039346656037u;
        for (int round = 0; round < 16; round++)
            for (unsigned char c : text) hash = (hash ^ c) * 1099511628211u;
        return std::to_string(hash);
    }

    __attribute__((noinline)) void keep(uint64_t id, std::unique_ptr<Order> order) {
        orders[id] = std::move(order);
        ages.push_back(id);
        if (ages.size() > 20000) {
            orders.erase(ages.front());
            ages.pop_front();
        }
    }

    std::map<std::string, uint64_t> prices;
    std::unordered_map<uint64_t, std::unique_ptr<Order>> orders;
    std::deque<uint64_t> ages;
};

static std::string request(uint64_t random) {
    std::string text = "customer=somebody-" + std::to_string(random % 1000) + "&items=";
    for (unsigned i = 0; i <= random % 8; i++)
        text += (i == 0 ? "" : ",") + std::string("article-with-a-long-name-") + std::to_string((random >> i) % 500) + ":2";
    return text + "&note=" + std::string(100 + random % 900, 'n');
}

static void serve(std::atomic<uint64_t> &done) {
    Shop shop;
    std::vector<std::string> requests;
    uint64_t random = 88172645463325252u;
    for (int i = 0; i < 1000; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        requests.push_back(request(random >> 11));
    }
    size_t answered = 0;
    for (uint64_t id = 0;; id++) {
        answered += shop.handle(id, requests[id % requests.size()]).size();
        done.store(id + 1, std::memory_order_relaxed);
        asm volatile("" : : "r"(answered));
    }
}

int main() {
    static std::atomic<uint64_t> done[2];
    std::thread first(serve, std::ref(done[0])), second(serve, std::ref(done[1]));
    for (;;) {
        usleep(100000);
        timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        std::printf("%llu %llu\n", t.tv_sec * 1000000000ull + t.tv_nsec, static_cast<unsigned long long>(done[0] + done[1]));
        if (std::fflush(stdout) != 0) return 0;
    }
}
