/* redact PID FILE SECRET: writes a dump with all private memory, without the secret.
 *
 * The callback receives all memory after it is read and before it is written. A secret may be split
 * between two reads. So a part of it at the end or at the beginning of a read is overwritten as
 * well, if it has at least half of the secret's length. A shorter part stays. */
#include "system.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct redaction {
    const char *secret;
    size_t length;
    unsigned long found;
};

/* Overwrites the secret in the `count` bytes of one read. Also overwrites a first part of it at the
 * end of the read, and a last part of it at the beginning, if the part has at least half of the
 * secret's length. Of the two parts of a split secret, at least one has. */
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
        output->Status = S_FALSE; /* requests the callback types for reads */
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
        fprintf(stderr, "redact PID FILE SECRET\nThe secret must have at least four characters.\n");
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
