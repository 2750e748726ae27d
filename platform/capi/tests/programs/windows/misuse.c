/* misuse PID OTHER SCENARIO FILE: misuses the library. Every mistake must lead to an error code and
 * do no harm. Each line of output is the outcome of one call. */
#include <windows.h>

#include "../misuse.h"

static const char *place;

static HANDLE open_file(DWORD access, DWORD flags)
{
    return CreateFileA(place, access, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_ALWAYS, flags, NULL);
}

/* Returns the number at an offset of the file. */
static DWORD at_offset(LONG offset)
{
    DWORD value = 0, count;
    HANDLE file = open_file(GENERIC_READ, 0);
    SetFilePointer(file, offset, NULL, FILE_BEGIN);
    if (!ReadFile(file, &value, sizeof value, &count, NULL) || count != sizeof value)
        value = 0;
    CloseHandle(file);
    return value;
}

/* Files are written from their beginning, and bytes behind the end of the dump stay. */
static void files(void)
{
    enum { FAR_AWAY = 0x4000000 };
    DWORD mark = 0x4B52414D, count;
    HANDLE file = open_file(GENERIC_WRITE, 0);
    SetFilePointer(file, FAR_AWAY, NULL, FILE_BEGIN);
    WriteFile(file, &mark, sizeof mark, &count, NULL);
    told("a file with something in it", plain(process, id, file));
    printf("%d %d\n", at_offset(0) == MINIDUMP_SIGNATURE, at_offset(FAR_AWAY) == mark);
    told("the same handle again", plain(process, id, file));
    printf("%d\n", CloseHandle(file));
    told("a closed file", plain(process, id, file));
    DeleteFileA(place);
    file = open_file(GENERIC_WRITE, FILE_FLAG_OVERLAPPED);
    told("an overlapped file", plain(process, id, file));
    printf("%d\n", at_offset(0) == MINIDUMP_SIGNATURE);
    CloseHandle(file);
    file = open_file(GENERIC_READ, 0);
    told("a file for reading", plain(process, id, file));
    CloseHandle(file);
    HANDLE event = CreateEventA(NULL, FALSE, FALSE, NULL);
    told("an event for a file", plain(process, id, event));
    told("an event for a process", plain(event, id, output));
    CloseHandle(event);
    HANDLE heard, pipe;
    CreatePipe(&heard, &pipe, NULL, 0);
    CloseHandle(heard);
    BOOL done = plain(process, id, pipe);
    /* ERROR_NO_DATA on Windows and Wine. ERROR_BROKEN_PIPE would be right as well. */
    printf("a pipe that nobody reads: %s\n",
           !done && (GetLastError() == 0x800700E8 || GetLastError() == 0x8007006D) ? "broken" : "no error");
    CloseHandle(pipe);
}

struct drain {
    HANDLE pipe;
    BYTE start[4];
    DWORD count;
};

static DWORD WINAPI drain(void *parameter)
{
    struct drain *drain = parameter;
    BYTE bytes[4096];
    DWORD count;
    while (ReadFile(drain->pipe, bytes, sizeof bytes, &count, NULL) && count > 0) {
        if (drain->count == 0 && count >= 4)
            memcpy(drain->start, bytes, 4);
        drain->count += count;
    }
    return 0;
}

/* A pipe receives the bytes in order. */
static void pipes(void)
{
    struct drain state = {0};
    HANDLE pipe;
    CreatePipe(&state.pipe, &pipe, NULL, 0);
    HANDLE reader = CreateThread(NULL, 0, drain, &state, 0, NULL);
    told("a pipe", plain(process, id, pipe));
    uint64_t bytes = dumpwright_last_report() ? dumpwright_last_report()->bytes : 0;
    CloseHandle(pipe);
    WaitForSingleObject(reader, INFINITE);
    printf("%d %d\n", memcmp(state.start, "MDMP", 4) == 0, state.count == bytes);
}

/* Unmaps memory that the caller has passed to the library. */
static BOOL CALLBACK unmaps(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT answer)
{
    (void)answer;
    if (input->CallbackType == IoStartCallback)
        VirtualFree(parameter, 0, MEM_RELEASE);
    return input->CallbackType != MemoryCallback && input->CallbackType != RemoveMemoryCallback;
}

static BOOL CALLBACK claims_a_snapshot(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT answer)
{
    (void)parameter;
    if (input->CallbackType == IsProcessSnapshotCallback)
        answer->Status = S_FALSE;
    return TRUE;
}

static HANDLE open_process(DWORD access, DWORD number)
{
    return OpenProcess(access, FALSE, number);
}

int main(int count, char **arguments)
{
    enum { ENOUGH = PROCESS_QUERY_INFORMATION | PROCESS_VM_READ | PROCESS_DUP_HANDLE };
    if (count != 5)
        return 2;
    id = (DWORD)strtoul(arguments[1], NULL, 10);
    place = arguments[4];
    STARTUPINFOA how = {.cb = sizeof how};
    PROCESS_INFORMATION other;
    if (!CreateProcessA(NULL, arguments[2], NULL, NULL, FALSE, CREATE_SUSPENDED, NULL, NULL, &how, &other))
        return 2;
    other_id = other.dwProcessId;
    process = open_process(ENOUGH, id);
    output = open_file(GENERIC_READ | GENERIC_WRITE, 0);

    told("a dump", plain(process, id, output));
    told("process id 0", plain(process, 0, output));
    told("handle of another process", plain(other.hProcess, id, output));
    told("no handle", plain(NULL, id, output));
    told("no handle, no id", plain(NULL, 0, output));
    told("handle -1", plain(INVALID_HANDLE_VALUE, id, output));
    told("no such handle", plain((HANDLE)(ULONG_PTR)0x7ffffff0, id, output));
    HANDLE thread = OpenThread(THREAD_QUERY_INFORMATION, FALSE, GetCurrentThreadId());
    told("a thread for a process", plain(thread, id, output));
    HANDLE poor = open_process(SYNCHRONIZE, id);
    told("a handle without rights", plain(poor, id, output));
    told("itself", plain(GetCurrentProcess(), GetCurrentProcessId(), output));
    told("no file", plain(process, id, NULL));
    told("file -1", plain(process, id, INVALID_HANDLE_VALUE));
    told("unknown type", MiniDumpWriteDump(process, id, output, (MINIDUMP_TYPE)0x40000000, NULL, NULL, NULL));
    CloseHandle(output);
    files();
    output = open_file(GENERIC_READ | GENERIC_WRITE, 0);
    pipes();

    misused_exceptions();
    misused_streams();

    MINIDUMP_CALLBACK_INFORMATION none = {NULL, bytes};
    told("a callback without function", MiniDumpWriteDump(process, id, output, MiniDumpNormal, NULL, NULL, &none));
    int asked = 0;
    MINIDUMP_CALLBACK_INFORMATION again = {asks_again, &asked};
    told("a callback that dumps", MiniDumpWriteDump(process, id, output, MiniDumpNormal, NULL, NULL, &again));
    char *page = VirtualAlloc(NULL, 0x1000, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
    MINIDUMP_USER_STREAM *lent = (MINIDUMP_USER_STREAM *)page;
    lent[0] = (MINIDUMP_USER_STREAM){0x10001, 16, page + 0x100};
    MINIDUMP_USER_STREAM_INFORMATION lent_streams = {1, lent};
    MINIDUMP_CALLBACK_INFORMATION unmapping = {unmaps, page};
    told("a callback that unmaps",
         MiniDumpWriteDump(process, id, output, MiniDumpNormal, NULL, &lent_streams, &unmapping));
    MINIDUMP_CALLBACK_INFORMATION snapshot = {claims_a_snapshot, NULL};
    told("no snapshot", MiniDumpWriteDump(process, id, output, MiniDumpNormal, NULL, NULL, &snapshot));

    dumpwright_request *request = dumpwright_request_create(MiniDumpNormal);
    told("a request of nothing", dumpwright_dump(request));
    told("no request", dumpwright_dump(NULL));
    told("process 0", dumpwright_request_process(request, 0));
    told("no such process", dumpwright_request_process(request, 0x7ffffff0) && dumpwright_request_file(request, output) &&
                                dumpwright_dump(request));
    told("a name that is not UTF-8", dumpwright_request_path(request, "\xff.dmp", TRUE));
    told("a missing scenario", dumpwright_request_scenario(request, "no-such-folder/scenario.toml"));
    told("an unknown hold", dumpwright_request_hold(request, "tight"));
    told("a thread for a handle", dumpwright_request_handle(request, thread));
    told("a closed handle", dumpwright_request_handle(request, (HANDLE)(ULONG_PTR)0x7ffffff0));
    told("a handle", dumpwright_request_handle(request, process) && dumpwright_request_hold(request, "stop") &&
                         dumpwright_request_file(request, output) && dumpwright_dump(request));
    const dumpwright_report *report = dumpwright_last_report();
    printf("%s\n", report && report->threads == 4 ? report->hold : "no report");
    told("a snapshot of it", dumpwright_request_hold(request, "clone") && dumpwright_dump(request));
    report = dumpwright_last_report();
    /* Held by a snapshot. If the system has none, the threads are stopped, with a note. */
    BOOL excused = FALSE;
    for (size_t at = 0; report && at < report->diagnostic_count; at++)
        excused |= strstr(report->diagnostics[at].text, "not copied") != NULL;
    printf("%d\n", report && (strcmp(report->hold, "clone") == 0 || (strcmp(report->hold, "stop") == 0 && excused)));
    told("stopped again", dumpwright_request_hold(request, "stop") && dumpwright_dump(request));
    exception.ExceptionPointers = &pointers;
    exception.ClientPointers = FALSE;
    told("an exception in it", dumpwright_request_exception(request, &exception) && dumpwright_dump(request));
    told("a scenario", dumpwright_request_scenario(request, arguments[3]) && dumpwright_dump(request));
    CloseHandle(output);
    told("an existing file", dumpwright_request_path(request, place, FALSE) && dumpwright_dump(request));
    told("replacing it", dumpwright_request_path(request, place, TRUE) && dumpwright_dump(request));
    /* A name with U+00FC and U+00DF as UTF-8. The wide name shows whether it was converted. */
    told("a name beyond ASCII", dumpwright_request_path(request, "gr\xc3\xbc\xc3\x9f" "e.dmp", TRUE) && dumpwright_dump(request));
    printf("%d\n", DeleteFileW(L"gr\u00fc\u00dfe.dmp"));
    dumpwright_request_free(request);
    dumpwright_request_free(NULL);

    misused_reading();
    TerminateProcess(other.hProcess, 0);
    return 0;
}
