/* What both programs named misuse have in common, on Linux and on Windows. Each line of their
 * output is the outcome of one call. */
#ifndef MISUSE_H
#define MISUSE_H

#include "dumpwright.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static DWORD id, other_id;
static HANDLE process, output;

static CONTEXT context;
static EXCEPTION_RECORD record = {.NumberParameters = 0xffffffff};
static EXCEPTION_POINTERS pointers = {&record, &context};
static MINIDUMP_EXCEPTION_INFORMATION exception = {1, &pointers, FALSE};

static char bytes[] = "bytes";
static MINIDUMP_USER_STREAM streams[] = {{0x10001, sizeof bytes, bytes}, {0x10002, 0, NULL}};

static void told(const char *what, BOOL done)
{
    DWORD code = GetLastError();
#ifdef _WIN32
    const char *differs = code == dumpwright_last_error() ? "" : ", told otherwise";
#else
    const char *differs = code == (DWORD)errno ? "" : ", errno differs";
#endif
    if (done)
        printf("%s: TRUE\n", what);
    else
        printf("%s: %08x%s%s\n", what, (unsigned)code, differs, dumpwright_last_error_message()[0] ? "" : ", no message");
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

/* Writes the same dump while another one is being written. */
static BOOL CALLBACK asks_again(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT answer)
{
    int *asked = parameter;
    (void)answer;
    if (input->CallbackType == IncludeThreadCallback && (*asked)++ == 0) {
        told("the same process, from its callback", plain(process, id, output));
        dumpwright_request *request = dumpwright_request_create(MiniDumpNormal);
        told("another one, from the callback", dumpwright_request_process(request, other_id) &&
                                                   dumpwright_request_file(request, output) && dumpwright_dump(request));
        dumpwright_request_free(request);
    }
    return input->CallbackType != MemoryCallback && input->CallbackType != RemoveMemoryCallback;
}

static void misused_exceptions(void)
{
    EXCEPTION_POINTERS half = {&record, (PCONTEXT)(uintptr_t)0x1000};
    told("an exception", with_exception(&exception));
    exception.ExceptionPointers = NULL;
    told("an exception without pointers", with_exception(&exception));
    exception.ExceptionPointers = (PEXCEPTION_POINTERS)(uintptr_t)0x10;
    told("an exception nowhere", with_exception(&exception));
    exception.ExceptionPointers = &half;
    told("an exception without context", with_exception(&exception));
    exception.ExceptionPointers = (PEXCEPTION_POINTERS)(uintptr_t)0x10;
    exception.ClientPointers = TRUE;
    told("an exception of the client's", with_exception(&exception));
}

static void misused_streams(void)
{
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
}

static void misused_reading(void)
{
    PVOID where = bytes;
    ULONG size = 17;
    PMINIDUMP_DIRECTORY entry = (PMINIDUMP_DIRECTORY)bytes;
    told("a stream of nothing", MiniDumpReadDumpStream(NULL, 3, &entry, &where, &size));
    told("a stream of no dump", MiniDumpReadDumpStream(bytes, 3, &entry, &where, &size));
    told("a stream nowhere", MiniDumpReadDumpStream((PVOID)(uintptr_t)0x10, 3, &entry, &where, &size));
    printf("%s\n", where == bytes && size == 17 && entry == (PMINIDUMP_DIRECTORY)bytes ? "untouched" : "touched");
}

#endif
