/* waits FILE TIMES: starts a child, waits for it in one thread, and dumps it in another. The wait
 * must not end before the child does. Then the program becomes the debugger of another child and
 * dumps that. */
#define _GNU_SOURCE
#include "dumpwright.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t child;
static int status = -1;
static atomic_int returned;

static void *nothing(void *unused)
{
    (void)unused;
    for (;;)
        pause();
    return NULL;
}

/* Starts a child with four threads. Returns when they exist. */
static pid_t start(void)
{
    int ready[2];
    char byte;
    if (pipe(ready))
        exit(3);
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        for (int i = 0; i < 3; i++)
            if (pthread_create(&thread, NULL, nothing, NULL))
                _exit(4);
        if (write(ready[1], "r", 1) != 1)
            _exit(5);
        nothing(NULL);
    }
    if (pid < 0 || read(ready[0], &byte, 1) != 1)
        exit(3);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void *wait_for_child(void *unused)
{
    (void)unused;
    pid_t pid;
    do
        pid = waitpid(child, &status, 0);
    while (pid < 0 && errno == EINTR);
    atomic_store(&returned, pid == child ? 1 : -1);
    return NULL;
}

static const char *dump(pid_t pid, const char *name)
{
    int file = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    BOOL done = MiniDumpWriteDump(DUMPWRIGHT_PID(pid), pid, DUMPWRIGHT_FD(file), MiniDumpNormal, NULL, NULL, NULL);
    const dumpwright_report *report = dumpwright_last_report();
    close(file);
    if (!done) {
        printf("%s\n", dumpwright_last_error_message());
        return "no dump";
    }
    return report->complete && report->threads == 4 ? report->tracer : "an incomplete dump";
}

static void *dump_elsewhere(void *name)
{
    dump(child, name);
    printf("on another thread: %08x\n", (unsigned)dumpwright_last_error());
    return NULL;
}

int main(int count, char **arguments)
{
    pthread_t waiter, other;
    int early = 0, others = 0;
    if (count != 3)
        return 2;
    child = start();
    if (pthread_create(&waiter, NULL, wait_for_child, NULL))
        return 3;
    for (int i = atoi(arguments[2]); i > 0; i--) {
        others += strcmp(dump(child, arguments[1]), "helper") != 0;
        early += atomic_load(&returned) != 0;
    }
    printf("%d early, %d not by a helper\n", early, others);
    kill(child, SIGTERM);
    pthread_join(waiter, NULL);
    printf("waited: %d, signal %d\n", atomic_load(&returned), WIFSIGNALED(status) ? WTERMSIG(status) : 0);

    /* PTRACE_ATTACH stops one thread. The others run until they are attached to. */
    child = start();
    if (ptrace(PTRACE_ATTACH, child, NULL, NULL) || waitpid(child, &status, __WALL) != child)
        return 6;
    printf("partly stopped: %s\n", dump(child, arguments[1]));
    char list[64];
    snprintf(list, sizeof list, "ls /proc/%d/task", child);
    FILE *threads = popen(list, "r");
    for (int tid; fscanf(threads, "%d", &tid) == 1;)
        if (tid != child && (ptrace(PTRACE_ATTACH, tid, NULL, NULL) || waitpid(tid, NULL, __WALL) != tid))
            return 7;
    pclose(threads);
    printf("stopped: %s\n", dump(child, arguments[1]));
    printf("again: %s\n", dump(child, arguments[1]));
    if (pthread_create(&other, NULL, dump_elsewhere, arguments[1]) || pthread_join(other, NULL))
        return 8;
    /* The stops are as they were: the thread can be continued, and its next stop is reported. */
    if (kill(child, SIGUSR1) || ptrace(PTRACE_CONT, child, NULL, NULL) || waitpid(child, &status, __WALL) != child)
        return 9;
    printf("stopped by its next signal: %d\n", WIFSTOPPED(status) && WSTOPSIG(status) == SIGUSR1);
    kill(child, SIGKILL);
    return 0;
}
