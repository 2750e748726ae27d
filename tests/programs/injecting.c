/*
 * Runs a program, one of whose system calls fails, or does only a part of what it was asked to do.
 *
 *   injecting RECORD uses [still] -- PROGRAM…
 *   injecting RECORD CALL EFFECT WHEN [still] -- PROGRAM…
 *
 * "uses" writes a line into the file RECORD for each use of a call that can be injected: the name
 * of the call, and the file or the request that it was used for. A thread's calls before its first
 * sigaltstack(2) do not count: until then, Rust starts the thread, and aborts the program if it
 * cannot. Nor do uses of futex(2) that do not wait, and of PTRACE_CONT.
 *
 * WHEN is "7" for the seventh use of CALL in any thread, and "7+" for all uses from the seventh on.
 * RECORD then has a line "injected" for each use that was changed. EFFECT is one of these:
 *
 *   error=NAME   the call is not made, and fails with this error
 *   zero         the call is not made, and returns 0
 *   short        the call is made for the first half of the bytes (of the entries, for a list)
 *
 * All threads of PROGRAM are traced, and processes that it makes with clone(2) without SIGCHLD, as
 * dumpwright's helper is. Processes that it makes with fork(2) are not, because PROGRAM may want to
 * trace them itself.
 *
 * "still" makes a process that PROGRAM forks the same each time: its addresses are not random. When
 * a process that PROGRAM clones calls nanosleep(2), the sleep ends when all threads of the forked
 * process sleep.
 *
 * The exit status is that of PROGRAM, or 124 if PROGRAM has not ended after a minute.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define PAGE 4096
#define PAGEMAP_SCAN 0xC0606610
/* The offset of `vec_len` in `struct pm_scan_arg`. */
#define SCAN_LENGTH 48
/* The threads of `still wait`. `still crash` has fewer, so it is dumped only when it crashes. */
#define STILL_THREADS 5

enum object { NOTHING, DESCRIPTOR, PATH_0, PATH_1, REQUEST };

static const struct call {
    const char *name;
    uint64_t number;
    enum object object;
    /* The third argument is the size of a buffer. */
    int sized;
} calls[] = {
    {"clock_nanosleep", SYS_clock_nanosleep, NOTHING, 0},
    {"clone", SYS_clone, NOTHING, 0},
    {"clone3", SYS_clone3, NOTHING, 0},
    {"close", SYS_close, DESCRIPTOR, 0},
    {"fchmod", SYS_fchmod, DESCRIPTOR, 0},
    {"fcntl", SYS_fcntl, DESCRIPTOR, 0},
    {"fsync", SYS_fsync, DESCRIPTOR, 0},
    {"ftruncate", SYS_ftruncate, DESCRIPTOR, 0},
    {"futex", SYS_futex, NOTHING, 0},
    {"getdents64", SYS_getdents64, DESCRIPTOR, 1},
    {"ioctl", SYS_ioctl, DESCRIPTOR, 0},
    {"linkat", SYS_linkat, NOTHING, 0},
    {"lseek", SYS_lseek, DESCRIPTOR, 0},
    {"mmap", SYS_mmap, NOTHING, 0},
    {"mprotect", SYS_mprotect, NOTHING, 0},
    {"munmap", SYS_munmap, NOTHING, 0},
    {"nanosleep", SYS_nanosleep, NOTHING, 0},
    {"newfstatat", SYS_newfstatat, PATH_1, 0},
    {"openat", SYS_openat, PATH_1, 0},
    {"openat2", SYS_openat2, PATH_1, 0},
    {"pipe2", SYS_pipe2, NOTHING, 0},
    {"poll", SYS_poll, NOTHING, 0},
    {"prctl", SYS_prctl, REQUEST, 0},
    {"pread64", SYS_pread64, DESCRIPTOR, 1},
    {"process_vm_readv", SYS_process_vm_readv, NOTHING, 0},
    {"ptrace", SYS_ptrace, REQUEST, 0},
    {"pwrite64", SYS_pwrite64, DESCRIPTOR, 1},
    {"read", SYS_read, DESCRIPTOR, 1},
    {"readlink", SYS_readlink, PATH_0, 0},
    {"readlinkat", SYS_readlinkat, PATH_1, 0},
    {"rename", SYS_rename, NOTHING, 0},
    {"renameat2", SYS_renameat2, NOTHING, 0},
    {"sched_getaffinity", SYS_sched_getaffinity, NOTHING, 0},
    {"statfs", SYS_statfs, PATH_0, 0},
    {"fstatfs", SYS_fstatfs, DESCRIPTOR, 0},
    {"statx", SYS_statx, PATH_1, 0},
    {"unlinkat", SYS_unlinkat, NOTHING, 0},
    {"wait4", SYS_wait4, NOTHING, 0},
    {"write", SYS_write, DESCRIPTOR, 1},
};
enum { CALLS = sizeof calls / sizeof *calls };

/* A traced thread or process. */
struct tracee {
    pid_t tid;
    /* It has a stack for signal handlers, or it is a process that needs none. */
    int has_started;
    /* What has to be done when the current call returns. */
    enum { LET, FAIL, RESTORE } at_exit;
    long result;
    /* A register and a word of memory to restore; an offset or address of 0 means none. */
    size_t saved_register;
    long saved_value;
    uintptr_t saved_address;
    long saved_word;
};
enum { MOST = 128 };
static struct tracee tracees[MOST];

static FILE *record;
static pid_t leader;
static int is_recording, is_still;
/* The injection. */
static const struct call *chosen;
static enum { SKIP, SHORT } effect;
static long result;
static unsigned long when, uses;
static int every_later;
/* A thread that sleeps until the program's process is still. */
static pid_t sleeper;
static volatile sig_atomic_t is_late;

static void too_late(int signal) {
    (void)signal;
    is_late = 1;
}

static struct tracee *find(pid_t tid) {
    for (int i = 0; i < MOST; i++)
        if (tracees[i].tid == tid)
            return &tracees[i];
    return NULL;
}
static int is_thread_of_leader(pid_t tid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d", leader, tid);
    return access(path, F_OK) == 0;
}
static struct tracee *find_or_add(pid_t tid) {
    struct tracee *tracee = find(tid);
    if (!tracee) {
        tracee = find(0);
        CHECK(tracee);
        *tracee = (struct tracee){.tid = tid, .has_started = !is_thread_of_leader(tid)};
    }
    return tracee;
}

/* Reads a string of the program. */
static void read_text(pid_t tid, uintptr_t address, char *text, size_t size) {
    size_t length = 0;
    for (; length + sizeof(long) < size; length += sizeof(long)) {
        errno = 0;
        long word = ptrace(PTRACE_PEEKDATA, tid, address + length, NULL);
        if (errno)
            break;
        memcpy(text + length, &word, sizeof word);
        if (memchr(&word, 0, sizeof word))
            return;
    }
    text[length] = 0;
}

static void record_use(pid_t tid, const struct call *call, const uint64_t *arguments) {
    char object[512] = "", path[64];
    switch (call->object) {
    case DESCRIPTOR:
        snprintf(path, sizeof path, "/proc/%d/fd/%d", tid, (int)arguments[0]);
        ssize_t length = readlink(path, object, sizeof object - 1);
        object[length < 0 ? 0 : length] = 0;
        break;
    case PATH_0:
        read_text(tid, arguments[0], object, sizeof object);
        break;
    case PATH_1:
        read_text(tid, arguments[1], object, sizeof object);
        break;
    case REQUEST:
        snprintf(object, sizeof object, "request %c", (char)('a' + arguments[0] % 26));
        break;
    case NOTHING:
        break;
    }
    CHECK(fprintf(record, "%s %s\n", call->name, object) > 0);
}

static long peek(pid_t tid, uintptr_t address) {
    errno = 0;
    long word = ptrace(PTRACE_PEEKDATA, tid, address, NULL);
    CHECK(errno == 0);
    return word;
}

static void set_register(struct tracee *tracee, size_t offset, uint64_t from, uint64_t to) {
    tracee->at_exit = RESTORE;
    tracee->saved_register = offset;
    tracee->saved_value = (long)from;
    CHECK(ptrace(PTRACE_POKEUSER, tracee->tid, offset, to) == 0);
}
static void set_word(struct tracee *tracee, uintptr_t address, long from, long to) {
    tracee->at_exit = RESTORE;
    tracee->saved_address = address;
    tracee->saved_word = from;
    CHECK(ptrace(PTRACE_POKEDATA, tracee->tid, address, to) == 0);
}

/* Half of a size, as the kernel may stop there: files of pages only return whole words, and memory
 * of another process ends at a page. */
static uint64_t half_of(uint64_t size) {
    uint64_t half = size / 2;
    return half >= PAGE ? half & -(uint64_t)PAGE : half & ~UINT64_C(7);
}

/* Shortens the list of ranges to read to the half of its bytes. */
static int shorten_ranges(struct tracee *tracee, uintptr_t ranges, uint64_t count) {
    uint64_t total = 0;
    for (uint64_t i = 0; i < count; i++)
        total += (uint64_t)peek(tracee->tid, ranges + i * sizeof(struct iovec) + offsetof(struct iovec, iov_len));
    uint64_t left = half_of(total);
    if (!left)
        return 0;
    for (uint64_t i = 0; i < count; i++) {
        uintptr_t address = ranges + i * sizeof(struct iovec) + offsetof(struct iovec, iov_len);
        uint64_t length = (uint64_t)peek(tracee->tid, address);
        if (left <= length) {
            set_word(tracee, address, (long)length, (long)left);
            set_register(tracee, offsetof(struct user_regs_struct, r8), count, i + 1);
            return 1;
        }
        left -= length;
    }
    return 0;
}

/* Whether the call can be shortened. */
static int shorten(struct tracee *tracee, const struct call *call, const uint64_t *arguments) {
    if (call->number == SYS_process_vm_readv)
        return shorten_ranges(tracee, arguments[3], arguments[4]);
    if (call->number == SYS_ioctl && (uint32_t)arguments[1] == PAGEMAP_SCAN) {
        long length = peek(tracee->tid, arguments[2] + SCAN_LENGTH);
        if (length < 2)
            return 0;
        set_word(tracee, arguments[2] + SCAN_LENGTH, length, length / 2);
        return 1;
    }
    if (!call->sized || !half_of(arguments[2]))
        return 0;
    set_register(tracee, offsetof(struct user_regs_struct, rdx), arguments[2], half_of(arguments[2]));
    return 1;
}

/* Whether this use may fail. Only waits for a futex are interrupted, and a thread that is stopped
 * can always be continued. */
static int counts(uint64_t number, const uint64_t *arguments) {
    int operation = (int)arguments[1] & FUTEX_CMD_MASK;
    if (number == SYS_futex)
        return operation == FUTEX_WAIT || operation == FUTEX_WAIT_BITSET;
    return number != SYS_ptrace || arguments[0] != PTRACE_CONT;
}

/* At the beginning of a call. Returns whether the thread may go on. */
static int enter(struct tracee *tracee, uint64_t number, const uint64_t *arguments) {
    if (is_still && number == SYS_nanosleep && !is_thread_of_leader(tracee->tid)) {
        sleeper = tracee->tid;
        return 0;
    }
    if (number == SYS_sigaltstack && arguments[0])
        tracee->has_started = 1;
    if (!tracee->has_started)
        return 1;
    for (const struct call *call = calls; call < calls + CALLS; call++) {
        if (call->number != number || !counts(number, arguments))
            continue;
        if (is_recording)
            record_use(tracee->tid, call, arguments);
        if (call != chosen)
            break;
        uses++;
        if (uses != when && !(every_later && uses > when))
            break;
        if (effect == SKIP) {
            tracee->at_exit = FAIL;
            tracee->result = result;
            CHECK(ptrace(PTRACE_POKEUSER, tracee->tid, offsetof(struct user_regs_struct, orig_rax), -1L) == 0);
        } else if (!shorten(tracee, call, arguments)) {
            break;
        }
        CHECK(fputs("injected\n", record) >= 0);
        break;
    }
    return 1;
}

/* At the end of a call. */
static void leave(struct tracee *tracee) {
    if (tracee->at_exit == FAIL)
        CHECK(ptrace(PTRACE_POKEUSER, tracee->tid, offsetof(struct user_regs_struct, rax), tracee->result) == 0);
    if (tracee->at_exit == RESTORE && tracee->saved_register)
        CHECK(ptrace(PTRACE_POKEUSER, tracee->tid, tracee->saved_register, tracee->saved_value) == 0);
    if (tracee->at_exit == RESTORE && tracee->saved_address)
        CHECK(ptrace(PTRACE_POKEDATA, tracee->tid, tracee->saved_address, tracee->saved_word) == 0);
    *tracee = (struct tracee){.tid = tracee->tid, .has_started = tracee->has_started};
}

/* Whether the thread may go on. */
static int at_call(struct tracee *tracee) {
    struct __ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, tracee->tid, sizeof info, &info) <= 0)
        return 1;
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
        return enter(tracee, info.entry.nr, info.entry.args);
    if (info.op == PTRACE_SYSCALL_INFO_EXIT)
        leave(tracee);
    return 1;
}

/* Whether this process has all its threads, and all of them sleep. */
static int sleeps(pid_t pid) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *folder = opendir(path);
    int asleep = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        snprintf(path, sizeof path, "/proc/%d/task/%.20s/stat", pid, entry->d_name);
        FILE *stat = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
        if (!stat)
            continue;
        const char *end = fgets(text, sizeof text, stat) ? strrchr(text, ')') : NULL;
        asleep += end && end[2] == 'S';
        fclose(stat);
    }
    if (folder)
        closedir(folder);
    return asleep == STILL_THREADS;
}

/* Whether a process that the program has forked is still. */
static int has_still_child(void) {
    for (int i = 0; i < MOST; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/task/%d/children", leader, tracees[i].tid);
        FILE *children = tracees[i].tid ? fopen(path, "re") : NULL;
        int is_still_one = 0;
        for (int child; children && fscanf(children, "%d", &child) == 1;)
            is_still_one |= !find(child) && sleeps(child);
        if (children)
            fclose(children);
        if (is_still_one)
            return 1;
    }
    return 0;
}

/* Ends the sleep of the thread that waits for the process to become still. */
static void wake_sleeper(void) {
    struct tracee *tracee = find(sleeper);
    sleeper = 0;
    if (!tracee)
        return;
    tracee->at_exit = FAIL;
    tracee->result = 0;
    /* ESRCH: the thread was killed in the meantime. */
    ptrace(PTRACE_POKEUSER, tracee->tid, offsetof(struct user_regs_struct, orig_rax), -1L);
    ptrace(PTRACE_SYSCALL, tracee->tid, NULL, 0L);
}

/* Continues all threads until the program has ended. Returns its wait status. */
static int supervise(void) {
    int status, outcome = 0;
    for (;;) {
        pid_t tid = waitpid(-1, &status, __WALL | (sleeper ? WNOHANG : 0));
        if (is_late) {
            fclose(record);
            _exit(124);
        }
        if (tid == 0) {
            if (has_still_child())
                wake_sleeper();
            else
                usleep(500);
            continue;
        }
        if (tid < 0 && errno == EINTR)
            continue;
        if (tid < 0)
            return outcome;
        struct tracee *tracee = find_or_add(tid);
        if (!WIFSTOPPED(status)) {
            if (tid == leader)
                outcome = status;
            if (tid == sleeper)
                sleeper = 0;
            tracee->tid = 0;
            continue;
        }
        int signal = WSTOPSIG(status), event = status >> 16;
        if (event == PTRACE_EVENT_STOP && signal != SIGTRAP) {
            ptrace(PTRACE_LISTEN, tid, NULL, 0L);
            continue;
        }
        if (event == 0 && signal == (SIGTRAP | 0x80)) {
            signal = 0;
            if (!at_call(tracee))
                continue;
        }
        /* ESRCH: the thread was killed in the meantime. */
        ptrace(PTRACE_SYSCALL, tid, NULL, event ? 0L : (long)signal);
    }
}

static long error_number(const char *name) {
    for (int number = 1; number < 200; number++) {
        const char *known = strerrorname_np(number);
        if (known && strcmp(known, name) == 0)
            return -number;
    }
    CHECK(!"an error with this name");
    return 0;
}

static void choose(char *const *words) {
    for (const struct call *call = calls; call < calls + CALLS; call++)
        if (strcmp(call->name, words[0]) == 0)
            chosen = call;
    CHECK(chosen);
    if (strncmp(words[1], "error=", 6) == 0)
        result = error_number(words[1] + 6);
    else if (strcmp(words[1], "short") == 0)
        effect = SHORT;
    else
        CHECK(strcmp(words[1], "zero") == 0);
    char *end;
    when = strtoul(words[2], &end, 10);
    every_later = *end == '+';
    CHECK(when > 0);
}

int main(int count, char **words) {
    (void)count;
    CHECK(words[1] && words[2]);
    record = fopen(words[1], "we");
    CHECK(record);
    words += 2;
    is_recording = strcmp(words[0], "uses") == 0;
    if (is_recording) {
        words += 1;
    } else {
        choose(words);
        words += 3;
    }
    is_still = strcmp(words[0], "still") == 0;
    words += is_still;
    CHECK(strcmp(words[0], "--") == 0 && words[1]);
    int gate[2];
    CHECK(pipe2(gate, O_CLOEXEC) == 0);
    leader = fork();
    CHECK(leader >= 0);
    if (leader == 0) {
        char byte;
        close(gate[1]);
        CHECK(read(gate[0], &byte, 1) == 1);
        if (is_still)
            CHECK(personality(ADDR_NO_RANDOMIZE) >= 0);
        execv(words[1], words + 1);
        CHECK(!"the program can be executed");
    }
    find_or_add(leader);
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
    CHECK(ptrace(PTRACE_SEIZE, leader, NULL, options) == 0);
    struct sigaction late = {.sa_handler = too_late};
    CHECK(sigaction(SIGALRM, &late, NULL) == 0);
    alarm(60);
    /* The program may begin when its calls are reported. */
    int status;
    CHECK(ptrace(PTRACE_INTERRUPT, leader, NULL, 0L) == 0);
    CHECK(waitpid(leader, &status, __WALL) == leader && WIFSTOPPED(status));
    CHECK(ptrace(PTRACE_SYSCALL, leader, NULL, 0L) == 0);
    CHECK(write(gate[1], "g", 1) == 1);
    close(gate[0]);
    close(gate[1]);
    status = supervise();
    CHECK(fclose(record) == 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
