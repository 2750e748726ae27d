/* Handles an exception itself, prints that it did, and then crashes, ends, or waits, as its
 * argument says. */
#include "truth.h"

static volatile int sink;

static LONG CALLBACK handler(EXCEPTION_POINTERS *pointers)
{
    if (pointers->ExceptionRecord->ExceptionCode != 0xE0001234)
        return EXCEPTION_CONTINUE_SEARCH;
    return EXCEPTION_CONTINUE_EXECUTION;
}

__attribute__((noinline)) static int deep(int depth)
{
    volatile char room[4096];
    memset((char *)room, depth, sizeof room);
    return depth < 1 << 30 ? deep(depth + 1) + room[5] : 0;
}

static DWORD WINAPI writes_to_nowhere(void *unused)
{
    (void)unused;
    *(volatile int *)0x18 = 1;
    return 0;
}

int main(int count, char **words)
{
    need(count >= 2, "reading the command line");
    need(AddVectoredExceptionHandler(1, handler) != 0, "installing a handler");
    RaiseException(0xE0001234, 0, 0, 0);
    puts("handled");
    fflush(stdout);
    if (!strcmp(words[1], "access"))
        WaitForSingleObject(CreateThread(0, 0, writes_to_nowhere, 0, 0, 0), INFINITE);
    if (!strcmp(words[1], "overflow"))
        sink = deep(0);
    /* As abort() of newer C runtimes: __fastfail(FAST_FAIL_FATAL_APP_EXIT). */
    if (!strcmp(words[1], "abort"))
        __asm__ volatile("int $0x29" : : "c"(7));
    if (!strcmp(words[1], "raise"))
        RaiseException(0xE0004321, EXCEPTION_NONCONTINUABLE, 2, (ULONG_PTR[]){ 0x11, 0x22 });
    if (!strcmp(words[1], "end"))
        return 7;
    Sleep(INFINITE);
    return 0;
}
