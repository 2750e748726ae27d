/*
 * A process that forbids its own user to examine it.
 */
#include "../victims/victim.h"

#include <sys/prctl.h>

int main(void) {
    CHECK(prctl(PR_SET_DUMPABLE, 0) == 0);
    testify("{\"pid\":%d}", getpid());
    say_ready();
    serve_until_end_of_input();
    return 0;
}
