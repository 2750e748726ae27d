/*
 * The processes that `cargo xtask bench` dumps.
 *
 *   targets WORKLOAD HEARTBEAT [SIZE]...
 *
 *   small THREADS MEBIBYTES           parked threads, and a heap that looks random
 *   wide THREADS KIBIBYTES            parked threads, each with a stack of this size in use,
 *                                     made of real frames
 *   big MEBIBYTES                     a heap that looks random
 *   mixed MEBIBYTES                   a heap of which a quarter of the pages each looks random, is
 *                                     zero, looks like text, and looks like pointers into the heap
 *   sparse MEBIBYTES TOUCHED          a mapping, of which TOUCHED MiB exist, in scattered runs of 1
 *                                     to 64 pages. Every other run has only zeros
 *   mappy MAPPINGS OBJECTS FOLDER     mappings of one page with alternating protection, and the
 *                                     shared objects FOLDER/0.so, FOLDER/1.so...
 *   churn THREADS MEBIBYTES           as small, and a thread that writes to random pages
 *   handles THREADS MEBIBYTES COUNT   as small, and open file descriptors of several kinds
 *
 * Contents come from a generator with a fixed seed. The program prints READY, and ends at the end
 * of its standard input.
 *
 * HEARTBEAT is a file, which it maps: three numbers of 64 bits. A thread sleeps 100 us at a time,
 * increments the first one after each sleep, and stores the longest time in ns between two wake-ups
 * in the second one, which the reader may reset. The third one is 1 if the thread has a real-time
 * priority: otherwise, the gaps show the load of the machine as well.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "targets: line %d: %s: %m\n", __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

enum { PAGE = 4096 };

/* splitmix64 */
static uint64_t next(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static void fill(void *at, size_t bytes, uint64_t *state) {
    uint64_t *words = at;
    for (size_t i = 0; i < bytes / sizeof *words; i++)
        words[i] = next(state);
}

/* --- the heartbeat --- */

struct beats {
    _Atomic uint64_t count, longest, is_real_time;
};

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void *beat(void *argument) {
    struct beats *beats = argument;
    struct sched_param priority = {.sched_priority = 10};
    beats->is_real_time = pthread_setschedparam(pthread_self(), SCHED_FIFO, &priority) == 0;
    const struct timespec pause = {.tv_nsec = 100000};
    for (uint64_t last = now();;) {
        nanosleep(&pause, NULL);
        uint64_t time = now();
        if (time - last > beats->longest)
            beats->longest = time - last;
        last = time;
        beats->count++;
    }
    return NULL;
}

/* --- threads --- */

static pthread_barrier_t all_parked;

static volatile int is_over;

__attribute__((noinline)) static void park(void) {
    pthread_barrier_wait(&all_parked);
    while (!is_over)
        pause();
}

/* A frame of 1 KiB, whose contents the callee might use. */
__attribute__((noinline)) static uint64_t descend(unsigned depth, uint64_t *state) {
    uint64_t local[120];
    fill(local, sizeof local, state);
    __asm__ volatile("" : : "r"(local) : "memory");
    if (depth == 0) {
        park();
        return 0;
    }
    uint64_t below = descend(depth - 1, state);
    __asm__ volatile("" : : "r"(local) : "memory");
    return below + local[0];
}

static unsigned kibibytes_a_stack = 1;

static void *parked(void *index) {
    uint64_t state = 0x5EED + (uintptr_t)index;
    return (void *)(uintptr_t)descend(kibibytes_a_stack, &state);
}

static void start(pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
    pthread_t thread;
    CHECK(pthread_create(&thread, attributes, run, argument) == 0);
}

static void start_parked(unsigned count, unsigned kibibytes) {
    kibibytes_a_stack = kibibytes;
    pthread_attr_t attributes;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, 2 * (size_t)kibibytes * 1024 + (64 << 10)) == 0);
    CHECK(pthread_barrier_init(&all_parked, NULL, count + 1) == 0);
    for (uintptr_t i = 0; i < count; i++)
        start(&attributes, parked, (void *)i);
    pthread_barrier_wait(&all_parked);
}

/* --- memory --- */

static unsigned char *map(size_t bytes) {
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

static unsigned char *heap;
static size_t heap_bytes;

static void make_heap(size_t mebibytes) {
    uint64_t state = 0xB16;
    heap_bytes = mebibytes << 20;
    heap = map(heap_bytes);
    fill(heap, heap_bytes, &state);
}

/* The kinds of pages alternate. */
static void make_mixed_heap(size_t mebibytes) {
    uint64_t state = 0x313ED;
    heap_bytes = mebibytes << 20;
    heap = map(heap_bytes);
    for (size_t page = 0; page < heap_bytes / PAGE; page++) {
        uint64_t *words = (uint64_t *)(heap + page * PAGE);
        fill(words, PAGE, &state);
        for (size_t i = 0; i < PAGE / sizeof *words; i++) {
            switch (page % 4) {
            case 1:
                words[i] = 0;
                break;
            case 2: /* each byte is one of 16 letters */
                words[i] = (words[i] & UINT64_C(0x0F0F0F0F0F0F0F0F)) + UINT64_C(0x6161616161616161);
                break;
            case 3: /* addresses in the first MiB of the heap */
                words[i] = (uintptr_t)heap + (words[i] & 0xFFFF8);
            }
        }
    }
}

static void make_sparse(size_t mebibytes, size_t touched) {
    uint64_t state = 0x59A45E;
    size_t pages = (mebibytes << 20) / PAGE;
    unsigned char *at = map(pages * PAGE);
    size_t left = (touched << 20) / PAGE;
    /* A run has 32.5 pages on average. Each is somewhere in a part of the mapping of its own. */
    size_t runs = left * 2 / 65 + 1;
    size_t part = pages / runs;
    CHECK(part > 64);
    for (size_t run = 0; run < runs && left > 0; run++) {
        size_t length = next(&state) % 64 + 1;
        if (length > left || run + 1 == runs)
            length = left < 64 ? left : 64;
        unsigned char *from = at + (run * part + next(&state) % (part - length)) * PAGE;
        if (run % 2 == 0)
            fill(from, length * PAGE, &state);
        else
            memset(from, 0, length * PAGE);
        left -= length;
    }
}

static void make_mappings(size_t count) {
    uint64_t state = 0x3A99;
    unsigned char *at = map(count * PAGE);
    fill(at, count * PAGE, &state);
    for (size_t i = 0; i < count; i += 2)
        CHECK(mprotect(at + i * PAGE, PAGE, PROT_READ) == 0);
}

static void load_objects(size_t count, const char *folder) {
    char path[4096];
    for (size_t i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%zu.so", folder, i);
        if (!dlopen(path, RTLD_NOW)) {
            fprintf(stderr, "targets: %s\n", dlerror());
            exit(1);
        }
    }
}

/* Writes about 250 MiB/s, so that it does not take a whole processor. */
static void *dirty(void *unused) {
    uint64_t state = 0xC4094;
    const struct timespec pause = {.tv_nsec = 1000000};
    for (;;) {
        for (int i = 0; i < 64; i++)
            *(volatile uint64_t *)(heap + next(&state) % (heap_bytes / PAGE) * PAGE) += 1;
        nanosleep(&pause, NULL);
    }
    return unused;
}

static void open_handles(size_t count) {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_cur < count + 64) {
        limit.rlim_cur = count + 64;
        if (limit.rlim_max < limit.rlim_cur)
            limit.rlim_max = limit.rlim_cur;
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    }
    for (size_t i = 0; i < count;) {
        int pair[2];
        switch (i % 8) {
        case 0:
            CHECK(pipe(pair) == 0);
            i += 2;
            break;
        case 2:
            CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
            i += 2;
            break;
        case 4:
            CHECK(eventfd(0, 0) >= 0);
            i++;
            break;
        case 5:
            CHECK(epoll_create1(0) >= 0);
            i++;
            break;
        case 6:
            CHECK(open("/dev/null", O_RDWR) >= 0);
            i++;
            break;
        default:
            CHECK(open("/proc/self/exe", O_RDONLY) >= 0);
            i++;
        }
    }
}

int main(int count, char **arguments) {
    CHECK(count > 3);
    const char *workload = arguments[1];
    size_t sizes[3] = {0};
    for (int i = 0; i < 3 && i + 3 < count; i++)
        sizes[i] = strtoull(arguments[i + 3], NULL, 10);
    /* The page tables then do not depend on the setting of the system. */
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);

    int file = open(arguments[2], O_RDWR);
    CHECK(file >= 0);
    struct beats *beats = mmap(NULL, sizeof *beats, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(beats != MAP_FAILED);
    close(file);

    if (!strcmp(workload, "small") || !strcmp(workload, "churn") || !strcmp(workload, "handles")) {
        make_heap(sizes[1]);
        start_parked((unsigned)sizes[0], 1);
        if (!strcmp(workload, "churn"))
            start(NULL, dirty, NULL);
        if (!strcmp(workload, "handles"))
            open_handles(sizes[2]);
    } else if (!strcmp(workload, "wide")) {
        start_parked((unsigned)sizes[0], (unsigned)sizes[1]);
    } else if (!strcmp(workload, "big")) {
        make_heap(sizes[0]);
    } else if (!strcmp(workload, "mixed")) {
        make_mixed_heap(sizes[0]);
    } else if (!strcmp(workload, "sparse")) {
        make_sparse(sizes[0], sizes[1]);
    } else if (!strcmp(workload, "mappy")) {
        make_mappings(sizes[0]);
        load_objects(sizes[1], arguments[5]);
    } else {
        fprintf(stderr, "targets: there is no workload %s\n", workload);
        return 2;
    }
    start(NULL, beat, beats);
    printf("READY\n");
    fflush(stdout);
    char ignored[64];
    while (read(STDIN_FILENO, ignored, sizeof ignored) > 0)
        ;
    /* Without destructors: other threads still run. */
    _exit(0);
}
