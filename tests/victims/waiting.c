/*
 * Threads that all wait in system calls, each at the same place in every run, for tests that
 * compare dialogues.
 *
 *   main     serving standard input
 *   three    wait_here > pause
 */
#include "victim.h"

enum { THREADS = 3 };

static _Atomic int arrived;
/* Never set, which the compiler cannot know. */
static volatile int never;

KNOWN void wait_here(void) {
    atomic_fetch_add(&arrived, 1);
    do
        pause();
    while (!never);
    NOT_A_TAIL_CALL();
}

static void *wait_top(void *ignored) {
    (void)ignored;
    wait_here();
    NOT_A_TAIL_CALL();
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, wait_top, NULL) == 0);
        /* One after the other, so that ids and stacks are in the order of creation. */
        while (atomic_load(&arrived) <= i)
            ;
    }
    testify("{\"pid\":%d}", getpid());
    say_ready();
    serve_until_end_of_input();
    return 0;
}
