/*
 * Threads with unusual stack pointers.
 *
 *   overflowed    its stack pointer is in the inaccessible page below its stack
 *   coroutine     on a stack of 4 MiB that it has allocated itself, mostly above the stack pointer
 *   nearly-empty  on such a stack, 64 bytes below its end
 *
 * All these stacks are filled with patterns. The threads spin and do not touch them.
 */
#include "../victims/victim.h"

#include <sys/mman.h>

enum { KINDS = 3 };

struct odd {
    const char *name;
    size_t bytes;
    /* The offset of the stack pointer in the memory. */
    long offset;
    uint64_t seed;
    unsigned char *memory;
    pid_t tid;
};
static struct odd odds[KINDS] = {
    {.name = "overflowed", .bytes = 1 << 16, .offset = -1000, .seed = UINT64_C(0x4F44440000000001)},
    {.name = "coroutine", .bytes = 4 << 20, .offset = 1 << 16, .seed = UINT64_C(0x4F44440000000002)},
    {.name = "nearly-empty", .bytes = 4 << 20, .offset = (4 << 20) - 64, .seed = UINT64_C(0x4F44440000000003)},
};
_Atomic int arrived;

static void *spin_there(void *argument) {
    struct odd *odd = argument;
    odd->tid = own_tid();
    __asm__ volatile("movq %0, %%rsp\n"
                     "lock incl arrived(%%rip)\n"
                     "1: pause\n"
                     "jmp 1b\n"
                     :
                     : "r"(odd->memory + odd->offset)
                     : "memory");
    __builtin_unreachable();
}

int main(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < KINDS; i++) {
        struct odd *odd = &odds[i];
        /* Inaccessible pages on both sides, so that it is not merged with a neighbour. */
        unsigned char *at =
            mmap(NULL, odd->bytes + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(at != MAP_FAILED);
        odd->memory = at + page;
        CHECK(mprotect(odd->memory, odd->bytes, PROT_READ | PROT_WRITE) == 0);
        fill_pattern(odd->memory, odd->bytes, odd->seed);
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, spin_there, odd) == 0);
    }
    while (atomic_load(&arrived) < KINDS)
        sched_yield();
    testify("{\"pid\":%d,\"threads\":{", getpid());
    for (int i = 0; i < KINDS; i++) {
        const struct odd *odd = &odds[i];
        testify("%s\"%s\":{\"tid\":%d,\"pointer\":%" PRIuPTR ",\"memory\":", i ? "," : "", odd->name, odd->tid,
                (uintptr_t)odd->memory + (uintptr_t)odd->offset);
        testify_pattern(odd->name, odd->memory, odd->bytes, odd->seed);
        testify("}");
    }
    testify("}}");
    say_ready();
    serve_until_end_of_input();
    return 0;
}
