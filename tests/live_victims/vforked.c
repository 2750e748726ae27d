/*
 * A process whose only thread cannot be stopped: it waits, uninterruptibly, for a child that shares
 * its memory (vfork).
 *
 * The child ends at end of input. Then the parent continues, prints that it does, and ends.
 */
#include "../victims/victim.h"

int main(void) {
    testify("{\"pid\":%d}", getpid());
    say_ready();
    pid_t child = vfork();
    CHECK(child >= 0);
    if (child == 0) {
        char ignored[64];
        while (read(STDIN_FILENO, ignored, sizeof ignored) != 0)
            ;
        _exit(0);
    }
    printf("went on\n");
    return 0;
}
