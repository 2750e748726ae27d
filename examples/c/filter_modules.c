/* filter_modules PID FILE [NAME...]: writes a dump with the global variables of the named modules
 * only, and without the modules that no stack refers to.
 *
 * This is the classic use of the callback. MiniDumpWithDataSegs alone would include the writable
 * sections of all modules. */
#include "system.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct wanted {
    char **names;
    int count;
};

static int is_wanted(const struct wanted *wanted, const WCHAR *path)
{
    char name[256];
    dumpwright_utf8(name, sizeof name, dumpwright_file_name(path));
    for (int at = 0; at < wanted->count; at++)
        if (strcmp(wanted->names[at], name) == 0)
            return 1;
    return 0;
}

static BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    const struct wanted *wanted = parameter;
    switch (input->CallbackType) {
    case IncludeModuleCallback:
    case IncludeThreadCallback:
    case ThreadCallback:
    case ThreadExCallback:
        return TRUE; /* keep the default flags */
    case ModuleCallback:
        if (is_wanted(wanted, input->Module.FullPath))
            return TRUE;
        output->ModuleWriteFlags &= ~(ULONG)ModuleWriteDataSeg;
        /* MiniDumpScanMemory sets this flag if a stack refers to the module. */
        if (!(output->ModuleWriteFlags & ModuleReferencedByMemory))
            output->ModuleWriteFlags &= ~(ULONG)ModuleWriteModule;
        return TRUE;
    default:
        return FALSE; /* not handled */
    }
}

int main(int count, char **arguments)
{
    if (count < 3) {
        fprintf(stderr, "filter_modules PID FILE [NAME...]\n");
        return 2;
    }
    DWORD process = (DWORD)strtoul(arguments[1], NULL, 10);
    HANDLE file = create_file(arguments[2]);
    if (file == NO_FILE)
        return 1;
    struct wanted wanted = {arguments + 3, count - 3};
    MINIDUMP_CALLBACK_INFORMATION information = {callback, &wanted};
    BOOL done = MiniDumpWriteDump(open_process(process), process, file,
                                  (MINIDUMP_TYPE)(MiniDumpWithDataSegs | MiniDumpScanMemory), NULL, NULL, &information);
    close_file(file);
    if (!done) {
        fprintf(stderr, "no dump: %s (0x%08x)\n", dumpwright_last_error_message(), (unsigned)dumpwright_last_error());
        remove(arguments[2]);
        return 1;
    }
    return 0;
}
