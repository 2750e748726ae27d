/*
 * Stacks next to a large heap, all in one mapping, so that no border can be seen from outside.
 *
 *   neighbours MEBIBYTES
 *
 *   | stack of `low` | heap | stack of `high` |
 *
 * Every page of the heap exists. 64 KiB near its beginning, in its middle and at its end, and a
 * part of each stack, are patterns.
 */
#include "known.h"

#include <sys/mman.h>

enum { STACK = 1 << 18, LOCAL = 2048, PART = 1 << 16 };
#define SEED UINT64_C(0x4E45490000000001)

static struct {
    pid_t tid;
    volatile uint64_t *local;
} threads[2];

KNOWN void neighbour_leaf(void) {
    stay();
    NOT_A_TAIL_CALL();
}
KNOWN void neighbour_mid(long index) {
    volatile uint64_t local[LOCAL / 8];
    fill_pattern((void *)local, LOCAL, SEED + (uint64_t)index);
    threads[index].local = local;
    neighbour_leaf();
    NOT_A_TAIL_CALL();
    (void)local[0];
}
KNOWN void *low_top(void *unused) {
    threads[0].tid = own_tid();
    neighbour_mid(0);
    NOT_A_TAIL_CALL();
    return unused;
}
KNOWN void *high_top(void *unused) {
    threads[1].tid = own_tid();
    neighbour_mid(1);
    NOT_A_TAIL_CALL();
    return unused;
}

static void start(void *(*top)(void *), void *stack) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    CHECK(pthread_attr_setstack(&attributes, stack, STACK) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, &attributes, top, NULL) == 0);
    pthread_attr_destroy(&attributes);
}

KNOWN void main_inner(void) {
    say_ready();
    serve_until_end_of_input();
    NOT_A_TAIL_CALL();
}

int main(int count, char **arguments) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t heap_bytes = (count > 1 ? strtoull(arguments[1], NULL, 10) : 100) << 20;
    unsigned char *all = mmap(NULL, heap_bytes + 2 * STACK, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(all != MAP_FAILED);
    unsigned char *heap = all + STACK;
    for (size_t at = 0; at < heap_bytes; at += page)
        ((volatile unsigned char *)heap)[at] = 1;
    /* Not at the very beginning: the end of the control block on top of a stack is known only to
     * within a page or two. */
    size_t parts[3] = {PART, heap_bytes / 2, heap_bytes - PART};
    for (uint64_t i = 0; i < 3; i++)
        fill_pattern(heap + parts[i], PART, SEED + 10 + i);
    start(low_top, all);
    start(high_top, heap + heap_bytes);
    wait_until_arrived(2);

    testify("{\"pid\":%d,\"threads\":[", getpid());
    testify_thread(getpid(), "\"main_inner\"");
    testify(",");
    testify_thread(threads[0].tid, "\"neighbour_leaf\",\"neighbour_mid\",\"low_top\"");
    testify(",");
    testify_thread(threads[1].tid, "\"neighbour_leaf\",\"neighbour_mid\",\"high_top\"");
    testify("],\"stacks\":[");
    for (uint64_t i = 0; i < 2; i++) {
        testify_pattern(i ? "high" : "low", threads[i].local, LOCAL, SEED + i);
        testify("%s", i ? "],\"bulk\":[" : ",");
    }
    for (uint64_t i = 0; i < 3; i++) {
        testify_pattern("heap", heap + parts[i], PART, SEED + 10 + i);
        testify("%s", i < 2 ? "," : "]}");
    }
    main_inner();
    NOT_A_TAIL_CALL();
    return 0;
}
