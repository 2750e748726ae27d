/*
 * A process with much untouched memory: a reservation, and a mapped file.
 *
 *   untouched FILE
 */
#include "../victims/victim.h"

#include <fcntl.h>
#include <sys/mman.h>

enum { RESERVED = 512 << 20, IN_FILE = 4 << 20 };

int main(int count, char **arguments) {
    CHECK(count == 2);
    void *reserved =
        mmap(NULL, RESERVED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(reserved != MAP_FAILED);
    int file = open(arguments[1], O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(file >= 0);
    static char block[1 << 16];
    for (int i = 0; i < IN_FILE / (int)sizeof block; i++) {
        memset(block, i + 1, sizeof block);
        CHECK(write(file, block, sizeof block) == sizeof block);
    }
    void *mapped = mmap(NULL, IN_FILE, PROT_READ, MAP_PRIVATE, file, 0);
    CHECK(mapped != MAP_FAILED);
    testify("{\"pid\":%d,\"reserved\":[%" PRIuPTR ",%" PRIuPTR "],\"file\":[%" PRIuPTR ",%" PRIuPTR "]}",
            getpid(), (uintptr_t)reserved, (uintptr_t)reserved + RESERVED, (uintptr_t)mapped,
            (uintptr_t)mapped + IN_FILE);
    say_ready();
    serve_until_end_of_input();
    return 0;
}
