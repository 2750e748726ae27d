/* Problems that users of MiniDumpWriteDump have reported, each as a mode: mistakes in callbacks,
 * which must do no harm or lead to an error that names the mistake, and memory that is partly
 * unreadable. The argument is MODE[:TYPE], with the dump type in hexadecimal. */
#include "client.h"

static int given;

static BOOL range(PMINIDUMP_CALLBACK_OUTPUT output, ULONG64 base, ULONG size)
{
    if (given++ > 0)
        return FALSE;
    output->MemoryBase = base;
    output->MemorySize = size;
    return TRUE;
}

static BOOL is_of_secret(const MINIDUMP_MEMORY_INFO *region)
{
    return fact("secret") - region->BaseAddress < region->RegionSize;
}

static BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    (void)parameter;
    switch (input->CallbackType) {
    case MemoryCallback:
        if (is("memory-hole"))
            return range(output, fact("hole"), 4 * 4096);
        if (is("memory-unmapped"))
            return range(output, 0x123456789000, 4096);
        if (is("memory-wrap"))
            return range(output, ~0ull - 10, 4096);
        return FALSE;
    case RemoveMemoryCallback:
        return is("remove-secret") ? range(output, fact("secret") + 4096, 4096) : FALSE;
    case ModuleCallback:
        return !is("module-false");
    case ThreadCallback:
        return !is("thread-false");
    case IncludeVmRegionCallback:
        if (is("vmregion-false"))
            return FALSE;
        output->Continue = !is("vmregion-no-continue");
        if (is("vmregion-grow") && is_of_secret(&output->VmRegion)) {
            output->VmRegion.BaseAddress -= 4096;
            output->VmRegion.RegionSize += 8192;
        }
        if (is("vmregion-zero") && is_of_secret(&output->VmRegion))
            output->VmRegion.RegionSize = 0;
        return TRUE;
    case IoStartCallback:
        output->Status = strncmp(mode, "write-", 6) == 0 ? S_FALSE : E_NOTIMPL;
        return TRUE;
    case IoWriteAllCallback:
        if (is("write-s-false"))
            output->Status = S_FALSE;
        if (is("write-count"))
            output->Status = (HRESULT)input->Io.BufferBytes;
        return !is("write-false");
    case IoFinishCallback:
        output->Status = S_OK;
        return TRUE;
    case IsProcessSnapshotCallback:
        output->Status = is("snapshot-s-ok") ? S_OK : E_NOTIMPL;
        return TRUE;
    case ReadMemoryFailureCallback:
        output->Status = S_OK;
        return TRUE;
    default:
        return TRUE;
    }
}

static BOOL CALLBACK refuses_all(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    (void)parameter, (void)input, (void)output;
    return FALSE;
}

int main(int count, char **arguments)
{
    static char words[64];
    begin(count, arguments);
    snprintf(words, sizeof words, "%s", mode);
    char *type = strchr(words, ':');
    if (type != NULL)
        *type++ = 0;
    mode = words;
    MINIDUMP_CALLBACK_INFORMATION information = {is("all-false") ? refuses_all : callback, NULL};
    if (is("file-append") && write((int)(intptr_t)file, "LOG", 3) == 3)
        file = (HANDLE)(intptr_t)open(arguments[2], O_RDWR | O_APPEND);
    BOOL has_callback = !is("no-callback") && !is("file-append");
    return end(MiniDumpWriteDump(process, process_id, strncmp(mode, "write-", 6) == 0 ? NULL : file,
                                 (MINIDUMP_TYPE)(type == NULL ? 0 : strtoul(type, NULL, 16)), NULL, NULL, has_callback ? &information : NULL));
}
