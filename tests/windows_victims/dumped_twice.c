/* A process that does not change while it is dumped twice: by Microsoft's DbgHelp, and by the
 * program that the command line names.
 *
 *     dumped_twice.exe TYPE THEIRS OURS DUMPWRIGHT
 *
 * TYPE is the dump type in digits; THEIRS and OURS are the output files. DbgHelp is msdbghelp.dll
 * next to this program.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

typedef BOOL (WINAPI *write_dump)(HANDLE, DWORD, HANDLE, int, void *, void *, void *);

/* The process to be dumped. It has loaded and freed libraries, and one thread impersonates another
 * user. */
static DWORD WINAPI impersonates(void *ready)
{
    if (!ImpersonateSelf(SecurityImpersonation))
        ExitProcess(2);
    SetEvent(ready);
    Sleep(INFINITE);
    return 0;
}

static int stand_still(HANDLE ready)
{
    static const char *const freed[] = { "lz32.dll", "version.dll", "mpr.dll", "wsock32.dll" };
    for (int i = 0; i < 60; i++) {
        HMODULE library = LoadLibraryA(freed[i % 4]);
        if (library)
            FreeLibrary(library);
    }
    if (!LoadLibraryA("msdbghelp.dll") || !LoadLibraryA("winmm.dll"))
        return 3;
    CreateThread(NULL, 0, impersonates, ready, 0, NULL);
    Sleep(INFINITE);
    return 0;
}

static int fail(const char *what)
{
    printf("%s: %lu\n", what, GetLastError());
    return 1;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "stand-still"))
        return stand_still((HANDLE)(ULONG_PTR)strtoull(argv[2], NULL, 10));
    if (argc != 5)
        return 2;
    SECURITY_ATTRIBUTES inherited = { sizeof inherited, NULL, TRUE };
    HANDLE ready = CreateEventA(&inherited, TRUE, FALSE, NULL);
    char command[4096];
    snprintf(command, sizeof command, "\"%s\" stand-still %llu", argv[0], (unsigned long long)(ULONG_PTR)ready);
    STARTUPINFOA startup = { .cb = sizeof startup };
    PROCESS_INFORMATION still, dumper;
    if (!CreateProcessA(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &still))
        return fail("start");
    HANDLE either[] = { ready, still.hProcess };
    int outcome = 1;
    if (WaitForMultipleObjects(2, either, FALSE, INFINITE) != WAIT_OBJECT_0)
        return fail("the process that is to be dumped");
    HANDLE file = CreateFileA(argv[2], GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    HMODULE dbghelp = LoadLibraryA("msdbghelp.dll");
    write_dump write = dbghelp ? (write_dump)(void *)GetProcAddress(dbghelp, "MiniDumpWriteDump") : NULL;
    int type = (int)strtoul(argv[1], NULL, 0);
    if (!write || !write(still.hProcess, still.dwProcessId, file, type, NULL, NULL, NULL)) {
        fail("MiniDumpWriteDump");
    } else {
        CloseHandle(file);
        snprintf(command, sizeof command, "\"%s\" dump --pid %lu --type %s --profile dbghelp63 --backend dumpwright -o \"%s\"", argv[4],
                 still.dwProcessId, argv[1], argv[3]);
        DWORD code = 1;
        if (CreateProcessA(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &dumper)) {
            WaitForSingleObject(dumper.hProcess, INFINITE);
            GetExitCodeProcess(dumper.hProcess, &code);
        }
        outcome = (int)code;
    }
    TerminateProcess(still.hProcess, 0);
    return outcome;
}
