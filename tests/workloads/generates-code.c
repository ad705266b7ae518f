// Generates a function at run time, names it in a perf map, and allocates through it.
// The function keeps a frame pointer: push rbp; mov rbp,rsp; call rsi (its second argument) with rdi; pop rbp; ret.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

__attribute__((noinline)) void *allocate_for_generated_code(size_t size) {
    char *block = malloc(size);
    block[0] = 1;
    __asm__ volatile("" ::: "memory");
    return block;
}

int main(void) {
    static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd6, 0x5d, 0xc3};
    unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return 1;
    memcpy(page, code, sizeof code);
    if (mprotect(page, 4096, PROT_READ | PROT_EXEC)) return 1;
    char path[64];
    snprintf(path, sizeof path, "/tmp/perf-%d.map", getpid());
    FILE *map = fopen(path, "w");
    if (!map) return 1;
    fprintf(map, "%lx %zx generated_by_the_compiler\n", (unsigned long)page, sizeof code);
    fclose(map);
    void *(*generated)(size_t, void *(*)(size_t)) = (void *)page;
    char line[16];
    puts("ready");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) return 1;
    for (int i = 0; i < 100; i++) generated(1000, allocate_for_generated_code);
    puts("{}");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {}
    unlink(path);
    return 0;
}
