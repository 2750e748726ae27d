/* twin LIBRARY [LIBRARY]: the process that the recorded scenarios dump, on Linux. It has five
 * threads, the fourth of them deep in a recursion with the addresses of named blocks on its stack,
 * and blocks of memory with different protections. Prints names and threads as JSON and waits for
 * the end of its input.
 *
 * The second library is loaded by a thread that ends, so that no stack refers to it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WORKERS = 4, DEEP = 3, PAGE = 0x1000 };

static unsigned char global[PAGE] = {1};
static unsigned char *heap, *private_block;

/* Written to PRIV twice: in the middle of a page and across the border of two pages. */
static const char secret[] = {'o', 'p', 'e', 'n', '-', 's', 'e', 's', 'a', 'm', 'e', '-', '4', '7', '1', '1'};

static struct {
    long id;
    uintptr_t low, high, block;
} threads[WORKERS + 1];
static sem_t ready;

static void tell_thread(int number)
{
    pthread_attr_t attributes;
    void *low;
    size_t size;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0 || pthread_attr_getstack(&attributes, &low, &size) != 0)
        abort();
    pthread_attr_destroy(&attributes);
    threads[number].id = syscall(SYS_gettid);
    threads[number].low = (uintptr_t)low;
    threads[number].high = (uintptr_t)low + size;
    threads[number].block = (uintptr_t)pthread_self();
}

static void rest(void)
{
    for (;;)
        pause();
}

/* Ten frames of 4 KiB, each with three addresses. */
static __attribute__((noinline)) int dive(int depth, int number)
{
    unsigned char *volatile addresses[] = {private_block + 0x4010, heap + 0x100, global + 0x200};
    volatile char room[0x1000];
    room[0] = (char)depth;
    if (depth == 0) {
        tell_thread(number);
        sem_post(&ready);
        rest();
    }
    return dive(depth - 1, number) + room[0] + *addresses[0];
}

static void *work(void *argument)
{
    int number = (int)(intptr_t)argument;
    if (number == DEEP) {
        dive(9, number);
    } else {
        tell_thread(number);
        sem_post(&ready);
        rest();
    }
    return NULL;
}

static void fill(unsigned char *block, size_t size, unsigned char tag)
{
    for (size_t at = 0; at < size; at++)
        block[at] = (unsigned char)(tag + at % 251);
}

/* Maps a block that is not next to another one, so that the kernel does not merge the mappings. */
static unsigned char *block(const char *name, size_t size, int shared, unsigned char tag)
{
    unsigned char *room = mmap(NULL, size + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        abort();
    unsigned char *made = mmap(room + PAGE, size, PROT_READ | PROT_WRITE,
                               MAP_FIXED | MAP_ANONYMOUS | (shared ? MAP_SHARED : MAP_PRIVATE), -1, 0);
    if (made == MAP_FAILED || munmap(room, PAGE) != 0 || munmap(made + size, PAGE) != 0)
        abort();
    fill(made, size, tag);
    printf("[\"%s\", %ju, %zu], ", name, (uintmax_t)(uintptr_t)made, size);
    return made;
}

static void *load(void *path)
{
    return dlopen(path, RTLD_NOW);
}

int main(int count, char **arguments)
{
    if (count != 2 && count != 3)
        return 2;
    if (count == 3) {
        pthread_t loader;
        void *loaded;
        if (pthread_create(&loader, NULL, load, arguments[2]) != 0 || pthread_join(loader, &loaded) != 0 || loaded == NULL)
            return 1;
    }
    void *library = dlopen(arguments[1], RTLD_NOW);
    unsigned char *extra = library ? dlsym(library, "extra_data") : NULL;
    if (extra == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    heap = malloc(2 * PAGE);
    fill(heap, 2 * PAGE, 2);

    printf("{\"names\": [");
    private_block = block("PRIV", 16 * PAGE, 0, 3);
    memcpy(private_block + 0x5000, secret, sizeof secret);
    memcpy(private_block + 0x8000 - 5, secret, sizeof secret);
    mprotect(block("RO", 2 * PAGE, 0, 4), 2 * PAGE, PROT_READ);
    mprotect(block("RX", PAGE, 0, 5), PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    mprotect(block("MIXED", 3 * PAGE, 0, 6) + PAGE, PAGE, PROT_NONE);
    mprotect(block("GUARD", 3 * PAGE, 0, 7) + PAGE, PAGE, PROT_NONE);
    unsigned char *reserved = block("RESV", 16 * PAGE, 0, 8);
    mprotect(reserved, PAGE, PROT_NONE);
    mprotect(reserved + 2 * PAGE, 14 * PAGE, PROT_NONE);
    block("MAPF", 3 * PAGE, 1, 9);
    block("SECN", 3 * PAGE, 1, 10);
    /* Linux has no process block. This is memory that rules about it can refer to. */
    block("peb", PAGE, 0, 11);
    printf("[\"GLOB\", %ju, %d], [\"HEAP\", %ju, %d], [\"XDATA\", %ju, %d]], \"threads\": [", (uintmax_t)(uintptr_t)global, PAGE,
           (uintmax_t)(uintptr_t)heap, 2 * PAGE, (uintmax_t)(uintptr_t)extra, 0x400);

    sem_init(&ready, 0, 0);
    tell_thread(0);
    /* Started one after the other, so that their ids ascend. */
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 512 * PAGE); /* as much as on Windows */
    for (int number = 1; number <= WORKERS; number++) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, work, (void *)(intptr_t)number) != 0)
            abort();
        sem_wait(&ready);
    }
    for (int number = 0; number <= WORKERS; number++)
        printf("%s[%ld, %ju, %ju, %ju]", number ? ", " : "", threads[number].id, (uintmax_t)threads[number].low,
               (uintmax_t)threads[number].high, (uintmax_t)threads[number].block);
    printf("]}\n");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}
