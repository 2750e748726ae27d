/*
 * A process with unreadable pages inside mappings, and with much reserved address space.
 *
 *   holes FILE
 */
#include "../victims/victim.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum { PAGE = 4096, PAGES = 8, HOLE = 4 };

static const size_t RESERVED = (size_t)64 << 30;

static uint64_t next_seed = UINT64_C(0x484F4C4500000001);

/* Adds the pages before and after the hole, as two areas. */
static void around(const char *name, unsigned char *at, int last) {
    uint64_t seed = next_seed++ << 8;
    fill_pattern(at, HOLE * PAGE, seed);
    testify_pattern(name, at, HOLE * PAGE, seed);
    testify(",");
    if (last > HOLE + 1) {
        seed = next_seed++ << 8;
        fill_pattern(at + (HOLE + 1) * PAGE, (last - HOLE - 1) * PAGE, seed);
        testify_pattern(name, at + (HOLE + 1) * PAGE, (last - HOLE - 1) * PAGE, seed);
        testify(",");
    }
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    int writable = PROT_READ | PROT_WRITE;
    testify("{\"pid\":%d,\"areas\":[", getpid());
    unsigned char *guarded = mmap(NULL, PAGES * PAGE, writable, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(guarded != MAP_FAILED);
    around("guarded", guarded, PAGES);
    /* Kernels from 6.13 on; older ones have no such hole. */
    int has_guard = madvise(guarded + HOLE * PAGE, PAGE, MADV_GUARD_INSTALL) == 0;
    CHECK(has_guard || errno == EINVAL);
    int file = open(arguments[1], O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(file >= 0 && ftruncate(file, PAGES * PAGE) == 0);
    unsigned char *mapped = mmap(NULL, PAGES * PAGE, writable, MAP_SHARED, file, 0);
    CHECK(mapped != MAP_FAILED);
    around("truncated", mapped, HOLE);
    CHECK(ftruncate(file, HOLE * PAGE) == 0);
    unsigned char *reserved = mmap(NULL, RESERVED, writable, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(reserved != MAP_FAILED);
    around("reserved", reserved, HOLE);
    testify("{\"name\":\"end\",\"address\":0,\"length\":0,\"seed\":0}],\"guard\":%" PRIuPTR ",\"behind\":%" PRIuPTR,
            has_guard ? (uintptr_t)guarded + HOLE * PAGE : 0, (uintptr_t)mapped + HOLE * PAGE);
    testify(",\"reserved\":[%" PRIuPTR ",%" PRIuPTR "]}", (uintptr_t)reserved, (uintptr_t)reserved + RESERVED);
    say_ready();
    serve_until_end_of_input();
    return 0;
}
