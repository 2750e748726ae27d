/* Tells whether a process is held: stopped, traced, or with a suspended thread. */
#ifndef HELD_H
#define HELD_H

#include <stdio.h>
#include <stdlib.h>

#if defined(_WIN32)
#include <tlhelp32.h>

static int is_held(DWORD id)
{
    THREADENTRY32 entry;
    HANDLE list = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
    int threads = 0, held = 0;
    entry.dwSize = sizeof entry;
    if (list == INVALID_HANDLE_VALUE || !Thread32First(list, &entry))
        abort();
    do {
        if (entry.th32OwnerProcessID != id)
            continue;
        HANDLE thread = OpenThread(THREAD_SUSPEND_RESUME, FALSE, entry.th32ThreadID);
        DWORD before = thread ? SuspendThread(thread) : 0;
        if (thread == NULL || before == (DWORD)-1)
            abort();
        ResumeThread(thread);
        CloseHandle(thread);
        threads++;
        held |= before != 0;
    } while (Thread32Next(list, &entry));
    CloseHandle(list);
    return held || threads == 0;
}
#else
static int is_held(DWORD id)
{
    char path[64], letter = 0;
    snprintf(path, sizeof path, "/proc/%lu/stat", (unsigned long)id);
    FILE *file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%*d %*s %c", &letter) != 1)
        abort();
    fclose(file);
    return letter == 't' || letter == 'T' || letter == 'Z';
}
#endif

#endif
