/*
 * A process with threads and large thread-local buffers, as libraries have them.
 */
#include "../victims/victim.h"

enum { THREADS = 20, BUFFER = 160 << 10 };

static __thread char buffer[BUFFER];
static pthread_barrier_t ready;
static struct {
    pid_t tid;
    uintptr_t local, buffer;
} truths[THREADS];

KNOWN static void *rest(void *argument) {
    volatile char local = 1;
    size_t index = (size_t)argument;
    buffer[BUFFER / 2] = local;
    truths[index].tid = own_tid();
    truths[index].local = (uintptr_t)&local;
    truths[index].buffer = (uintptr_t)buffer;
    pthread_barrier_wait(&ready);
    for (;;)
        pause();
    return argument;
}

int main(void) {
    pthread_attr_t attributes;
    CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, 1 << 20) == 0);
    pthread_barrier_init(&ready, NULL, THREADS + 1);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, &attributes, rest, (void *)i) == 0);
    }
    pthread_barrier_wait(&ready);
    testify("{\"pid\":%d,\"buffer\":%d,\"threads\":[", getpid(), BUFFER);
    for (int i = 0; i < THREADS; i++)
        testify("%s{\"tid\":%d,\"local\":%" PRIuPTR ",\"buffer\":%" PRIuPTR "}", i ? "," : "", truths[i].tid,
                truths[i].local, truths[i].buffer);
    testify("]}");
    say_ready();
    serve_until_end_of_input();
    return 0;
}
