/* watch FILE PROGRAM [ARGUMENT...] (Windows only): runs PROGRAM. If PROGRAM crashes, writes a dump
 * of it to FILE. Ends with the exit code of PROGRAM.
 *
 * A crashed process should not dump itself: its heap may be damaged, and its locks may be held. So
 * it only reports three numbers to another process and waits: its process id, the id of the crashed
 * thread, and the address of the EXCEPTION_POINTERS (crash_watch.h). The other process reads all
 * else from it. ClientPointers tells the library that the exception is in the memory of the crashed
 * process. This works with every exception handler that reports these three numbers. */
#include "crash_watch.h"
#include "dumpwright.h"

#include <string.h>

/* Writes the dump. The exception's structures are in the crashed process. */
static BOOL dump(HANDLE process, const struct crash_report *report, const char *file)
{
    MINIDUMP_EXCEPTION_INFORMATION exception = {report->thread_id, (PEXCEPTION_POINTERS)(uintptr_t)report->pointers, TRUE};
    dumpwright_request *request = dumpwright_request_create(MiniDumpWithDataSegs | MiniDumpWithUnloadedModules |
                                                            MiniDumpWithThreadInfo | MiniDumpWithIndirectlyReferencedMemory);
    BOOL done = dumpwright_request_handle(request, process) && dumpwright_request_exception(request, &exception) &&
                dumpwright_request_path(request, file, TRUE) && dumpwright_dump(request);
    if (done)
        fprintf(stderr, "process %lu crashed in thread %lu: see %s\n", report->process_id, report->thread_id, file);
    else
        fprintf(stderr, "no dump of process %lu: %s\n", report->process_id, dumpwright_last_error_message());
    dumpwright_request_free(request);
    return done;
}

/* Joins the arguments to a command line, each in quotes. Arguments that contain quotes are not
 * supported. */
static void join(char *line, size_t size, int count, char **arguments)
{
    size_t used = 0;
    for (int at = 0; at < count && used < size; at++)
        used += (size_t)snprintf(line + used, size - used, "%s\"%s\"", at ? " " : "", arguments[at]);
}

int main(int count, char **arguments)
{
    if (count < 3) {
        fprintf(stderr, "watch FILE PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    SECURITY_ATTRIBUTES inherited = {sizeof inherited, NULL, TRUE};
    HANDLE crashed = CreateEventA(&inherited, TRUE, FALSE, NULL);
    HANDLE seen = CreateEventA(&inherited, TRUE, FALSE, NULL);
    HANDLE memory = CreateFileMappingA(INVALID_HANDLE_VALUE, &inherited, PAGE_READWRITE, 0, sizeof(struct crash_report), NULL);
    const volatile struct crash_report *shared = memory ? MapViewOfFile(memory, FILE_MAP_READ, 0, 0, 0) : NULL;
    if (crashed == NULL || seen == NULL || shared == NULL) {
        fprintf(stderr, "cannot create events and shared memory: error %lu\n", GetLastError());
        return 1;
    }
    char agreed[64], line[32768];
    snprintf(agreed, sizeof agreed, "%llx,%llx,%llx", (unsigned long long)(uintptr_t)crashed, (unsigned long long)(uintptr_t)seen,
             (unsigned long long)(uintptr_t)memory);
    SetEnvironmentVariableA(CRASH_WATCH, agreed);
    join(line, sizeof line, count - 2, arguments + 2);
    STARTUPINFOA how;
    memset(&how, 0, sizeof how);
    how.cb = sizeof how;
    PROCESS_INFORMATION program;
    if (!CreateProcessA(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &how, &program)) {
        fprintf(stderr, "cannot start %s: error %lu\n", line, GetLastError());
        return 1;
    }
    HANDLE either[] = {crashed, program.hProcess};
    if (WaitForMultipleObjects(2, either, FALSE, INFINITE) == WAIT_OBJECT_0) {
        struct crash_report report = {shared->process_id, shared->thread_id, shared->pointers};
        /* The program may have started other processes, which inherit the handles and report their
         * crashes too. Only the program itself can be dumped through program.hProcess. */
        if (report.process_id == program.dwProcessId)
            dump(program.hProcess, &report, arguments[1]);
        SetEvent(seen);
    }
    WaitForSingleObject(program.hProcess, INFINITE);
    DWORD code = 1;
    GetExitCodeProcess(program.hProcess, &code);
    return (int)code;
}
