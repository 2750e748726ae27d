/*
 * A prefork server in small: parent and child have memory in common since the fork, private pages
 * and huge ones, and each has written to some of it.
 */
#include "../victims/victim.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>

enum { LENGTH = 16 << 20, PAGE = 4096 };

static char *filled(int advice, uint64_t seed) {
    char *area = mmap(NULL, 2 * LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(area != MAP_FAILED);
    area = (char *)(((uintptr_t)area + LENGTH - 1) & ~(uintptr_t)(LENGTH - 1));
    madvise(area, LENGTH, advice);
    fill_pattern(area, LENGTH, seed);
    return area;
}

int main(void) {
    char *small = filled(MADV_NOHUGEPAGE, 1), *huge = filled(MADV_HUGEPAGE, 2);
    int child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    /* Every other page of a part belongs to the parent alone. */
    for (int page = 0; page < 256; page += 2)
        *(volatile uint64_t *)(small + page * PAGE) = *(volatile uint64_t *)(small + page * PAGE);
    testify("{\"pid\":%d,\"child\":%d,\"memory\":[", getpid(), child);
    testify_pattern("small", small, LENGTH, 1);
    testify(",");
    testify_pattern("huge", huge, LENGTH, 2);
    testify("]}");
    say_ready();
    serve_until_end_of_input();
    kill(child, SIGKILL);
    return 0;
}
