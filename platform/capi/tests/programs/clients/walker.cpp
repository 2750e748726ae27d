// In the style of game engines. From the registers of a thread it follows the objects that the
// thread works with through the process's memory and adds all that it finds. It leaves out the
// stack of a thread that is of no interest.
#include "client.h"

#include <cstring>
#include <deque>
#include <vector>

#include <sys/uio.h>

namespace {

struct Range {
    ULONG64 base;
    ULONG size;
};

struct Walk {
    std::deque<Range> wanted, unwanted;
};

// The process is suspended while callbacks run.
bool Read(ULONG64 address, void *into, size_t size)
{
    iovec here = {into, size}, there = {reinterpret_cast<void *>(address), size};
    return process_vm_readv(static_cast<pid_t>(process_id), &here, 1, &there, 1, 0) == static_cast<ssize_t>(size);
}

// The same structure as in target.c.
struct Object {
    char mark[32];
    ULONG64 count, items;
};

void Follow(Walk *walk, ULONG64 address)
{
    Object object;
    if (!Read(address, &object, sizeof object) || std::strcmp(object.mark, "OBJECT-MARK") != 0)
        return;
    walk->wanted.push_back({address, sizeof object});
    std::vector<ULONG64> items(object.count);
    if (object.count > 1000 || !Read(object.items, items.data(), items.size() * sizeof(ULONG64)))
        return;
    walk->wanted.push_back({object.items, static_cast<ULONG>(items.size() * sizeof(ULONG64))});
    for (ULONG64 item : items)
        walk->wanted.push_back({item, 64});
}

BOOL CALLBACK Callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    Walk *walk = static_cast<Walk *>(parameter);
    switch (input->CallbackType) {
    case ThreadCallback: {
        const MINIDUMP_THREAD_CALLBACK &thread = input->Thread;
        if (thread.ThreadId == fact("thread1"))
            Follow(walk, thread.Context.Rbx);
        if (thread.ThreadId == fact("thread2"))
            walk->unwanted.push_back({thread.StackEnd, static_cast<ULONG>(thread.StackBase - thread.StackEnd)});
        return TRUE;
    }
    case MemoryCallback:
    case RemoveMemoryCallback: {
        std::deque<Range> &ranges = input->CallbackType == MemoryCallback ? walk->wanted : walk->unwanted;
        if (ranges.empty())
            return FALSE;
        output->MemoryBase = ranges.front().base;
        output->MemorySize = ranges.front().size;
        ranges.pop_front();
        return TRUE;
    }
    default:
        return TRUE;
    }
}

} // namespace

int main(int count, char **arguments)
{
    begin(count, arguments);
    Walk walk;
    MINIDUMP_CALLBACK_INFORMATION information = {Callback, &walk};
    return end(MiniDumpWriteDump(process, process_id, file, MiniDumpNormal, nullptr, nullptr, &information));
}
