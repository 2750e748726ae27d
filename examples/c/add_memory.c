/* add_memory PID FILE ADDRESS SIZE: writes a small dump, and adds SIZE bytes from ADDRESS and the
 * memory that the registers of each thread point to. */
#include "system.h"

#include <stdio.h>
#include <stdlib.h>

enum { AROUND = 256, MOST = 1024 };

struct ranges {
    struct {
        ULONG64 base;
        ULONG size;
    } range[MOST];
    int count, given;
};

static void add(struct ranges *ranges, ULONG64 base, ULONG size)
{
    if (ranges->count < MOST) {
        ranges->range[ranges->count].base = base;
        ranges->range[ranges->count].size = size;
        ranges->count++;
    }
}

static void add_around(struct ranges *ranges, const CONTEXT *context)
{
#if defined(DUMPWRIGHT_X64)
    const ULONG64 registers[] = {context->Rax, context->Rbx, context->Rcx, context->Rdx, context->Rsi, context->Rdi,
                                 context->Rbp, context->R8,  context->R9,  context->R10, context->R11, context->R12,
                                 context->R13, context->R14, context->R15};
    for (size_t at = 0; at < sizeof registers / sizeof *registers; at++)
        if (registers[at] > AROUND)
            add(ranges, registers[at] - AROUND, 2 * AROUND);
#else
    (void)ranges, (void)context;
#endif
}

static BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    struct ranges *ranges = parameter;
    switch (input->CallbackType) {
    case IncludeModuleCallback:
    case ModuleCallback:
    case IncludeThreadCallback:
        return TRUE;
    case ThreadCallback:
        add_around(ranges, &input->Thread.Context);
        return TRUE;
    case MemoryCallback:
        /* Sent again until the callback returns FALSE. Memory that cannot be read is left out, and
         * ranges that overlap are joined. */
        if (ranges->given == ranges->count)
            return FALSE;
        output->MemoryBase = ranges->range[ranges->given].base;
        output->MemorySize = ranges->range[ranges->given].size;
        ranges->given++;
        return TRUE;
    default:
        return FALSE;
    }
}

int main(int count, char **arguments)
{
    if (count != 5) {
        fprintf(stderr, "add_memory PID FILE ADDRESS SIZE\n");
        return 2;
    }
    DWORD process = (DWORD)strtoul(arguments[1], NULL, 10);
    HANDLE file = create_file(arguments[2]);
    if (file == NO_FILE)
        return 1;
    static struct ranges ranges;
    add(&ranges, strtoull(arguments[3], NULL, 0), (ULONG)strtoul(arguments[4], NULL, 0));
    MINIDUMP_CALLBACK_INFORMATION information = {callback, &ranges};
    BOOL done = MiniDumpWriteDump(open_process(process), process, file, MiniDumpNormal, NULL, NULL, &information);
    close_file(file);
    if (!done) {
        fprintf(stderr, "no dump: %s (0x%08x)\n", dumpwright_last_error_message(), (unsigned)dumpwright_last_error());
        remove(arguments[2]);
        return 1;
    }
    return 0;
}
