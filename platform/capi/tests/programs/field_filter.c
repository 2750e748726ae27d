/* field_filter PID FILE MODULE: the module filter that many programs have in some form. Writes a
 * small dump with the global variables of the program itself, and with only those modules that a
 * stack refers to. Prints each call of the callback and what it returned. */
#include "field.h"

struct state {
    char wanted[64];
};

/* Stores the name of a module without folder and extension, in ASCII. */
static void module_name(const WCHAR *path, char *name, size_t size)
{
    const WCHAR *file = dumpwright_file_name(path);
    size_t at = 0;
    for (; file[at] != 0 && file[at] != '.' && at + 1 < size; at++)
        name[at] = file[at] < 0x80 ? (char)file[at] : '?';
    name[at] = 0;
}

static BOOL is_wanted(const struct state *state, const WCHAR *path)
{
    char name[64];
    size_t at = 0;
    module_name(path, name, sizeof name);
    for (; name[at] != 0 && name[at] == state->wanted[at]; at++)
        ;
    return name[at] == state->wanted[at];
}

static BOOL CALLBACK callback(PVOID parameter, const PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    const struct state *state = (const struct state *)parameter;
    BOOL said = FALSE;
    if (input == NULL || output == NULL)
        return FALSE;
    switch (input->CallbackType) {
    case IncludeModuleCallback:
    case IncludeThreadCallback:
    case ThreadCallback:
    case ThreadExCallback:
        said = TRUE;
        break;
    case ModuleCallback: {
        char name[64];
        ULONG before = output->ModuleWriteFlags;
        module_name(input->Module.FullPath, name, sizeof name);
        if (!(output->ModuleWriteFlags & ModuleReferencedByMemory))
            output->ModuleWriteFlags &= ~(ULONG)ModuleWriteModule;
        if ((output->ModuleWriteFlags & ModuleWriteDataSeg) && !is_wanted(state, input->Module.FullPath))
            output->ModuleWriteFlags &= ~(ULONG)ModuleWriteDataSeg;
        printf("module %s: %x %x\n", name, (unsigned)before, (unsigned)output->ModuleWriteFlags);
        return TRUE;
    }
    case MemoryCallback:
    case CancelCallback:
        said = FALSE;
        break;
    }
    printf("question %u: %d\n", (unsigned)input->CallbackType, said);
    return said;
}

int main(int count, char **arguments)
{
    struct state state = {{0}};
    MINIDUMP_CALLBACK_INFORMATION information = {callback, &state};
    if (count != 4)
        return 2;
    for (size_t at = 0; arguments[3][at] != 0 && at + 1 < sizeof state.wanted; at++)
        state.wanted[at] = arguments[3][at];
    DWORD id = (DWORD)strtoul(arguments[1], NULL, 10);
    HANDLE file = create_file(arguments[2]);
    BOOL done = MiniDumpWriteDump(open_process(id), id, file,
                                  (MINIDUMP_TYPE)(MiniDumpScanMemory | MiniDumpWithDataSegs), NULL, NULL, &information);
    close_file(file);
    printf("result %d\n", done);
    return done ? 0 : 1;
}
