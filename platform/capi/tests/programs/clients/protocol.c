/* In the style of conformance tests. It checks in which order the callback types are sent, with
 * which process, handle and default answer. It also adds an exception, finds its registers in the
 * dump with MiniDumpReadDumpStream, and compares them byte for byte. The mode is the dump type in
 * hexadecimal. */
#include "client.h"

#include <sys/mman.h>
#include <sys/stat.h>

static ULONG last = ~0u, times, thread_flags, module_flags;
static int wrong;

/* Counts and prints a mistake unless `right` is true. */
static void judge(int right, const char *what)
{
    if (!right) {
        printf("wrong: %s\n", what);
        wrong++;
    }
}

static void shown(void)
{
    if (last != ~0u)
        printf(times == 1 ? "%u " : "%u* ", last);
}

static BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    ULONG type = input->CallbackType;
    BOOL by_id = type != IoStartCallback && type != WriteKernelMinidumpCallback && type != IsProcessSnapshotCallback && type != VmStartCallback;
    BOOL by_handle = type != IoStartCallback && type != WriteKernelMinidumpCallback;
    judge(input->ProcessId == (by_id ? process_id : 0) && input->ProcessHandle == (by_handle ? process : NULL), "process");
    judge(parameter == &last, "parameter");
    if (type != last) {
        shown();
        last = type;
        times = 0;
    }
    times++;
    switch (type) {
    case IncludeThreadCallback:
        thread_flags = output->ThreadWriteFlags;
        break;
    case ThreadCallback:
        judge(output->ThreadWriteFlags == thread_flags && input->Thread.SizeOfContext == sizeof(CONTEXT), "thread");
        judge(input->Thread.Context.Rsp >= input->Thread.StackEnd && input->Thread.Context.Rsp < input->Thread.StackBase, "stack");
        break;
    case IncludeModuleCallback:
        module_flags = output->ModuleWriteFlags;
        break;
    case ModuleCallback:
        judge(output->ModuleWriteFlags == module_flags && input->Module.SizeOfImage != 0, "module");
        judge(input->Module.FullPath[0] != 0, "path");
        break;
    case IoStartCallback:
    case VmStartCallback:
    case IsProcessSnapshotCallback:
        judge(output->Status == E_NOTIMPL, "status");
        break;
    case CancelCallback:
        judge(!output->CheckCancel && !output->Cancel, "cancel");
        break;
    case MemoryCallback:
    case RemoveMemoryCallback:
        judge(output->MemoryBase == 0 && output->MemorySize == 0, "memory");
        return FALSE;
    }
    return TRUE;
}

int main(int count, char **arguments)
{
    begin(count, arguments);
    CONTEXT context;
    for (size_t at = 0; at < sizeof context; at++)
        ((BYTE *)&context)[at] = (BYTE)(at * 7);
    context.ContextFlags = CONTEXT_ALL;
    /* From then on these are the thread's registers, also in ThreadCallback. */
    context.Rip = fact("main_code");
    context.Rsp = fact("stack2");
    EXCEPTION_RECORD record = {0xC0000005, 1, NULL, (PVOID)(uintptr_t)0x1234, 2, {1, 0x5678}};
    EXCEPTION_POINTERS pointers = {&record, &context};
    MINIDUMP_EXCEPTION_INFORMATION exception = {(DWORD)fact("thread2"), &pointers, FALSE};
    MINIDUMP_CALLBACK_INFORMATION information = {callback, &last};
    BOOL done = MiniDumpWriteDump(process, process_id, file, (MINIDUMP_TYPE)strtoul(mode, NULL, 16), &exception, NULL, &information);
    shown();
    printf("\nwrong %d, thread %#x, module %#x\n", wrong, thread_flags, module_flags);

    struct stat facts;
    fstat((int)(intptr_t)file, &facts);
    void *dump = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_PRIVATE, (int)(intptr_t)file, 0);
    PMINIDUMP_EXCEPTION_STREAM stream;
    ULONG size;
    if (!MiniDumpReadDumpStream(dump, ExceptionStream, NULL, (PVOID *)&stream, &size) || size != sizeof *stream)
        return 1;
    printf("exception of %s: %x at %llx, %u parameters, %llx; registers %s\n", stream->ThreadId == fact("thread2") ? "thread2" : "another",
           stream->ExceptionRecord.ExceptionCode, stream->ExceptionRecord.ExceptionAddress, stream->ExceptionRecord.NumberParameters,
           stream->ExceptionRecord.ExceptionInformation[1],
           stream->ThreadContext.DataSize == sizeof context && memcmp(RVA_TO_ADDR(dump, stream->ThreadContext.Rva), &context, sizeof context) == 0
               ? "equal"
               : "differ");
    return end(done);
}
