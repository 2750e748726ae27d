/* target PLUGIN1 PLUGIN2: the process that clients dump. It has five named threads, two libraries
 * with data of their own, and marks in every kind of memory. Prints their addresses as lines "name
 * value", then "ready", and ends when its input ends. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { THREADS = 5, PAGE = 4096 };

char main_data[64] = "MAIN-DATA";

/* An object that a thread works with. Only a register points to it. It points to other blocks. */
struct object {
    char mark[32];
    size_t count;
    char **items;
};

static const char *const names[THREADS] = {"main", "worker", "watchdog", "helper", "logger"};
static long ids[THREADS];
static void *stacks[THREADS];
static struct object *object;
static pthread_barrier_t ready;

static void *told(const char *name, void *address)
{
    printf("%s %lu\n", name, (unsigned long)address);
    return address;
}

static void *map(size_t pages, int file)
{
    int kind = file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    void *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, kind, file, 0);
    return at == MAP_FAILED ? NULL : at;
}

/* Waits forever with the object in a register that calls preserve, and the mark on the stack. */
static void wait_for_ever(const char *mark)
{
    __asm__ volatile("" : : "r"(mark) : "memory");
#if defined(__x86_64__)
    __asm__ volatile("1: movl $34, %%eax\n syscall\n jmp 1b" : : "b"(object) : "rax", "rcx", "r11", "memory");
#else
    for (;;)
        pause();
#endif
}

static void *work(void *number)
{
    long n = (long)number;
    char mark[128];
    /* Made at run time, so that the text is nowhere else in a dump. */
    snprintf(mark, sizeof mark, "STACK-%ld-MARK", n);
    prctl(PR_SET_NAME, names[n]);
    ids[n] = syscall(SYS_gettid);
    stacks[n] = mark;
    pthread_barrier_wait(&ready);
    wait_for_ever(mark);
    return NULL;
}

static void *plugin(const char *file, const char *name)
{
    void *library = dlopen(file, RTLD_NOW);
    struct link_map *facts;
    char base[32];
    if (library == NULL || dlinfo(library, RTLD_DI_LINKMAP, &facts) != 0)
        exit(3);
    snprintf(base, sizeof base, "%s_base", name);
    told(base, (void *)facts->l_addr);
    return dlsym(library, "plugin_data");
}

int main(int count, char **arguments)
{
    char mark[128];
    snprintf(mark, sizeof mark, "STACK-%d-MARK", 0);
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    if (count != 3)
        return 2;
    ids[0] = getpid();
    stacks[0] = mark;
    told("main_data", main_data);
    told("main_code", (void *)(uintptr_t)main);
    told("plugin1", plugin(arguments[1], "plugin1"));
    told("plugin2", plugin(arguments[2], "plugin2"));

    char *heap = told("heap", malloc(PAGE));
    memset(heap, 'H', PAGE);
    strcpy(heap, "HEAP-MARK");
    char *other = malloc(PAGE);
    memset(other, 'o', PAGE);
    snprintf(other, PAGE, "%s-HEAP-MARK", "OTHER");
    object = told("object", calloc(1, sizeof *object));
    strcpy(object->mark, "OBJECT-MARK");
    object->count = 20;
    object->items = calloc(object->count, sizeof *object->items);
    for (size_t n = 0; n < object->count; n++) {
        object->items[n] = malloc(64);
        snprintf(object->items[n], 64, "ITEM-%zu-MARK", n);
    }
    told("last_item", object->items[object->count - 1]);

    /* Three pages, with a secret in the second. */
    char *secret = told("secret", map(3, -1));
    memset(secret, 's', 3 * PAGE);
    strcpy(secret + PAGE, "SECRET-MARK");
    /* Four pages, the second of which is unreadable. */
    char *hole = told("hole", map(4, -1));
    memset(hole, 'h', 4 * PAGE);
    strcpy(hole, "BEFORE-HOLE-MARK");
    strcpy(hole + 3 * PAGE, "BEHIND-HOLE-MARK");
    mprotect(hole + PAGE, PAGE, PROT_NONE);
    /* Guard pages inside a mapping (MADV_GUARD_INSTALL, Linux 6.13). Recent versions of glibc have
     * them in each thread's stack. */
    char *guarded = map(16, -1);
    memset(guarded, 'g', 16 * PAGE);
    strcpy(guarded + 8 * PAGE, "BEHIND-GUARD-MARK");
    told("guarded", madvise(guarded + PAGE, PAGE, 102) == 0 ? guarded : NULL);
    /* A mapped file that has been truncated afterwards. */
    int file = memfd_create("truncated", 0);
    if (ftruncate(file, 16 * PAGE) != 0)
        return 3;
    char *cut = told("cut", map(16, file));
    memset(cut, 'c', 16 * PAGE);
    strcpy(cut, "BEFORE-END-MARK");
    if (ftruncate(file, 4 * PAGE) != 0)
        return 3;

    pthread_barrier_init(&ready, NULL, THREADS);
    for (long n = 1; n < THREADS; n++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, (void *)n) != 0)
            return 3;
    }
    pthread_barrier_wait(&ready);
    for (int n = 0; n < THREADS; n++)
        printf("thread%d %ld\nstack%d %lu\n", n, ids[n], n, (unsigned long)stacks[n]);
    printf("ready 1\n");
    fflush(stdout);
    while (getchar() != EOF)
        continue;
    return 0;
}
