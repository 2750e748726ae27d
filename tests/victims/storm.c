/*
 * Many signals, none of which may get lost.
 *
 *   storm [stops]
 *
 * One thread sends queued, numbered real-time signals to the process; the kernel chooses which of
 * the other threads handles each of them. A second thread sends ordinary signals to single threads
 * and waits until each is handled. With "stops", a child process sends SIGSTOP and SIGCONT to the
 * process all the time. At end of input the senders stop, the program waits for all signals that
 * were sent, and prints the totals:
 *
 *     DONE queued=Q handled=Q sum=S directed=D answered=D stops=N         with S = 1 + 2 + … + Q
 *
 * It does not answer pings: its output is only this line.
 */
#include "victim.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { RECEIVERS = 3, OUTSTANDING = 256 };

static _Atomic uint64_t handled, sum, answered;
static _Atomic int stop, stopped_senders;
static uint64_t queued, directed;
static pthread_t receivers[RECEIVERS];

static void on_queued(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    atomic_fetch_add(&sum, (uint64_t)(uint32_t)info->si_value.sival_int);
    atomic_fetch_add(&handled, 1);
}
static void on_directed(int number) {
    (void)number;
    atomic_fetch_add(&answered, 1);
}

static void block(int how) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigaddset(&set, SIGUSR1);
    CHECK(pthread_sigmask(how, &set, NULL) == 0);
}

KNOWN void *receive(void *unused) {
    block(SIG_UNBLOCK);
    while (atomic_load(&stopped_senders) < 2)
        poll(NULL, 0, 10);
    return unused;
}
static void *send_queued(void *unused) {
    while (!atomic_load(&stop)) {
        while (queued - atomic_load(&handled) >= OUTSTANDING)
            sched_yield();
        union sigval number = {.sival_int = (int)(queued + 1)};
        if (sigqueue(getpid(), SIGRTMIN, number) == 0)
            queued++;
        else
            CHECK(errno == EAGAIN);
    }
    while (atomic_load(&handled) < queued)
        sched_yield();
    atomic_fetch_add(&stopped_senders, 1);
    return unused;
}
static void *send_directed(void *unused) {
    while (!atomic_load(&stop)) {
        CHECK(pthread_kill(receivers[directed % RECEIVERS], SIGUSR1) == 0);
        directed++;
        while (atomic_load(&answered) < directed)
            sched_yield();
    }
    atomic_fetch_add(&stopped_senders, 1);
    return unused;
}

/* Starts a child that stops and continues its parent until `end` is closed. Its last signal is
 * always SIGCONT. */
static pid_t start_stopper(int *end, int *count) {
    int order[2], report[2];
    CHECK(pipe(order) == 0 && pipe(report) == 0);
    pid_t parent = getpid(), child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(order[1]);
        close(report[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        uint64_t stops = 0;
        struct pollfd ended = {.fd = order[0], .events = POLLIN};
        while (poll(&ended, 1, 1) == 0 && getppid() == parent) {
            kill(parent, SIGSTOP);
            sched_yield();
            kill(parent, SIGCONT);
            stops++;
        }
        kill(parent, SIGCONT);
        CHECK(write(report[1], &stops, sizeof stops) == sizeof stops);
        _exit(0);
    }
    close(order[0]);
    close(report[1]);
    *end = order[1];
    *count = report[0];
    return child;
}

int main(int count, char **arguments) {
    int with_stops = count > 1 && strcmp(arguments[1], "stops") == 0;
    struct sigaction queue = {.sa_sigaction = on_queued, .sa_flags = SA_SIGINFO | SA_RESTART},
                     direct = {.sa_handler = on_directed, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGRTMIN, &queue, NULL) == 0 && sigaction(SIGUSR1, &direct, NULL) == 0);
    block(SIG_BLOCK);
    pthread_t senders[2];
    for (int i = 0; i < RECEIVERS; i++)
        CHECK(pthread_create(&receivers[i], NULL, receive, NULL) == 0);
    testify("{\"pid\":%d,\"receivers\":%d}", getpid(), RECEIVERS);
    say_ready();
    CHECK(pthread_create(&senders[0], NULL, send_queued, NULL) == 0);
    CHECK(pthread_create(&senders[1], NULL, send_directed, NULL) == 0);
    int end = -1, report = -1;
    pid_t stopper = with_stops ? start_stopper(&end, &report) : 0;

    char ignored[64];
    while (read(STDIN_FILENO, ignored, sizeof ignored) != 0)
        ;
    uint64_t stops = 0;
    if (with_stops) {
        close(end);
        while (read(report, &stops, sizeof stops) < 0)
            CHECK(errno == EINTR);
        while (waitpid(stopper, NULL, 0) < 0)
            CHECK(errno == EINTR);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(senders[i], NULL) == 0);
    for (int i = 0; i < RECEIVERS; i++)
        CHECK(pthread_join(receivers[i], NULL) == 0);
    printf("DONE queued=%" PRIu64 " handled=%" PRIu64 " sum=%" PRIu64 " directed=%" PRIu64
           " answered=%" PRIu64 " stops=%" PRIu64 "\n",
           queued, atomic_load(&handled), atomic_load(&sum), directed, atomic_load(&answered), stops);
    return 0;
}
