/* redact PID FILE SECRET: a dump with all private memory, in which the secret is nowhere.
 *
 * The callback sees everything that is read before it is written. A secret that lies across the border of two reads is
 * recognised by its first part, which is kept in mind until the next read. */
#include "system.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct redaction {
    const char *secret;
    size_t length;
    unsigned long found;
};

/* Whether `count` bytes at `at` are the secret, or as much of it as there is before the end or behind the beginning of a read: a part
 * of at least half the secret counts, so that none of the halves of a divided one stays. */
static void wipe(struct redaction *redaction, unsigned char *bytes, size_t count)
{
    const unsigned char *secret = (const unsigned char *)redaction->secret;
    size_t length = redaction->length, least = (length + 1) / 2;
    for (size_t at = 0; at + least <= count; at++) {
        size_t here = count - at < length ? count - at : length;
        if (memcmp(bytes + at, secret, here) == 0) {
            memset(bytes + at, '*', here);
            redaction->found++;
        }
    }
    for (size_t part = least; part < length && part <= count; part++) {
        if (memcmp(bytes, secret + length - part, part) == 0) {
            memset(bytes, '*', part);
            redaction->found++;
        }
    }
}

static BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    struct redaction *redaction = parameter;
    switch (input->CallbackType) {
    case IncludeModuleCallback:
    case ModuleCallback:
    case IncludeThreadCallback:
    case ThreadCallback:
    case ThreadExCallback:
        return TRUE;
    case VmStartCallback:
        output->Status = S_FALSE; /* yes, show me the reads */
        return TRUE;
    case VmPostReadCallback:
        wipe(redaction, input->VmPostRead.Buffer, input->VmPostRead.Completed);
        output->VmReadStatus = input->VmPostRead.Status;
        output->VmReadBytesCompleted = input->VmPostRead.Completed;
        return TRUE;
    default:
        return FALSE;
    }
}

int main(int count, char **arguments)
{
    if (count != 4 || strlen(arguments[3]) < 4) {
        fprintf(stderr, "redact PID FILE SECRET, which has four characters or more\n");
        return 2;
    }
    DWORD process = (DWORD)strtoul(arguments[1], NULL, 10);
    HANDLE file = create_file(arguments[2]);
    if (file == NO_FILE)
        return 1;
    struct redaction redaction = {arguments[3], strlen(arguments[3]), 0};
    MINIDUMP_CALLBACK_INFORMATION information = {callback, &redaction};
    BOOL done = MiniDumpWriteDump(open_process(process), process, file, MiniDumpWithPrivateReadWriteMemory, NULL, NULL,
                                  &information);
    close_file(file);
    if (!done) {
        fprintf(stderr, "no dump: %s (0x%08x)\n", dumpwright_last_error_message(), (unsigned)dumpwright_last_error());
        remove(arguments[2]);
        return 1;
    }
    printf("%lu times\n", redaction.found);
    return 0;
}
