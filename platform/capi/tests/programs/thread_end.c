/* thread_end PID FILE: writes a dump while the thread ends, from the destructor of a pthread_key. C
 * and C++ runtimes clean up there, and crash reporters hook into it. The library's thread-local
 * variables have been destroyed by then. */
#include "dumpwright.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_key_t key;
static HANDLE process, file;

static void report(const char *when, BOOL done)
{
    printf("%s: %s %08x %s\n", when, done ? "TRUE" : "FALSE", (unsigned)dumpwright_last_error(),
           dumpwright_last_error_message()[0] ? "message" : "no message");
}

static BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    (void)output;
    ++*(int *)parameter;
    return input->CallbackType != MemoryCallback && input->CallbackType != RemoveMemoryCallback;
}

static void try_all(const char *when)
{
    int asked = 0;
    MINIDUMP_CALLBACK_INFORMATION information = {callback, &asked};
    report(when, MiniDumpWriteDump(NULL, 0, file, MiniDumpNormal, NULL, NULL, NULL));
    report(when, MiniDumpWriteDump(process, 0, file, MiniDumpNormal, NULL, NULL, &information));
    printf("%s: %s, %s\n", when, asked > 10 ? "asked" : "not asked", dumpwright_last_report() ? "report" : "no report");
    dumpwright_request *request = dumpwright_request_create(MiniDumpNormal);
    report(when, dumpwright_request_profile(request, "none"));
    dumpwright_request_free(request);
}

static void at_thread_end(void *times)
{
    /* Two rounds. In the second one, all that the first one created has been destroyed as well. */
    if (*(int *)times == 2)
        pthread_setspecific(key, times);
    --*(int *)times;
    try_all("ending");
}

static void *body(void *times)
{
    pthread_setspecific(key, times);
    try_all("running");
    return NULL;
}

int main(int count, char **arguments)
{
    static int times = 2;
    pthread_t thread;
    if (count != 3)
        return 2;
    process = (HANDLE)(intptr_t)atoi(arguments[1]);
    file = (HANDLE)(intptr_t)open(arguments[2], O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (pthread_key_create(&key, at_thread_end) || pthread_create(&thread, NULL, body, &times) || pthread_join(thread, NULL))
        return 3;
    printf("%d left\n", times);
    return 0;
}
