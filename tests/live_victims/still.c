/*
 * A process that is the same each time it is started, except for its ids and times: it has no C
 * library, and clears the random bytes that the kernel gives to each program. (Its addresses are
 * the same if the kernel does not choose them at random.)
 *
 *   still wait     five threads sleep
 *   still crash    three threads sleep, and then the first one executes an invalid instruction
 *
 * It ends by itself after two minutes.
 */
#include <linux/auxvec.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

enum { SLEEPERS = 4, STACK = 1 << 16, WORDS = 1 << 13, MOST_SECONDS = 120 };

static int gate, place;
static uint64_t stacks[SLEEPERS][STACK / 8] __attribute__((aligned(4096)));
static uint64_t words[WORDS];
static uint64_t *mapped;

static long call(long number, long a, long b, long c, long d, long e, long f) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static void fail_unless(int condition) {
    if (!condition)
        call(SYS_exit_group, 99, 0, 0, 0, 0, 0);
}

static void fill(volatile uint64_t *at, uint64_t seed) {
    for (size_t k = 0; k < WORDS; k++)
        at[k] = seed + k * UINT64_C(0x9E3779B97F4A7C15);
}

__attribute__((noreturn, used)) void sleep_for_ever(const char *name) {
    call(SYS_prctl, PR_SET_NAME, (long)name, 0, 0, 0, 0);
    for (;;)
        call(SYS_futex, (long)&gate, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0);
}

/* Starts a thread that sleeps. */
static void start(uint64_t *stack, const char *name) {
    long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    long result;
    stack[STACK / 8 - 1] = (uint64_t)name;
    register long r10 __asm__("r10") = 0;
    register long r8 __asm__("r8") = 0;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "mov (%%rsp), %%rdi\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "call sleep_for_ever\n\t"
                     "1:"
                     : "=a"(result)
                     : "a"(SYS_clone), "D"(flags), "S"(stack + STACK / 8 - 1), "d"(0L), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    fail_unless(result > 0);
}

/* Moves all waiting threads to another futex. Returns their number. */
static long move(int *from, int *to) {
    call(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
    return call(SYS_futex, (long)from, FUTEX_CMP_REQUEUE_PRIVATE, 0, 0x7FFFFFFF, (long)to, 0);
}

__attribute__((noreturn, used)) void begin(uint64_t *stack) {
    static const char *const names[SLEEPERS] = {"still-1", "still-2", "still-3", "still-4"};
    const char *how = stack[0] > 1 ? (const char *)stack[2] : "";
    uint64_t *vector = stack + 1 + stack[0] + 1;
    while (*vector)
        vector++;
    for (vector++; vector[0] != AT_NULL; vector += 2)
        if (vector[0] == AT_RANDOM)
            for (volatile char *byte = (char *)vector[1]; byte < (char *)vector[1] + 16; byte++)
                *byte = 0;
    call(SYS_alarm, MOST_SECONDS, 0, 0, 0, 0, 0);
    uint64_t no_core[2] = {0, 0};
    call(SYS_setrlimit, 4 /* RLIMIT_CORE */, (long)no_core, 0, 0, 0, 0);
    long at = call(SYS_mmap, 0, sizeof words, 3 /* read, write */, 0x22 /* private, anonymous */, -1, 0);
    fail_unless(at > 0);
    mapped = (uint64_t *)at;
    fill(words, 1);
    fill(mapped, 2);
    int sleepers = SLEEPERS - (*how == 'c');
    for (int i = 0; i < sleepers; i++)
        start(stacks[i], names[i]);
    /* All sleep when one call moves all of them from one futex to the other. (A thread that wakes
     * for no reason waits for the first one again.) */
    do
        move(&place, &gate);
    while (move(&gate, &place) != sleepers);
    if (*how == 'c')
        __asm__ volatile("ud2");
    for (;;)
        call(SYS_pause, 0, 0, 0, 0, 0, 0);
}

__asm__(".globl _start\n"
        "_start:\n\t"
        "xor %ebp, %ebp\n\t"
        "mov %rsp, %rdi\n\t"
        "and $-16, %rsp\n\t"
        "call begin\n");
