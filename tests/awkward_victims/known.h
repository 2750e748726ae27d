/*
 * The testimony that these victims share: threads with the functions on their stacks, innermost first, and memory
 * that is known.
 */
#ifndef DUMPWRIGHT_TESTS_KNOWN_H
#define DUMPWRIGHT_TESTS_KNOWN_H

#include "../victims/victim.h"

/* Threads that have arrived where they stay. */
static _Atomic int arrived;
/* Never set, but the compiler cannot know: the functions that stay do return, so that code follows every call. */
static volatile int never;

/* Sleeps until killed. pause() comes back after a handler has run. */
static inline __attribute__((always_inline)) void stay(void) {
    atomic_fetch_add(&arrived, 1);
    while (!never)
        pause();
}

static inline void wait_until_arrived(int count) {
    while (atomic_load(&arrived) < count)
        sched_yield();
}

/* An entry of `"threads"`. */
static inline void testify_thread(pid_t tid, const char *functions) {
    testify("{\"tid\":%d,\"functions\":[%s]}", tid, functions);
}

#endif
