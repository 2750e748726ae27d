/*
 * A program with its own crash reporter: a thread crashes, and the handler prints its arguments as
 * hexadecimal bytes, then waits to be dumped.
 *
 *   crashed_top > crashed_mid > crashed_leaf   writes to address 0x18, with known values in r12 and
 *                                              xmm3
 *   on_crash > report_leaf                     runs on an alternate stack with a pattern on it
 */
#include "../victims/victim.h"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { ALTERNATE = 1 << 16, PATTERN = 1024, FXSAVE = 512 };
#define SEED_CRASHED UINT64_C(0x4352410000000001)
#define SEED_HANDLER UINT64_C(0x4352410000000002)
#define R12 UINT64_C(0x1212121212121212)
#define XMM3 UINT64_C(0x0303030303030303)

static _Atomic int told;
static volatile int never;
static volatile uint64_t *crashed_pattern;

static void testify_bytes(const char *name, const void *at, size_t bytes) {
    testify("\"%s\":\"", name);
    for (size_t i = 0; i < bytes; i++)
        testify("%02x", ((const unsigned char *)at)[i]);
    testify("\",");
}

KNOWN void report_leaf(void) {
    atomic_store(&told, 1);
    while (!never)
        pause();
}
KNOWN void on_crash(int number, siginfo_t *info, void *context) {
    (void)number;
    volatile uint64_t local[PATTERN / 8];
    fill_pattern((void *)local, PATTERN, SEED_HANDLER);
    const ucontext_t *interrupted = context;
    testify("{\"pid\":%d,\"tid\":%d,", getpid(), own_tid());
    testify_bytes("siginfo", info, sizeof *info);
    testify_bytes("ucontext", interrupted, sizeof *interrupted);
    testify_bytes("fxsave", interrupted->uc_mcontext.fpregs, FXSAVE);
    testify("\"rip\":%" PRIu64 ",\"rsp\":%" PRIu64 ",\"r12\":%" PRIu64 ",\"xmm3\":%" PRIu64 ",",
            (uint64_t)interrupted->uc_mcontext.gregs[REG_RIP],
            (uint64_t)interrupted->uc_mcontext.gregs[REG_RSP], R12, XMM3);
    testify("\"crashed\":");
    testify_pattern("crashed", crashed_pattern, PATTERN, SEED_CRASHED);
    testify(",\"handler\":");
    testify_pattern("handler", local, PATTERN, SEED_HANDLER);
    testify("}");
    report_leaf();
    NOT_A_TAIL_CALL();
}

KNOWN void crashed_leaf(void) {
    __asm__ volatile("movq %0, %%r12\n"
                     "movq %1, %%xmm3\n"
                     "movl $1, (%2)\n"
                     :
                     : "r"(R12), "r"(XMM3), "r"((uintptr_t)0x18)
                     : "r12", "xmm3", "memory");
}
KNOWN void crashed_mid(void) {
    volatile uint64_t local[PATTERN / 8];
    fill_pattern((void *)local, PATTERN, SEED_CRASHED);
    crashed_pattern = local;
    crashed_leaf();
    NOT_A_TAIL_CALL();
}
KNOWN void *crashed_top(void *unused) {
    stack_t stack = {.ss_size = ALTERNATE};
    stack.ss_sp = mmap(NULL, ALTERNATE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(stack.ss_sp != MAP_FAILED && sigaltstack(&stack, NULL) == 0);
    crashed_mid();
    NOT_A_TAIL_CALL();
    return unused;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, crashed_top, NULL) == 0);
    while (!atomic_load(&told))
        sched_yield();
    say_ready();
    serve_until_end_of_input();
    return 0;
}
