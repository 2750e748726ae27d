/* misuse PID SCENARIO FILE OTHER: misuses the library. Every mistake must lead to an error code and
 * do no harm. Each line of output is the outcome of one call. */
#define _GNU_SOURCE
#include "misuse.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Unmaps memory that the caller has passed to the library. */
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
    other_id = (DWORD)strtoul(arguments[4], NULL, 10);
    process = (HANDLE)(intptr_t)id;
    int descriptor = open(arguments[3], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    output = (HANDLE)(intptr_t)descriptor;

    told("a dump", plain(process, id, output));
    told("process id 0", plain(process, 0, output));
    told("handle of another process", plain((HANDLE)(intptr_t)other_id, id, output));
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
    told("a process for a file", plain(process, id, DUMPWRIGHT_PID(id)));
    told("a file for a process", plain(DUMPWRIGHT_FD(descriptor), 0, output));
    told("handles with tags", plain(DUMPWRIGHT_PID(id), id, DUMPWRIGHT_FD(descriptor)));
    told("a full disk", plain(process, id, (HANDLE)(intptr_t)full));
    told("unknown type", MiniDumpWriteDump(process, id, output, (MINIDUMP_TYPE)0x40000000, NULL, NULL, NULL));

    misused_exceptions();
    misused_streams();

    MINIDUMP_CALLBACK_INFORMATION none = {NULL, bytes};
    told("a callback without function", MiniDumpWriteDump(process, id, output, MiniDumpNormal, NULL, NULL, &none));
    int asked = 0;
    MINIDUMP_CALLBACK_INFORMATION again = {asks_again, &asked};
    told("a callback that dumps", MiniDumpWriteDump(process, id, output, MiniDumpNormal, NULL, NULL, &again));
    char *page = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MINIDUMP_USER_STREAM lent = {0x10001, 0x1000, page};
    MINIDUMP_USER_STREAM_INFORMATION lents = {1, &lent};
    MINIDUMP_CALLBACK_INFORMATION taker = {unmaps, page};
    told("a callback that unmaps", MiniDumpWriteDump(process, id, output, MiniDumpNormal, NULL, &lents, &taker));

    setenv("DUMPWRIGHT_PROFILE", "dbghelp64", 1);
    told("an unknown profile", plain(process, id, output));
    streams[1].Type = ThreadListStream;
    streams[1].BufferSize = 0;
    setenv("DUMPWRIGHT_PROFILE", "dbghelp63", 1);
    told("a reserved stream, as DbgHelp", with_streams(2, streams));
    unsetenv("DUMPWRIGHT_PROFILE");
    told("a reserved stream", with_streams(2, streams));
    streams[1].Type = streams[0].Type;
    told("two streams of one type", with_streams(2, streams));

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
    exception.ExceptionPointers = &pointers;
    told("an exception in a scenario", dumpwright_request_exception(request, &exception));
    told("an existing file", dumpwright_request_path(request, arguments[3], FALSE) && dumpwright_dump(request));
    printf("%s\n", dumpwright_last_report() ? "a report" : "no report");
    told("replacing it", dumpwright_request_path(request, arguments[3], TRUE) && dumpwright_dump(request));
    told("no descriptor", dumpwright_request_fd(request, -1));
    told("a descriptor", dumpwright_request_fd(request, descriptor) && dumpwright_dump(request));
    dumpwright_request_free(request);
    dumpwright_request_free(NULL);

    /* A dump behind the content of the file would be worthless. */
    int appending = open(arguments[3], O_WRONLY | O_APPEND);
    told("a file to append to", plain(process, id, (HANDLE)(intptr_t)appending));
    told("an empty file to append to", ftruncate(appending, 0) == 0 && plain(process, id, (HANDLE)(intptr_t)appending));
    /* The first open() of a daemon returns this descriptor. */
    dup2(descriptor, 0);
    told("descriptor 0", plain(process, id, DUMPWRIGHT_FD(0)));
    told("NULL is no file all the same", plain(process, id, NULL));
    told("NULL is no process", plain(NULL, 0, output));

    misused_reading();
    return 0;
}
