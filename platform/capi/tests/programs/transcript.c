/* transcript SCENARIO DUMP TRANSCRIPT: dumps a simulated process and writes a transcript. Prints
 * "done", or the error message. */
#include <dumpwright.h>

#include <stdio.h>

int main(int count, char **arguments)
{
    if (count != 4)
        return 2;
    dumpwright_request *request = dumpwright_request_create(MiniDumpNormal);
    BOOL done = dumpwright_request_scenario(request, arguments[1]) && dumpwright_request_path(request, arguments[2], TRUE) &&
                dumpwright_request_transcript(request, arguments[3]) && dumpwright_dump(request);
    printf("%s", done ? "done" : dumpwright_last_error_message());
    dumpwright_request_free(request);
    return 0;
}
