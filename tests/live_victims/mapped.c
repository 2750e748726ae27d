/*
 * A process that has mapped a file, and used its first page.
 *
 *   mapped FILE
 */
#include "../victims/victim.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

int main(int count, char **arguments) {
    CHECK(count == 2);
    int file = open(arguments[1], O_RDONLY);
    struct stat status;
    CHECK(file >= 0 && fstat(file, &status) == 0);
    unsigned char *at = mmap(NULL, status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    CHECK(at != MAP_FAILED);
    testify("{\"pid\":%d,\"file\":[%" PRIuPTR ",%" PRIuPTR "],\"first\":%d}", getpid(), (uintptr_t)at,
            (uintptr_t)at + (uintptr_t)status.st_size, *(volatile unsigned char *)at);
    say_ready();
    serve_until_end_of_input();
    return 0;
}
