/*
 * Makes children that allocate and count what they do, each by itself.
 *
 * It writes "ready", and does what each line on stdin says:
 *
 *   fork         makes a child, whose answer is the line "child PID"
 *   take BLOCKS  every process allocates so many blocks and frees each fourth of them; each answers "PID COUNT BYTES" of what is
 *                outstanding, of all that it was told to take, the parent first
 *   work MS      the last child that was made allocates and frees for so many milliseconds; the answer is the line "worked PID"
 *   end          the last child that was made ends; its answer is the line "ended PID"
 *
 * Blocks of a process are of a size of its own. It allocates nothing else.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 64 };

static struct child {
    pid_t pid;
    int to, from;
} children[MOST];
static int made;
static int own; /* 0: the parent */
static uint64_t count, bytes;

static void say(const char *line)
{
    size_t length = strlen(line);
    if (write(STDOUT_FILENO, line, length) != (ssize_t)length) _exit(1);
}

__attribute__((noinline)) void *take_block(size_t size)
{
    char *block = malloc(size);
    block[0] = 1;
    return block;
}

static void take(long blocks)
{
    char line[64];
    size_t size = 100 + (size_t)own;
    for (long i = 0; i < blocks; i++) {
        void *block = take_block(size);
        if (i % 4 == 3) {
            free(block);
        } else {
            count++;
            bytes += size;
        }
    }
    snprintf(line, sizeof line, "%d %llu %llu\n", getpid(), (unsigned long long)count, (unsigned long long)bytes);
    say(line);
}

static void work(long milliseconds)
{
    struct timespec now, begin;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        for (int i = 0; i < 100; i++) free(take_block(100));
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 < milliseconds);
}

/* A child does what its parent says: 8 bytes at a time, so many blocks, or minus so many milliseconds of work. */
static void live(int from, int to)
{
    long blocks;
    count = bytes = 0;
    while (read(from, &blocks, sizeof blocks) == sizeof blocks) {
        if (blocks < 0) work(-blocks);
        else take(blocks);
        if (write(to, "", 1) != 1) break;
    }
    _exit(0);
}

static void make(void)
{
    int down[2], up[2];
    char line[64];
    struct child *child = &children[made];
    if (made == MOST || pipe(down) || pipe(up)) _exit(1);
    child->pid = fork();
    if (child->pid == 0) {
        own = made + 1;
        close(down[1]);
        close(up[0]);
        /* The other children are not this one's: they end when the parent lets go of them. */
        for (int i = 0; i < made; i++) close(children[i].to);
        live(down[0], up[1]);
    }
    close(down[0]);
    close(up[1]);
    child->to = down[1];
    child->from = up[0];
    made++;
    snprintf(line, sizeof line, "child %d\n", child->pid);
    say(line);
}

static void tell(long blocks)
{
    char done;
    take(blocks);
    for (int i = 0; i < made; i++) {
        if (write(children[i].to, &blocks, sizeof blocks) != sizeof blocks) _exit(1);
        if (read(children[i].from, &done, 1) != 1) _exit(1);
    }
}

static void let_work(long milliseconds)
{
    char done, line[64];
    struct child *child = &children[made - 1];
    milliseconds = -milliseconds;
    if (write(child->to, &milliseconds, sizeof milliseconds) != sizeof milliseconds) _exit(1);
    if (read(child->from, &done, 1) != 1) _exit(1);
    snprintf(line, sizeof line, "worked %d\n", child->pid);
    say(line);
}

static void end(void)
{
    char line[64];
    struct child *child = &children[--made];
    close(child->to);
    close(child->from);
    waitpid(child->pid, NULL, 0);
    snprintf(line, sizeof line, "ended %d\n", child->pid);
    say(line);
}

int main(void)
{
    char line[64];
    size_t length = 0;
    say("ready\n");
    while (read(STDIN_FILENO, line + length, 1) == 1) {
        if (line[length] != '\n') {
            if (++length == sizeof line) return 1;
            continue;
        }
        line[length] = '\0';
        length = 0;
        if (!strcmp(line, "fork")) make();
        else if (!strcmp(line, "end")) end();
        else if (!strncmp(line, "take ", 5)) tell(atol(line + 5));
        else if (!strncmp(line, "work ", 5)) let_work(atol(line + 5));
        else return 1;
    }
    while (made > 0) end();
    return 0;
}
