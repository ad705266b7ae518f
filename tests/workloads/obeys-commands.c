// Does what the lines on its standard input say, one at a time, and answers each with one line, so
// that a test decides what happens before, during and after a capture.
//
//   hold SIZE COUNT        allocates and keeps            -> held BYTES
//   load PATH              dlopen                         -> loaded
//   call NAME SIZE COUNT   a function of what was loaded  -> called BYTES
//   fork SIZE COUNT        a child frees what its parent holds, allocates, and ends -> forked
//   exec PATH              becomes another program        (no answer)
//   thread-exit            the first thread ends, a second goes on with the commands -> moved
//   exit                   (no answer)
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void **held;
static size_t held_count;
static void *library;

__attribute__((noinline)) void *hold_block(size_t size) {
    void *block = malloc(size);
    if (block == NULL) abort();
    memset(block, 0x5a, size);
    return block;
}

__attribute__((noinline)) size_t hold_blocks(size_t size, size_t count) {
    for (size_t i = 0; i < count; i++) held[held_count++] = hold_block(size);
    return size * count;
}

__attribute__((noinline)) void become_a_child(size_t size, size_t count) {
    for (size_t i = 0; i < held_count; i++) free(held[i]);
    held_count = 0;
    hold_blocks(size, count);
    _exit(0);
}

static void answer(const char *what, size_t bytes) {
    char line[64];
    int length = bytes == (size_t)-1 ? snprintf(line, sizeof line, "%s\n", what)
                                     : snprintf(line, sizeof line, "%s %zu\n", what, bytes);
    if (write(1, line, (size_t)length) != length) _exit(1);
}

static void *obey(void *moved);

static void obey_one(char *line) {
    char name[4096];
    size_t size, count;
    if (sscanf(line, "hold %zu %zu", &size, &count) == 2) {
        answer("held", hold_blocks(size, count));
    } else if (sscanf(line, "load %4095[^\n]", name) == 1) {
        library = dlopen(name, RTLD_NOW);
        if (library == NULL) {
            fprintf(stderr, "%s\n", dlerror());
            _exit(1);
        }
        answer("loaded", (size_t)-1);
    } else if (sscanf(line, "call %4095s %zu %zu", name, &size, &count) == 3) {
        size_t (*function)(size_t, size_t) = (size_t (*)(size_t, size_t))dlsym(library, name);
        if (function == NULL) _exit(1);
        answer("called", function(size, count));
    } else if (sscanf(line, "fork %zu %zu", &size, &count) == 2) {
        pid_t child = fork();
        if (child == 0) become_a_child(size, count);
        int status;
        if (waitpid(child, &status, 0) != child || status != 0) _exit(1);
        answer("forked", (size_t)-1);
    } else if (sscanf(line, "exec %4095[^\n]", name) == 1) {
        execl(name, name, (char *)NULL);
        _exit(1);
    } else if (strncmp(line, "thread-exit", 11) == 0) {
        pthread_t second;
        if (pthread_create(&second, NULL, obey, &held) != 0) _exit(1);
        pthread_exit(NULL);
    } else {
        _exit(strncmp(line, "exit", 4) == 0 ? 0 : 1);
    }
}

static void *obey(void *moved) {
    if (moved != NULL) answer("moved", (size_t)-1);
    // Unbuffered: a second thread, or a program after exec, finds the lines that were not read yet.
    static char line[8192];
    size_t length = 0;
    while (read(0, line + length, 1) == 1) {
        if (line[length] != '\n' && length + 2 < sizeof line) {
            length++;
            continue;
        }
        line[length + 1] = 0;
        length = 0;
        obey_one(line);
    }
    _exit(0);
}

int main(void) {
    // One allocation before anybody attaches: the table of what is held.
    held = calloc(4u << 20, sizeof *held);
    if (held == NULL) return 1;
    answer("ready", (size_t)-1);
    obey(NULL);
}
