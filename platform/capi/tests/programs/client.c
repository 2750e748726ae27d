/* Dumps by the rules on its standard input and writes each dialogue to its standard output, in the words of the recordings in
 * testdata/oracle. Addresses are written {HEX}, for the reader to name.
 *
 *   dump TYPE TARGET PID HANDLE [nocallback][nullroutine][nofile][readonly]-   what is dumped next, and what is said of it
 *   exception TID                                                   with an exception in this thread
 *   rule KIND FIRST LAST STEP...                                    rules, as in testdata/oracle/README.md, with numbers only
 *   run                                                             dump
 */
#define _GNU_SOURCE
#include "dumpwright.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { KINDS = VmPostReadCallback + 1, MOST_RULES = 64, ANY = -1 };

static const char *const names[KINDS] = {
    "Module",       "Thread",        "ThreadEx",          "IncludeThread",        "IncludeModule",   "Memory",       "Cancel",
    "WriteKernelMinidump", "KernelMinidumpStatus", "RemoveMemory", "IncludeVmRegion", "IoStart", "IoWriteAll", "IoFinish",
    "ReadMemoryFailure", "SecondaryFlags", "IsProcessSnapshot", "VmStart", "VmQuery", "VmPreRead", "VmPostRead",
};

static struct rule {
    int kind;
    uint32_t first, last;
    char steps[256];
} rules[MOST_RULES];
static int rule_count;
static uint32_t counts[KINDS], total;

static uint32_t target;
static HANDLE file;
static int own = -1;

/* What conditions look at. */
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

static void print_facts(const MINIDUMP_CALLBACK_INPUT *input)
{
    const char *process = input->ProcessId == 0 ? "0" : input->ProcessId == target ? "target" : "other";
    const char *whose = input->ProcessHandle == 0                             ? "0"
                        : input->ProcessHandle == (HANDLE)(uintptr_t)target ? "target"
                                                                            : "other";
    printf(" in: pid=%s h=%s", process, whose);
    switch (input->CallbackType) {
    case ModuleCallback:
        printf(" base={%" PRIx64 "}", (uint64_t)input->Module.BaseOfImage);
        break;
    case IncludeModuleCallback:
        printf(" base={%" PRIx64 "}", (uint64_t)input->IncludeModule.BaseOfImage);
        break;
    case IncludeThreadCallback:
        printf(" tid=(%u)", input->IncludeThread.ThreadId);
        break;
    case ThreadCallback:
    case ThreadExCallback:
        printf(" tid=(%u) ctxsize=%u ctxflags=0x%x", input->Thread.ThreadId, input->Thread.SizeOfContext,
               input->Thread.Context.ContextFlags);
        break;
    case IoStartCallback:
    case IoWriteAllCallback:
    case IoFinishCallback:
        printf(" file=%s", input->Io.Handle != file ? "other" : file ? "given" : "NULL");
        break;
    case ReadMemoryFailureCallback:
        printf(" off={%" PRIx64 "} n=0x%x fail=0x%x", (uint64_t)input->ReadMemoryFailure.Offset, input->ReadMemoryFailure.Bytes,
               (unsigned)input->ReadMemoryFailure.FailureStatus);
        break;
    case SecondaryFlagsCallback:
        printf(" flags=0x%x", input->SecondaryFlags);
        break;
    case KernelMinidumpStatusCallback:
        printf(" status=0x%x", (unsigned)input->Status);
        break;
    }
}

static void print_answer(uint32_t kind, const MINIDUMP_CALLBACK_OUTPUT *output, int answered, int said)
{
    switch (kind) {
    case MemoryCallback:
    case RemoveMemoryCallback:
        if (!answered || said)
            printf(" base={%" PRIx64 "} size=0x%x", (uint64_t)output->MemoryBase, output->MemorySize);
        break;
    case CancelCallback:
        printf(" check=%d cancel=%d", output->CheckCancel, output->Cancel);
        break;
    case WriteKernelMinidumpCallback:
        printf(" handle=%s", output->Handle ? "nz" : "0");
        break;
    case IncludeVmRegionCallback:
        printf(" base={%" PRIx64 "} size=0x%" PRIx64 " cont=%d", (uint64_t)output->VmRegion.BaseAddress,
               (uint64_t)output->VmRegion.RegionSize, output->Continue);
        break;
    case VmPreReadCallback:
    case VmPostReadCallback:
        printf(" status=0x%x done=0x%x", (unsigned)output->VmReadStatus, output->VmReadBytesCompleted);
        break;
    default:
        printf(answered ? " out=0x%x" : " 0x%x", output->ModuleWriteFlags);
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

static void change(uint64_t *value, const char *text)
{
    uint64_t number = strtoull(text + (*text == '+' || *text == '-'), NULL, 0);
    *value = *text == '+' ? *value + number : *text == '-' ? *value - number : number;
}

/* One step of a rule. 0: a condition that does not hold. */
static int follow(const char *step, const MINIDUMP_CALLBACK_INPUT *input, MINIDUMP_CALLBACK_OUTPUT *output,
                  struct subject subject, BOOL *said)
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
    else if (IS("rbase"))
        change(&output->VmRegion.BaseAddress, value);
    else if (IS("rsize"))
        change(&output->VmRegion.RegionSize, value);
    else if (IS("rprot"))
        output->VmRegion.Protect = (ULONG32)number;
    else if (IS("rstate"))
        output->VmRegion.State = (ULONG32)number;
    else if (IS("handle"))
        output->Handle = (HANDLE)(intptr_t)number;
    else if (IS("real")) {
        struct iovec here = {input->VmPreRead.Buffer, input->VmPreRead.Size};
        struct iovec there = {(void *)(uintptr_t)input->VmPreRead.Offset, input->VmPreRead.Size};
        process_vm_readv((pid_t)target, &here, 1, &there, 1, 0);
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

static BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    uint32_t kind = input->CallbackType;
    if (kind >= KINDS || parameter != rules) {
        printf("!a question of type %u, parameter %p\n", kind, parameter);
        return FALSE;
    }
    uint32_t index = counts[kind]++;
    struct subject subject = subject_of(input, output);
    printf("#%03u %s@%u", total++, names[kind], index);
    print_facts(input);
    printf(" | pre:");
    print_answer(kind, output, 0, 0);
    BOOL said = default_answer(input, output);
    for (const struct rule *rule = rules; rule < rules + rule_count; rule++) {
        if ((rule->kind != ANY && rule->kind != (int)kind) || index < rule->first || index > rule->last)
            continue;
        char steps[sizeof rule->steps], *rest = NULL;
        memcpy(steps, rule->steps, sizeof steps);
        for (char *step = strtok_r(steps, ",", &rest); step; step = strtok_r(NULL, ",", &rest))
            if (!follow(step, input, output, subject, &said))
                break;
    }
    if (kind == IoWriteAllCallback &&
        pwrite(own, input->Io.Buffer, input->Io.BufferBytes, (off_t)input->Io.Offset) != (ssize_t)input->Io.BufferBytes)
        said = FALSE;
    printf(" | ans: ret=%d", said);
    print_answer(kind, output, 1, said);
    printf("\n");
    return said;
}

int main(void)
{
    char line[512], option[64] = "-";
    uint32_t type = 0, thread = 0, process = 0;
    HANDLE handle = NULL;
    own = open("/dev/null", O_WRONLY);
    while (fgets(line, sizeof line, stdin)) {
        unsigned long long given;
        line[strcspn(line, "\n")] = 0;
        struct rule *rule = &rules[rule_count];
        if (sscanf(line, "dump %x %u %u %llu %63s", &type, &target, &process, &given, option) == 5) {
            handle = (HANDLE)(uintptr_t)given;
            rule_count = 0;
            thread = 0;
        } else if (sscanf(line, "exception %u", &thread) == 1) {
        } else if (rule_count < MOST_RULES &&
                   sscanf(line, "rule %d %u %u %255s", &rule->kind, &rule->first, &rule->last, rule->steps) == 4) {
            rule_count++;
        } else if (strcmp(line, "run") == 0) {
            memset(counts, 0, sizeof counts);
            total = 0;
            int descriptor = open("/dev/null", strstr(option, "readonly") ? O_RDONLY : O_WRONLY);
            file = strstr(option, "nofile") ? NULL : (HANDLE)(intptr_t)descriptor;
            static CONTEXT context = {.ContextFlags = CONTEXT_ALL};
            static EXCEPTION_RECORD record = {.ExceptionCode = 0xC0000005};
            EXCEPTION_POINTERS pointers = {&record, &context};
            MINIDUMP_EXCEPTION_INFORMATION exception = {thread, &pointers, FALSE};
            MINIDUMP_CALLBACK_INFORMATION information = {callback, rules};
            if (strstr(option, "nullroutine"))
                information.CallbackRoutine = NULL;
            BOOL result = MiniDumpWriteDump(handle, process, file, (MINIDUMP_TYPE)type, thread ? &exception : NULL, NULL,
                                            strstr(option, "nocallback") ? NULL : &information);
            printf("== result=%d err=0x%x", result, result ? 0 : GetLastError());
            for (int kind = 0; kind < KINDS; kind++)
                if (counts[kind])
                    printf(" %s:%u", names[kind], counts[kind]);
            printf("\n");
            fflush(stdout);
            close(descriptor);
        } else {
            fprintf(stderr, "cannot read %s\n", line);
            return 2;
        }
    }
    return 0;
}
