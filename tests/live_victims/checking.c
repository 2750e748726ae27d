/*
 * A process that notices when something is done to it. Each of its threads does one thing over and
 * over and checks the outcome: registers (general, x87, SSE, AVX) during a long computation, memory
 * of the heap, a timer, a pipe, children, queued signals, epoll, sleeping and polling, a condition
 * variable. "check" on standard input is answered when every thread has done its thing twice since:
 * "whole", or what went wrong first.
 *
 * What a ptrace stop does to every process is allowed for: epoll_wait and sigwaitinfo may end with
 * EINTR (signal(7)). Nothing else may.
 */
#include "../victims/victim.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

#define MOST 16
#define MS INT64_C(1000000)

static atomic_ulong rounds[MOST];
static _Atomic(const char *) wrong;

/* Only the first failure is reported. */
static void must(int is_true, const char *what) {
    const char *none = NULL;
    if (!is_true)
        atomic_compare_exchange_strong(&wrong, &none, what);
}

static int64_t now(void) {
    struct timespec time;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &time) == 0);
    return time.tv_sec * 1000 * MS + time.tv_nsec;
}

static int nap(int64_t length) {
    struct timespec time = {0, length};
    return clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

struct registers {
    uint64_t wide[16][4], general[11];
    double x87[8];
    uint32_t mxcsr, control;
};

#define EACH_16(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define LOAD_YMM(n) "vmovdqu " TEXT(n) "*32(%%rsi), %%ymm" TEXT(n) "\n\t"
#define SAVE_YMM(n) "vmovdqu %%ymm" TEXT(n) ", " TEXT(n) "*32(%%rdi)\n\t"
#define LOAD_XMM(n) "movdqu " TEXT(n) "*32(%%rsi), %%xmm" TEXT(n) "\n\t"
#define SAVE_XMM(n) "movdqu %%xmm" TEXT(n) ", " TEXT(n) "*32(%%rdi)\n\t"
#define LOAD_X87(n) "fldl 600+" TEXT(n) "*8(%%rsi)\n\t"
#define SAVE_X87(n) "fstpl 600+(7-" TEXT(n) ")*8(%%rdi)\n\t"
#define EACH_8(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define SPIN(LOAD, SAVE, END)                                                                                \
    __asm__ volatile("fninit\n\t" EACH_8(LOAD_X87) "fldcw 668(%%rsi)\n\tldmxcsr 664(%%rsi)\n\t" EACH_16(LOAD) \
                     "mov 512(%%rsi), %%rax\n\tmov 520(%%rsi), %%rbx\n\tmov 528(%%rsi), %%rdx\n\t"           \
                     "mov 536(%%rsi), %%r8\n\tmov 544(%%rsi), %%r9\n\tmov 552(%%rsi), %%r10\n\t"             \
                     "mov 560(%%rsi), %%r11\n\tmov 568(%%rsi), %%r12\n\tmov 576(%%rsi), %%r13\n\t"           \
                     "mov 584(%%rsi), %%r14\n\tmov 592(%%rsi), %%r15\n\t"                                    \
                     "1:\n\tdec %%rcx\n\tjnz 1b\n\t"                                                         \
                     "mov %%rax, 512(%%rdi)\n\tmov %%rbx, 520(%%rdi)\n\tmov %%rdx, 528(%%rdi)\n\t"           \
                     "mov %%r8, 536(%%rdi)\n\tmov %%r9, 544(%%rdi)\n\tmov %%r10, 552(%%rdi)\n\t"             \
                     "mov %%r11, 560(%%rdi)\n\tmov %%r12, 568(%%rdi)\n\tmov %%r13, 576(%%rdi)\n\t"           \
                     "mov %%r14, 584(%%rdi)\n\tmov %%r15, 592(%%rdi)\n\t" EACH_16(SAVE)                      \
                     "stmxcsr 664(%%rdi)\n\tfnstcw 668(%%rdi)\n\t" EACH_8(SAVE_X87) "fninit\n\t" END         \
                     : "+c"(count)                                                                           \
                     : "S"(in), "D"(out)                                                                     \
                     : "rax", "rbx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory",  \
                       "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",       \
                       "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "st", "st(1)", "st(2)",         \
                       "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "cc")

static KNOWN void spin(const struct registers *in, struct registers *out, uint64_t count) {
    uint32_t usual = 0x1F80;
    if (__builtin_cpu_supports("avx"))
        SPIN(LOAD_YMM, SAVE_YMM, "vzeroupper\n\t");
    else
        SPIN(LOAD_XMM, SAVE_XMM, "");
    __asm__ volatile("ldmxcsr %0" : : "m"(usual));
}

static void keep_registers(unsigned long round) {
    struct registers in = {.mxcsr = 0x3F80, .control = 0x0F7F}, out = in;
    _Static_assert(offsetof(struct registers, general) == 512 && offsetof(struct registers, x87) == 600 &&
                       offsetof(struct registers, mxcsr) == 664 && offsetof(struct registers, control) == 668,
                   "as the assembler has it");
    fill_pattern(in.wide, sizeof in.wide, round);
    if (!__builtin_cpu_supports("avx"))
        for (int n = 0; n < 16; n++)
            in.wide[n][2] = in.wide[n][3] = 0;
    for (int n = 0; n < 11; n++)
        in.general[n] = ~round * PATTERN_STEP + n;
    for (int n = 0; n < 8; n++)
        in.x87[n] = round + n / 8.0;
    spin(&in, &out, 300000);
    must(memcmp(in.general, out.general, sizeof in.general) == 0, "general registers have changed");
    must(memcmp(in.wide, out.wide, sizeof in.wide) == 0, "SSE or AVX registers have changed");
    must(memcmp(in.x87, out.x87, sizeof in.x87) == 0, "x87 registers have changed");
    must(in.mxcsr == out.mxcsr && (in.control & 0xFFFF) == (out.control & 0xFFFF), "control registers have changed");
    nap(MS / 2);
}

static void keep_heap(unsigned long round) {
    static uint64_t *kept[4];
    enum { WORDS = 32 * 1024 };
    uint64_t **words = &kept[round % 4];
    if (*words)
        for (size_t k = 0; k < WORDS; k++)
            must((*words)[k] == round - 4 + k * PATTERN_STEP, "memory of the heap has changed");
    free(*words);
    *words = malloc(WORDS * sizeof **words);
    CHECK(*words != NULL);
    fill_pattern(*words, WORDS * sizeof **words, round);
    nap(MS);
}

static void count_ticks(unsigned long round) {
    static int timer;
    static int64_t start, ticks;
    const int64_t period = 2 * MS;
    if (round == 0) {
        start = now();
        struct itimerspec spec = {{0, period}, {(start + period) / (1000 * MS), (start + period) % (1000 * MS)}};
        timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
        CHECK(timer >= 0 && timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL) == 0);
    }
    uint64_t more = 0;
    int64_t before = (now() - start) / period;
    must(read(timer, &more, sizeof more) == sizeof more, "reading a timer has failed");
    ticks += more;
    must(ticks >= before - 1 && ticks <= (now() - start) / period + 1, "a timer has lost ticks, or has too many");
}

static int pipes[2];

static void write_pipe(unsigned long round) {
    must(write(pipes[1], &round, sizeof round) == sizeof round, "writing to a pipe has failed");
    nap(MS);
}

static void read_pipe(unsigned long round) {
    unsigned long got = 0;
    must(read(pipes[0], &got, sizeof got) == sizeof got && got == round, "a pipe has lost something");
}

static void raise_children(unsigned long round) {
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(round % 200);
    must(child > 0 && waitpid(child, &status, 0) == child, "a child has got lost");
    must(WIFEXITED(status) && WEXITSTATUS(status) == (int)(round % 200), "a child has not ended as it should");
    nap(2 * MS);
}

static pthread_t receiver;

static void send_signals(unsigned long round) {
    union sigval value = {.sival_ptr = (void *)round};
    must(pthread_sigqueue(receiver, SIGRTMIN, value) == 0, "a signal cannot be sent");
    nap(MS);
}

static void receive_signals(unsigned long round) {
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    int got;
    do
        got = sigwaitinfo(&set, &info);
    while (got < 0 && errno == EINTR);
    must(got == SIGRTMIN && info.si_value.sival_ptr == (void *)round, "queued signals are lost or out of order");
}

static int event = -1;

static void wait_for_events(unsigned long round) {
    static int epoll;
    struct epoll_event ready = {.events = EPOLLIN};
    if (round == 0) {
        epoll = epoll_create1(EPOLL_CLOEXEC);
        CHECK(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, event, &ready) == 0);
    }
    int got;
    do
        got = epoll_wait(epoll, &ready, 1, -1);
    while (got < 0 && errno == EINTR);
    uint64_t count = 0;
    must(got == 1 && read(event, &count, sizeof count) == sizeof count && count > 0, "epoll has lost an event");
}

static void make_events(unsigned long round) {
    uint64_t one = 1;
    (void)round;
    must(write(event, &one, sizeof one) == sizeof one, "an event cannot be made");
    nap(MS);
}

static void sleep_and_poll(unsigned long round) {
    struct pollfd none = {.fd = STDERR_FILENO, .events = 0};
    (void)round;
    int64_t start = now();
    must(nap(3 * MS) == 0, "a sleep was interrupted");
    must(now() - start >= 3 * MS, "a sleep was too short");
    start = now();
    must(poll(&none, 0, 3) == 0, "poll was interrupted");
    must(now() - start >= 3 * MS, "poll was too short");
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned long turn;

static void take_turns(unsigned long round, unsigned long side) {
    pthread_mutex_lock(&mutex);
    while (turn != 2 * round + side)
        pthread_cond_wait(&changed, &mutex);
    turn++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    nap(MS);
}

static void take_even_turns(unsigned long round) {
    take_turns(round, 0);
}

static void take_odd_turns(unsigned long round) {
    take_turns(round, 1);
}

static void (*const work[])(unsigned long round) = {
    keep_registers, keep_registers, keep_heap,       count_ticks, write_pipe,     read_pipe,      raise_children,
    send_signals,   receive_signals, wait_for_events, make_events, sleep_and_poll, take_even_turns, take_odd_turns,
};
#define WORKERS (sizeof work / sizeof work[0])

static void *worker(void *argument) {
    size_t number = (size_t)argument;
    for (unsigned long round = 0;; round++) {
        work[number](round);
        atomic_store(&rounds[number], round + 1);
    }
    return NULL;
}

/* Each worker has begun and ended a round since this was called. */
static const char *check(void) {
    for (size_t number = 0; number < WORKERS; number++) {
        unsigned long before = atomic_load(&rounds[number]);
        while (atomic_load(&rounds[number]) < before + 2 && !atomic_load(&wrong))
            nap(MS / 2);
    }
    const char *what = atomic_load(&wrong);
    return what ? what : "whole";
}

int main(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    event = eventfd(0, EFD_CLOEXEC);
    CHECK(pipe(pipes) == 0 && event >= 0 && pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    _Static_assert(WORKERS <= MOST, "as many counters");
    for (size_t number = WORKERS; number-- > 0;) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, worker, (void *)number) == 0);
        if (work[number] == receive_signals)
            receiver = thread;
    }
    check();
    testify("{\"pid\":%d}", getpid());
    say_ready();
    char line[16];
    size_t length = 0;
    while (read(STDIN_FILENO, line + length, 1) == 1) {
        if (line[length] == '\n') {
            printf("%s\n", check());
            fflush(stdout);
            length = 0;
        } else if (length + 1 < sizeof line) {
            length++;
        }
    }
    return 0;
}
