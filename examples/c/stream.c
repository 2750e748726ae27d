/* stream PID [BYTES]: writes a dump of a process to standard output, with at most BYTES bytes of
 * memory, and lists on standard error what it lacks.
 *
 * The dump is not stored anywhere: the library produces its bytes from front to back. */
#include "system.h"

#include <stdio.h>
#include <stdlib.h>

static BOOL write_all(void *parameter, uint64_t offset, const void *bytes, size_t count)
{
    (void)offset; /* always the number of bytes written so far */
    return fwrite(bytes, 1, count, parameter) == count;
}

int main(int count, char **arguments)
{
    if (count != 2 && count != 3) {
        fprintf(stderr, "stream PID [BYTES]\n");
        return 2;
    }
    binary_output();
    dumpwright_request *request = dumpwright_request_create(MiniDumpWithPrivateReadWriteMemory);
    BOOL done = dumpwright_request_process(request, (uint32_t)strtoul(arguments[1], NULL, 10)) &&
                dumpwright_request_budget(request, count == 3 ? strtoull(arguments[2], NULL, 0) : 0) &&
                dumpwright_request_writer(request, write_all, stdout) && dumpwright_dump(request);
    if (done) {
        const dumpwright_report *report = dumpwright_last_report();
        for (size_t at = 0; at < report->diagnostic_count; at++)
            if (report->diagnostics[at].severity != DUMPWRIGHT_NOTE)
                fprintf(stderr, "not in the dump: %s\n", report->diagnostics[at].text);
        done = fflush(stdout) == 0;
    } else {
        fprintf(stderr, "no dump: %s (0x%08x)\n", dumpwright_last_error_message(), (unsigned)dumpwright_last_error());
    }
    dumpwright_request_free(request);
    return done ? 0 : 1;
}
