/*
 * A Windows program with something for every part of a dump. Then it waits, so that two dumps, one
 * after the other, have the same state. Its output has the form of tests/victims/victim.h.
 */
#include <windows.h>

#include <fcntl.h>
#include <io.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4 };

static volatile LONG waiting;
static HANDLE never;

/* The program's data, with a pointer to the heap. */
__declspec(dllexport) char *global_text;

static DWORD WINAPI wait_deep(void *depth)
{
    volatile char frame[4096];
    frame[0] = 1;
    if (depth)
        return wait_deep((void *)((uintptr_t)depth - 1)) + (DWORD)frame[0];
    InterlockedIncrement(&waiting);
    WaitForSingleObject(never, INFINITE);
    return 0;
}

int main(void)
{
    _setmode(_fileno(stdout), _O_BINARY);
    global_text = _strdup("a text on the heap");
    never = CreateEventA(NULL, TRUE, FALSE, "dumpwright-never");
    CreateMutexA(NULL, TRUE, "dumpwright-mutex");
    CreateSemaphoreA(NULL, 1, 3, "dumpwright-semaphore");
    HANDLE section = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 0x3000, "dumpwright-section");
    memset(MapViewOfFile(section, FILE_MAP_ALL_ACCESS, 0, 0, 0), 'S', 0x3000);
    char *memory = VirtualAlloc(NULL, 0x4000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    memset(memory, 'P', 0x4000);
    DWORD old;
    VirtualProtect(memory + 0x1000, 0x1000, PAGE_NOACCESS, &old);
    VirtualProtect(memory + 0x2000, 0x1000, PAGE_READONLY, &old);
    /* A library that is unloaded again. */
    FreeLibrary(LoadLibraryA("version.dll"));
    DWORD ids[THREADS];
    for (uintptr_t number = 0; number < THREADS; number++)
        CreateThread(NULL, 0, wait_deep, (void *)number, 0, &ids[number]);
    SetThreadPriority(GetCurrentThread(), THREAD_PRIORITY_ABOVE_NORMAL);
    while (waiting < THREADS)
        SwitchToThread();
    printf("READY {\"pid\":%lu,\"main\":%lu,\"threads\":[%lu,%lu,%lu,%lu]}\n", GetCurrentProcessId(), GetCurrentThreadId(), ids[0], ids[1],
           ids[2], ids[3]);
    fflush(stdout);
    char line[256];
    for (unsigned long pongs = 0; fgets(line, sizeof line, stdin);) {
        printf("pong %lu\n", ++pongs);
        fflush(stdout);
    }
    ExitProcess(0);
}
