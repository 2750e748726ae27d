/*
 * A program that has itself dumped by the handler of its crash, as language runtimes do: the
 * handler of the crashing thread starts `PROGRAM dump --pid PID -o FILE` and waits for it.
 *
 * Usage: asking PROGRAM FILE. The exit status is that of the dumper, and the output is the id of
 * the thread.
 */
#include "../victims/victim.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static char *program, *file, own_pid[16];

static void on_crash(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    (void)context;
    int go[2];
    CHECK(pipe(go) == 0);
    pid_t dumper = fork();
    CHECK(dumper >= 0);
    if (dumper == 0) {
        char byte;
        CHECK(read(go[0], &byte, 1) == 1);
        char *arguments[] = {program, "dump", "--pid", own_pid, "-o", file, NULL};
        execv(program, arguments);
        _exit(98);
    }
    /* Where only ancestors may trace. Fails where Yama is not built in. */
    prctl(PR_SET_PTRACER, dumper, 0, 0, 0);
    CHECK(write(go[1], "", 1) == 1);
    int status;
    CHECK(waitpid(dumper, &status, 0) == dumper && WIFEXITED(status));
    _exit(WEXITSTATUS(status));
}

static void *crash(void *unused) {
    printf("%d\n", own_tid());
    fflush(stdout);
    __asm__ volatile("movl $1, (%0)" : : "r"((uintptr_t)0x1234) : "memory");
    return unused;
}

int main(int count, char **arguments) {
    CHECK(count == 3);
    program = arguments[1];
    file = arguments[2];
    snprintf(own_pid, sizeof own_pid, "%d", getpid());
    struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, crash, NULL) == 0);
    pthread_join(thread, NULL);
    return 97;
}
