// field_memory PID FILE THREAD ADDRESS SIZE...: the callback that crash reporters have in some
// form. It supplies, one by one, memory regions that the program has registered and memory around
// the instruction pointer of the crashed thread. The dump also has a user stream and an exception.
// Prints each call of the callback and what it returned.
#include "field.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <utility>

namespace {

struct Region {
    ULONG64 base;
    ULONG size;
};

class Reporter {
public:
    explicit Reporter(DWORD thread) : thread(thread) {}

    void add(ULONG64 base, ULONG size) { regions.push_back({base, size}); }

    static BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
    {
        BOOL said = static_cast<Reporter *>(parameter)->answer(*input, *output);
        std::printf("question %u: %d\n", static_cast<unsigned>(input->CallbackType), said);
        return said;
    }

private:
    BOOL answer(const MINIDUMP_CALLBACK_INPUT &input, MINIDUMP_CALLBACK_OUTPUT &output)
    {
        switch (input.CallbackType) {
        case ThreadCallback:
            if (input.Thread.ThreadId == thread)
                add_around_instruction(input.Thread.Context);
            return TRUE;
        case MemoryCallback:
            if (regions.empty())
                return FALSE;
            output.MemoryBase = regions.front().base;
            output.MemorySize = regions.front().size;
            regions.pop_front();
            return TRUE;
        case ModuleCallback:
        case IncludeThreadCallback:
        case IncludeModuleCallback:
            return TRUE;
        case CancelCallback:
            output.CheckCancel = FALSE;
            output.Cancel = FALSE;
            return TRUE;
        default:
            return FALSE;
        }
    }

    void add_around_instruction(const CONTEXT &context)
    {
#if defined(DUMPWRIGHT_X64)
        add(context.Rip - 128, 256);
#elif defined(DUMPWRIGHT_X86)
        add(context.Eip - 128, 256);
#else
        add(context.Pc - 128, 256);
#endif
    }

    DWORD thread;
    std::list<Region> regions;
};

} // namespace

int main(int count, char **arguments)
{
    if (count < 4 || count % 2 != 0)
        return 2;
    DWORD id = static_cast<DWORD>(std::strtoul(arguments[1], nullptr, 10));
    DWORD thread = static_cast<DWORD>(std::strtoul(arguments[3], nullptr, 10));
    Reporter reporter(thread);
    for (int at = 4; at < count; at += 2)
        reporter.add(std::strtoull(arguments[at], nullptr, 0), static_cast<ULONG>(std::strtoul(arguments[at + 1], nullptr, 0)));

    EXCEPTION_RECORD record;
    std::memset(&record, 0, sizeof record);
    record.ExceptionCode = 0xC0000005;
    record.NumberParameters = 2;
    record.ExceptionInformation[1] = 0x1234;
    CONTEXT context;
    std::memset(&context, 0, sizeof context);
    context.ContextFlags = CONTEXT_ALL;
    EXCEPTION_POINTERS pointers = {&record, &context};
    MINIDUMP_EXCEPTION_INFORMATION exception = {thread, &pointers, FALSE};

    char comment[] = "reported by hand";
    MINIDUMP_USER_STREAM stream = {CommentStreamA, sizeof comment, comment};
    MINIDUMP_USER_STREAM_INFORMATION streams = {1, &stream};
    MINIDUMP_CALLBACK_INFORMATION information = {Reporter::callback, &reporter};
    HANDLE file = create_file(arguments[2]);
    BOOL done = MiniDumpWriteDump(open_process(id), id, file, MiniDumpNormal, &exception, &streams, &information);
    close_file(file);
    std::printf("result %d\n", done);
    return done ? 0 : 1;
}
