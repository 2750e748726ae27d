/* misuse PID SCENARIO FILE: what goes wrong is told by error codes, and does no harm. Each line of output is one call's outcome. */
#define _GNU_SOURCE
#include "dumpwright.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static DWORD id;
static HANDLE process, output;

static void told(const char *what, BOOL done)
{
    if (done)
        printf("%s: TRUE\n", what);
    else
        printf("%s: %08x%s%s\n", what, (unsigned)GetLastError(), (DWORD)errno == GetLastError() ? "" : ", errno differs",
               dumpwright_last_error_message()[0] ? "" : ", no message");
}

static BOOL plain(HANDLE handle, DWORD number, HANDLE file)
{
    return MiniDumpWriteDump(handle, number, file, MiniDumpNormal, NULL, NULL, NULL);
}

static BOOL with_exception(MINIDUMP_EXCEPTION_INFORMATION *exception)
{
    return MiniDumpWriteDump(process, id, output, MiniDumpNormal, exception, NULL, NULL);
}

static BOOL with_streams(ULONG count, void *array)
{
    MINIDUMP_USER_STREAM_INFORMATION streams = {count, array};
    return MiniDumpWriteDump(process, id, output, MiniDumpNormal, NULL, &streams, NULL);
}

/* Asks for the same dump in the middle of another one. */
static BOOL CALLBACK asks_again(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT answer)
{
    int *asked = parameter;
    (void)answer;
    if (input->CallbackType == IncludeThreadCallback && (*asked)++ == 0) {
        told("the same process, from its callback", plain(process, id, output));
        dumpwright_request *request = dumpwright_request_create(MiniDumpNormal);
        told("another one, from the callback", dumpwright_request_process(request, (uint32_t)*(asked + 1)) &&
                                                   dumpwright_request_file(request, output) && dumpwright_dump(request));
        dumpwright_request_free(request);
    }
    return input->CallbackType != MemoryCallback && input->CallbackType != RemoveMemoryCallback;
}

/* Takes away what the caller has handed over. */
static BOOL CALLBACK unmaps(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT answer)
{
    (void)answer;
    if (input->CallbackType == IoStartCallback)
        munmap(parameter, 0x1000);
    return input->CallbackType != MemoryCallback && input->CallbackType != RemoveMemoryCallback;
}

int main(int count, char **arguments)
{
    if (count != 5)
        return 2;
    id = (DWORD)strtoul(arguments[1], NULL, 10);
    DWORD other = (DWORD)strtoul(arguments[4], NULL, 10);
    process = (HANDLE)(intptr_t)id;
    int descriptor = open(arguments[3], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    output = (HANDLE)(intptr_t)descriptor;

    told("a dump", plain(process, id, output));
    told("process id 0", plain(process, 0, output));
    told("handle of another process", plain((HANDLE)(intptr_t)other, id, output));
    told("no handle", plain(NULL, id, output));
    told("handle -1", plain(INVALID_HANDLE_VALUE, id, output));
    told("no such process", plain((HANDLE)(intptr_t)0x7ffffff0, 0x7ffffff0, output));
    told("itself", plain((HANDLE)(intptr_t)getpid(), (DWORD)getpid(), output));
    told("no file", plain(process, id, NULL));
    told("file -1", plain(process, id, INVALID_HANDLE_VALUE));
    told("a closed file", plain(process, id, (HANDLE)(intptr_t)987));
    told("a huge file", plain(process, id, (HANDLE)(intptr_t)0x7fffffffffffffff));
    int readable = open("/dev/null", O_RDONLY);
    told("a file for reading", plain(process, id, (HANDLE)(intptr_t)readable));
    int full = open("/dev/full", O_WRONLY);
    told("a full disk", plain(process, id, (HANDLE)(intptr_t)full));
    told("unknown type", MiniDumpWriteDump(process, id, output, (MINIDUMP_TYPE)0x40000000, NULL, NULL, NULL));

    CONTEXT context;
    memset(&context, 0, sizeof context);
    EXCEPTION_RECORD record;
    memset(&record, 0, sizeof record);
    record.NumberParameters = 0xffffffff;
    EXCEPTION_POINTERS pointers = {&record, &context};
    EXCEPTION_POINTERS half = {&record, (PCONTEXT)(uintptr_t)0x1000};
    MINIDUMP_EXCEPTION_INFORMATION exception = {1, &pointers, FALSE};
    told("an exception", with_exception(&exception));
    exception.ExceptionPointers = NULL;
    told("an exception without pointers", with_exception(&exception));
    exception.ExceptionPointers = (PEXCEPTION_POINTERS)(uintptr_t)0x10;
    told("an exception nowhere", with_exception(&exception));
    exception.ExceptionPointers = &half;
    told("an exception without context", with_exception(&exception));
    exception.ExceptionPointers = &pointers;
    exception.ClientPointers = TRUE;
    told("an exception of the client's", with_exception(&exception));

    char bytes[] = "bytes";
    MINIDUMP_USER_STREAM streams[] = {{0x10001, sizeof bytes, bytes}, {3, 0, NULL}};
    told("streams", with_streams(2, streams));
    told("streams without array", with_streams(2, NULL));
    told("no streams", with_streams(0, streams));
    told("streams nowhere", with_streams(1, (void *)(uintptr_t)0x10));
    streams[1].BufferSize = 8;
    told("a stream without buffer", with_streams(2, streams));
    streams[1].BufferSize = 0xffffffff;
    streams[1].Buffer = bytes;
    told("a stream that is too long", with_streams(2, streams));
    told("too many streams", with_streams(0xffffffff, streams));

    MINIDUMP_CALLBACK_INFORMATION none = {NULL, bytes};
    told("a callback without function", MiniDumpWriteDump(process, id, output, MiniDumpNormal, NULL, NULL, &none));
    int asked[] = {0, (int)other};
    MINIDUMP_CALLBACK_INFORMATION again = {asks_again, asked};
    told("a callback that dumps", MiniDumpWriteDump(process, id, output, MiniDumpNormal, NULL, NULL, &again));
    char *page = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MINIDUMP_USER_STREAM lent = {0x10001, 0x1000, page};
    MINIDUMP_USER_STREAM_INFORMATION lents = {1, &lent};
    MINIDUMP_CALLBACK_INFORMATION taker = {unmaps, page};
    told("a callback that unmaps", MiniDumpWriteDump(process, id, output, MiniDumpNormal, NULL, &lents, &taker));

    setenv("DUMPWRIGHT_PROFILE", "dbghelp64", 1);
    told("an unknown profile", plain(process, id, output));
    setenv("DUMPWRIGHT_PROFILE", "documented", 1);
    told("a reserved stream", with_streams(2, (streams[1].BufferSize = 0, streams)));
    unsetenv("DUMPWRIGHT_PROFILE");

    dumpwright_request *request = dumpwright_request_create(MiniDumpNormal);
    told("a request of nothing", dumpwright_dump(request));
    told("no request", dumpwright_dump(NULL));
    told("no request to set", dumpwright_request_time(NULL, 1));
    told("process 0", dumpwright_request_process(request, 0));
    told("no scenario", dumpwright_request_scenario(request, NULL));
    told("a missing scenario", dumpwright_request_scenario(request, "/nowhere.toml"));
    told("an unknown name", dumpwright_request_profile(request, "dbghelp"));
    told("an unknown hold", dumpwright_request_hold(request, "hypnosis"));
    told("no writer", dumpwright_request_writer(request, NULL, NULL));
    told("no process descriptor", dumpwright_request_pidfd(request, descriptor));
    told("a closed process descriptor", dumpwright_request_pidfd(request, 987));
    int pidfd = (int)syscall(SYS_pidfd_open, (pid_t)id, 0);
    told("a process descriptor", dumpwright_request_pidfd(request, pidfd) && dumpwright_request_hold(request, "stop") &&
                                     dumpwright_request_file(request, output) && dumpwright_dump(request));
    printf("%s %s\n", dumpwright_last_report()->complete ? "complete" : "partial", dumpwright_last_report()->hold);
    told("a scenario", dumpwright_request_scenario(request, arguments[2]) && dumpwright_dump(request));
    exception.ClientPointers = TRUE;
    told("an exception in a scenario", dumpwright_request_exception(request, &exception));
    told("an existing file", dumpwright_request_path(request, arguments[3], FALSE) && dumpwright_dump(request));
    printf("%s\n", dumpwright_last_report() ? "a report" : "no report");
    told("replacing it", dumpwright_request_path(request, arguments[3], TRUE) && dumpwright_dump(request));
    dumpwright_request_free(request);
    dumpwright_request_free(NULL);

    PVOID where = bytes;
    ULONG size = 17;
    PMINIDUMP_DIRECTORY entry = (PMINIDUMP_DIRECTORY)bytes;
    told("a stream of nothing", MiniDumpReadDumpStream(NULL, 3, &entry, &where, &size));
    told("a stream of no dump", MiniDumpReadDumpStream(bytes, 3, &entry, &where, &size));
    told("a stream nowhere", MiniDumpReadDumpStream((PVOID)(uintptr_t)0x10, 3, &entry, &where, &size));
    printf("%s\n", where == bytes && size == 17 && entry == (PMINIDUMP_DIRECTORY)bytes ? "untouched" : "touched");
    return 0;
}
