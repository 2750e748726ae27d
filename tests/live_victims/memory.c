/*
 * Every kind of memory that a full dump must get right. The process itself never touches most of
 * it.
 *
 *   memory FOLDER       creates files in FOLDER
 *
 * The testimony has patterns (see victim.h), ranges that are zero, and ranges that have no bytes.
 */
#include "../victims/victim.h"

#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>

enum { PAGES = 4 };

static size_t page;
static uint64_t next_seed = UINT64_C(0x4D454D0000000001);
static int patterns;

static void pattern(const char *name, const void *at, size_t bytes, uint64_t seed) {
    testify("%s", patterns++ ? "," : "");
    testify_pattern(name, at, bytes, seed);
}
static void range(const void *at, size_t bytes) {
    testify("[%" PRIuPTR ",%" PRIuPTR "]", (uintptr_t)at, (uintptr_t)at + bytes);
}
static void *map(size_t bytes, int protection, int flags, int file) {
    void *at = mmap(NULL, bytes, protection, flags, file, 0);
    CHECK(at != MAP_FAILED);
    return at;
}
static void *anonymous(size_t bytes) {
    return map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

/* Fills an open file with a pattern without mapping it, and drops it from the page cache. */
static void write_pattern(int file, size_t bytes, uint64_t seed) {
    void *buffer = malloc(bytes);
    CHECK(buffer);
    fill_pattern(buffer, bytes, seed);
    CHECK(pwrite(file, buffer, bytes, 0) == (ssize_t)bytes);
    memset(buffer, 0, bytes);
    free(buffer);
    fsync(file);
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
}
static int file_with_pattern(const char *folder, const char *name, size_t bytes, uint64_t seed) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(file >= 0);
    write_pattern(file, bytes, seed);
    return file;
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    const char *folder = arguments[1];
    page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = PAGES * page;
    uint64_t words = page / 8;
    testify("{\"pid\":%d,\"patterns\":[", getpid());

    uint64_t seed = next_seed++;
    int file = file_with_pattern(folder, "private", bytes, seed);
    pattern("private file mapping, not resident", map(bytes, PROT_READ, MAP_PRIVATE, file), bytes, seed);
    /* The same file. One page has been written to, so this process has its own copy of the page. */
    unsigned char *own = map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, file);
    uint64_t own_seed = next_seed++;
    fill_pattern(own + page, page, own_seed);
    pattern("private file mapping, before the changed page", own, page, seed);
    pattern("private file mapping, changed page", own + page, page, own_seed);
    pattern("private file mapping, behind the changed page", own + 2 * page, 2 * page,
            seed + 2 * words * PATTERN_STEP);
    close(file);

    seed = next_seed++;
    file = file_with_pattern(folder, "shared", bytes, seed);
    pattern("shared file mapping, not resident", map(bytes, PROT_READ, MAP_SHARED, file), bytes, seed);
    close(file);
    seed = next_seed++;
    file = file_with_pattern(folder, "dirty", bytes, 0);
    void *dirty = map(bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file);
    fill_pattern(dirty, bytes, seed);
    pattern("shared file mapping, written to", dirty, bytes, seed);
    close(file);

    seed = next_seed++;
    file = file_with_pattern(folder, "deleted", bytes, seed);
    pattern("deleted file, not resident", map(bytes, PROT_READ, MAP_PRIVATE, file), bytes, seed);
    char path[4096];
    snprintf(path, sizeof path, "%s/deleted", folder);
    CHECK(unlink(path) == 0);
    close(file);

    seed = next_seed++;
    file = memfd_create("victim", 0);
    CHECK(file >= 0);
    write_pattern(file, bytes, seed);
    pattern("memfd, not resident", map(bytes, PROT_READ, MAP_SHARED, file), bytes, seed);
    close(file);

    /* Shared memory that another process has filled. It is not in this process's page tables. */
    void *shared = map(bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
    int segment = shmget(IPC_PRIVATE, bytes, IPC_CREAT | 0600);
    CHECK(segment >= 0);
    void *attached = shmat(segment, NULL, 0);
    CHECK(attached != (void *)-1 && shmctl(segment, IPC_RMID, NULL) == 0);
    uint64_t shared_seed = next_seed++, attached_seed = next_seed++;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        fill_pattern(shared, bytes, shared_seed);
        fill_pattern(attached, bytes, attached_seed);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    pattern("shared anonymous, filled by another process", shared, bytes, shared_seed);
    pattern("System V segment, filled by another process", attached, bytes, attached_seed);

    seed = next_seed++;
    void *protected = anonymous(bytes);
    fill_pattern(protected, bytes, seed);
    CHECK(mprotect(protected, bytes, PROT_READ) == 0);
    pattern("anonymous, written to, then read-only", protected, bytes, seed);

    /* Three pages of a file with a page and a half: zeros after its end, then nothing. */
    seed = next_seed++;
    size_t length = page + page / 2;
    file = file_with_pattern(folder, "short", length, seed);
    unsigned char *beyond = map(3 * page, PROT_READ, MAP_PRIVATE, file);
    pattern("file with its end in the mapping", beyond, length, seed);
    close(file);

    uint64_t kept_seed = next_seed++;
    void *kept = anonymous(bytes);
    fill_pattern(kept, bytes, kept_seed);
    CHECK(madvise(kept, bytes, MADV_DONTDUMP) == 0);

    /* Only page 1 of these was written to. */
    unsigned char *sparse = anonymous(bytes);
    seed = next_seed++;
    fill_pattern(sparse + page, page, seed);
    pattern("anonymous, the only page written to", sparse + page, page, seed);

    /* Memory that existed and no longer does. */
    void *hidden = anonymous(bytes);
    uint64_t hidden_seed = next_seed++;
    fill_pattern(hidden, bytes, hidden_seed);
    CHECK(mprotect(hidden, bytes, PROT_NONE) == 0);

    testify("],\"zero\":[");
    range(sparse, page);
    testify(",");
    range(sparse + 2 * page, 2 * page);
    testify(",");
    range(beyond + length, page / 2);
    testify(",");
    int zero = open("/dev/zero", O_RDWR);
    CHECK(zero >= 0);
    range(map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero), bytes);
    testify("],\"nothing\":[");
    range(beyond + 2 * page, page);
    testify(",");
    range(hidden, bytes);
    testify("],\"dont_dump\":");
    testify_pattern("marked \\\"do not dump\\\"", kept, bytes, kept_seed);
    testify("}");
    say_ready();
    serve_until_end_of_input();
    return 0;
}
