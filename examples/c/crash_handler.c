/* crash_handler FOLDER null|abort|overflow|none (Linux only): a program that is dumped when it
 * crashes, which it then does. The variable DUMPWRIGHT names the program dumpwright; without it,
 * the library looks next to this program and in PATH. Prints the id of the thread that crashes. */
#include "dumpwright.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The recursion never gets this deep. It is volatile so that the compiler cannot rely on that. */
static volatile int deepest = 1 << 30;

static int overflow(int number)
{
    volatile char room[4096];
    room[0] = (char)number;
    return number == deepest ? 0 : overflow(number + 1) + room[0];
}

static void *work(void *how)
{
    printf("thread %ld\n", syscall(SYS_gettid));
    fflush(stdout);
    /* Otherwise a stack overflow in this thread would kill the program without a dump. */
    if (!dumpwright_crash_signal_stack())
        fprintf(stderr, "%s\n", dumpwright_last_error_message());
    dumpwright_crash_annotate("request", "GET /index.html");
    if (strcmp(how, "null") == 0) {
        volatile int *volatile nowhere = NULL;
        *nowhere = 1;
    }
    if (strcmp(how, "abort") == 0)
        abort();
    if (strcmp(how, "overflow") == 0)
        overflow(0);
    return NULL;
}

int main(int count, char **arguments)
{
    if (count != 3)
        return 2;
    dumpwright_crash_options options = {
        .size = sizeof options,
        .dump_type = MiniDumpWithDataSegs,
        .server = getenv("DUMPWRIGHT"),
    };
    if (!dumpwright_crash_install(arguments[1], &options)) {
        fprintf(stderr, "there will be no crash dump: %s\n", dumpwright_last_error_message());
        return 1;
    }
    dumpwright_crash_annotate("release", "1.0");
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, arguments[2]) != 0)
        return 1;
    pthread_join(thread, NULL);
    return 0;
}
