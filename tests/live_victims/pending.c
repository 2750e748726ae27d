/*
 * Signals that are pending and blocked until the end of input. Then they are printed, so that lost,
 * duplicated or changed signals show.
 *
 * Output at the end: one line "signal N value V" for each, in the kernel's order.
 */
#include "../victims/victim.h"

#include <signal.h>

enum { QUEUED = 5 };

int main(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    sigaddset(&set, SIGRTMIN + 2);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(kill(getpid(), SIGUSR1) == 0 && pthread_kill(pthread_self(), SIGUSR2) == 0);
    for (int i = 1; i <= QUEUED; i++) {
        const union sigval value = {.sival_int = 100 + i}, own = {.sival_int = 200 + i};
        CHECK(sigqueue(getpid(), SIGRTMIN + 1, value) == 0);
        CHECK(pthread_sigqueue(pthread_self(), SIGRTMIN + 2, own) == 0);
    }
    testify("{\"pid\":%d}", getpid());
    say_ready();
    serve_until_end_of_input();
    siginfo_t info;
    const struct timespec now = {0, 0};
    while (sigtimedwait(&set, &info, &now) > 0)
        printf("signal %d value %d\n", info.si_signo, info.si_code == SI_QUEUE ? info.si_value.sival_int : 0);
    return 0;
}
