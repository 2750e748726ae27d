/* In the style of servers whose callback has a case for every type and answers each without
 * changing anything. The mode is the dump type in hexadecimal. */
#include "client.h"

static ULONG asked[32];

static BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    (void)parameter;
    asked[input->CallbackType & 31]++;
    switch (input->CallbackType) {
    case ModuleCallback:
    case ThreadCallback:
    case ThreadExCallback:
    case IncludeThreadCallback:
    case IncludeModuleCallback:
        return TRUE;
    case MemoryCallback:
        return TRUE; /* but nothing is requested */
    case CancelCallback:
        output->CheckCancel = FALSE;
        output->Cancel = FALSE;
        return TRUE;
    case WriteKernelMinidumpCallback:
        output->Handle = NULL;
        return FALSE;
    case KernelMinidumpStatusCallback:
        return TRUE;
    case RemoveMemoryCallback:
        return FALSE;
    case IncludeVmRegionCallback:
        output->Continue = FALSE;
        return TRUE;
    case IoStartCallback:
    case IoWriteAllCallback:
    case IoFinishCallback:
        return FALSE;
    case ReadMemoryFailureCallback:
        output->Status = S_OK;
        return TRUE;
    case SecondaryFlagsCallback:
        return TRUE;
    case IsProcessSnapshotCallback:
    case VmStartCallback:
        return FALSE;
    case VmQueryCallback:
    case VmPreReadCallback:
    case VmPostReadCallback:
        return FALSE;
    case CompressedMemoryStreamStartCallback:
    case CompressedMemoryStreamFinishCallback:
        return TRUE;
    default:
        asked[31]++;
        return FALSE;
    }
}

int main(int count, char **arguments)
{
    begin(count, arguments);
    MINIDUMP_CALLBACK_INFORMATION information = {callback, NULL};
    BOOL done = MiniDumpWriteDump(process, process_id, file, (MINIDUMP_TYPE)strtoul(mode, NULL, 16), NULL, NULL, &information);
    printf("unknown %u, of no use %u\n", asked[31],
           asked[IoWriteAllCallback] + asked[IoFinishCallback] + asked[VmQueryCallback] + asked[VmPreReadCallback] + asked[VmPostReadCallback]);
    return end(done);
}
