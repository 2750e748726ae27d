// throws PID FILE: exceptions that C++ callbacks throw reach the caller of MiniDumpWriteDump, and
// the target is resumed before. Throws once for each callback type, and prints how often it threw.
#include "field.h"
#include "held.h"

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace {

struct Plan {
    ULONG kind;
    bool thrown = false;
    // Destroyed when the exception passes the callback's frame.
    struct Guard {
        int *count;
        explicit Guard(int *count) : count(count) {}
        ~Guard() { ++*count; }
    };
    int guards = 0;
};

BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    Plan *plan = static_cast<Plan *>(parameter);
    Plan::Guard guard(&plan->guards);
    if (input->CallbackType == plan->kind) {
        plan->thrown = true;
        throw std::runtime_error("thrown at question " + std::to_string(plan->kind));
    }
    switch (input->CallbackType) {
    case IoStartCallback:
        output->Status = plan->kind == IoWriteAllCallback || plan->kind == IoFinishCallback ? S_FALSE : E_NOTIMPL;
        return TRUE;
    case VmStartCallback:
        output->Status = plan->kind > VmStartCallback ? S_FALSE : E_NOTIMPL;
        return TRUE;
    case IoWriteAllCallback:
    case IoFinishCallback:
        output->Status = S_OK;
        return TRUE;
    case IncludeVmRegionCallback:
        output->Continue = TRUE;
        return TRUE;
    case MemoryCallback:
    case RemoveMemoryCallback:
    case VmPreReadCallback:
    case VmPostReadCallback:
        return FALSE;
    default:
        return TRUE;
    }
}

BOOL throwing_writer(void *, uint64_t, const void *, size_t)
{
    throw 17;
}

} // namespace

int main(int count, char **arguments)
{
    if (count != 3)
        return 2;
    DWORD id = static_cast<DWORD>(std::strtoul(arguments[1], nullptr, 10));
    HANDLE process = open_process(id);
    HANDLE file = create_file(NOWHERE);
    int caught = 0;
    for (ULONG kind = ModuleCallback; kind <= VmPostReadCallback; kind++) {
        Plan plan{kind};
        MINIDUMP_CALLBACK_INFORMATION information = {callback, &plan};
        ULONG type = kind == IncludeVmRegionCallback ? MiniDumpWithFullMemory
                     : kind == VmQueryCallback       ? MiniDumpWithFullMemoryInfo
                                                     : MiniDumpNormal;
        try {
            MiniDumpWriteDump(process, id, file, static_cast<MINIDUMP_TYPE>(type), nullptr, nullptr, &information);
            if (plan.thrown)
                return 3;
        } catch (const std::runtime_error &error) {
            if (error.what() != "thrown at question " + std::to_string(kind) || plan.guards == 0)
                return 4;
            caught++;
        }
        if (is_held(id))
            return 5;
    }
    // A writer of a request may throw as well, and the request stays usable.
    dumpwright_request *request = dumpwright_request_create(MiniDumpNormal);
    try {
        dumpwright_request_process(request, id);
        dumpwright_request_writer(request, throwing_writer, nullptr);
        dumpwright_dump(request);
        return 6;
    } catch (int number) {
        if (number != 17)
            return 7;
        caught++;
    }
    if (!dumpwright_request_path(request, arguments[2], TRUE) || !dumpwright_dump(request))
        return 8;
    dumpwright_request_free(request);
    close_file(file);
    std::printf("%d\n", caught);
    return 0;
}
