/*
 * Threads that the kernel has made inside the process, for io_uring: a worker, which has been given a read from an
 * empty pipe, and one that polls a ring's queue for new requests.
 *
 * Where the system does not permit io_uring, the testimony says so, and there are none.
 */
#include "known.h"

#include <dirent.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <sys/mman.h>

enum { MOST = 8 };

static pid_t made[MOST];
static int made_count;

/* The ring's descriptor, or -1. */
static int ring(struct io_uring_params *parameters) {
    return (int)syscall(SYS_io_uring_setup, 4, parameters);
}

static void submit_read(int ring, const struct io_uring_params *parameters, int from) {
    static char byte;
    const struct io_sqring_offsets *offsets = &parameters->sq_off;
    char *queue = mmap(NULL, offsets->array + parameters->sq_entries * sizeof(unsigned), PROT_READ | PROT_WRITE,
                       MAP_SHARED, ring, IORING_OFF_SQ_RING);
    struct io_uring_sqe *entry = mmap(NULL, parameters->sq_entries * sizeof *entry, PROT_READ | PROT_WRITE, MAP_SHARED,
                                      ring, IORING_OFF_SQES);
    CHECK(queue != MAP_FAILED && entry != MAP_FAILED);
    *entry = (struct io_uring_sqe){.opcode = IORING_OP_READ,
                                   .flags = IOSQE_ASYNC,
                                   .fd = from,
                                   .addr = (uintptr_t)&byte,
                                   .len = 1};
    *(unsigned *)(queue + offsets->array) = 0;
    __atomic_store_n((unsigned *)(queue + offsets->tail), 1, __ATOMIC_RELEASE);
    CHECK(syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0) == 1);
}

/* Every thread but this one has been made by the kernel. */
static void look_for_threads(void) {
    made_count = 0;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks);
    for (struct dirent *task; (task = readdir(tasks));) {
        pid_t tid = atoi(task->d_name);
        if (tid != 0 && tid != getpid() && made_count < MOST)
            made[made_count++] = tid;
    }
    closedir(tasks);
}

KNOWN void main_inner(void) {
    say_ready();
    serve_until_end_of_input();
    NOT_A_TAIL_CALL();
}

int main(void) {
    testify("{\"pid\":%d,\"threads\":[", getpid());
    testify_thread(getpid(), "\"main_inner\",\"main\"");
    testify("],\"stacks\":[],\"refused\":");
    struct io_uring_params plain = {0};
    struct io_uring_params polled = {.flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 1};
    int worked = ring(&plain);
    if (worked < 0) {
        testify("\"%s\",", strerror(errno));
    } else {
        testify("null,");
        int ends[2];
        CHECK(pipe(ends) == 0);
        submit_read(worked, &plain, ends[0]);
        int wanted = 1 + (ring(&polled) >= 0);
        while (made_count < wanted)
            look_for_threads();
    }
    testify("\"made_by_kernel\":[");
    for (int i = 0; i < made_count; i++)
        testify("%s%d", i ? "," : "", made[i]);
    testify("]}");
    main_inner();
    NOT_A_TAIL_CALL();
    return 0;
}
