/*
 * Runs a program and measures it.
 *
 *   measure RESULT SECONDS MEBIBYTES PROGRAM [ARGUMENT]...
 *
 * The program is killed after SECONDS, and may not use more than MEBIBYTES of address space (0: no
 * limit). RESULT is a file for one line of numbers:
 *
 *   WALL USER SYSTEM PEAK STATUS LEFT
 *
 * WALL, USER and SYSTEM are microseconds; USER and SYSTEM include all descendants. PEAK is the
 * largest resident memory of one process, in KiB. STATUS is the exit status, or 128 and the number
 * of the signal. LEFT is the number of descendants that still ran when the program had ended; they
 * are killed.
 *
 * It is a program by itself because a child starts with the resident memory of its parent, and
 * this one has almost none.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t child;

static void end_child(int number) {
    (void)number;
    if (child > 0)
        kill(-(pid_t)child, SIGKILL);
}

static long long microseconds(struct timeval time) {
    return time.tv_sec * 1000000LL + time.tv_usec;
}

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000LL + time.tv_nsec / 1000;
}

static void die(const char *what) {
    perror(what);
    exit(125);
}

static long long user, kernel;
static long peak;

static void add(const struct rusage *usage) {
    user += microseconds(usage->ru_utime);
    kernel += microseconds(usage->ru_stime);
    if (usage->ru_maxrss > peak)
        peak = usage->ru_maxrss;
}

int main(int count, char **arguments) {
    if (count < 5) {
        fprintf(stderr, "usage: measure RESULT SECONDS MEBIBYTES PROGRAM [ARGUMENT]...\n");
        return 125;
    }
    FILE *result = fopen(arguments[1], "w");
    if (!result)
        die(arguments[1]);
    rlim_t bytes = (rlim_t)strtoull(arguments[3], NULL, 10) << 20;
    /* Descendants whose parent has ended become children of this process. */
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
        die("PR_SET_CHILD_SUBREAPER");
    struct sigaction action = {.sa_handler = end_child};
    sigaction(SIGALRM, &action, NULL);
    long long start = now();
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        setpgid(0, 0);
        struct rlimit limit = {bytes, bytes};
        if (bytes && setrlimit(RLIMIT_AS, &limit) != 0)
            die("RLIMIT_AS");
        execvp(arguments[4], arguments + 4);
        die(arguments[4]);
    }
    child = pid;
    alarm((unsigned)strtoul(arguments[2], NULL, 10));
    int status;
    struct rusage usage;
    while (wait4(pid, &status, __WALL, &usage) != pid)
        if (errno != EINTR)
            die("wait4");
    long long wall = now() - start;
    alarm(0);
    add(&usage);
    /* Those that have ended already were waited for by nobody, which leaves nothing behind. */
    int left = 0;
    int other;
    pid_t ended;
    while ((ended = wait4(-1, &other, __WALL | WNOHANG, &usage)) > 0)
        add(&usage);
    if (ended == 0) {
        kill(-pid, SIGKILL);
        while ((ended = wait4(-1, &other, __WALL, &usage)) > 0) {
            add(&usage);
            left++;
        }
    }
    fprintf(result, "%lld %lld %lld %ld %d %d\n", wall, user, kernel, peak,
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), left);
    return fclose(result) == 0 ? 0 : 125;
}
