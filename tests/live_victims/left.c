/*
 * A handler of SIGSEGV that is left by siglongjmp. Its frame stays on the stack, in the part of an
 * array that nobody has written to.
 */
#include "../victims/victim.h"

#include <setjmp.h>
#include <signal.h>

enum { UNUSED = 8192 };

static sigjmp_buf before;
static const siginfo_t *volatile told;

static void on_fault(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)context;
    told = info;
    siglongjmp(before, 1);
}

KNOWN void faulty(void) {
    __asm__ volatile("movl $1, (%0)" : : "r"((uintptr_t)0x18) : "memory");
}

/* Its frame contains the handler's. */
KNOWN void serve(void) {
    volatile unsigned char unused[UNUSED];
    __asm__ volatile("" : : "r"(unused) : "memory");
    CHECK((uintptr_t)unused < (uintptr_t)told && (uintptr_t)told < (uintptr_t)unused + UNUSED);
    testify("{\"pid\":%d}", getpid());
    say_ready();
    CHECK(told->si_signo == SIGSEGV && told->si_addr == (void *)0x18);
    serve_until_end_of_input();
    NOT_A_TAIL_CALL();
}

int main(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    if (sigsetjmp(before, 1) == 0)
        faulty();
    else
        serve();
    return 0;
}
