/*
 * Signal handlers that interrupt signal handlers.
 *
 *   changing   a handler on an alternate stack that is disarmed while it runs (SS_AUTODISARM). The
 *              handler sets up another alternate stack, on which a second handler runs: three
 *              stacks
 *   sharing    both handlers on one alternate stack: two stacks
 *
 * On both threads, second_leaf and on_second interrupted first_leaf and on_first, which interrupted
 * own_leaf, own_mid, and the thread's first function. A part of each level's stack is a pattern.
 */
#include "known.h"

#include <signal.h>
#include <sys/mman.h>

enum { KINDS = 2, LEVELS = 3, LOCAL = 2048, ALTERNATE = 1 << 16 };
#define SEED UINT64_C(0x4E45530000000001)
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

static struct {
    pid_t tid;
    volatile uint64_t *local[LEVELS];
} threads[KINDS];
static _Thread_local long self;
static _Atomic int spinning;

static void mark(volatile uint64_t *local, int level) {
    fill_pattern((void *)local, LOCAL, SEED + (uint64_t)(self * LEVELS + level));
    threads[self].local[level] = local;
}
static void use_alternate_stack(unsigned flags) {
    void *low = mmap(NULL, ALTERNATE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(low != MAP_FAILED);
    stack_t stack = {.ss_sp = low, .ss_size = ALTERNATE, .ss_flags = (int)flags};
    CHECK(sigaltstack(&stack, NULL) == 0);
}

KNOWN void second_leaf(void) {
    stay();
    NOT_A_TAIL_CALL();
}
KNOWN void on_second(int number) {
    (void)number;
    volatile uint64_t local[LOCAL / 8];
    mark(local, 2);
    second_leaf();
    NOT_A_TAIL_CALL();
    (void)local[0];
}
KNOWN void first_leaf(void) {
    CHECK(pthread_kill(pthread_self(), SIGUSR2) == 0);
    NOT_A_TAIL_CALL();
}
KNOWN void on_first(int number) {
    (void)number;
    volatile uint64_t local[LOCAL / 8];
    mark(local, 1);
    if (self == 0)
        use_alternate_stack(0);
    first_leaf();
    NOT_A_TAIL_CALL();
    (void)local[0];
}
KNOWN void own_leaf(void) {
    atomic_fetch_add(&spinning, 1);
    while (!never)
        __builtin_ia32_pause();
}
KNOWN void own_mid(void) {
    volatile uint64_t local[LOCAL / 8];
    mark(local, 0);
    own_leaf();
    NOT_A_TAIL_CALL();
    (void)local[0];
}
KNOWN void *changing_top(void *unused) {
    self = 0;
    threads[self].tid = own_tid();
    use_alternate_stack(SS_AUTODISARM);
    own_mid();
    NOT_A_TAIL_CALL();
    return unused;
}
KNOWN void *sharing_top(void *unused) {
    self = 1;
    threads[self].tid = own_tid();
    use_alternate_stack(0);
    own_mid();
    NOT_A_TAIL_CALL();
    return unused;
}

KNOWN void main_inner(void) {
    say_ready();
    serve_until_end_of_input();
    NOT_A_TAIL_CALL();
}

int main(void) {
    static const char chain[] = "\"second_leaf\",\"on_second\",\"first_leaf\",\"on_first\",\"own_leaf\",\"own_mid\"";
    struct sigaction action = {.sa_handler = on_first, .sa_flags = SA_ONSTACK};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    action.sa_handler = on_second;
    CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
    pthread_t started[KINDS];
    CHECK(pthread_create(&started[0], NULL, changing_top, NULL) == 0);
    CHECK(pthread_create(&started[1], NULL, sharing_top, NULL) == 0);
    while (atomic_load(&spinning) < KINDS)
        sched_yield();
    for (int i = 0; i < KINDS; i++)
        CHECK(pthread_kill(started[i], SIGUSR1) == 0);
    wait_until_arrived(KINDS);

    char functions[200];
    testify("{\"pid\":%d,\"threads\":[", getpid());
    testify_thread(getpid(), "\"main_inner\"");
    for (int i = 0; i < KINDS; i++) {
        snprintf(functions, sizeof functions, "%s,\"%s\"", chain, i ? "sharing_top" : "changing_top");
        testify(",");
        testify_thread(threads[i].tid, functions);
    }
    testify("],\"stacks\":[");
    for (int i = 0; i < KINDS * LEVELS; i++) {
        testify("%s", i ? "," : "");
        testify_pattern(i < LEVELS ? "changing" : "sharing", threads[i / LEVELS].local[i % LEVELS], LOCAL,
                        SEED + (uint64_t)i);
    }
    testify("]}");
    main_inner();
    NOT_A_TAIL_CALL();
    return 0;
}
