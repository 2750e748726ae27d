/*
 * A Windows program with something for every part of a dump, in which nothing changes: two dumps of
 * it are equal. Its output has the form of tests/victims/victim.h: READY with its testimony, then
 * "whole" for each line of its input. Before it answers, each of its threads has done some work and
 * waits again as before.
 */
#include <windows.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 3 };

static HANDLE calls[THREADS], answers[THREADS];

/* The program's data, with a pointer to the heap. */
__declspec(dllexport) char *global_text;

static void need(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "victim: %s failed (%lu)\n", what, GetLastError());
        ExitProcess(9);
    }
}

static DWORD WINAPI answer(void *place)
{
    volatile char frame[4096];
    frame[0] = 1;
    uintptr_t number = (uintptr_t)place;
    /* The last two threads act as a user. */
    if (number > 0)
        need(ImpersonateSelf(SecurityImpersonation), "impersonation");
    for (;;) {
        WaitForSingleObject(calls[number], INFINITE);
        SetEvent(answers[number]);
    }
    return (DWORD)frame[0];
}

/* Gives a thread facts that other threads do not have by default. */
static void set_apart(HANDLE thread)
{
    HRESULT (WINAPI *describe)(HANDLE, PCWSTR) =
        (void *)GetProcAddress(GetModuleHandleA("kernel32"), "SetThreadDescription");
    if (describe)
        describe(thread, L"a thread with a name");
    need(SetThreadPriority(thread, THREAD_PRIORITY_BELOW_NORMAL), "a priority");
}

/* Returns when every thread has answered. */
static void call_all(void)
{
    for (int number = 0; number < THREADS; number++)
        SignalObjectAndWait(calls[number], answers[number], INFINITE, FALSE);
}

static void write_text(const char *text)
{
    DWORD written;
    WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), text, (DWORD)strlen(text), &written, NULL);
}

int main(void)
{
    global_text = _strdup("a text on the heap");
    CreateEventA(NULL, TRUE, FALSE, "dumpwright-unchanging-event");
    CreateMutexA(NULL, TRUE, "dumpwright-unchanging-mutex");
    HANDLE section = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 0x3000, "dumpwright-unchanging-section");
    memset(MapViewOfFile(section, FILE_MAP_ALL_ACCESS, 0, 0, 0), 'S', 0x3000);
    char *memory = VirtualAlloc(NULL, 0x4000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    memset(memory, 'P', 0x4000);
    DWORD old;
    VirtualProtect(memory + 0x1000, 0x1000, PAGE_NOACCESS, &old);
    /* A library that is unloaded again. */
    FreeLibrary(LoadLibraryA("version.dll"));
    for (uintptr_t number = 0; number < THREADS; number++) {
        calls[number] = CreateEventA(NULL, FALSE, FALSE, NULL);
        answers[number] = CreateEventA(NULL, FALSE, FALSE, NULL);
        HANDLE thread = CreateThread(NULL, 0, answer, (void *)number, 0, NULL);
        need(thread != NULL, "a thread");
        set_apart(thread);
    }
    set_apart(GetCurrentThread());
    need(SetPriorityClass(GetCurrentProcess(), BELOW_NORMAL_PRIORITY_CLASS), "a priority class");
    call_all();
    /* The last handle has a name too. */
    CreateEventA(NULL, TRUE, FALSE, "dumpwright-unchanging-last");
    char text[64];
    snprintf(text, sizeof text, "READY {\"pid\":%lu}\n", GetCurrentProcessId());
    write_text(text);
    static char line[64];
    DWORD length;
    while (ReadFile(GetStdHandle(STD_INPUT_HANDLE), line, sizeof line, &length, NULL) && length) {
        call_all();
        write_text("whole\n");
    }
    ExitProcess(0);
}
