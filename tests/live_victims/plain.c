/*
 * A process with one thread, which waits and answers pings.
 */
#include "../victims/victim.h"

int main(void) {
    testify("{\"pid\":%d}", getpid());
    say_ready();
    serve_until_end_of_input();
    return 0;
}
