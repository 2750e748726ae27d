// In the style of crash reporters that embed Breakpad's client. It adds registered blocks of
// memory, declines all that Cancel offers, and adds a BreakpadInfo stream of its own and a stream
// with the reason of the crash.
#include "client.h"

#include <list>
#include <vector>

namespace {

struct Block {
    ULONG64 address;
    ULONG size;
};

struct BreakpadInfo {
    ULONG32 validity, dump_thread, requesting_thread;
};

class Writer {
public:
    void Register(ULONG64 address, ULONG size) { blocks_.push_back({address, size}); }

    BOOL Write(MINIDUMP_EXCEPTION_INFORMATION *exception, DWORD requesting_thread)
    {
        BreakpadInfo info = {3, 4711, requesting_thread};
        char why[] = "assertion failed: queue != nullptr";
        MINIDUMP_USER_STREAM streams[] = {{dumpwright_BreakpadInfoStream, sizeof info, &info}, {0x1f0001, sizeof why, why}};
        MINIDUMP_USER_STREAM_INFORMATION user = {2, streams};
        next_ = blocks_.begin();
        MINIDUMP_CALLBACK_INFORMATION callback = {Callback, this};
        return MiniDumpWriteDump(process, process_id, file, MiniDumpNormal, exception, &user, &callback);
    }

private:
    static BOOL CALLBACK Callback(PVOID context, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
    {
        Writer *self = static_cast<Writer *>(context);
        switch (input->CallbackType) {
        case MemoryCallback:
            if (self->next_ == self->blocks_.end())
                return FALSE;
            output->MemoryBase = self->next_->address;
            output->MemorySize = self->next_->size;
            ++self->next_;
            return TRUE;
        case IncludeModuleCallback:
        case ModuleCallback:
        case IncludeThreadCallback:
        case ThreadCallback:
            return TRUE;
        default:
            return FALSE;
        }
    }

    std::list<Block> blocks_;
    std::list<Block>::iterator next_;
};

} // namespace

int main(int count, char **arguments)
{
    begin(count, arguments);
    Writer writer;
    writer.Register(fact("heap"), 64);
    writer.Register(0x10000, 256); // has been freed since
    writer.Register(fact("secret") + 4096, 32);
    DWORD thread = static_cast<DWORD>(fact("thread3"));
    CONTEXT context = {};
    context.ContextFlags = CONTEXT_FULL;
    context.Rip = fact("main_code");
    context.Rsp = fact("stack3");
    EXCEPTION_RECORD record = {};
    record.ExceptionCode = 0xC0000005;
    record.ExceptionAddress = reinterpret_cast<PVOID>(context.Rip);
    EXCEPTION_POINTERS pointers = {&record, &context};
    MINIDUMP_EXCEPTION_INFORMATION exception = {thread, &pointers, FALSE};
    return end(writer.Write(&exception, thread));
}
