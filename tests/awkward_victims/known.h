/*
 * The testimony of these victims: threads with the functions on their stacks, innermost first, and
 * known memory.
 */
#ifndef DUMPWRIGHT_TESTS_KNOWN_H
#define DUMPWRIGHT_TESTS_KNOWN_H

#include "../victims/victim.h"

/* The number of threads in their final function. */
static _Atomic int arrived;
/* Never set, which the compiler cannot know. For the compiler, the functions that stay do return,
 * so code follows every call. */
static volatile int never;

/* Sleeps until killed. pause() returns after a handler has run. */
static inline __attribute__((always_inline)) void stay(void) {
    atomic_fetch_add(&arrived, 1);
    while (!never)
        pause();
}

static inline void wait_until_arrived(int count) {
    while (atomic_load(&arrived) < count)
        sched_yield();
}

/* Adds an entry of `"threads"`. */
static inline void testify_thread(pid_t tid, const char *functions) {
    testify("{\"tid\":%d,\"functions\":[%s]}", tid, functions);
}

#endif
