/*
 * The main victim: threads with known stacks, names, registers and memory.
 *
 *   main        main > main_outer > main_inner, serving standard input
 *   alpha       alpha_top > alpha_mid > alpha_leaf, asleep in a system call, with a pattern on its
 *               stack
 *   registers   beta_top > spin_with_patterns, running, with a known value in every register except
 *               rsp, rbp and rip
 *   Grüße-名前  gamma_top > gamma_leaf; a name that is not ASCII
 *   handler     on_signal > handler_leaf on an alternate stack; it interrupted
 *               interrupted_top > interrupted_mid > interrupted_leaf
 *   deep        deep_top > DEPTH times recurse > recurse_bottom; more than the 32 KiB of stack that
 *               other writers dump
 *   twin-a, twin-b
 *               two threads whose stacks are in the same mapping
 *
 * Besides the pattern on alpha's stack, there are patterns on the heap, in the data segment and in
 * a mapping.
 *
 * It also builds as a 32-bit program (-m32).
 */
#include "victim.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

enum {
    DEPTH = 400,
    DEEP_LOCAL = 256,
    THREADS = 7,
    HEAP_BYTES = 1 << 16,
    MAPPED_PAGES = 16,
    TWIN_STACK = 1 << 17
};
#define SEED_STACK UINT64_C(0x5354414B00000001)
#define SEED_DATA UINT64_C(0x4441544100000002)
#define SEED_HEAP UINT64_C(0x4845415000000003)
#define SEED_MAPPED UINT64_C(0x4D41505000000004)
#define MXCSR_PATTERN 0x9F80u /* flush to zero, all exceptions masked: not the default 0x1F80 */
#define FCW_PATTERN 0x027Fu   /* 53 bit precision: not the default 0x037F */

struct thread_facts {
    const char *name;
    const char *functions; /* innermost first, JSON */
    pid_t tid;
    uintptr_t stack_low, stack_high; /* of the thread's own stack, not of an alternate one */
    uintptr_t alternate_low, alternate_high;
    uintptr_t fs_base;
};

static struct thread_facts facts[THREADS + 1];
/* The number of threads in their final function. spin_with_patterns increments it when its
 * registers are loaded. */
_Atomic int arrived;
/* Never set, which the compiler cannot know. For the compiler, the functions that stay do return,
 * so code follows every call. */
static volatile int never;
static volatile uint64_t *stack_pattern;
enum { STACK_PATTERN_BYTES = 2048 };

/* In .data, at a known address. */
static uint64_t data_pattern[512] = {1};

/* As wide as the program's registers. */
uintptr_t gpr_pattern[16] __attribute__((aligned(64)));
uint64_t xmm_pattern[32] __attribute__((aligned(64)));
uint32_t mxcsr_pattern = MXCSR_PATTERN;
uint16_t fcw_pattern = FCW_PATTERN;
double x87_pattern = 1.5;

static void note_self(struct thread_facts *self) {
    self->tid = own_tid();
    pthread_attr_t attributes;
    void *low;
    size_t size;
    CHECK(pthread_getattr_np(pthread_self(), &attributes) == 0);
    CHECK(pthread_attr_getstack(&attributes, &low, &size) == 0);
    pthread_attr_destroy(&attributes);
    self->stack_low = (uintptr_t)low;
    self->stack_high = (uintptr_t)low + size;
    /* Word 0 of the thread control block is its own address (System V ABI for x86-64, thread-local
     * storage). */
#ifdef __x86_64__
    __asm__("movq %%fs:0, %0" : "=r"(self->fs_base));
#else
    /* The same on i386, where it is gs (ELF Handling for Thread-Local Storage, section 3.4.2). */
    __asm__("movl %%gs:0, %0" : "=r"(self->fs_base));
#endif
    if (self != &facts[0])
        CHECK(pthread_setname_np(pthread_self(), self->name) == 0);
}

/* Sleeps until killed. pause() returns after a handler has run. */
static inline __attribute__((always_inline)) void stay(void) {
    atomic_fetch_add(&arrived, 1);
    while (!never)
        pause();
}

KNOWN void alpha_leaf(void) {
    stay();
    NOT_A_TAIL_CALL();
}
KNOWN void alpha_mid(void) {
    volatile uint64_t local[STACK_PATTERN_BYTES / 8];
    fill_pattern((void *)local, STACK_PATTERN_BYTES, SEED_STACK);
    stack_pattern = local;
    alpha_leaf();
    NOT_A_TAIL_CALL();
    (void)local[0];
}
KNOWN void *alpha_top(void *self) {
    note_self(self);
    alpha_mid();
    NOT_A_TAIL_CALL();
    return NULL;
}

#ifdef __x86_64__
/*
 * Registers: rax = gpr_pattern[0], then rbx rcx rdx rsi rdi r8 … r15 in this order; xmm0 … xmm15;
 * mxcsr; the x87 control word and one value on the x87 stack. Written in assembly with full call
 * frame information and with a frame pointer, so that it unwinds in both builds.
 */
void spin_with_patterns(void);
__asm__(".text\n"
        ".globl spin_with_patterns\n"
        ".type spin_with_patterns, @function\n"
        "spin_with_patterns:\n"
        ".cfi_startproc\n"
        "    endbr64\n"
        "    pushq %rbp\n"
        ".cfi_def_cfa_offset 16\n"
        ".cfi_offset %rbp, -16\n"
        "    movq %rsp, %rbp\n"
        ".cfi_def_cfa_register %rbp\n"
        "    pushq %rbx\n"
        ".cfi_offset %rbx, -24\n"
        "    pushq %r12\n"
        ".cfi_offset %r12, -32\n"
        "    pushq %r13\n"
        ".cfi_offset %r13, -40\n"
        "    pushq %r14\n"
        ".cfi_offset %r14, -48\n"
        "    pushq %r15\n"
        ".cfi_offset %r15, -56\n"
        "    subq $8, %rsp\n"
        "    leaq xmm_pattern(%rip), %rax\n"
        "    movaps 0(%rax), %xmm0\n"
        "    movaps 16(%rax), %xmm1\n"
        "    movaps 32(%rax), %xmm2\n"
        "    movaps 48(%rax), %xmm3\n"
        "    movaps 64(%rax), %xmm4\n"
        "    movaps 80(%rax), %xmm5\n"
        "    movaps 96(%rax), %xmm6\n"
        "    movaps 112(%rax), %xmm7\n"
        "    movaps 128(%rax), %xmm8\n"
        "    movaps 144(%rax), %xmm9\n"
        "    movaps 160(%rax), %xmm10\n"
        "    movaps 176(%rax), %xmm11\n"
        "    movaps 192(%rax), %xmm12\n"
        "    movaps 208(%rax), %xmm13\n"
        "    movaps 224(%rax), %xmm14\n"
        "    movaps 240(%rax), %xmm15\n"
        "    ldmxcsr mxcsr_pattern(%rip)\n"
        "    fninit\n"
        "    fldcw fcw_pattern(%rip)\n"
        "    fldl x87_pattern(%rip)\n"
        "    leaq gpr_pattern(%rip), %rax\n"
        "    movq 8(%rax), %rbx\n"
        "    movq 16(%rax), %rcx\n"
        "    movq 24(%rax), %rdx\n"
        "    movq 32(%rax), %rsi\n"
        "    movq 40(%rax), %rdi\n"
        "    movq 48(%rax), %r8\n"
        "    movq 56(%rax), %r9\n"
        "    movq 64(%rax), %r10\n"
        "    movq 72(%rax), %r11\n"
        "    movq 80(%rax), %r12\n"
        "    movq 88(%rax), %r13\n"
        "    movq 96(%rax), %r14\n"
        "    movq 104(%rax), %r15\n"
        "    movq 0(%rax), %rax\n"
        "    lock incl arrived(%rip)\n"
        "1:  pause\n"
        "    jmp 1b\n"
        ".cfi_endproc\n"
        ".size spin_with_patterns, . - spin_with_patterns\n");

enum { GENERAL = 14, XMM = 16 };
static const char *const general_names[GENERAL] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8",
                                                   "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

static inline __attribute__((always_inline)) void spin(void) {
    spin_with_patterns();
}
static int spinning(void) {
    return 0;
}
#else
/*
 * Registers: eax = gpr_pattern[0], then ebx ecx edx esi edi; xmm0 … xmm7; mxcsr; the x87 control
 * word and one value on the x87 stack. When they are loaded, no register is left to address a
 * variable. The thread therefore sets a flag on its own stack, whose address it stored before.
 */
struct places {
    const uintptr_t *general;
    const uint64_t *xmm;
    const uint32_t *mxcsr;
    const uint16_t *fcw;
    const double *x87;
    _Atomic(_Atomic int *) loaded;
};
void spin_with_patterns(struct places *);
__asm__(".text\n"
        ".globl spin_with_patterns\n"
        ".type spin_with_patterns, @function\n"
        "spin_with_patterns:\n"
        ".cfi_startproc\n"
        "    pushl %ebp\n"
        ".cfi_def_cfa_offset 8\n"
        ".cfi_offset %ebp, -8\n"
        "    movl %esp, %ebp\n"
        ".cfi_def_cfa_register %ebp\n"
        "    pushl %ebx\n"
        ".cfi_offset %ebx, -12\n"
        "    pushl %esi\n"
        ".cfi_offset %esi, -16\n"
        "    pushl %edi\n"
        ".cfi_offset %edi, -20\n"
        "    pushl $0\n"
        "    movl 8(%ebp), %esi\n"
        "    movl 4(%esi), %eax\n"
        "    movaps 0(%eax), %xmm0\n"
        "    movaps 16(%eax), %xmm1\n"
        "    movaps 32(%eax), %xmm2\n"
        "    movaps 48(%eax), %xmm3\n"
        "    movaps 64(%eax), %xmm4\n"
        "    movaps 80(%eax), %xmm5\n"
        "    movaps 96(%eax), %xmm6\n"
        "    movaps 112(%eax), %xmm7\n"
        "    movl 8(%esi), %eax\n"
        "    ldmxcsr (%eax)\n"
        "    fninit\n"
        "    movl 12(%esi), %eax\n"
        "    fldcw (%eax)\n"
        "    movl 16(%esi), %eax\n"
        "    fldl (%eax)\n"
        "    movl 0(%esi), %eax\n"
        "    leal -16(%ebp), %ecx\n"
        "    movl %ecx, 20(%esi)\n"
        "    movl 4(%eax), %ebx\n"
        "    movl 8(%eax), %ecx\n"
        "    movl 12(%eax), %edx\n"
        "    movl 16(%eax), %esi\n"
        "    movl 20(%eax), %edi\n"
        "    movl 0(%eax), %eax\n"
        "    lock incl -16(%ebp)\n"
        "1:  pause\n"
        "    jmp 1b\n"
        ".cfi_endproc\n"
        ".size spin_with_patterns, . - spin_with_patterns\n");

enum { GENERAL = 6, XMM = 8 };
static const char *const general_names[GENERAL] = {"eax", "ebx", "ecx", "edx", "esi", "edi"};
static struct places places = {gpr_pattern, xmm_pattern, &mxcsr_pattern, &fcw_pattern, &x87_pattern, NULL};

static inline __attribute__((always_inline)) void spin(void) {
    spin_with_patterns(&places);
}
static int spinning(void) {
    _Atomic int *loaded = atomic_load(&places.loaded);
    return loaded ? atomic_load(loaded) : 0;
}
#endif

KNOWN void *beta_top(void *self) {
    note_self(self);
    spin();
    NOT_A_TAIL_CALL();
    return NULL;
}

KNOWN void gamma_leaf(void) {
    stay();
    NOT_A_TAIL_CALL();
}
KNOWN void *gamma_top(void *self) {
    note_self(self);
    gamma_leaf();
    NOT_A_TAIL_CALL();
    return NULL;
}

static _Atomic int interrupted_spins;

KNOWN void handler_leaf(void) {
    stay();
    NOT_A_TAIL_CALL();
}
KNOWN void on_signal(int number, siginfo_t *info, void *context) {
    (void)number, (void)info, (void)context;
    handler_leaf();
    NOT_A_TAIL_CALL();
}
KNOWN void interrupted_leaf(void) {
    atomic_store(&interrupted_spins, 1);
    while (!never)
        __builtin_ia32_pause();
}
KNOWN void interrupted_mid(void) {
    interrupted_leaf();
    NOT_A_TAIL_CALL();
}
KNOWN void *interrupted_top(void *argument) {
    struct thread_facts *self = argument;
    note_self(self);
    size_t size = 1 << 16;
    void *low = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(low != MAP_FAILED);
    stack_t stack = {.ss_sp = low, .ss_size = size};
    CHECK(sigaltstack(&stack, NULL) == 0);
    self->alternate_low = (uintptr_t)low;
    self->alternate_high = (uintptr_t)low + size;
    interrupted_mid();
    NOT_A_TAIL_CALL();
    return NULL;
}

KNOWN void recurse_bottom(void) {
    stay();
    NOT_A_TAIL_CALL();
}
KNOWN void recurse(int remaining) {
    volatile char local[DEEP_LOCAL];
    local[0] = (char)remaining;
    if (remaining > 1)
        recurse(remaining - 1);
    else
        recurse_bottom();
    NOT_A_TAIL_CALL();
    (void)local[0];
}
KNOWN void *deep_top(void *self) {
    note_self(self);
    recurse(DEPTH);
    NOT_A_TAIL_CALL();
    return NULL;
}

KNOWN void twin_leaf(void) {
    stay();
    NOT_A_TAIL_CALL();
}
KNOWN void *twin_top(void *self) {
    note_self(self);
    twin_leaf();
    NOT_A_TAIL_CALL();
    return NULL;
}

static pthread_t start(int index, const char *name, const char *functions, void *(*top)(void *),
                       void *stack) {
    facts[index].name = name;
    facts[index].functions = functions;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (stack)
        CHECK(pthread_attr_setstack(&attributes, stack, TWIN_STACK) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, &attributes, top, &facts[index]) == 0);
    pthread_attr_destroy(&attributes);
    return thread;
}

static void fill_registers(void) {
    for (uint64_t i = 0; i < GENERAL; i++)
        gpr_pattern[i] = (uintptr_t)(UINT64_C(0xA5A5000000000000) + (i + 1) * UINT64_C(0x0000111122223333));
    for (uint64_t i = 0; i < 16; i++) {
        xmm_pattern[2 * i] = UINT64_C(0x5858000000000000) + i * UINT64_C(0x0101010101010101);
        xmm_pattern[2 * i + 1] = ~xmm_pattern[2 * i];
    }
}

static void testify_registers(void) {
    testify("\"registers\":{\"tid\":%d,\"general\":{", facts[2].tid);
    for (int i = 0; i < GENERAL; i++)
        testify("%s\"%s\":%" PRIuPTR, i ? "," : "", general_names[i], gpr_pattern[i]);
    testify("},\"xmm\":[");
    for (int i = 0; i < XMM; i++)
        testify("%s[%" PRIu64 ",%" PRIu64 "]", i ? "," : "", xmm_pattern[2 * i], xmm_pattern[2 * i + 1]);
    uint64_t x87_bits;
    memcpy(&x87_bits, &x87_pattern, sizeof x87_bits);
    testify("],\"mxcsr\":%u,\"fcw\":%u,\"st0_double\":%" PRIu64 "}", mxcsr_pattern, fcw_pattern, x87_bits);
}

static void testify_function(const char *name, void *address, int last) {
    testify("\"%s\":%" PRIuPTR "%s", name, (uintptr_t)address, last ? "" : ",");
}

KNOWN void main_inner(void *heap, unsigned char *mapped) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    testify("{\"pid\":%d,\"threads\":[", getpid());
    for (int i = 0; i <= THREADS; i++) {
        const struct thread_facts *t = &facts[i];
        testify("%s{\"tid\":%d,\"name\":\"%s\",\"functions\":[%s],\"stack\":[%" PRIuPTR ",%" PRIuPTR
                "],\"fs_base\":%" PRIuPTR,
                i ? "," : "", t->tid, t->name, t->functions, t->stack_low, t->stack_high, t->fs_base);
        if (t->alternate_low)
            testify(",\"alternate_stack\":[%" PRIuPTR ",%" PRIuPTR "]", t->alternate_low, t->alternate_high);
        testify("}");
    }
    testify("],\"depth\":%d,", DEPTH);
    testify_registers();
    testify(",\"memory\":[");
    testify_pattern("stack", stack_pattern, STACK_PATTERN_BYTES, SEED_STACK);
    testify(",");
    testify_pattern("data", data_pattern, sizeof data_pattern, SEED_DATA);
    testify(",");
    testify_pattern("heap", heap, HEAP_BYTES, SEED_HEAP);
    testify(",");
    /* The mapping has a hole: its sixth page exists but cannot be read. The memory after the hole
     * is known too. */
    testify_pattern("mapped", mapped, 5 * page, SEED_MAPPED);
    testify(",");
    testify_pattern("behind-hole", mapped + 6 * page, 2 * page, SEED_MAPPED + 6 * (page / 8) * PATTERN_STEP);
    testify("],\"unreadable\":[%" PRIuPTR ",%" PRIuPTR "]", (uintptr_t)mapped + 5 * page,
            (uintptr_t)mapped + 6 * page);
    testify(",\"never_touched\":[%" PRIuPTR ",%" PRIuPTR "]", (uintptr_t)mapped + 8 * page,
            (uintptr_t)mapped + MAPPED_PAGES * page);
    testify(",\"functions\":{");
    testify_function("main_inner", (void *)main_inner, 0);
    testify_function("alpha_leaf", (void *)alpha_leaf, 0);
    testify_function("spin_with_patterns", (void *)spin_with_patterns, 0);
    testify_function("interrupted_leaf", (void *)interrupted_leaf, 0);
    testify_function("on_signal", (void *)on_signal, 0);
    testify_function("recurse", (void *)recurse, 1);
    testify("}}");
    say_ready();
    serve_until_end_of_input();
    NOT_A_TAIL_CALL();
}

KNOWN void main_outer(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *heap = malloc(HEAP_BYTES);
    CHECK(heap);
    fill_pattern(heap, HEAP_BYTES, SEED_HEAP);
    fill_pattern(data_pattern, sizeof data_pattern, SEED_DATA);
    unsigned char *mapped =
        mmap(NULL, MAPPED_PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mapped != MAP_FAILED);
    fill_pattern(mapped, 8 * page, SEED_MAPPED);
    CHECK(mprotect(mapped + 5 * page, page, PROT_NONE) == 0);
    main_inner(heap, mapped);
    NOT_A_TAIL_CALL();
}

int main(void) {
    facts[0].name = "threads";
    facts[0].functions = "\"main_inner\",\"main_outer\",\"main\"";
    note_self(&facts[0]);
    CHECK(pthread_setname_np(pthread_self(), facts[0].name) == 0);
    fill_registers();

    start(1, "alpha", "\"alpha_leaf\",\"alpha_mid\",\"alpha_top\"", alpha_top, NULL);
    start(2, "registers", "\"spin_with_patterns\",\"beta_top\"", beta_top, NULL);
    start(3, "Gr\u00fc\u00dfe-\u540d\u524d", "\"gamma_leaf\",\"gamma_top\"", gamma_top, NULL);
    pthread_t handler =
        start(4, "handler",
              "\"handler_leaf\",\"on_signal\",\"interrupted_leaf\",\"interrupted_mid\",\"interrupted_top\"",
              interrupted_top, NULL);
    start(5, "deep", "\"recurse_bottom\",\"recurse\",\"deep_top\"", deep_top, NULL);
    unsigned char *twins =
        mmap(NULL, 2 * TWIN_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    CHECK(twins != MAP_FAILED);
    start(6, "twin-a", "\"twin_leaf\",\"twin_top\"", twin_top, twins);
    start(7, "twin-b", "\"twin_leaf\",\"twin_top\"", twin_top, twins + TWIN_STACK);

    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    while (!atomic_load(&interrupted_spins))
        sched_yield();
    CHECK(pthread_kill(handler, SIGUSR1) == 0);
    while (atomic_load(&arrived) + spinning() < THREADS)
        sched_yield();

    main_outer();
    NOT_A_TAIL_CALL();
    return 0;
}
