/*
 * Another debugger: attaches to a process and lets it run.
 *
 *   tracer PID
 *
 * READY when it has attached. Its end lets go of the process.
 */
#include "../victims/victim.h"

#include <sys/ptrace.h>

int main(int count, char **arguments) {
    CHECK(count == 2);
    CHECK(ptrace(PTRACE_SEIZE, atoi(arguments[1]), NULL, NULL) == 0);
    testify("{\"pid\":%d}", getpid());
    say_ready();
    serve_until_end_of_input();
    return 0;
}
