/*
 * A process with a thread that waits in a system call:
 *
 *   waiting CALL first|second
 *
 * The first thread waits, or a second one does. The line "wake" on standard input makes the call
 * return; the names that end in "-time" return by themselves. Then the process prints "woken", or
 * how the call has failed, or that it took less time than it should. Without arguments, it prints
 * the names of the calls. Some calls are made without the C library, which would use newer ones.
 */
#include "../victims/victim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <mqueue.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

/* The time of the calls that return by themselves. */
#define MS 500
static const struct timespec WHILE = {MS / 1000, MS % 1000 * 1000000};

static int ends[2] = {-1, -1}, queue;
static atomic_int word;
static aio_context_t context;
static struct iocb request;
static pid_t child;
static char path[64];
static sigset_t real_time;
static struct timespec began;
static pthread_t waiter;

static void handle(int number) {
    (void)number;
}

static void no_preparation(void) {
}

static void make_pipe(void) {
    CHECK(pipe(ends) == 0);
}

static void make_full_pipe(void) {
    char filler[4096] = {0};
    make_pipe();
    CHECK(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
    while (write(ends[1], filler, sizeof filler) > 0)
        ;
    CHECK(errno == EAGAIN && fcntl(ends[1], F_SETFL, 0) == 0);
}

static void make_event(void) {
    ends[0] = ends[1] = eventfd(0, 0);
    CHECK(ends[0] >= 0);
}

static void make_sockets(int milliseconds) {
    struct timeval time = {milliseconds / 1000, milliseconds % 1000 * 1000};
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) == 0);
    CHECK(setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time) == 0);
}

static void make_plain_sockets(void) {
    make_sockets(0);
}

static void make_hour_sockets(void) {
    make_sockets(3600 * 1000);
}

static void make_full_sockets(void) {
    char filler[4096] = {0};
    make_hour_sockets();
    while (send(ends[0], filler, sizeof filler, MSG_DONTWAIT) > 0)
        ;
    CHECK(errno == EAGAIN);
}

static void make_brief_sockets(void) {
    make_sockets(MS);
}

static struct sockaddr_un address(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "dumpwright-waiting-%d", getpid());
    return name;
}

static void make_listener(void) {
    struct sockaddr_un name = address();
    struct timeval hour = {3600, 0};
    ends[0] = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(ends[0] >= 0 && bind(ends[0], (struct sockaddr *)&name, sizeof name) == 0 && listen(ends[0], 1) == 0);
    CHECK(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &hour, sizeof hour) == 0);
}

static void make_queue(void) {
    queue = msgget(IPC_PRIVATE, 0600);
    CHECK(queue >= 0);
}

static void make_semaphore(void) {
    queue = semget(IPC_PRIVATE, 1, 0600);
    CHECK(queue >= 0);
}

static void make_mail(void) {
    struct mq_attr sizes = {.mq_maxmsg = 1, .mq_msgsize = 8};
    snprintf(path, sizeof path, "/dumpwright-waiting-%d", getpid());
    queue = mq_open(path, O_RDWR | O_CREAT | O_EXCL, 0600, &sizes);
    CHECK(queue >= 0 && mq_unlink(path) == 0);
}

static void make_file(void) {
    snprintf(path, sizeof path, "/tmp/dumpwright-waiting-%d", getpid());
    ends[0] = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    ends[1] = open(path, O_RDWR);
    CHECK(ends[0] >= 0 && ends[1] >= 0 && unlink(path) == 0 && flock(ends[1], LOCK_EX) == 0);
}

static void make_fifo(void) {
    snprintf(path, sizeof path, "/tmp/dumpwright-waiting-%d", getpid());
    CHECK(mkfifo(path, 0600) == 0);
}

static void make_watch(void) {
    snprintf(path, sizeof path, "/tmp/dumpwright-waiting-%d", getpid());
    ends[0] = inotify_init();
    CHECK(ends[0] >= 0 && mkdir(path, 0700) == 0 && inotify_add_watch(ends[0], path, IN_DELETE_SELF) >= 0);
}

static void make_child(void) {
    make_pipe();
    child = fork();
    if (child == 0) {
        char byte;
        close(ends[1]);
        _exit(read(ends[0], &byte, 1) == 1 ? 0 : 1);
    }
    CHECK(child > 0);
}

static void make_aio(void) {
    make_pipe();
    CHECK(syscall(SYS_io_setup, 1, &context) == 0);
    /* Completes when the pipe can be read. */
    request = (struct iocb){.aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = ends[0], .aio_buf = POLLIN};
    struct iocb *requests[] = {&request};
    CHECK(syscall(SYS_io_submit, context, 1, requests) == 1);
}

static void make_ring(void) {
    struct io_uring_params how = {0};
    make_pipe();
    queue = (int)syscall(SYS_io_uring_setup, 1, &how);
    CHECK(queue >= 0);
    unsigned char *ring = mmap(NULL, how.sq_off.array + 4, PROT_READ | PROT_WRITE, MAP_SHARED, queue, IORING_OFF_SQ_RING);
    struct io_uring_sqe *entry =
        mmap(NULL, sizeof *entry, PROT_READ | PROT_WRITE, MAP_SHARED, queue, IORING_OFF_SQES);
    CHECK(ring != MAP_FAILED && (void *)entry != MAP_FAILED);
    *entry = (struct io_uring_sqe){.opcode = IORING_OP_POLL_ADD, .fd = ends[0], .poll32_events = POLLIN};
    *(unsigned *)(ring + how.sq_off.array) = 0;
    atomic_store((atomic_uint *)(ring + how.sq_off.tail), 1);
    CHECK(syscall(SYS_io_uring_enter, queue, 1, 0, 0, NULL, 0) == 1);
}

static char byte[4096];

static long wait_nanosleep(void) {
    return syscall(SYS_nanosleep, &WHILE, NULL);
}

static long wait_clock(void) {
    struct timespec at = began;
    at.tv_sec += MS / 1000;
    at.tv_nsec += MS % 1000 * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
    return errno ? -1 : 0;
}

static long wait_poll(void) {
    struct pollfd in = {ends[0], POLLIN, 0};
    return poll(&in, 1, -1);
}

static long wait_poll_time(void) {
    return poll(NULL, 0, MS);
}

static long wait_ppoll(void) {
    struct pollfd in = {ends[0], POLLIN, 0};
    return ppoll(&in, 1, NULL, &real_time);
}

static long wait_ppoll_time(void) {
    return ppoll(NULL, 0, &WHILE, &real_time);
}

static long wait_select(void) {
    fd_set in;
    FD_ZERO(&in);
    FD_SET(ends[0], &in);
    return syscall(SYS_select, ends[0] + 1, &in, NULL, NULL, NULL);
}

static long wait_select_time(void) {
    struct timeval time = {MS / 1000, MS % 1000 * 1000};
    return syscall(SYS_select, 0, NULL, NULL, NULL, &time);
}

static long wait_epoll_for(int milliseconds, const sigset_t *mask) {
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(0);
    CHECK(epoll >= 0 && (ends[0] < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event) == 0));
    if (!mask)
        return syscall(SYS_epoll_wait, epoll, &event, 1, milliseconds);
    return epoll_pwait(epoll, &event, 1, milliseconds, mask);
}

static long wait_epoll(void) {
    return wait_epoll_for(-1, NULL);
}

static long wait_masked_epoll(void) {
    return wait_epoll_for(-1, &real_time);
}

static long wait_epoll_time(void) {
    return wait_epoll_for(MS, NULL);
}

static long wait_futex(void) {
    return syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
}

static long wait_futex_time(void) {
    return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &WHILE, NULL, 0);
}

static long wait_read(void) {
    return read(ends[0], byte, 8);
}

static long wait_read_watch(void) {
    return read(ends[0], byte, sizeof byte);
}

static long wait_write(void) {
    return write(ends[1], byte, 1);
}

static long wait_accept(void) {
    return accept(ends[0], NULL, NULL);
}

static long wait_recv(void) {
    return recv(ends[0], byte, 1, 0);
}

static long wait_send(void) {
    return send(ends[0], byte, 1, 0);
}

static long wait_message(void) {
    struct {
        long type;
        char text[8];
    } message;
    return msgrcv(queue, &message, sizeof message.text, 0, 0);
}

static long wait_semaphore(void) {
    struct sembuf take = {0, -1, 0};
    return syscall(SYS_semop, queue, &take, 1);
}

static long wait_semaphore_time(void) {
    struct sembuf take = {0, -1, 0};
    return semtimedop(queue, &take, 1, &WHILE);
}

static long wait_mail(void) {
    return mq_receive(queue, byte, 8, NULL);
}

static long wait_signal(void) {
    return sigwaitinfo(&real_time, NULL);
}

static long wait_signal_time(void) {
    return sigtimedwait(&real_time, NULL, &WHILE);
}

/* These return when a handler has run. */
static long wait_suspended(void) {
    sigset_t none;
    sigemptyset(&none);
    return sigsuspend(&none);
}

static long wait_lock(void) {
    return flock(ends[0], LOCK_EX);
}

static long wait_fifo(void) {
    return open(path, O_RDONLY);
}

static long wait_child(void) {
    return waitpid(child, NULL, 0);
}

static long wait_aio(void) {
    struct io_event event;
    return syscall(SYS_io_getevents, context, 1, 1, &event, NULL);
}

static long wait_ring(void) {
    return syscall(SYS_io_uring_enter, queue, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
}

static void wake_writing(void) {
    uint64_t one = 1;
    CHECK(write(ends[1], &one, sizeof one) == sizeof one);
}

static void wake_reading(void) {
    while (read(ends[0], byte, sizeof byte) == sizeof byte && poll(&(struct pollfd){ends[0], POLLIN, 0}, 1, 0) == 1)
        ;
}

static void wake_receiving(void) {
    while (recv(ends[1], byte, sizeof byte, MSG_DONTWAIT) > 0)
        ;
}

static void wake_futex(void) {
    while (syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0) == 0)
        sched_yield();
}

static void wake_connecting(void) {
    struct sockaddr_un name = address();
    int end = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(end >= 0 && connect(end, (struct sockaddr *)&name, sizeof name) == 0);
}

static void wake_message(void) {
    struct {
        long type;
        char text[8];
    } message = {1, ""};
    CHECK(msgsnd(queue, &message, sizeof message.text, 0) == 0);
}

static void wake_semaphore(void) {
    struct sembuf give = {0, 1, 0};
    CHECK(semop(queue, &give, 1) == 0);
}

static void wake_mail(void) {
    CHECK(mq_send(queue, "", 1, 0) == 0);
}

static void wake_signalling(void) {
    CHECK(pthread_kill(waiter, SIGRTMIN) == 0);
}

static void wake_unlocking(void) {
    CHECK(flock(ends[1], LOCK_UN) == 0);
}

static void wake_opening(void) {
    CHECK(open(path, O_WRONLY) >= 0 && unlink(path) == 0);
}

static void wake_removing(void) {
    CHECK(rmdir(path) == 0);
}

struct call {
    const char *name;
    /* The system call, which /proc shows. */
    long number;
    void (*prepare)(void);
    long (*wait)(void);
    /* Null: it returns by itself. */
    void (*wake)(void);
    /* The error that it ends with, as usual. */
    int error;
};

static const struct call calls[] = {
    {"nanosleep-time", SYS_nanosleep, no_preparation, wait_nanosleep, NULL, 0},
    {"clock_nanosleep-time", SYS_clock_nanosleep, no_preparation, wait_clock, NULL, 0},
    {"poll", SYS_poll, make_pipe, wait_poll, wake_writing, 0},
    {"poll-time", SYS_poll, no_preparation, wait_poll_time, NULL, 0},
    {"ppoll", SYS_ppoll, make_pipe, wait_ppoll, wake_writing, 0},
    {"ppoll-time", SYS_ppoll, no_preparation, wait_ppoll_time, NULL, 0},
    {"select", SYS_select, make_pipe, wait_select, wake_writing, 0},
    {"select-time", SYS_select, no_preparation, wait_select_time, NULL, 0},
    {"futex", SYS_futex, no_preparation, wait_futex, wake_futex, 0},
    {"futex-time", SYS_futex, no_preparation, wait_futex_time, NULL, ETIMEDOUT},
    {"read-pipe", SYS_read, make_pipe, wait_read, wake_writing, 0},
    {"write-pipe", SYS_write, make_full_pipe, wait_write, wake_reading, 0},
    {"read-event", SYS_read, make_event, wait_read, wake_writing, 0},
    {"read-inotify", SYS_read, make_watch, wait_read_watch, wake_removing, 0},
    {"recv", SYS_recvfrom, make_plain_sockets, wait_recv, wake_writing, 0},
    {"msgrcv", SYS_msgrcv, make_queue, wait_message, wake_message, 0},
    {"mq_receive", SYS_mq_timedreceive, make_mail, wait_mail, wake_mail, 0},
    {"sigsuspend", SYS_rt_sigsuspend, no_preparation, wait_suspended, wake_signalling, EINTR},
    {"flock", SYS_flock, make_file, wait_lock, wake_unlocking, 0},
    {"open-fifo", SYS_openat, make_fifo, wait_fifo, wake_opening, 0},
    {"waitpid", SYS_wait4, make_child, wait_child, wake_writing, 0},
    /* The kernel ends these with EINTR at a stop. */
    {"epoll_wait", SYS_epoll_wait, make_pipe, wait_epoll, wake_writing, 0},
    {"epoll_pwait", SYS_epoll_pwait, make_pipe, wait_masked_epoll, wake_writing, 0},
    {"epoll_wait-time", SYS_epoll_wait, no_preparation, wait_epoll_time, NULL, 0},
    {"accept", SYS_accept, make_listener, wait_accept, wake_connecting, 0},
    {"recv-limited", SYS_recvfrom, make_hour_sockets, wait_recv, wake_writing, 0},
    {"recv-limited-time", SYS_recvfrom, make_brief_sockets, wait_recv, NULL, EAGAIN},
    {"read-limited", SYS_read, make_hour_sockets, wait_read, wake_writing, 0},
    {"send-limited", SYS_sendto, make_full_sockets, wait_send, wake_receiving, 0},
    {"semop", SYS_semop, make_semaphore, wait_semaphore, wake_semaphore, 0},
    {"semtimedop-time", SYS_semtimedop, make_semaphore, wait_semaphore_time, NULL, EAGAIN},
    {"sigwaitinfo", SYS_rt_sigtimedwait, no_preparation, wait_signal, wake_signalling, 0},
    {"sigtimedwait-time", SYS_rt_sigtimedwait, no_preparation, wait_signal_time, NULL, EAGAIN},
    {"io_getevents", SYS_io_getevents, make_aio, wait_aio, wake_writing, 0},
    {"io_uring_enter", SYS_io_uring_enter, make_ring, wait_ring, wake_writing, 0},
};
#define COUNT (sizeof calls / sizeof calls[0])

static const struct call *chosen;

static void say(const char *text) {
    dprintf(STDOUT_FILENO, "%s\n", text);
}

static void *wait_once(void *ready) {
    waiter = pthread_self();
    CHECK(pthread_sigmask(SIG_BLOCK, &real_time, NULL) == 0 && clock_gettime(CLOCK_MONOTONIC, &began) == 0);
    testify("{\"pid\":%d,\"waiter\":%d,\"call\":%ld,\"wakes_up\":%s}", getpid(), own_tid(), chosen->number,
            chosen->wake ? "false" : "true");
    *(atomic_int *)ready = 1;
    errno = 0;
    long result = chosen->wait();
    int error = result < 0 ? errno : 0;
    struct timespec ended;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &ended) == 0);
    /* These outlive the process. */
    if (chosen->prepare == make_queue)
        CHECK(msgctl(queue, IPC_RMID, NULL) == 0);
    if (chosen->prepare == make_semaphore)
        CHECK(semctl(queue, 0, IPC_RMID) == 0);
    long took = (ended.tv_sec - began.tv_sec) * 1000 + (ended.tv_nsec - began.tv_nsec) / 1000000;
    if (error != chosen->error)
        say(strerror(error));
    else if (!chosen->wake && took < MS)
        say("too early");
    else
        say("woken");
    return NULL;
}

static void *obey(void *ready) {
    while (!atomic_load((atomic_int *)ready))
        sched_yield();
    say_ready();
    char line[16];
    size_t length = 0;
    while (read(STDIN_FILENO, line + length, 1) == 1) {
        if (line[length] != '\n') {
            length += length + 1 < sizeof line;
            continue;
        }
        line[length] = '\0';
        length = 0;
        CHECK(strcmp(line, "wake") == 0 && chosen->wake);
        chosen->wake();
    }
    _exit(0);
}

int main(int count, char **arguments) {
    static atomic_int ready;
    if (count == 1) {
        for (size_t k = 0; k < COUNT; k++)
            say(calls[k].name);
        return 0;
    }
    CHECK(count == 3);
    for (size_t k = 0; k < COUNT; k++)
        if (strcmp(calls[k].name, arguments[1]) == 0)
            chosen = &calls[k];
    CHECK(chosen != NULL);
    struct sigaction action = {.sa_handler = handle};
    CHECK(sigaction(SIGRTMIN, &action, NULL) == 0);
    sigemptyset(&real_time);
    sigaddset(&real_time, SIGRTMIN);
    CHECK(pthread_sigmask(SIG_BLOCK, &real_time, NULL) == 0);
    chosen->prepare();
    int is_first = strcmp(arguments[2], "first") == 0;
    pthread_t other;
    CHECK(pthread_create(&other, NULL, is_first ? obey : wait_once, &ready) == 0);
    (is_first ? wait_once : obey)(&ready);
    for (;;)
        pause();
}
