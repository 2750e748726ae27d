/*
 * Loads libraries, and keeps one thread in a call through each of the last ones.
 *
 *   loads THREADS LIBRARY...
 *
 * Each library is made from library.c. The testimony has the libraries' load addresses, in the
 * order of the arguments.
 */
#include "known.h"

#include <dlfcn.h>
#include <link.h>

enum { MOST = 4096 };
typedef void (*entry_point)(void (*next)(void));

static pid_t tids[MOST];
static entry_point entries[MOST];

KNOWN void loader_leaf(void) {
    stay();
    NOT_A_TAIL_CALL();
}
KNOWN void *loader_top(void *argument) {
    size_t index = (size_t)argument;
    tids[index] = own_tid();
    entries[index](loader_leaf);
    NOT_A_TAIL_CALL();
    return NULL;
}

KNOWN void main_inner(void) {
    say_ready();
    serve_until_end_of_input();
    NOT_A_TAIL_CALL();
}

int main(int count, char **arguments) {
    CHECK(count > 2 && count - 2 <= MOST);
    size_t libraries = (size_t)count - 2, with_threads = strtoull(arguments[1], NULL, 10);
    CHECK(with_threads <= libraries);
    testify("{\"pid\":%d,\"libraries\":[", getpid());
    for (size_t i = 0; i < libraries; i++) {
        void *handle = dlopen(arguments[i + 2], RTLD_NOW | RTLD_LOCAL);
        if (!handle)
            fprintf(stderr, "%s\n", dlerror());
        CHECK(handle);
        struct link_map *map;
        CHECK(dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0);
        const entry_point *entry = dlsym(handle, "library_entry");
        CHECK(entry);
        entries[i] = *entry;
        testify("%s%" PRIuPTR, i ? "," : "", (uintptr_t)map->l_addr);
    }
    for (size_t i = libraries - with_threads; i < libraries; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, loader_top, (void *)i) == 0);
    }
    wait_until_arrived((int)with_threads);
    testify("],\"through\":[");
    for (size_t i = libraries - with_threads; i < libraries; i++)
        testify("%s%d", i > libraries - with_threads ? "," : "", tids[i]);
    testify("]}");
    main_inner();
    NOT_A_TAIL_CALL();
    return 0;
}
