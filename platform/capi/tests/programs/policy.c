/* policy POLICY SCENARIO FILE: writes a dump of a simulated process by a policy file, and prints
 * the severity and text of each line of the report, or the message of the error. With POLICY "-",
 * the environment variable DUMPWRIGHT_POLICY names the policy. */
#include "dumpwright.h"
#include <stdio.h>
#include <string.h>

static int refused(void)
{
    printf("refused: %s\n", dumpwright_last_error_message());
    return 0;
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
