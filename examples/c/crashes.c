/* crashes access|stack|raise|none (Windows only): a watched program that crashes by a wrong memory
 * access, a stack overflow or an exception of its own, or does not crash. Before that it prints the
 * id of the thread that will crash. */
#include "crash_watch.h"

#include <string.h>

/* The recursion never gets this deep. It is volatile so that the compiler cannot rely on that. */
static volatile int deepest = 1 << 30;

static int overflow(int number)
{
    volatile char room[4096];
    room[0] = (char)number;
    return number == deepest ? 0 : overflow(number + 1) + room[0];
}

static DWORD WINAPI crash(void *how)
{
    printf("thread %lu\n", GetCurrentThreadId());
    fflush(stdout);
    ULONG room = 64 * 1024;
    SetThreadStackGuarantee(&room);
    if (strcmp(how, "access") == 0)
        *(volatile int *)0x1234 = 1;
    if (strcmp(how, "stack") == 0)
        return (DWORD)overflow(0);
    if (strcmp(how, "raise") == 0) {
        ULONG_PTR parameters[] = {17, 4711};
        RaiseException(0xE0000001, 0, 2, parameters);
    }
    return 0;
}

int main(int count, char **arguments)
{
    if (count != 2)
        return 2;
    if (!crash_watch_begin())
        fprintf(stderr, "there is no watcher; start this program with watch\n");
    HANDLE thread = CreateThread(NULL, 0, crash, arguments[1], 0, NULL);
    if (thread == NULL)
        return 1;
    WaitForSingleObject(thread, INFINITE);
    return 0;
}
