/* Windows: what a program and its watcher agree on, and the program's half of it. See watch.c.
 *
 * The watcher starts the program with three inherited handles, whose values stand in the variable CRASH_WATCH: an event for "I crash", an event
 * for "I have seen it", and a piece of shared memory for what DbgHelp calls MINIDUMP_EXCEPTION_INFORMATION. A crashed process must
 * do as little as possible: what it takes is made in crash_watch_begin, long before. */
#ifndef CRASH_WATCH_H
#define CRASH_WATCH_H

#include <windows.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CRASH_WATCH "CRASH_WATCH"

struct crash_report {
    DWORD process_id;
    DWORD thread_id;
    uint64_t pointers; /* address of the EXCEPTION_POINTERS in the crashed process */
};

static HANDLE crash_watch_crashed, crash_watch_seen;
static volatile struct crash_report *crash_watch_report;
static volatile LONG crash_watch_crashes;

static inline LONG WINAPI crash_watch_tell(EXCEPTION_POINTERS *pointers)
{
    /* Of several threads that crash, the first is told about; the others wait here until the process ends. */
    if (InterlockedIncrement(&crash_watch_crashes) > 1)
        Sleep(INFINITE);
    crash_watch_report->process_id = GetCurrentProcessId();
    crash_watch_report->thread_id = GetCurrentThreadId();
    crash_watch_report->pointers = (uint64_t)(uintptr_t)pointers;
    SetEvent(crash_watch_crashed);
    /* A watcher that has ended itself must not keep the process: a minute is enough for any dump. */
    WaitForSingleObject(crash_watch_seen, 60000);
    return EXCEPTION_EXECUTE_HANDLER; /* ends the process, with the exception's code */
}

/* From now on the watcher is told of crashes. FALSE: nobody watches. */
static inline BOOL crash_watch_begin(void)
{
    const char *agreed = getenv(CRASH_WATCH);
    unsigned long long crashed, seen, memory;
    if (agreed == NULL || sscanf(agreed, "%llx,%llx,%llx", &crashed, &seen, &memory) != 3)
        return FALSE;
    crash_watch_crashed = (HANDLE)(uintptr_t)crashed;
    crash_watch_seen = (HANDLE)(uintptr_t)seen;
    crash_watch_report = (volatile struct crash_report *)MapViewOfFile((HANDLE)(uintptr_t)memory, FILE_MAP_WRITE, 0, 0, 0);
    if (crash_watch_report == NULL)
        return FALSE;
    /* Room for the handler when a stack has overflowed; each thread that may overflow needs this. */
    ULONG room = 64 * 1024;
    SetThreadStackGuarantee(&room);
    SetUnhandledExceptionFilter(crash_watch_tell);
    return TRUE;
}

#endif
