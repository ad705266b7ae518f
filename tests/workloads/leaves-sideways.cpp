// Control flow that a return probe could break: exceptions out of operator new, longjmp past frames that allocate,
// coroutines that allocate on stacks of their own, signal handlers that allocate on an alternate stack.
// For each line `run ROUNDS` it answers `result NUMBER`, which depends on the rounds alone.
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include <new>
#include <string>
#include <vector>

static uint64_t result;

static void note(uint64_t value) { result = (result ^ value) * 0x100000001b3u; }

// A size that no allocator can serve: malloc fails below operator new, which throws.
__attribute__((noinline)) static void throws(int depth, size_t size) {
    std::string guard(40, static_cast<char>('a' + depth % 26));
    if (depth > 0) {
        throws(depth - 1, size);
    } else {
        std::vector<char> block;
        block.reserve(size);
        note(block.capacity());
    }
    note(guard.size());
}

static void exceptions(int round) {
    try {
        throws(round % 7, round % 2 == 0 ? static_cast<size_t>(PTRDIFF_MAX) - 64 : 100);
        note(1);
    } catch (const std::bad_alloc &) {
        note(2);
    }
}

static jmp_buf way_out;

__attribute__((noinline)) static void jumps(int depth, void **left) {
    left[depth] = malloc(100 + static_cast<size_t>(depth));
    if (depth == 5) longjmp(way_out, 7);
    jumps(depth + 1, left);
}

static void long_jumps() {
    static void *left[6];
    int code = setjmp(way_out);
    if (code == 0) jumps(0, left);
    for (void *&block : left) {
        free(block);
        block = nullptr;
    }
    note(static_cast<uint64_t>(code));
}

static ucontext_t scheduler, coroutines[2];

static void coroutine(int self) {
    for (;;) {
        std::vector<std::string> words;
        for (int i = 0; i < 5; i++) {
            words.emplace_back(50, static_cast<char>('a' + i));
            swapcontext(&coroutines[self], i == 4 ? &scheduler : &coroutines[1 - self]);
        }
        note(words.size());
    }
}

// New ones, on the stacks of the old, whose words stay allocated.
static void start_coroutines() {
    static char stacks[2][64 << 10];
    for (int i = 0; i < 2; i++) {
        getcontext(&coroutines[i]);
        coroutines[i].uc_stack.ss_sp = stacks[i];
        coroutines[i].uc_stack.ss_size = sizeof stacks[i];
        makecontext(&coroutines[i], reinterpret_cast<void (*)()>(coroutine), 1, i);
    }
}

static void coroutines_take_turns() { swapcontext(&scheduler, &coroutines[0]); }

static void on_signal(int) {
    void *block = calloc(10, 30);
    note(block != nullptr);
    free(realloc(block, 5000));
}

static void signals() {
    note(static_cast<uint64_t>(raise(SIGUSR1)));
}

int main() {
    static char alternate[64 << 10];
    stack_t stack = {};
    stack.ss_sp = alternate;
    stack.ss_size = sizeof alternate;
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_ONSTACK;
    if (sigaltstack(&stack, nullptr) != 0 || sigaction(SIGUSR1, &action, nullptr) != 0) return 1;
    puts("ready");
    fflush(stdout);
    char line[100];
    int rounds;
    while (fgets(line, sizeof line, stdin) != nullptr && sscanf(line, "run %d", &rounds) == 1) {
        result = 0xcbf29ce484222325u;
        start_coroutines();
        for (int round = 0; round < rounds; round++) {
            exceptions(round);
            long_jumps();
            coroutines_take_turns();
            signals();
        }
        printf("result %016llx\n", static_cast<unsigned long long>(result));
        fflush(stdout);
    }
    return 0;
}
