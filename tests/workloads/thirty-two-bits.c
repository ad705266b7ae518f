// A 32-bit program without any library: it says that it is ready and waits. Built with -m32 -nostdlib -static.
static int syscall3(int number, int a, const void *b, int c) {
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}

void _start(void) {
    syscall3(4, 1, "ready\n", 6);       // write
    for (;;) syscall3(29, 0, 0, 0);     // pause
}
