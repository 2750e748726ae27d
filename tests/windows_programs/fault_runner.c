/*
 * Runs a dumper again and again, with one failing system call each time, for tests/windows_faults.
 *
 *     fault_runner.exe HOOKS FOLDER VICTIM COMMAND
 *
 * HOOKS is the DLL of fault_hooks.c. FOLDER gets the dumper's output (stdout, stderr) and the log
 * of the DLL (log). VICTIM is the id of the process that COMMAND dumps. Each line of the standard
 * input is a fault as fault_hooks.c describes it, or "none". After each run it prints
 *
 *     ended CODE HELD
 *
 * CODE is the exit code of the dumper, or "hung". HELD is the number of the victim's threads with
 * another suspend count than at the beginning; they are resumed.
 */
#include <windows.h>

#include <tlhelp32.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_THREADS = 64, HANGS_MS = 60000, LOOKS = 500 };

static DWORD victim;

struct count { DWORD id, suspended; };

/* A thread's suspend count. */
static int suspend_count(DWORD id, DWORD *count)
{
    HANDLE thread = OpenThread(THREAD_SUSPEND_RESUME, FALSE, id);
    if (!thread)
        return 0;
    *count = SuspendThread(thread);
    if (*count != MAXDWORD)
        ResumeThread(thread);
    CloseHandle(thread);
    return *count != MAXDWORD;
}

/* The suspend counts of the victim's threads. */
static size_t suspend_counts(struct count *counts)
{
    size_t found = 0;
    HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
    THREADENTRY32 entry = { .dwSize = sizeof entry };
    for (BOOL more = Thread32First(snapshot, &entry); more; more = Thread32Next(snapshot, &entry))
        if (entry.th32OwnerProcessID == victim && found < MOST_THREADS) {
            counts[found].id = entry.th32ThreadID;
            found += (size_t)suspend_count(entry.th32ThreadID, &counts[found].suspended);
        }
    CloseHandle(snapshot);
    return found;
}

/* The number of threads whose count differs from the one at the beginning. */
static size_t differing(const struct count *before, size_t threads, int resumes)
{
    size_t differing = 0;
    for (size_t index = 0; index < threads; index++) {
        DWORD count;
        if (!suspend_count(before[index].id, &count) || count == before[index].suspended)
            continue;
        differing++;
        HANDLE thread = OpenThread(THREAD_SUSPEND_RESUME, FALSE, before[index].id);
        for (; resumes && thread && count > before[index].suspended; count--)
            ResumeThread(thread);
        CloseHandle(thread);
    }
    return differing;
}

static HANDLE create(const char *folder, const char *name)
{
    char path[MAX_PATH];
    SECURITY_ATTRIBUTES inherited = { sizeof inherited, NULL, TRUE };
    snprintf(path, sizeof path, "%s\\%s", folder, name);
    HANDLE file = CreateFileA(path, GENERIC_WRITE, FILE_SHARE_READ, &inherited, CREATE_ALWAYS, 0, NULL);
    if (file == INVALID_HANDLE_VALUE)
        ExitProcess(9);
    return file;
}

/* Loads the DLL into a process that has not started to run. */
static int load(HANDLE process, const char *library)
{
    SIZE_T length = strlen(library) + 1;
    void *name = VirtualAllocEx(process, NULL, length, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    if (!name || !WriteProcessMemory(process, name, library, length, NULL))
        return 0;
    LPTHREAD_START_ROUTINE load_library = (LPTHREAD_START_ROUTINE)(void *)GetProcAddress(GetModuleHandleA("kernel32"), "LoadLibraryA");
    HANDLE thread = CreateRemoteThread(process, NULL, 0, load_library, name, 0, NULL);
    DWORD loaded = 0;
    if (!thread || WaitForSingleObject(thread, HANGS_MS) != WAIT_OBJECT_0 || !GetExitCodeThread(thread, &loaded))
        return 0;
    CloseHandle(thread);
    return loaded != 0;
}

/* Runs the dumper. Prints how it ended. */
static void run(const char *hooks, const char *folder, char *command)
{
    STARTUPINFOA startup = { .cb = sizeof startup, .dwFlags = STARTF_USESTDHANDLES };
    PROCESS_INFORMATION dumper;
    startup.hStdOutput = create(folder, "stdout");
    startup.hStdError = create(folder, "stderr");
    if (!CreateProcessA(NULL, command, NULL, NULL, TRUE, CREATE_SUSPENDED, NULL, folder, &startup, &dumper)) {
        printf("error: the dumper was not started: %lu ", GetLastError());
    } else {
        DWORD code = 0;
        if (!load(dumper.hProcess, hooks)) {
            printf("error: the DLL was not loaded: %lu ", GetLastError());
            TerminateProcess(dumper.hProcess, 96);
        } else {
            ResumeThread(dumper.hThread);
        }
        int is_hung = WaitForSingleObject(dumper.hProcess, HANGS_MS) != WAIT_OBJECT_0;
        if (is_hung)
            TerminateProcess(dumper.hProcess, 95);
        WaitForSingleObject(dumper.hProcess, HANGS_MS);
        GetExitCodeProcess(dumper.hProcess, &code);
        if (is_hung)
            printf("ended hung");
        else
            printf("ended %lu", code);
        CloseHandle(dumper.hProcess);
        CloseHandle(dumper.hThread);
    }
    CloseHandle(startup.hStdOutput);
    CloseHandle(startup.hStdError);
}

int main(int count, char **words)
{
    if (count != 5)
        return 2;
    victim = strtoul(words[3], NULL, 10);
    struct count before[MOST_THREADS];
    size_t threads = suspend_counts(before);
    char log[MAX_PATH], line[256];
    snprintf(log, sizeof log, "%s\\log", words[2]);
    SetEnvironmentVariableA("DUMPWRIGHT_FAULT_LOG", log);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\r\n")] = 0;
        SetEnvironmentVariableA("DUMPWRIGHT_FAULT", strcmp(line, "none") == 0 ? NULL : line);
        char *command = strdup(words[4]);
        run(words[1], words[2], command);
        free(command);
        /* The end of a process is seen before all it did has taken effect. */
        for (int look = 0; look < LOOKS && differing(before, threads, 0); look++)
            Sleep(1);
        printf(" %zu\n", differing(before, threads, 1));
        fflush(stdout);
    }
    return 0;
}
