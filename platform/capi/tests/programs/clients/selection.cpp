// In the style of exception handlers that keep dumps small.
//
// Modes:
//
// - crashed: includes only the crashed thread and the program's own modules, with their data.
// - without: includes all threads but the one that writes the dump, whose flags are cleared in
//   ThreadCallback, and selects modules by a list of flags, one of which was not offered.
#include "client.h"

#include <set>
#include <string>

namespace {

std::set<ULONG64> own_bases;

bool IsOwn(const WCHAR *path)
{
    static const std::u16string own[] = {u"target", u"libplugin1.so"};
    for (const std::u16string &name : own) {
        if (dumpwright_wcsicmp(dumpwright_file_name(path), name.c_str()) == 0)
            return true;
    }
    return false;
}

BOOL CALLBACK Crashed(PVOID, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    switch (input->CallbackType) {
    case IncludeThreadCallback:
        return input->IncludeThread.ThreadId == fact("thread1");
    case IncludeModuleCallback:
        return TRUE;
    case ModuleCallback:
        // FALSE would fail the dump here. Clearing the flags leaves a module out.
        if (!IsOwn(input->Module.FullPath))
            output->ModuleWriteFlags = 0;
        return TRUE;
    case ThreadCallback:
        return TRUE;
    default:
        return FALSE;
    }
}

BOOL CALLBACK Without(PVOID, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    unsigned long long wanted = fact("heap");
    static int given;
    switch (input->CallbackType) {
    case IncludeModuleCallback:
        // MiniDumpWithCodeSegs was not requested, so that flag has no effect.
        output->ModuleWriteFlags = ModuleWriteModule | ModuleWriteCvRecord | ModuleWriteDataSeg | ModuleWriteCodeSegs;
        return TRUE;
    case ModuleCallback:
        if (!IsOwn(input->Module.FullPath))
            output->ModuleWriteFlags &= ~static_cast<ULONG>(ModuleWriteDataSeg);
        return TRUE;
    case ThreadCallback:
        if (input->Thread.ThreadId == fact("thread4"))
            output->ThreadWriteFlags &= ~static_cast<ULONG>(ThreadWriteThread | ThreadWriteStack);
        return TRUE;
    case MemoryCallback:
        do {
            if (given++ > 0)
                break;
            output->MemoryBase = wanted;
            output->MemorySize = 128;
            return TRUE;
        } while (false);
        return FALSE;
    case RemoveMemoryCallback:
        return FALSE;
    default:
        return TRUE;
    }
}

} // namespace

int main(int count, char **arguments)
{
    begin(count, arguments);
    MINIDUMP_CALLBACK_INFORMATION information = {is("crashed") ? Crashed : Without, nullptr};
    return end(MiniDumpWriteDump(process, process_id, file, MiniDumpWithDataSegs, nullptr, nullptr, &information));
}
