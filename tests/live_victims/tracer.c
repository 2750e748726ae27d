/*
 * Another debugger: attaches to a process and lets it run.
 *
 *   tracer PID [NAME]
 *
 * NAME becomes its name, which ps shows.
 * Prints READY when it has attached. When it ends, the process is detached.
 */
#include "../victims/victim.h"

#include <sys/prctl.h>
#include <sys/ptrace.h>

int main(int count, char **arguments) {
    CHECK(count == 2 || count == 3);
    CHECK(count == 2 || prctl(PR_SET_NAME, arguments[2]) == 0);
    CHECK(ptrace(PTRACE_SEIZE, atoi(arguments[1]), NULL, NULL) == 0);
    testify("{\"pid\":%d}", getpid());
    say_ready();
    serve_until_end_of_input();
    return 0;
}
