/*
 * Programs that a signal kills, and programs that only look like it.
 *
 *   crash null              a named thread writes to address 0x18: null_top > null_mid > null_leaf
 *   crash null-main         the same on the main thread, which is the only one
 *   crash leaderless        the same, after the main thread has ended: null_leaf is called by the
 *                           only thread that is left
 *   crash abort             abort(): abort_top > abort_leaf > (C library)
 *   crash overflow          a thread with a 256 KiB stack recurses without end:
 *                           overflow_top > overflow_recurse …
 *   crash overflow-main     the same on the main thread, on its own stack
 *   crash overflow-handled  as overflow, but a handler on an alternate stack runs first, restores
 *                           the default action, and returns
 *   crash non-canonical     a thread jumps to an address that no x86-64 processor accepts:
 *                           jump_top > jump_leaf > jump_to
 *   crash null-call         a thread calls a null function pointer: RIP is 0 at the fault
 *   crash illegal           ud2: illegal_top > illegal_leaf
 *   crash divide            integer division by zero: divide_top > divide_leaf
 *   crash bus               reads a mapped page after the end of its file: bus_top > bus_leaf
 *   crash trap              int3 without a debugger: trap_top > trap_leaf
 *   crash killed-by SIGNAL  raises this signal (a number) on itself, with the default action
 *   crash handled COUNT     handles SIGSEGV COUNT times with siglongjmp, prints the count, then
 *                           serves standard input
 *   crash fixed-up COUNT    as handled, but the handler maps the page and returns
 *   crash exit STATUS       ends by itself
 *
 * No core is left, unless the variable VICTIM_LEAVES_CORE is set.
 *
 * Each prints READY with its testimony first. Other threads of the process sleep in
 * bystander_top > bystander_leaf.
 */
#include "victim.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { BYSTANDERS = 2, OVERFLOW_STACK = 1 << 18, OVERFLOW_LOCAL = 512 };
#define NULL_MEMBER_OFFSET 0x18
#define NON_CANONICAL UINT64_C(0x8000123412341234)

struct node {
    char before[NULL_MEMBER_OFFSET];
    int value;
};

static struct node *volatile null_node;
static void (*volatile null_function)(void);
static volatile int never;
static volatile int zero;
static _Atomic int asleep;
static pid_t bystanders[BYSTANDERS];

/* --- threads that do not crash --- */

KNOWN void bystander_leaf(void) {
    atomic_fetch_add(&asleep, 1);
    while (!never)
        pause();
}
KNOWN void *bystander_top(void *index) {
    bystanders[(intptr_t)index] = own_tid();
    CHECK(pthread_setname_np(pthread_self(), "bystander") == 0);
    bystander_leaf();
    NOT_A_TAIL_CALL();
    return NULL;
}
static void start_bystanders(void) {
    for (intptr_t i = 0; i < BYSTANDERS; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, bystander_top, (void *)i) == 0);
    }
    while (atomic_load(&asleep) < BYSTANDERS)
        sched_yield();
}

/* --- testimony: which thread will crash, how, and in which functions (innermost first) --- */

static void testify_crash(int signal_number, int code, uint64_t address, const char *functions) {
    testify("{\"pid\":%d,\"tid\":%d,\"signal\":%d,\"code\":%d,\"address\":%" PRIu64
            ",\"functions\":[%s],\"bystanders\":[",
            getpid(), own_tid(), signal_number, code, address, functions);
    for (int i = 0; i < BYSTANDERS; i++)
        testify("%s%d", i ? "," : "", bystanders[i]);
    testify("]");
}
static void testify_own_stack(void) {
    pthread_attr_t attributes;
    void *low;
    size_t size;
    CHECK(pthread_getattr_np(pthread_self(), &attributes) == 0);
    CHECK(pthread_attr_getstack(&attributes, &low, &size) == 0);
    pthread_attr_destroy(&attributes);
    testify(",\"stack\":[%" PRIuPTR ",%" PRIuPTR "]", (uintptr_t)low, (uintptr_t)low + size);
}
static void testify_instruction(const void *instruction) {
    testify(",\"instruction\":%" PRIuPTR, (uintptr_t)instruction);
}
static void ready(void) {
    testify("}");
    say_ready();
}

/* --- crashes --- */

KNOWN void null_leaf(void) {
    null_node->value = 1;
}
KNOWN void null_mid(void) {
    null_leaf();
    NOT_A_TAIL_CALL();
}
KNOWN void *null_top(void *unused) {
    testify_crash(SIGSEGV, SEGV_MAPERR, NULL_MEMBER_OFFSET, "\"null_leaf\",\"null_mid\",\"null_top\"");
    ready();
    null_mid();
    NOT_A_TAIL_CALL();
    return unused;
}

/* Waits until the main thread is a zombie, which it stays as long as another thread runs. */
static void *leaderless_top(void *unused) {
    char state = 0;
    while (state != 'Z') {
        FILE *stat = fopen("/proc/self/stat", "r");
        CHECK(stat && fscanf(stat, "%*d (%*[^)]) %c", &state) == 1 && fclose(stat) == 0);
    }
    return null_top(unused);
}

KNOWN void abort_leaf(void) {
    abort();
    NOT_A_TAIL_CALL();
}
KNOWN void *abort_top(void *unused) {
    testify_crash(SIGABRT, SI_TKILL, 0, "\"abort_leaf\",\"abort_top\"");
    ready();
    if (!never)
        abort_leaf();
    NOT_A_TAIL_CALL();
    return unused;
}

KNOWN int overflow_recurse(int level) {
    volatile char local[OVERFLOW_LOCAL];
    local[0] = (char)level;
    int deeper = overflow_recurse(level + 1);
    NOT_A_TAIL_CALL();
    return deeper + local[0];
}
KNOWN void *overflow_top(void *unused) {
    testify_crash(SIGSEGV, SEGV_ACCERR, 0,
                  "\"overflow_recurse\",\"overflow_recurse\",\"overflow_recurse\",\"overflow_top\"");
    testify_own_stack();
    ready();
    overflow_recurse(0);
    NOT_A_TAIL_CALL();
    return unused;
}
KNOWN void overflow_main(void) {
    /* The guard gap below the main stack is not a mapping: MAPERR, not ACCERR. */
    testify_crash(SIGSEGV, SEGV_MAPERR, 0, "\"overflow_recurse\",\"overflow_recurse\",\"overflow_recurse\"");
    testify_own_stack();
    ready();
    overflow_recurse(0);
    NOT_A_TAIL_CALL();
}

static void give_default_back(int number, siginfo_t *info, void *context) {
    (void)info, (void)context;
    signal(number, SIG_DFL);
}
static void *overflow_with_handler(void *unused) {
    static char alternate[1 << 16];
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    CHECK(sigaltstack(&stack, NULL) == 0);
    struct sigaction action = {.sa_sigaction = give_default_back, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    return overflow_top(unused);
}

/* jump_to(target): makes a frame, then jumps. The kernel reports the jump itself, with SI_KERNEL
 * and address 0. */
void jump_to(uint64_t target);
extern const char jump_site[];
#ifdef __x86_64__
__asm__(".text\n"
        ".globl jump_to\n"
        ".type jump_to, @function\n"
        "jump_to:\n"
        ".cfi_startproc\n"
        "    pushq %rbp\n"
        ".cfi_def_cfa_offset 16\n"
        ".cfi_offset %rbp, -16\n"
        "    movq %rsp, %rbp\n"
        ".cfi_def_cfa_register %rbp\n"
        ".globl jump_site\n"
        "jump_site:\n"
        "    jmp *%rdi\n"
        "    popq %rbp\n"
        ".cfi_def_cfa %rsp, 8\n"
        "    ret\n"
        ".cfi_endproc\n"
        ".size jump_to, . - jump_to\n");
#else
__asm__(".text\n"
        ".globl jump_to\n"
        ".type jump_to, @function\n"
        "jump_to:\n"
        ".cfi_startproc\n"
        "    pushl %ebp\n"
        ".cfi_def_cfa_offset 8\n"
        ".cfi_offset %ebp, -8\n"
        "    movl %esp, %ebp\n"
        ".cfi_def_cfa_register %ebp\n"
        ".globl jump_site\n"
        "jump_site:\n"
        "    jmp *8(%ebp)\n"
        "    popl %ebp\n"
        ".cfi_def_cfa %esp, 4\n"
        "    ret\n"
        ".cfi_endproc\n"
        ".size jump_to, . - jump_to\n");
#endif
KNOWN void jump_leaf(void) {
    jump_to(NON_CANONICAL);
    NOT_A_TAIL_CALL();
}
KNOWN void *jump_top(void *unused) {
    testify_crash(SIGSEGV, SI_KERNEL, 0, "\"jump_to\",\"jump_leaf\",\"jump_top\"");
    testify_instruction(jump_site);
    ready();
    jump_leaf();
    NOT_A_TAIL_CALL();
    return unused;
}

KNOWN void null_call_leaf(void) {
    null_function();
    NOT_A_TAIL_CALL();
}
KNOWN void *null_call_top(void *unused) {
    testify_crash(SIGSEGV, SEGV_MAPERR, 0, "\"null_call_leaf\",\"null_call_top\"");
    testify_instruction(NULL);
    ready();
    null_call_leaf();
    NOT_A_TAIL_CALL();
    return unused;
}

/* ud2 and a division, each at a label. */
extern const char illegal_site[], divide_site[];
KNOWN void illegal_leaf(void) {
    __asm__ volatile(".globl illegal_site\nillegal_site: ud2");
}
KNOWN void *illegal_top(void *unused) {
    testify_crash(SIGILL, ILL_ILLOPN, (uintptr_t)illegal_site, "\"illegal_leaf\",\"illegal_top\"");
    testify_instruction(illegal_site);
    ready();
    illegal_leaf();
    NOT_A_TAIL_CALL();
    return unused;
}
KNOWN int divide_leaf(void) {
    int quotient = 1, remainder = 0;
    __asm__ volatile(".globl divide_site\ndivide_site: idivl %2"
                     : "+a"(quotient), "+d"(remainder)
                     : "r"(zero));
    return quotient + remainder;
}
KNOWN void *divide_top(void *unused) {
    testify_crash(SIGFPE, FPE_INTDIV, (uintptr_t)divide_site, "\"divide_leaf\",\"divide_top\"");
    testify_instruction(divide_site);
    ready();
    zero = divide_leaf();
    NOT_A_TAIL_CALL();
    return unused;
}

KNOWN char bus_leaf(const volatile char *at) {
    return *at;
}
KNOWN void *bus_top(void *unused) {
    int file = memfd_create("truncated", 0);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    CHECK(file >= 0);
    const volatile char *mapped = mmap(NULL, 2 * page, PROT_READ, MAP_SHARED, file, 0);
    CHECK(mapped != MAP_FAILED);
    testify_crash(SIGBUS, BUS_ADRERR, (uintptr_t)mapped + page, "\"bus_leaf\",\"bus_top\"");
    ready();
    zero = bus_leaf(mapped + page);
    NOT_A_TAIL_CALL();
    return unused;
}

extern const char behind_trap[];
KNOWN void trap_leaf(void) {
    __asm__ volatile("int3\n.globl behind_trap\nbehind_trap:");
}
KNOWN void *trap_top(void *unused) {
    /* The kernel reports no address for a breakpoint. The sensible address is the instruction
     * pointer. */
    testify_crash(SIGTRAP, SI_KERNEL, (uintptr_t)behind_trap, "\"trap_leaf\",\"trap_top\"");
    testify_instruction(behind_trap);
    ready();
    trap_leaf();
    NOT_A_TAIL_CALL();
    return unused;
}

KNOWN void raise_leaf(int number) {
    raise(number);
    NOT_A_TAIL_CALL();
}
KNOWN void raise_on_main(int number) {
    testify_crash(number, SI_TKILL, 0, "\"raise_leaf\",\"raise_on_main\",\"main\"");
    ready();
    raise_leaf(number);
    NOT_A_TAIL_CALL();
}

/* --- not crashes --- */

static sigjmp_buf recovery;
static volatile unsigned long handled;

static void jump_back(int number) {
    handled++;
    siglongjmp(recovery, number);
}
static void repeat_handled(unsigned long count) {
    struct sigaction action = {.sa_handler = jump_back};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    while (handled < count)
        if (sigsetjmp(recovery, 1) == 0)
            null_leaf();
}

static void map_the_page(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    handled++;
    CHECK(mprotect((void *)((uintptr_t)info->si_addr & ~(page - 1)), page, PROT_READ | PROT_WRITE) == 0);
}
static void repeat_fixed_up(unsigned long count) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct sigaction action = {.sa_sigaction = map_the_page, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    volatile char *at = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    while (handled < count) {
        *at = 1;
        CHECK(mprotect((void *)at, page, PROT_NONE) == 0);
    }
}

static int serve_handled(const char *how) {
    testify_crash(0, 0, 0, "");
    testify(",\"handled\":%lu", handled);
    ready();
    printf("%s %lu\n", how, handled);
    fflush(stdout);
    serve_until_end_of_input();
    return 0;
}

/* --- selection --- */

struct crash {
    const char *name, *thread;
    size_t stack;
    void *(*top)(void *);
};
static const struct crash crashes[] = {
    {"null", "null", 0, null_top},
    {"abort", "abort", 0, abort_top},
    {"overflow", "overflow", OVERFLOW_STACK, overflow_top},
    {"overflow-handled", "overflow", OVERFLOW_STACK, overflow_with_handler},
    {"non-canonical", "non-canonical", 0, jump_top},
    {"null-call", "null-call", 0, null_call_top},
    {"illegal", "illegal", 0, illegal_top},
    {"divide", "divide", 0, divide_top},
    {"bus", "bus", 0, bus_top},
    {"trap", "trap", 0, trap_top},
};

static void run_in_thread(const struct crash *crash) {
    start_bystanders();
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (crash->stack)
        CHECK(pthread_attr_setstacksize(&attributes, crash->stack) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, &attributes, crash->top, NULL) == 0);
    /* This thread sets the name, because the other one crashes. It may come too late: the tests do
     * not check names here. */
    pthread_setname_np(thread, crash->thread);
    pthread_join(thread, NULL);
}

int main(int count, char **arguments) {
    if (!getenv("VICTIM_LEAVES_CORE")) {
        const struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
    }
    const char *which = count > 1 ? arguments[1] : "";
    unsigned long number = count > 2 ? strtoul(arguments[2], NULL, 10) : 1000;

    if (strcmp(which, "handled") == 0) {
        start_bystanders();
        repeat_handled(number);
        return serve_handled(which);
    }
    if (strcmp(which, "fixed-up") == 0) {
        start_bystanders();
        repeat_fixed_up(number);
        return serve_handled(which);
    }
    if (strcmp(which, "exit") == 0) {
        testify_crash(0, 0, 0, "");
        ready();
        return (int)number;
    }
    if (strcmp(which, "killed-by") == 0) {
        start_bystanders();
        raise_on_main((int)number);
        return 98;
    }
    if (strcmp(which, "null-main") == 0) {
        null_top(NULL);
        NOT_A_TAIL_CALL();
        return 98;
    }
    if (strcmp(which, "leaderless") == 0) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, leaderless_top, NULL) == 0);
        pthread_exit(NULL);
    }
    if (strcmp(which, "overflow-main") == 0) {
        start_bystanders();
        overflow_main();
        return 98;
    }
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
        if (strcmp(which, crashes[i].name) == 0) {
            run_in_thread(&crashes[i]);
            return 98;
        }
    fprintf(stderr, "crash: which one?\n");
    return 97;
}
