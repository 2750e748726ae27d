//! Victims that count, and the signals that one of them counts.

/// Starts threads that count in memory, with one counter each.
pub const COUNTERS: &str = r#"
enum { THREADS = 5 };
static volatile uint64_t counter[THREADS * 8];
static void *count(void *at) {
    for (;;) { ++*(volatile uint64_t *)at; if (*(volatile uint64_t *)at % 1024 == 0) sched_yield(); }
}
int main(void) {
    pthread_t thread;
    for (int i = 0; i < THREADS; ++i) pthread_create(&thread, 0, count, (void *)(counter + i * 8));
    for (int i = 0; i < THREADS; ++i) while (!counter[i * 8]) sched_yield();
    printf("%p\n", (void *)counter); fflush(stdout);
    while (getchar() != EOF) {}
    return 0;
}
"#;

/// Counts the real-time signals that it receives, and prints the count when its input ends.
pub const SIGNALS: &str = r#"
static volatile uint64_t got, wrong;
static void handler(int signal, siginfo_t *info, void *context) {
    if (info->si_value.sival_int != (int)got) ++wrong;
    ++got;
}
static void *spin(void *unused) { for (;;) sched_yield(); }
int main(void) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGRTMIN + 1, &action, 0);
    sigset_t all;
    sigfillset(&all);
    pthread_t thread;
    sigset_t before;
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_create(&thread, 0, spin, 0);
    pthread_sigmask(SIG_SETMASK, &before, 0);
    printf("%d %p\n", SIGRTMIN + 1, (void *)&got); fflush(stdout);
    for (char byte; read(0, &byte, 1) != 0;) {}
    printf("%lu %lu\n", (unsigned long)got, (unsigned long)wrong); fflush(stdout);
    return 0;
}
"#;

/// Sends a queued real-time signal with a value; waits while the queue is full.
pub fn queue(pid: u32, signal: u64, value: i32) {
    loop {
        // SAFETY: sigqueue takes numbers. The value is an integer, stored in the pointer field of
        // the union.
        let result = unsafe {
            libc::sigqueue(
                pid.cast_signed(),
                signal as i32,
                libc::sigval {
                    sival_ptr: std::ptr::without_provenance_mut(value as usize),
                },
            )
        };
        if result == 0 {
            return;
        }
        std::thread::yield_now();
    }
}
