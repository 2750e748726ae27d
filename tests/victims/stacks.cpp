/*
 * Functions of C++ whose names have namespaces, parameters and template arguments. The main thread
 * sleeps in
 *
 *   main > pool::Worker::run > pool::twice<long> > (anonymous namespace)::asleep
 *
 * and the thread "worker" in a lambda function below std::thread.
 */
#include <atomic>
#include <cstdio>
#include <pthread.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

#define KNOWN __attribute__((noinline, noclone, used))
#define NOT_A_TAIL_CALL() __asm__ volatile("" ::: "memory")

static volatile int never;
static std::atomic<int> worker_id;

namespace {

KNOWN void asleep(int argument) {
    if (argument == 1) {
        worker_id = static_cast<int>(syscall(SYS_gettid));
    } else {
        std::printf("READY {\"pid\":%d,\"worker\":%d}\n", getpid(), worker_id.load());
        std::fflush(stdout);
    }
    while (!never)
        pause();
    NOT_A_TAIL_CALL();
}

} // namespace

namespace pool {

template <typename T> KNOWN T twice(T value) {
    asleep(static_cast<int>(value));
    NOT_A_TAIL_CALL();
    return value * 2;
}

class Worker {
  public:
    KNOWN long run(const char *name, long value) {
        long result = twice(value);
        NOT_A_TAIL_CALL();
        return result + (name != nullptr);
    }
};

} // namespace pool

int main() {
    pool::Worker worker;
    std::thread thread([&worker] {
        pthread_setname_np(pthread_self(), "worker");
        worker.run("worker", 1);
        NOT_A_TAIL_CALL();
    });
    while (worker_id == 0)
        std::this_thread::yield();
    worker.run("main", 2);
    NOT_A_TAIL_CALL();
    return 99;
}
