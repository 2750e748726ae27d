/* client: dumps a process as the commands on its standard input say, answers the callback by the
 * rules in these commands, and writes each dialogue to its standard output, in the notation of the
 * recordings in testdata/oracle. Addresses are written {HEX} and thread ids (ID); the reader of the
 * output replaces them by names.
 *
 * Commands, one per line:
 *
 *   dump TYPE TARGET PID HANDLE OPTIONS  describes the next dump: its type, the process, and the id
 *                                        and handle to be passed for it. OPTIONS is any of
 *                                        nocallback, noroutine, nofile and readonly, without spaces
 *                                        between them, followed by "-".
 *   exception TID                        adds an exception in this thread.
 *   stream TYPE SIZE NULL                adds a stream of the caller: SIZE bytes, each 0x51 plus
 *                                        the number of the stream. If NULL is 1, there is a null
 *                                        pointer instead of the bytes.
 *   quiet BITS, only LOW HIGH            select the calls that are not written, like the options of
 *                                        the recording harness with these names.
 *   rule KIND FIRST LAST STEP...         adds a rule, as in testdata/oracle/README.md, but with
 *                                        numbers only.
 *   run                                  writes the dump.
 *
 * Further commands depend on the system; see client_windows.c. For the arguments see
 * system_library.
 */
#define _GNU_SOURCE
#include "client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KINDS = CompressedMemoryStreamFinishCallback + 1, MOST_RULES = 64, ANY = -1 };

static const char *const names[KINDS] = {
    "Module",       "Thread",        "ThreadEx",          "IncludeThread",        "IncludeModule",   "Memory",       "Cancel",
    "WriteKernelMinidump", "KernelMinidumpStatus", "RemoveMemory", "IncludeVmRegion", "IoStart", "IoWriteAll", "IoFinish",
    "ReadMemoryFailure", "SecondaryFlags", "IsProcessSnapshot", "VmStart", "VmQuery", "VmPreRead", "VmPostRead",
    "CompressedMemoryStreamStart", "CompressedMemoryStreamFinish",
};

static struct rule {
    int kind;
    uint32_t first, last;
    char steps[256];
} rules[MOST_RULES];
static int rule_count;
static uint32_t counts[KINDS], total;

static struct job job;
static uint32_t target;
static HANDLE process, file, own;

/* Bits of the recording harness's option --quiet, and the range of its option --only. */
enum { QUIET_POLLS = 1, QUIET_VM = 2, QUIET_REGIONS = 4, QUIET_REPEATED_MEMORY = 8, QUIET_MODULES = 16, QUIET_THREADS = 128 };
static unsigned quiet;
static uint64_t only_low, only_high;

/* The facts of a call that conditions in rules refer to. */
struct subject {
    uint64_t address, length;
    uint32_t thread;
};

static struct subject subject_of(const MINIDUMP_CALLBACK_INPUT *input, const MINIDUMP_CALLBACK_OUTPUT *output)
{
    struct subject subject = {0, 1, 0};
    switch (input->CallbackType) {
    case ModuleCallback:
        subject.address = input->Module.BaseOfImage;
        break;
    case IncludeModuleCallback:
        subject.address = input->IncludeModule.BaseOfImage;
        break;
    case ThreadCallback:
    case ThreadExCallback:
        subject.thread = input->Thread.ThreadId;
        break;
    case IncludeThreadCallback:
        subject.thread = input->IncludeThread.ThreadId;
        break;
    case ReadMemoryFailureCallback:
        subject.address = input->ReadMemoryFailure.Offset;
        subject.length = input->ReadMemoryFailure.Bytes;
        break;
    case IoWriteAllCallback:
        subject.address = input->Io.Offset;
        subject.length = input->Io.BufferBytes;
        break;
    case VmQueryCallback:
        subject.address = input->VmQuery.Offset;
        break;
    case VmPreReadCallback:
    case VmPostReadCallback:
        subject.address = input->VmPreRead.Offset;
        subject.length = input->VmPreRead.Size;
        break;
    case IncludeVmRegionCallback:
        subject.address = output->VmRegion.BaseAddress;
        subject.length = output->VmRegion.RegionSize;
        break;
    }
    return subject;
}

static void print_module(const MINIDUMP_MODULE_CALLBACK *module)
{
    const WCHAR *name = module->FullPath;
    for (const WCHAR *at = name; at && *at; at++)
        if (*at == '\\' || *at == '/')
            name = at + 1;
    printf(" base={%" PRIx64 "} size=0x%x sum=0x%x tds=0x%x name=", (uint64_t)module->BaseOfImage, (unsigned)module->SizeOfImage,
           (unsigned)module->CheckSum, (unsigned)module->TimeDateStamp);
    for (; name && *name; name++)
        putchar(*name < 0x80 ? *name : '?');
    printf(" ver=%08x cv=%s:%u misc=%s:%u", (unsigned)module->VersionInfo.dwSignature, module->CvRecord ? "ptr" : "0",
           (unsigned)module->SizeOfCvRecord, module->MiscRecord ? "ptr" : "0", (unsigned)module->SizeOfMiscRecord);
    if (module->CvRecord && module->SizeOfCvRecord >= 4)
        printf(" cvsig=%.4s", (const char *)module->CvRecord);
}

static void print_thread(const MINIDUMP_THREAD_CALLBACK *thread)
{
    printf(" tid=(%u) th=%s ctxsize=%u ctxflags=0x%x rip={%" PRIx64 "} rsp={%" PRIx64 "} stackbase={%" PRIx64 "} stackend={%" PRIx64 "}",
           (unsigned)thread->ThreadId, thread->ThreadHandle ? "nz" : "0", (unsigned)thread->SizeOfContext,
           (unsigned)thread->Context.ContextFlags, (uint64_t)thread->Context.Rip, (uint64_t)thread->Context.Rsp,
           (uint64_t)thread->StackBase, (uint64_t)thread->StackEnd);
}

static void print_facts(const MINIDUMP_CALLBACK_INPUT *input)
{
    const char *id = input->ProcessId == 0 ? "0" : input->ProcessId == target ? "target" : "other";
    const char *handle = input->ProcessHandle == 0         ? "0"
                         : input->ProcessHandle == process ? "target"
                                                           : system_handle_name(input->ProcessHandle);
    printf(" in: pid=%s h=%s", id, handle);
    switch (input->CallbackType) {
    case ModuleCallback:
        print_module(&input->Module);
        break;
    case IncludeModuleCallback:
        printf(" base={%" PRIx64 "}", (uint64_t)input->IncludeModule.BaseOfImage);
        break;
    case IncludeThreadCallback:
        printf(" tid=(%u)", (unsigned)input->IncludeThread.ThreadId);
        break;
    case ThreadCallback:
        print_thread(&input->Thread);
        break;
    case ThreadExCallback:
        print_thread(&input->Thread);
        printf(" bs={%" PRIx64 "}..{%" PRIx64 "}", (uint64_t)input->ThreadEx.BackingStoreBase,
               (uint64_t)input->ThreadEx.BackingStoreEnd);
        break;
    case IoStartCallback:
    case IoWriteAllCallback:
    case IoFinishCallback:
        printf(" file=%s", input->Io.Handle == file ? (file ? "given" : "NULL") : input->Io.Handle ? "other" : "0");
        break;
    case ReadMemoryFailureCallback:
        printf(" off={%" PRIx64 "} n=0x%x fail=0x%x", (uint64_t)input->ReadMemoryFailure.Offset,
               (unsigned)input->ReadMemoryFailure.Bytes, (unsigned)input->ReadMemoryFailure.FailureStatus);
        break;
    case SecondaryFlagsCallback:
        printf(" flags=0x%x", (unsigned)input->SecondaryFlags);
        break;
    case VmQueryCallback:
        printf(" off={%" PRIx64 "}", (uint64_t)input->VmQuery.Offset);
        break;
    case VmPreReadCallback:
        printf(" off={%" PRIx64 "} n=0x%x buf=%s", (uint64_t)input->VmPreRead.Offset, (unsigned)input->VmPreRead.Size,
               input->VmPreRead.Buffer ? "ptr" : "0");
        break;
    case VmPostReadCallback:
        printf(" off={%" PRIx64 "} n=0x%x done=0x%x st=0x%x buf=%s", (uint64_t)input->VmPostRead.Offset,
               (unsigned)input->VmPostRead.Size, (unsigned)input->VmPostRead.Completed, (unsigned)input->VmPostRead.Status,
               input->VmPostRead.Buffer ? "ptr" : "0");
        break;
    case KernelMinidumpStatusCallback:
        printf(" status=0x%x", (unsigned)input->Status);
        break;
    case CompressedMemoryStreamFinishCallback:
        printf(" size=0x%" PRIx64 " rate=%u", (uint64_t)input->CompressedMemoryStreamFinish.CompressedStreamSize,
               (unsigned)input->CompressedMemoryStreamFinish.StreamCompressionRate);
        break;
    }
}

static void print_answer(uint32_t kind, const MINIDUMP_CALLBACK_OUTPUT *output, int answered, int said)
{
    switch (kind) {
    case MemoryCallback:
    case RemoveMemoryCallback:
        if (!answered || said)
            printf(" base={%" PRIx64 "} size=0x%x", (uint64_t)output->MemoryBase, (unsigned)output->MemorySize);
        break;
    case CancelCallback:
        printf(" check=%d cancel=%d", output->CheckCancel, output->Cancel);
        break;
    case WriteKernelMinidumpCallback:
        printf(" handle=%s", output->Handle ? "nz" : "0");
        break;
    case IncludeVmRegionCallback:
        if (answered)
            printf(" base={%" PRIx64 "} size=0x%" PRIx64, (uint64_t)output->VmRegion.BaseAddress,
                   (uint64_t)output->VmRegion.RegionSize);
        else
            printf(" base={%" PRIx64 "} abase={%" PRIx64 "} aprot=0x%x size=0x%" PRIx64 " state=0x%x prot=0x%x type=0x%x",
                   (uint64_t)output->VmRegion.BaseAddress, (uint64_t)output->VmRegion.AllocationBase,
                   (unsigned)output->VmRegion.AllocationProtect, (uint64_t)output->VmRegion.RegionSize,
                   (unsigned)output->VmRegion.State, (unsigned)output->VmRegion.Protect, (unsigned)output->VmRegion.Type);
        printf(" cont=%d", output->Continue);
        break;
    case VmQueryCallback:
        printf(" status=0x%x base={%" PRIx64 "} size=0x%" PRIx64, (unsigned)output->VmQueryStatus,
               (uint64_t)output->VmQueryResult.BaseAddress, (uint64_t)output->VmQueryResult.RegionSize);
        break;
    case VmPreReadCallback:
    case VmPostReadCallback:
        printf(" status=0x%x done=0x%x", (unsigned)output->VmReadStatus,
               (unsigned)output->VmReadBytesCompleted);
        break;
    case CompressedMemoryStreamStartCallback:
        printf(" par=%u xfer=0x%x", (unsigned)output->CompressedMemoryStreamStart.MaxParallelism,
               (unsigned)output->CompressedMemoryStreamStart.MaxTransferSize);
        if (!answered)
            printf(" numa=%s:%u reserved=%u", output->CompressedMemoryStreamStart.NumaNodeInfoArray ? "ptr" : "0",
                   (unsigned)output->CompressedMemoryStreamStart.NumaNodeInfoArraySize,
                   (unsigned)output->CompressedMemoryStreamStart.Reserved);
        break;
    default:
        printf(answered ? " out=0x%x" : " 0x%x", (unsigned)output->ModuleWriteFlags);
    }
}

static BOOL default_answer(const MINIDUMP_CALLBACK_INPUT *input, MINIDUMP_CALLBACK_OUTPUT *output)
{
    switch (input->CallbackType) {
    case MemoryCallback:
    case RemoveMemoryCallback:
    case ReadMemoryFailureCallback:
    case WriteKernelMinidumpCallback:
        return FALSE;
    case IncludeVmRegionCallback:
        output->Continue = TRUE;
        return TRUE;
    case IoWriteAllCallback:
    case IoFinishCallback:
        output->Status = S_OK;
        return TRUE;
    case VmPreReadCallback:
        output->VmReadStatus = S_OK;
        output->VmReadBytesCompleted = 0;
        return TRUE;
    case VmPostReadCallback:
        output->VmReadStatus = input->VmPostRead.Status;
        output->VmReadBytesCompleted = input->VmPostRead.Completed;
        return TRUE;
    default:
        return TRUE;
    }
}

static void change(ULONG64 *value, const char *text)
{
    uint64_t number = strtoull(text + (*text == '+' || *text == '-'), NULL, 0);
    *value = *text == '+' ? *value + number : *text == '-' ? *value - number : number;
}

/* The handle with which a rule refers to the file for IoWriteAll. */
enum { OWN_FILE = 1 };

/* Whether the answer to VmQuery is taken from the system, after all rules. */
enum query { QUERY_SYSTEM, QUERY_NOTHING };

/* Follows one step of a rule. Returns 0 if it is a condition that does not hold. */
static int follow(const char *step, const MINIDUMP_CALLBACK_INPUT *input, MINIDUMP_CALLBACK_OUTPUT *output,
                  struct subject subject, BOOL *said, enum query *query)
{
    const char *value = strchr(step, '=');
    size_t length = value ? (size_t)(value - step) : strlen(step);
    value = value ? value + 1 : "1";
    const char *second = strchr(value, '/');
    const char *third = second ? strchr(second + 1, '/') : NULL;
    uint64_t number = strtoull(value, NULL, 0);
    uint64_t more = second ? strtoull(second + 1, NULL, 0) : 0;
#define IS(name) (strlen(name) == length && strncmp(step, name, length) == 0)
    if (IS("at"))
        return subject.address < more && subject.address + subject.length > number;
    if (IS("minsize"))
        return subject.length >= number;
    if (IS("tid"))
        return subject.thread == number;
    if (IS("ret"))
        *said = number != 0;
    else if (IS("flags"))
        output->ModuleWriteFlags = (ULONG)number;
    else if (IS("or"))
        output->ModuleWriteFlags |= (ULONG)number;
    else if (IS("mem")) {
        output->MemoryBase = number;
        output->MemorySize = (ULONG)more;
        *said = TRUE;
    } else if (IS("check"))
        output->CheckCancel = number != 0;
    else if (IS("cancel"))
        output->Cancel = number != 0;
    else if (IS("cont"))
        output->Continue = number != 0;
    else if (IS("par"))
        output->CompressedMemoryStreamStart.MaxParallelism = (ULONG32)number;
    else if (IS("xfer"))
        output->CompressedMemoryStreamStart.MaxTransferSize = (ULONG32)number;
    else if (IS("rbase"))
        change(&output->VmRegion.BaseAddress, value);
    else if (IS("rsize"))
        change(&output->VmRegion.RegionSize, value);
    else if (IS("rprot"))
        output->VmRegion.Protect = (ULONG32)number;
    else if (IS("rstate"))
        output->VmRegion.State = (ULONG32)number;
    else if (IS("handle"))
        output->Handle = number == OWN_FILE ? own : (HANDLE)(intptr_t)number;
    else if (IS("real"))
        system_read(input->VmPreRead.Offset, input->VmPreRead.Buffer, input->VmPreRead.Size);
    else if (IS("query"))
        *query = QUERY_NOTHING;
    else if (IS("qstatus")) {
        output->VmQueryStatus = (HRESULT)number;
        *query = QUERY_NOTHING;
    } else if (IS("fill"))
        memset(input->VmPreRead.Buffer, (int)number, input->VmPreRead.Size);
    else if (IS("done"))
        output->VmReadBytesCompleted = strcmp(value, "all") == 0    ? input->VmPreRead.Size
                                       : strcmp(value, "half") == 0 ? input->VmPreRead.Size / 2
                                       : strcmp(value, "over") == 0 ? input->VmPreRead.Size + 8
                                                                    : (ULONG)number;
    else if (IS("xorat") && third) {
        unsigned char *bytes = input->VmPostRead.Buffer;
        for (ULONG at = 0; at < input->VmPostRead.Size; at++)
            if (subject.address + at >= number && subject.address + at < more)
                bytes[at] ^= (unsigned char)strtoul(third + 1, NULL, 0);
    } else {
        fprintf(stderr, "unknown step %s\n", step);
        exit(2);
    }
    return 1;
}

static int is_written(uint32_t kind, uint32_t index, struct subject subject, BOOL said)
{
    int elsewhere = only_high && !(subject.address < only_high && subject.address + subject.length > only_low);
    switch (kind) {
    case CancelCallback:
    case IoWriteAllCallback:
        return !(quiet & QUIET_POLLS);
    case VmQueryCallback:
    case VmPreReadCallback:
    case VmPostReadCallback:
        return !(quiet & QUIET_VM) && !elsewhere;
    case IncludeVmRegionCallback:
        return !(quiet & QUIET_REGIONS) && !elsewhere;
    case MemoryCallback:
    case RemoveMemoryCallback:
        return !((quiet & QUIET_REPEATED_MEMORY) && index > 2 && said);
    case ModuleCallback:
    case IncludeModuleCallback:
        return !(quiet & QUIET_MODULES);
    case ThreadCallback:
    case ThreadExCallback:
    case IncludeThreadCallback:
        return !(quiet & QUIET_THREADS);
    default:
        return 1;
    }
}

static BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    uint32_t kind = input->CallbackType;
    if (kind >= KINDS || parameter != rules) {
        printf("!a question of type %u, parameter %p\n", kind, parameter);
        return FALSE;
    }
    uint32_t index = counts[kind]++, number = total++;
    struct subject subject = subject_of(input, output);
    const MINIDUMP_CALLBACK_OUTPUT prefilled = *output;
    enum query query = QUERY_SYSTEM;
    BOOL said = default_answer(input, output);
    for (const struct rule *rule = rules; rule < rules + rule_count; rule++) {
        if ((rule->kind != ANY && rule->kind != (int)kind) || index < rule->first || index > rule->last)
            continue;
        char steps[sizeof rule->steps], *rest = NULL;
        memcpy(steps, rule->steps, sizeof steps);
        for (char *step = strtok_r(steps, ",", &rest); step; step = strtok_r(NULL, ",", &rest))
            if (!follow(step, input, output, subject, &said, &query))
                break;
    }
    if (kind == VmQueryCallback && query == QUERY_SYSTEM)
        system_query(input->VmQuery.Offset, output);
    if (kind == IoWriteAllCallback && !system_write(input->Io.Offset, input->Io.Buffer, input->Io.BufferBytes))
        said = FALSE;
    if (is_written(kind, index, subject, said)) {
        printf("#%03u %s@%u", number, names[kind], index);
        print_facts(input);
        printf(" | pre:");
        print_answer(kind, &prefilled, 0, 0);
        printf(" | ans: ret=%d", said);
        print_answer(kind, output, 1, said);
        printf("\n");
    }
    return said;
}

static void add_stream(uint32_t type, uint32_t size, int is_null)
{
    static unsigned char bytes[MOST_STREAMS][MOST_STREAM_BYTES];
    uint32_t at = job.stream_count++;
    memset(bytes[at], (int)(0x51 + at), sizeof bytes[at]);
    job.streams[at].Type = type;
    job.streams[at].BufferSize = size;
    job.streams[at].Buffer = is_null ? NULL : bytes[at];
}

static void run(write_dump write)
{
    memset(counts, 0, sizeof counts);
    total = 0;
    system_open(&job, &file, &own);
    HANDLE given = system_process(&job, &process);
    target = system_process_id(&job);
    static CONTEXT context;
    memset(&context, 0, sizeof context);
    if (job.thread)
        system_registers(&job, &context);
    EXCEPTION_RECORD record = {.ExceptionCode = 0xC0000005, .ExceptionAddress = (void *)(uintptr_t)context.Rip};
    EXCEPTION_POINTERS pointers = {&record, &context};
    MINIDUMP_EXCEPTION_INFORMATION exception = {job.thread, &pointers, FALSE};
    MINIDUMP_USER_STREAM_INFORMATION streams = {job.stream_count, job.streams};
    MINIDUMP_CALLBACK_INFORMATION information = {job.no_routine ? NULL : callback, rules};
    uint32_t said = job.process == job.target ? target : job.process;
    BOOL result = write(given, said, file, (MINIDUMP_TYPE)job.type, job.thread ? &exception : NULL,
                        job.stream_count ? &streams : NULL, job.no_callback ? NULL : &information);
    printf("== result=%d err=0x%x", result, result ? 0 : (unsigned)GetLastError());
    for (int kind = 0; kind < KINDS; kind++)
        if (counts[kind])
            printf(" %s:%u", names[kind], counts[kind]);
    system_print_outcome(&job);
    system_close();
    printf("\n");
    fflush(stdout);
}

int main(int count, char **arguments)
{
    static char line[4096];
    write_dump write = system_library(count, arguments);
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    while (fgets(line, sizeof line, stdin)) {
        unsigned long long low, high;
        unsigned type, size;
        int is_null;
        char option[64];
        line[strcspn(line, "\r\n")] = 0;
        struct rule *rule = &rules[rule_count];
        if (sscanf(line, "dump %x %u %u %llu %63s", &job.type, &job.target, &job.process, &low, option) == 5) {
            job.handle = low;
            job.thread = 0;
            job.no_callback = strstr(option, "nocallback") != NULL;
            job.no_routine = strstr(option, "noroutine") != NULL;
            job.no_file = strstr(option, "nofile") != NULL;
            job.read_only = strstr(option, "readonly") != NULL;
            job.stream_count = 0;
            rule_count = 0;
            quiet = 0;
            only_low = only_high = 0;
        } else if (sscanf(line, "exception %u", &job.thread) == 1) {
        } else if (job.stream_count < MOST_STREAMS && sscanf(line, "stream %x %u %d", &type, &size, &is_null) == 3 &&
                   size <= MOST_STREAM_BYTES) {
            add_stream(type, size, is_null);
        } else if (sscanf(line, "quiet %u", &quiet) == 1) {
        } else if (sscanf(line, "only %llu %llu", &low, &high) == 2) {
            only_low = low;
            only_high = high;
        } else if (rule_count < MOST_RULES &&
                   sscanf(line, "rule %d %u %u %255s", &rule->kind, &rule->first, &rule->last, rule->steps) == 4) {
            rule_count++;
        } else if (strcmp(line, "run") == 0) {
            run(write);
        } else if (!system_line(line)) {
            fprintf(stderr, "cannot read %s\n", line);
            return 2;
        }
    }
    return 0;
}
