/*
 * Creates and ends threads as fast as it can, and counts them.
 *
 *   churn [CREATORS]
 *
 * Each creator thread starts a short-lived thread that adds its number to a sum, waits for it, and
 * starts the next one. After READY, it prints one line "progress N" for every thousandth thread; N
 * rises by 1000 without a gap. At end of input:
 *
 *     DONE created=C ended=C sum=S        with S = 1 + 2 + … + C
 *
 * If a thread was lost, run twice, or left stopped, the totals are wrong. It does not answer pings:
 * its output is only these lines.
 */
#include "victim.h"

static _Atomic uint64_t created, ended, sum;
static _Atomic int stop;
static pthread_mutex_t printing = PTHREAD_MUTEX_INITIALIZER;
static uint64_t next_progress = 1000;

static void *short_life(void *number) {
    atomic_fetch_add(&sum, (uint64_t)(uintptr_t)number);
    atomic_fetch_add(&ended, 1);
    return number;
}

static void *create(void *unused) {
    while (!atomic_load(&stop)) {
        uintptr_t number = atomic_fetch_add(&created, 1) + 1;
        pthread_t thread;
        void *back;
        CHECK(pthread_create(&thread, NULL, short_life, (void *)number) == 0);
        CHECK(pthread_join(thread, &back) == 0 && back == (void *)number);
        pthread_mutex_lock(&printing);
        for (; atomic_load(&ended) >= next_progress; next_progress += 1000)
            printf("progress %" PRIu64 "\n", next_progress);
        pthread_mutex_unlock(&printing);
    }
    return unused;
}

int main(int count, char **arguments) {
    enum { MOST = 16 };
    int creators = count > 1 ? atoi(arguments[1]) : 4;
    pthread_t threads[MOST];
    CHECK(creators > 0 && creators <= MOST);
    setvbuf(stdout, NULL, _IOLBF, 0);
    testify("{\"pid\":%d,\"creators\":%d}", getpid(), creators);
    say_ready();
    for (int i = 0; i < creators; i++)
        CHECK(pthread_create(&threads[i], NULL, create, NULL) == 0);
    char ignored[64];
    while (read(STDIN_FILENO, ignored, sizeof ignored) != 0)
        ;
    atomic_store(&stop, 1);
    for (int i = 0; i < creators; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    printf("DONE created=%" PRIu64 " ended=%" PRIu64 " sum=%" PRIu64 "\n", atomic_load(&created),
           atomic_load(&ended), atomic_load(&sum));
    return 0;
}
