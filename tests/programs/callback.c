/*
 * A callback in a shared library, as `dumpwright rehearse --callback` loads it. It leaves out the
 * thread 1001, and adds 16 bytes of memory.
 */
#include <dumpwright.h>

__attribute__((visibility("default")))
BOOL WINAPI MiniDumpCallbackRoutine(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output) {
    static int is_given;
    if (parameter || input->ProcessId != 1000)
        return FALSE;
    switch (input->CallbackType) {
    case IncludeThreadCallback:
        return input->IncludeThread.ThreadId != 1001;
    case MemoryCallback:
        if (is_given)
            return FALSE;
        is_given = 1;
        output->MemoryBase = 0x7ffe00000100;
        output->MemorySize = 16;
        return TRUE;
    default:
        return TRUE;
    }
}
