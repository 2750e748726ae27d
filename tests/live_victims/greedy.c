/*
 * A process that uses what a test wants it to use. It obeys each line of its standard input, and
 * answers with "done":
 *
 *     threads N     starts N threads that sleep
 *     fds N         opens N descriptors
 *     memory N      touches N more MiB of memory
 *     busy          starts a thread that computes
 *     idle          ends that thread
 *     beat FILE     sets the time of the last modification of a file, which it creates
 *     child SIGNAL  starts a child that is killed by this signal, and waits for its end
 *     die SIGNAL    is killed by this signal; there is no answer
 *     traced        answers with the id of its tracer, or 0
 *     blocked       answers with the mask of its blocked signals, as /proc shows it
 *     handle        handles SIGTERM, SIGINT, SIGHUP and SIGUSR1: says "signal N" for each
 *     count         answers with the number of handled signals
 *     exit N        ends with this status
 *
 * At end of input it ends with status 0.
 */
#include "../victims/victim.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

static atomic_int busy;
static pthread_t busy_thread;

static void *sleep_for_ever(void *unused) {
    (void)unused;
    for (;;)
        pause();
    return NULL;
}

static void *compute(void *unused) {
    (void)unused;
    while (atomic_load(&busy)) {
    }
    return NULL;
}

static atomic_int handled;

static void handler(int number) {
    char text[] = "signal 00\n";
    text[7] = (char)('0' + number / 10);
    text[8] = (char)('0' + number % 10);
    atomic_fetch_add(&handled, 1);
    CHECK(write(1, text, sizeof text - 1) == (ssize_t)(sizeof text - 1));
}

static void handle(void) {
    const int all[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        CHECK(sigaction(all[k], &action, NULL) == 0);
}

/* Prints the value of a line of /proc/self/status. */
static void print_status(const char *name) {
    char line[256], value[64];
    size_t length = strlen(name);
    FILE *status = fopen("/proc/self/status", "re");
    CHECK(status);
    while (fgets(line, sizeof line, status))
        if (strncmp(line, name, length) == 0 && sscanf(line + length, ": %63s", value) == 1)
            puts(value);
    fclose(status);
    fflush(stdout);
}

int main(void) {
    char line[4096], word[4096];
    long number;
    while (fgets(line, sizeof line, stdin)) {
        pthread_t thread;
        if (sscanf(line, "threads %ld", &number) == 1) {
            while (number-- > 0)
                CHECK(pthread_create(&thread, NULL, sleep_for_ever, NULL) == 0);
        } else if (sscanf(line, "fds %ld", &number) == 1) {
            while (number-- > 0)
                CHECK(open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0);
        } else if (sscanf(line, "memory %ld", &number) == 1) {
            size_t size = (size_t)number << 20;
            void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            CHECK(memory != MAP_FAILED);
            memset(memory, 1, size);
        } else if (strcmp(line, "busy\n") == 0) {
            atomic_store(&busy, 1);
            CHECK(pthread_create(&busy_thread, NULL, compute, NULL) == 0);
        } else if (strcmp(line, "idle\n") == 0) {
            atomic_store(&busy, 0);
            CHECK(pthread_join(busy_thread, NULL) == 0);
        } else if (sscanf(line, "beat %4095s", word) == 1) {
            int file = open(word, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
            CHECK(file >= 0 && futimens(file, NULL) == 0 && close(file) == 0);
        } else if (sscanf(line, "child %ld", &number) == 1) {
            int status;
            pid_t child = fork();
            if (child == 0) {
                kill(getpid(), (int)number);
                _exit(0);
            }
            CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status));
            CHECK(WTERMSIG(status) == (int)number);
        } else if (sscanf(line, "die %ld", &number) == 1) {
            kill(getpid(), (int)number);
            CHECK(0);
        } else if (strcmp(line, "traced\n") == 0) {
            print_status("TracerPid");
            continue;
        } else if (strcmp(line, "blocked\n") == 0) {
            print_status("SigBlk");
            continue;
        } else if (strcmp(line, "handle\n") == 0) {
            handle();
        } else if (strcmp(line, "count\n") == 0) {
            printf("%d handled\n", atomic_load(&handled));
            fflush(stdout);
            continue;
        } else if (sscanf(line, "exit %ld", &number) == 1) {
            return (int)number;
        } else {
            CHECK(0);
        }
        puts("done");
        fflush(stdout);
    }
    return 0;
}
