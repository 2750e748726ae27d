/* Windows only: the protocol between a program and its watcher (watch.c), and the program's side of
 * it.
 *
 * The watcher starts the program with three inherited handles. The environment variable CRASH_WATCH
 * contains their values: an event that the program sets when it crashes, an event that the watcher
 * sets when it has written the dump, and shared memory for a crash_report, which has the content of
 * a MINIDUMP_EXCEPTION_INFORMATION. A crashed process should do as little as possible, so
 * crash_watch_begin prepares everything long before. */
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
    uint64_t pointers; /* the address of the EXCEPTION_POINTERS in the crashed process */
};

static HANDLE crash_watch_crashed, crash_watch_seen;
static volatile struct crash_report *crash_watch_report;
static volatile LONG crash_watch_crashes;

/* The unhandled exception filter. Reports the exception and waits until the dump has been
 * written. */
static inline LONG WINAPI crash_watch_tell(EXCEPTION_POINTERS *pointers)
{
    /* If several threads crash, only the first one is reported. The others wait here until the
     * process ends. */
    if (InterlockedIncrement(&crash_watch_crashes) > 1)
        Sleep(INFINITE);
    crash_watch_report->process_id = GetCurrentProcessId();
    crash_watch_report->thread_id = GetCurrentThreadId();
    crash_watch_report->pointers = (uint64_t)(uintptr_t)pointers;
    SetEvent(crash_watch_crashed);
    /* If the watcher has ended, the process must not wait forever. A minute is enough for any
     * dump. */
    WaitForSingleObject(crash_watch_seen, 60000);
    return EXCEPTION_EXECUTE_HANDLER; /* ends the process, with the exception's code */
}

/* Starts reporting crashes to the watcher. Call this at the start of the program. Returns FALSE if
 * there is no watcher. */
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
    /* Reserves room for the handler, for the case that the stack has overflowed. Each thread whose
     * stack may overflow must call this. */
    ULONG room = 64 * 1024;
    SetThreadStackGuarantee(&room);
    SetUnhandledExceptionFilter(crash_watch_tell);
    return TRUE;
}

#endif
