/*
 * Threads whose stack pointer is in memory from malloc: coroutines made with swapcontext(3).
 *
 *   main    in the program's heap ([heap]), with megabytes of other blocks above it
 *   arena   in the heap that the C library created for a second thread
 *   large   in a block so large that it is a separate mapping
 *
 * A part of each stack is a pattern. So is the last block in the program's heap, more than 1 MiB
 * above the coroutine.
 */
#include "known.h"

#include <ucontext.h>

enum { KINDS = 3, SMALL = 1 << 16, LARGE = 1 << 20, LOCAL = 2048, BLOCK = 100 << 10, BLOCKS = 40 };
#define SEED UINT64_C(0x434F520000000001)

static struct coroutine {
    const char *name;
    size_t size;
    pid_t tid;
    void *stack;
    volatile uint64_t *local;
    ucontext_t own, caller;
} coroutines[KINDS] = {{.name = "main", .size = SMALL},
                       {.name = "arena", .size = SMALL},
                       {.name = "large", .size = LARGE}};
static void *last_block;

static void testify_all(void) {
    testify("{\"pid\":%d,\"threads\":[", getpid());
    for (int i = 0; i < KINDS; i++) {
        testify_thread(coroutines[i].tid, "\"coroutine_leaf\",\"coroutine_mid\",\"coroutine_top\"");
        testify("%s", i < KINDS - 1 ? "," : "],\"stacks\":[");
    }
    for (uint64_t i = 0; i < KINDS; i++) {
        testify_pattern(coroutines[i].name, coroutines[i].local, LOCAL, SEED + i);
        testify("%s", i < KINDS - 1 ? "," : "],\"bulk\":[");
    }
    testify_pattern("last block", last_block, BLOCK, SEED + 10);
    testify("]}");
}

KNOWN void coroutine_leaf(long index) {
    if (index == 0) {
        testify_all();
        say_ready();
        serve_until_end_of_input();
        _exit(0);
    }
    stay();
    NOT_A_TAIL_CALL();
}
KNOWN void coroutine_mid(long index) {
    volatile uint64_t local[LOCAL / 8];
    fill_pattern((void *)local, LOCAL, SEED + (uint64_t)index);
    coroutines[index].local = local;
    coroutine_leaf(index);
    NOT_A_TAIL_CALL();
    (void)local[0];
}
KNOWN void coroutine_top(int index) {
    coroutine_mid(index);
    NOT_A_TAIL_CALL();
}

static void *enter(void *argument) {
    struct coroutine *self = argument;
    self->tid = own_tid();
    CHECK(getcontext(&self->own) == 0);
    self->own.uc_stack = (stack_t){.ss_sp = self->stack, .ss_size = self->size};
    self->own.uc_link = &self->caller;
    makecontext(&self->own, (void (*)(void))coroutine_top, 1, (int)(self - coroutines));
    CHECK(swapcontext(&self->caller, &self->own) == 0);
    return NULL;
}

static void *enter_on_own_block(void *argument) {
    struct coroutine *self = argument;
    self->stack = malloc(self->size);
    CHECK(self->stack);
    return enter(self);
}

int main(void) {
    /* First, so that it is below all the others. */
    coroutines[0].stack = malloc(SMALL);
    CHECK(coroutines[0].stack);
    for (int i = 0; i < BLOCKS; i++) {
        last_block = malloc(BLOCK);
        CHECK(last_block);
    }
    CHECK((char *)last_block - (char *)coroutines[0].stack > (2 << 20));
    fill_pattern(last_block, BLOCK, SEED + 10);
    for (int i = 1; i < KINDS; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, enter_on_own_block, &coroutines[i]) == 0);
        wait_until_arrived(i);
    }
    enter(&coroutines[0]);
    return 1;
}
