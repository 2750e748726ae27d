/*
 * Shared mappings of files with holes. Each is SIZE bytes long and has a few pages.
 *
 *   sparse FOLDER       creates one of the files in FOLDER
 *
 * Each file has a page written through the mapping, one written by pwrite(2) and never touched
 * through the mapping, and one written by another process through its own mapping. The rest is a
 * hole. The files are a memory file (memfd), a file in /dev/shm, and one in FOLDER.
 *
 * The testimony has the pages, and for each file its descriptor, its first address and its size.
 */
#include "known.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define SIZE (UINT64_C(64) << 20)
#define HUGE (UINT64_C(8) << 30)
#define SEED UINT64_C(0x5350410000000001)
enum { KINDS = 4, PAGES = 3 };

static size_t page;
static struct sparse {
    const char *name;
    uint64_t size;
    int file;
    unsigned char *at;
} sparse[KINDS] = {{.name = "memfd", .size = SIZE},
                   {.name = "tmpfs", .size = SIZE},
                   {.name = "disk", .size = SIZE},
                   {.name = "huge memfd", .size = HUGE}};

static uint64_t seed_of(int kind, int which) {
    return SEED + (uint64_t)(kind * PAGES + which);
}
/* Neither at the beginning nor at the end, and not adjacent. */
static size_t place(const struct sparse *s, int which) {
    return (size_t)(s->size / (PAGES + 1) * (uint64_t)(which + 1)) + (size_t)which * page;
}

static void fill(int kind) {
    struct sparse *s = &sparse[kind];
    CHECK(s->file >= 0 && ftruncate(s->file, (off_t)s->size) == 0);
    s->at = mmap(NULL, s->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, s->file, 0);
    CHECK(s->at != MAP_FAILED);
    fill_pattern(s->at + place(s, 0), page, seed_of(kind, 0));

    uint64_t *buffer = malloc(page);
    CHECK(buffer);
    fill_pattern(buffer, page, seed_of(kind, 1));
    CHECK(pwrite(s->file, buffer, page, (off_t)place(s, 1)) == (ssize_t)page);
    memset(buffer, 0, page);
    free(buffer);

    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        unsigned char *own = mmap(NULL, s->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, s->file, 0);
        CHECK(own != MAP_FAILED);
        fill_pattern(own + place(s, 2), page, seed_of(kind, 2));
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

KNOWN void main_inner(void) {
    say_ready();
    serve_until_end_of_input();
    NOT_A_TAIL_CALL();
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    page = (size_t)sysconf(_SC_PAGESIZE);
    char path[4096], shared[64];
    snprintf(path, sizeof path, "%s/sparse", arguments[1]);
    snprintf(shared, sizeof shared, "/dev/shm/dumpwright-sparse-%d", getpid());
    sparse[0].file = memfd_create("sparse", 0);
    sparse[1].file = open(shared, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(unlink(shared) == 0);
    sparse[2].file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    sparse[3].file = memfd_create("huge", 0);
    for (int kind = 0; kind < KINDS; kind++)
        fill(kind);

    testify("{\"pid\":%d,\"threads\":[", getpid());
    testify_thread(getpid(), "\"main_inner\"");
    testify("],\"stacks\":[],\"bulk\":[");
    for (int i = 0; i < KINDS * PAGES; i++) {
        const struct sparse *s = &sparse[i / PAGES];
        testify("%s", i ? "," : "");
        testify_pattern(s->name, s->at + place(s, i % PAGES), page, seed_of(i / PAGES, i % PAGES));
    }
    testify("],\"files\":[");
    for (int kind = 0; kind < KINDS; kind++)
        testify("%s{\"name\":\"%s\",\"descriptor\":%d,\"address\":%" PRIuPTR ",\"size\":%" PRIu64 "}", kind ? "," : "",
                sparse[kind].name, sparse[kind].file, (uintptr_t)sparse[kind].at, sparse[kind].size);
    testify("]}");
    main_inner();
    NOT_A_TAIL_CALL();
    return 0;
}
