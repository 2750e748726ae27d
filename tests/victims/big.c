/*
 * A process of a given size, in which every page exists and no two pages are the same.
 *
 *   big MEBIBYTES
 *
 * It has one private anonymous mapping. Page n starts with two words: n + 1, and the pattern word
 * of that number (seed + n * step, see victim.h). The rest of the page is zero. Any page in a dump
 * can therefore be recomputed from its number, and a byte that is misplaced by 4 GiB differs.
 */
#include "victim.h"

#include <sys/mman.h>

#define SEED UINT64_C(0x4249470000000005)

int main(int count, char **arguments) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = (count > 1 ? strtoull(arguments[1], NULL, 10) : 64) << 20;
    unsigned char *at =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(at != MAP_FAILED);
    for (size_t n = 0; n < bytes / page; n++) {
        volatile uint64_t *words = (volatile uint64_t *)(at + n * page);
        words[0] = n + 1;
        words[1] = SEED + n * PATTERN_STEP;
    }
    testify("{\"pid\":%d,\"address\":%" PRIuPTR ",\"length\":%zu,\"page\":%zu,\"seed\":%" PRIu64 "}",
            getpid(), (uintptr_t)at, bytes, page, SEED);
    say_ready();
    serve_until_end_of_input();
    return 0;
}
