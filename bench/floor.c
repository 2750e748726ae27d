/*
 * The floor: the system calls that a dump needs, and nothing else.
 *
 *   floor normal|handles|full PID FILE
 *
 * All threads are seized, then interrupted, then waited for. The file gets their registers, the
 * text of `maps`, and their stacks from the red zone below the stack pointer upward. With
 * `handles`, it also gets what each file descriptor refers to. With `full`, instead of the stacks,
 * it gets all readable memory: file mappings whole, and the pages of anonymous mappings that exist.
 * Zero pages become holes. The target continues as soon as the last byte has been read.
 *
 * The file has no format, so it shows what reading and writing cost without the work on a format.
 * Memory is read through /proc/PID/mem, which leaves pages shared that are shared copy-on-write,
 * into one buffer that is used again and again.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "floor: line %d: %s: %m\n", __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

enum { PAGE = 4096, BUFFER = 256 << 10, RED_ZONE = 128, REGISTERS = 16 << 10, MOST_THREADS = 1 << 16 };

/* linux/fs.h, since Linux 6.7 */
struct scan {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct run {
    uint64_t start, end, categories;
};
#define SCAN _IOWR('f', 16, struct scan)
enum { IS_PRESENT = 1 << 3, IS_SWAPPED = 1 << 4, IS_ZERO_PAGE = 1 << 5, RUNS = 8192 };

struct mapping {
    uint64_t start, end;
    int is_readable, has_file;
};

static pid_t pid;
static int output, memory_file;
static uint64_t file_end;
static unsigned char buffer[BUFFER] __attribute__((aligned(PAGE)));
/* What is not written yet. */
static unsigned char pending[1 << 20] __attribute__((aligned(PAGE)));
static size_t pending_bytes;

static pid_t threads[MOST_THREADS];
static uint64_t stack_pointers[MOST_THREADS];
static size_t thread_count;

static struct mapping *mappings;
static size_t mapping_count;

static int open_of_process(const char *name, int flags) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    return open(path, flags | O_CLOEXEC);
}

/* --- output --- */

static void write_at(const void *bytes, size_t count, uint64_t at) {
    while (count > 0) {
        ssize_t written = pwrite(output, bytes, count, (off_t)at);
        CHECK(written > 0);
        bytes = (const char *)bytes + written;
        count -= (size_t)written;
        at += (uint64_t)written;
    }
}

static void flush(void) {
    write_at(pending, pending_bytes, file_end - pending_bytes);
    pending_bytes = 0;
}

static void append(const void *bytes, size_t count) {
    if (pending_bytes + count > sizeof pending)
        flush();
    if (count > sizeof pending) {
        write_at(bytes, count, file_end);
    } else {
        memcpy(pending + pending_bytes, bytes, count);
        pending_bytes += count;
    }
    file_end += count;
}

/* --- threads --- */

static int is_known(pid_t thread) {
    for (size_t i = thread_count; i-- > 0;)
        if (threads[i] == thread)
            return 1;
    return 0;
}

/* Returns how many threads are new. */
static size_t seize(void) {
    size_t before = thread_count;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    CHECK(tasks);
    for (struct dirent *task; (task = readdir(tasks));) {
        pid_t thread = atoi(task->d_name);
        /* The first list has no thread twice. */
        if (thread <= 0 || (before > 0 && is_known(thread)))
            continue;
        CHECK(thread_count < MOST_THREADS);
        if (ptrace(PTRACE_SEIZE, thread, 0, 0) == 0)
            threads[thread_count++] = thread;
    }
    closedir(tasks);
    for (size_t i = before; i < thread_count; i++)
        ptrace(PTRACE_INTERRUPT, threads[i], 0, 0);
    return thread_count - before;
}

static void stop(void) {
    size_t stopped = 0;
    while (seize() > 0)
        for (; stopped < thread_count; stopped++) {
            int status;
            CHECK(waitpid(threads[stopped], &status, __WALL) == threads[stopped]);
        }
    CHECK(thread_count > 0);
}

static void let_go(void) {
    for (size_t i = 0; i < thread_count; i++)
        ptrace(PTRACE_DETACH, threads[i], 0, 0);
}

static void read_registers(void) {
    for (size_t i = 0; i < thread_count; i++) {
        struct user_regs_struct general;
        struct iovec part = {&general, sizeof general};
        CHECK(ptrace(PTRACE_GETREGSET, threads[i], NT_PRSTATUS, &part) == 0);
        stack_pointers[i] = general.rsp;
        append(&general, sizeof general);
        unsigned char extended[REGISTERS];
        part = (struct iovec){extended, sizeof extended};
        CHECK(ptrace(PTRACE_GETREGSET, threads[i], NT_X86_XSTATE, &part) == 0);
        append(extended, part.iov_len);
    }
}

/* --- memory --- */

static uint64_t hexadecimal(const char **at) {
    uint64_t value = 0;
    for (;; (*at)++) {
        char c = **at;
        if (c >= '0' && c <= '9')
            value = value << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value << 4 | (uint64_t)(c - 'a' + 10);
        else
            return value;
    }
}

/* Reads `maps`, whose text is part of the dump. */
static void read_mappings(void) {
    int maps = open_of_process("maps", O_RDONLY);
    CHECK(maps >= 0);
    size_t bytes = 0, capacity = 1 << 16;
    char *text = malloc(capacity);
    for (ssize_t count; (count = read(maps, text + bytes, capacity - bytes - 1)) != 0;) {
        CHECK(count > 0);
        bytes += (size_t)count;
        if (capacity - bytes < PAGE + 1)
            CHECK((text = realloc(text, capacity *= 2)));
    }
    close(maps);
    text[bytes] = 0;
    append(text, bytes);
    size_t most = 0;
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        most++;
    CHECK((mappings = malloc((most + 1) * sizeof *mappings)));
    for (const char *at = text; *at; at = strchr(at, '\n') + 1) {
        struct mapping *mapping = &mappings[mapping_count++];
        mapping->start = hexadecimal(&at);
        at++;
        mapping->end = hexadecimal(&at);
        at++;
        mapping->is_readable = at[0] == 'r';
        at += 5; /* permissions, space */
        hexadecimal(&at);
        at++;
        hexadecimal(&at); /* device */
        at++;
        hexadecimal(&at);
        at++;
        mapping->has_file = *at != '0';
        const char *name = strpbrk(at, "/[\n");
        if (!strncmp(name, "[vvar", 5) || !strncmp(name, "[vsyscall", 9))
            mapping->is_readable = 0;
    }
    free(text);
}

static const struct mapping *mapping_of(uint64_t address) {
    size_t low = 0, high = mapping_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (mappings[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < mapping_count && mappings[low].start <= address ? &mappings[low] : NULL;
}

static void read_stacks(void) {
    for (size_t i = 0; i < thread_count; i++) {
        const struct mapping *mapping = mapping_of(stack_pointers[i]);
        if (!mapping || !mapping->is_readable)
            continue;
        uint64_t at = stack_pointers[i] - RED_ZONE;
        if (at < mapping->start)
            at = mapping->start;
        while (at < mapping->end) {
            /* Directly to where it is written from. */
            if (pending_bytes == sizeof pending)
                flush();
            size_t room = sizeof pending - pending_bytes;
            if (room > mapping->end - at)
                room = mapping->end - at;
            ssize_t count = pread(memory_file, pending + pending_bytes, room, (off_t)at);
            if (count <= 0)
                break;
            pending_bytes += (size_t)count;
            file_end += (uint64_t)count;
            at += (uint64_t)count;
        }
    }
}

static int is_zero(const unsigned char *page) {
    const uint64_t *words = (const uint64_t *)page;
    for (size_t i = 0; i < PAGE / sizeof *words; i += 8)
        if (words[i] | words[i + 1] | words[i + 2] | words[i + 3] | words[i + 4] | words[i + 5] | words[i + 6] |
            words[i + 7])
            return 0;
    return 1;
}

/* Copies memory to an offset of the file, but no zero pages. */
static void copy(uint64_t from, uint64_t end, uint64_t at) {
    while (from < end) {
        size_t wanted = end - from < BUFFER ? end - from : BUFFER;
        ssize_t count = pread(memory_file, buffer, wanted, (off_t)from);
        /* For example the end of a file in the middle of its mapping. */
        if (count <= 0)
            count = PAGE;
        else {
            size_t start = 0;
            for (size_t page = 0; page < (size_t)count; page += PAGE)
                if (is_zero(buffer + page)) {
                    if (page > start)
                        write_at(buffer + start, page - start, at + start);
                    start = page + PAGE;
                }
            if (start < (size_t)count)
                write_at(buffer + start, (size_t)count - start, at + start);
        }
        from += (uint64_t)count;
        at += (uint64_t)count;
    }
}

/* The mapping that the runs of pages have reached, and its offset in the file. */
static size_t reached;
static uint64_t reached_at;

static void next_mapping(void) {
    const struct mapping *mapping = &mappings[reached++];
    if (!mapping->is_readable)
        return;
    if (mapping->has_file)
        copy(mapping->start, mapping->end, reached_at);
    reached_at += mapping->end - mapping->start;
}

/* Copies pages that exist, in ascending order. */
static void copy_run(uint64_t start, uint64_t end) {
    while (start < end) {
        while (reached < mapping_count && mappings[reached].end <= start)
            next_mapping();
        if (reached == mapping_count)
            return;
        const struct mapping *mapping = &mappings[reached];
        if (start < mapping->start)
            start = mapping->start;
        uint64_t part = end < mapping->end ? end : mapping->end;
        if (start < part && mapping->is_readable && !mapping->has_file)
            copy(start, part, reached_at + (start - mapping->start));
        if (start < part)
            start = part;
    }
}

/* Returns whether the kernel has the request. */
static int copy_by_scan(int pagemap) {
    static struct run runs[RUNS];
    struct scan scan = {
        .size = sizeof scan,
        .end = mappings[mapping_count - 1].end,
        .vec = (uint64_t)(uintptr_t)runs,
        .vec_len = RUNS,
        .category_inverted = IS_ZERO_PAGE,
        .category_mask = IS_ZERO_PAGE,
        .category_anyof_mask = IS_PRESENT | IS_SWAPPED,
        .return_mask = IS_PRESENT,
    };
    /* The page of vsyscall is beyond what may be asked for. */
    if (scan.end > UINT64_C(0x7ffffffff000))
        scan.end = UINT64_C(0x7ffffffff000);
    for (;;) {
        int count = ioctl(pagemap, SCAN, &scan);
        if (count < 0 && scan.start == 0)
            return 0;
        CHECK(count >= 0);
        for (int i = 0; i < count; i++)
            copy_run(runs[i].start, runs[i].end);
        /* walk_end may be stale when the walk is complete. */
        if (count < RUNS)
            return 1;
        uint64_t last = runs[count - 1].end;
        scan.start = scan.walk_end > last ? scan.walk_end : last;
    }
}

static void copy_by_entries(int pagemap) {
    static uint64_t entries[8192];
    for (size_t i = 0; i < mapping_count; i++) {
        struct mapping mapping = mappings[i];
        if (!mapping.is_readable || mapping.has_file)
            continue;
        for (uint64_t at = mapping.start; at < mapping.end;) {
            size_t pages = (mapping.end - at) / PAGE;
            if (pages > 8192)
                pages = 8192;
            ssize_t count = pread(pagemap, entries, pages * 8, (off_t)(at / PAGE * 8));
            CHECK(count == (ssize_t)(pages * 8));
            for (size_t first = 0; first < pages;) {
                size_t last = first;
                while (last < pages && entries[last] >> 62)
                    last++;
                if (last > first)
                    copy_run(at + first * PAGE, at + last * PAGE);
                first = last + 1;
            }
            at += pages * PAGE;
        }
    }
}

static void copy_memory(void) {
    flush();
    reached_at = (file_end + PAGE - 1) / PAGE * PAGE;
    int pagemap = open_of_process("pagemap", O_RDONLY);
    CHECK(pagemap >= 0);
    if (!copy_by_scan(pagemap))
        copy_by_entries(pagemap);
    while (reached < mapping_count)
        next_mapping();
    file_end = reached_at;
    CHECK(ftruncate(output, (off_t)file_end) == 0);
}

static void read_handles(void) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *handles = opendir(path);
    CHECK(handles);
    for (struct dirent *handle; (handle = readdir(handles));) {
        char object[4096];
        ssize_t count = readlinkat(dirfd(handles), handle->d_name, object, sizeof object);
        if (count > 0)
            append(object, (size_t)count);
    }
    closedir(handles);
}

int main(int count, char **arguments) {
    if (count != 4) {
        fprintf(stderr, "usage: floor normal|handles|full PID FILE\n");
        return 2;
    }
    int is_full = !strcmp(arguments[1], "full");
    pid = atoi(arguments[2]);
    output = open(arguments[3], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK(output >= 0);
    CHECK((memory_file = open_of_process("mem", O_RDONLY)) >= 0);
    stop();
    read_registers();
    read_mappings();
    if (!strcmp(arguments[1], "handles"))
        read_handles();
    if (is_full)
        copy_memory();
    else
        read_stacks();
    let_go();
    flush();
    CHECK(close(output) == 0);
    return 0;
}
