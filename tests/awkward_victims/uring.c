/*
 * Threads that the kernel has created in the process for io_uring: a worker, and one that polls a
 * ring's queue for new requests.
 *
 *   uring FOLDER [abort]   creates a FIFO in FOLDER; with "abort", prints the testimony and aborts
 *
 * The worker waits in a request that an interrupt would end: the opening of a FIFO without a
 * writer. At end of input the program opens the other end and prints the result of the request:
 * "opened", or its error.
 *
 * If the system does not permit io_uring, the testimony says so, and there are no such threads.
 */
#include "known.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { MOST = 8 };

static pid_t made[MOST];
static int made_count;

static struct io_uring_params parameters;
static int worked;
static char fifo[4096];
static char *queue;
static struct io_uring_sqe *entries;

/* Returns a ring's descriptor, or -1. */
static int ring(struct io_uring_params *of) {
    return (int)syscall(SYS_io_uring_setup, 4, of);
}

static void map_rings(void) {
    CHECK(parameters.features & IORING_FEAT_SINGLE_MMAP);
    size_t behind = parameters.cq_off.cqes + parameters.cq_entries * sizeof(struct io_uring_cqe);
    queue = mmap(NULL, behind, PROT_READ | PROT_WRITE, MAP_SHARED, worked, IORING_OFF_SQ_RING);
    entries = mmap(NULL, parameters.sq_entries * sizeof *entries, PROT_READ | PROT_WRITE, MAP_SHARED, worked,
                   IORING_OFF_SQES);
    CHECK(queue != MAP_FAILED && entries != MAP_FAILED);
}

static void submit(struct io_uring_sqe entry) {
    const struct io_sqring_offsets *offsets = &parameters.sq_off;
    unsigned *tail = (unsigned *)(queue + offsets->tail);
    unsigned index = *tail & (parameters.sq_entries - 1);
    entry.flags = IOSQE_ASYNC;
    entries[index] = entry;
    ((unsigned *)(queue + offsets->array))[index] = index;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    CHECK(syscall(SYS_io_uring_enter, worked, 1, 0, 0, NULL, 0) == 1);
}

/* Opens the FIFO's other end as soon as possible, and prints the result of the request. */
static void complete(void) {
    const struct io_cqring_offsets *offsets = &parameters.cq_off;
    unsigned *tail = (unsigned *)(queue + offsets->tail);
    int writer = -1;
    while (writer < 0 && __atomic_load_n(tail, __ATOMIC_ACQUIRE) < 1) {
        writer = open(fifo, O_WRONLY | O_NONBLOCK);
        sched_yield();
    }
    while (__atomic_load_n(tail, __ATOMIC_ACQUIRE) < 1)
        CHECK(syscall(SYS_io_uring_enter, worked, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) >= 0);
    int result = ((struct io_uring_cqe *)(queue + offsets->cqes))->res;
    printf(result >= 0 ? "opened\n" : "%d\n", result);
    close(writer);
}

static int sleeps(pid_t tid) {
    char path[64], line[512] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    FILE *stat = fopen(path, "r");
    if (stat) {
        CHECK(fgets(line, sizeof line, stat));
        fclose(stat);
    }
    return strstr(line, ") S ") != NULL;
}

/* Every thread except this one was created by the kernel. They are counted when they sleep. */
static void look_for_threads(void) {
    made_count = 0;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks);
    for (struct dirent *task; (task = readdir(tasks));) {
        pid_t tid = atoi(task->d_name);
        if (tid != 0 && tid != getpid() && made_count < MOST && sleeps(tid))
            made[made_count++] = tid;
    }
    closedir(tasks);
}

KNOWN void main_inner(void) {
    say_ready();
    serve_until_end_of_input();
    if (queue)
        complete();
    NOT_A_TAIL_CALL();
}

int main(int count, char **arguments) {
    CHECK(count == 2 || count == 3);
    testify("{\"pid\":%d,\"threads\":[", getpid());
    testify_thread(getpid(), "\"main_inner\"");
    testify("],\"stacks\":[],\"refused\":");
    struct io_uring_params polled = {.flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 1};
    worked = ring(&parameters);
    if (worked < 0) {
        testify("\"%s\",", strerror(errno));
    } else {
        testify("null,");
        snprintf(fifo, sizeof fifo, "%s/fifo", arguments[1]);
        CHECK(mkfifo(fifo, 0600) == 0);
        map_rings();
        submit((struct io_uring_sqe){.opcode = IORING_OP_OPENAT,
                                     .fd = AT_FDCWD,
                                     .addr = (uintptr_t)fifo,
                                     .open_flags = O_RDONLY});
        int wanted = 1 + (ring(&polled) >= 0);
        while (made_count < wanted)
            look_for_threads();
    }
    testify("\"made_by_kernel\":[");
    for (int i = 0; i < made_count; i++)
        testify("%s%d", i ? "," : "", made[i]);
    testify("]}");
    if (count == 3) {
        say_ready();
        abort();
    }
    main_inner();
    NOT_A_TAIL_CALL();
    return 0;
}
