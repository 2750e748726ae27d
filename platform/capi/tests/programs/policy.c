/* policy POLICY SOURCE FILE: writes a dump by a policy file, and prints the severity and text of
 * each line of the report, or the message of the error. SOURCE is a scenario, or the id of a live
 * process, which MiniDumpWriteDump dumps. With POLICY "-", the environment variable
 * DUMPWRIGHT_POLICY names the policy. */
#include "dumpwright.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int refused(void)
{
    printf("refused: %s\n", dumpwright_last_error_message());
    return 0;
}

static BOOL dump_process(uint32_t id, const char *file)
{
    int descriptor = open(file, O_RDWR | O_CREAT | O_TRUNC, 0600);
    BOOL done = MiniDumpWriteDump(DUMPWRIGHT_PID(id), id, DUMPWRIGHT_FD(descriptor), MiniDumpNormal, NULL, NULL, NULL);
    close(descriptor);
    return done;
}

int main(int count, char **arguments)
{
    dumpwright_request *request = dumpwright_request_create(MiniDumpNormal);
    const dumpwright_report *report;
    BOOL done;
    uint32_t at;
    if (count != 4)
        return 2;
    if (!dumpwright_request_policy(request, strcmp(arguments[1], "-") == 0 ? NULL : arguments[1]))
        return refused();
    if (arguments[2][0] >= '0' && arguments[2][0] <= '9')
        done = dump_process((uint32_t)strtoul(arguments[2], NULL, 10), arguments[3]);
    else
        done = dumpwright_request_scenario(request, arguments[2]) &&
               dumpwright_request_path(request, arguments[3], TRUE) && dumpwright_dump(request);
    dumpwright_request_free(request);
    if (!done)
        return refused();
    report = dumpwright_last_report();
    printf("type %x, %u threads\n", (unsigned)report->dump_type, (unsigned)report->threads);
    for (at = 0; at < report->diagnostic_count; at++)
        printf("%u %s\n", (unsigned)report->diagnostics[at].severity, report->diagnostics[at].text);
    return 0;
}
