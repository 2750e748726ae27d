/*
 * A process with a large mapping.
 *
 *   vast huge MEBIBYTES
 *   vast sparse MEBIBYTES
 *
 * huge: the kernel is asked for huge pages, and every page exists. Page n starts with two words:
 * n + 1, and the pattern word of that number. The rest of the page is zero.
 *
 * sparse: in group g of GROUP pages, a run of g % 64 + 1 pages exists, which begins at page
 * g * 37 % (GROUP - 64) of the group. In odd groups, the run is zero. In even groups, it is one
 * pattern, whose index is that of its first word in the mapping.
 */
#include "../victims/victim.h"

#include <sys/mman.h>

#define SEED UINT64_C(0x5641535400000003)
enum { GROUP = 2048, HUGE = 2 << 20 };

int main(int count, char **arguments) {
    CHECK(count == 3);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = strtoull(arguments[2], NULL, 10) << 20;
    unsigned char *map =
        mmap(NULL, bytes + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(map != MAP_FAILED);
    unsigned char *at = (unsigned char *)(((uintptr_t)map + HUGE - 1) / HUGE * HUGE);
    size_t pages = bytes / page;
    if (!strcmp(arguments[1], "huge")) {
        CHECK(madvise(at, bytes, MADV_HUGEPAGE) == 0);
        for (size_t n = 0; n < pages; n++) {
            volatile uint64_t *words = (volatile uint64_t *)(at + n * page);
            words[0] = n + 1;
            words[1] = SEED + n * PATTERN_STEP;
        }
    } else {
        for (size_t group = 0; group < pages / GROUP; group++) {
            size_t first = group * GROUP + group * 37 % (GROUP - 64), run = (group % 64 + 1) * page;
            if (group % 2 == 0)
                fill_pattern(at + first * page, run, SEED + first * (page / 8) * PATTERN_STEP);
            else
                memset(at + first * page, 0, run);
        }
    }
    testify("{\"pid\":%d,\"address\":%" PRIuPTR ",\"length\":%zu,\"page\":%zu,\"seed\":%" PRIu64 "}",
            getpid(), (uintptr_t)at, bytes, page, SEED);
    say_ready();
    serve_until_end_of_input();
    return 0;
}
