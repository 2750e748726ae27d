/*
 * A process with memory that a clone of it has, does not have, or shares with it. The argument
 * selects what else it does, so that it cannot be cloned, or should not be:
 *
 *   cloned plain | filter | adopts | kept | namespace | faults | huge | intercepts | locked |
 *          elsewhere
 *
 * It answers lines of standard input: "change" overwrites all memory, and "children" prints how
 * often it got SIGCHLD, and what waiting for any child says. Other lines are answered with "pong".
 */
#include "../victims/victim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <ucontext.h>

#define BYTES (64 * 1024)
#define KEPT (17 * 1024 * 1024)
#define LOCKED (64 * 1024 * 1024)
#define COUNT 4

static const char *const names[COUNT] = {"private", "not for children", "empty for children", "shared"};
static void *memory[COUNT];
static volatile sig_atomic_t notified;

static void count(int number) {
    (void)number;
    notified++;
}

static void fill(uint64_t seed) {
    for (int k = 0; k < COUNT; k++)
        fill_pattern(memory[k], BYTES, seed + k);
}

static void *map(size_t bytes, int kind) {
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

static void prepare(const char *what) {
    if (strcmp(what, "filter") == 0) {
        struct sock_filter all[] = {{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
        struct sock_fprog filter = {1, all};
        CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0);
    } else if (strcmp(what, "adopts") == 0) {
        CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
    } else if (strcmp(what, "kept") == 0) {
        void *kept = map(KEPT, MAP_PRIVATE);
        memset(kept, 1, KEPT);
        CHECK(madvise(kept, KEPT, MADV_DONTFORK) == 0);
    } else if (strcmp(what, "namespace") == 0) {
        CHECK(unshare(CLONE_NEWPID) == 0);
    } else if (strcmp(what, "faults") == 0) {
        struct uffdio_api api = {.api = UFFD_API};
        int handler = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
        CHECK(handler >= 0 && ioctl(handler, UFFDIO_API, &api) == 0);
        /* Every page exists, so nobody has to handle a fault. */
        void *full = map(BYTES, MAP_PRIVATE);
        memset(full, 1, BYTES);
        struct uffdio_register missing = {{(uintptr_t)full, BYTES}, UFFDIO_REGISTER_MODE_MISSING, 0};
        CHECK(ioctl(handler, UFFDIO_REGISTER, &missing) == 0);
    } else if (strcmp(what, "huge") == 0) {
        /* No page is used, so the system need not have one. */
        map(2 * 1024 * 1024, MAP_PRIVATE | MAP_HUGETLB | MAP_NORESERVE);
    } else if (strcmp(what, "intercepts") == 0) {
        static char allow = 0;
        CHECK(prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &allow) == 0);
    } else if (strcmp(what, "locked") == 0) {
        CHECK(mlock(map(LOCKED, MAP_PRIVATE), LOCKED) == 0);
    } else if (strcmp(what, "elsewhere") == 0) {
        /* main obeys on another stack. */
    } else {
        CHECK(strcmp(what, "plain") == 0);
    }
}

static const uint64_t seed = UINT64_C(0xC10E0000C10E0000);

static void obey(void) {
    char line[16];
    size_t length = 0;
    while (read(STDIN_FILENO, line + length, 1) == 1) {
        if (line[length] != '\n') {
            length += length + 1 < sizeof line;
            continue;
        }
        line[length] = '\0';
        length = 0;
        if (strcmp(line, "change") == 0) {
            fill(~seed);
            printf("changed\n");
        } else if (strcmp(line, "children") == 0) {
            pid_t waited = waitpid(-1, NULL, WNOHANG | __WALL);
            printf("%d notifications, %s\n", (int)notified, waited < 0 && errno == ECHILD ? "no child" : "a child");
        } else {
            printf("pong\n");
        }
        fflush(stdout);
    }
    _exit(0);
}

/* On a stack that is a part of other memory, as those of coroutines are. */
static void obey_elsewhere(void) {
    static ucontext_t context;
    static char stack[64 * 1024];
    CHECK(getcontext(&context) == 0);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = sizeof stack;
    makecontext(&context, obey, 0);
    setcontext(&context);
}

int main(int count_of_arguments, char **arguments) {
    CHECK(count_of_arguments == 2);
    struct sigaction action = {.sa_handler = count, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGCHLD, &action, NULL) == 0);
    memory[0] = map(BYTES, MAP_PRIVATE);
    memory[1] = map(BYTES, MAP_PRIVATE);
    memory[2] = map(BYTES, MAP_PRIVATE);
    memory[3] = map(BYTES, MAP_SHARED);
    CHECK(madvise(memory[1], BYTES, MADV_DONTFORK) == 0);
    CHECK(madvise(memory[2], BYTES, MADV_WIPEONFORK) == 0);
    fill(seed);
    prepare(arguments[1]);
    testify("{\"pid\":%d,\"memory\":[", getpid());
    for (int k = 0; k < COUNT; k++) {
        testify("%s", k ? "," : "");
        testify_pattern(names[k], memory[k], BYTES, seed + k);
    }
    testify("]}");
    say_ready();
    if (strcmp(arguments[1], "elsewhere") == 0)
        obey_elsewhere();
    obey();
}
