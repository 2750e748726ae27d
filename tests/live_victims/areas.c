/*
 * One area of each kind that some dump type includes or leaves out. Each is filled with a different
 * pattern.
 *
 *   areas FOLDER       creates files in FOLDER
 */
#include "../victims/victim.h"

#include <fcntl.h>
#include <sys/mman.h>

enum { BYTES = 4 * 4096 };

/* Not zero, and therefore not in .bss. */
static uint64_t data_area[BYTES / 8] = {1};
static uint64_t bss_area[BYTES / 8];
static const char constant_area[BYTES] = "a constant";
static _Thread_local uint64_t thread_area[64];

static uint64_t next_seed = UINT64_C(0x4152454100000001);

static void area(const char *name, void *at, size_t bytes) {
    uint64_t seed = next_seed++ << 8;
    fill_pattern(at, bytes, seed);
    testify_pattern(name, at, bytes, seed);
    testify(",");
}

static void *map(int protection, int flags, int file) {
    void *at = mmap(NULL, BYTES, protection, flags, file, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

static int file_in(const char *folder, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(file >= 0 && ftruncate(file, BYTES) == 0);
    return file;
}

/* Far from the code of any thread. */
KNOWN void code_area(void) {
    __asm__ volatile(".rept 4096\n nop\n .endr\n");
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    const char *folder = arguments[1];
    int anonymous = MAP_PRIVATE | MAP_ANONYMOUS, writable = PROT_READ | PROT_WRITE;
    testify("{\"pid\":%d,\"areas\":[", getpid());
    area("data", data_area, sizeof data_area);
    area("bss", bss_area, sizeof bss_area);
    area("thread", thread_area, sizeof thread_area);
    void *heap = malloc(BYTES);
    CHECK(heap);
    area("heap", heap, BYTES);
    area("private", map(writable, anonymous, -1), BYTES);
    area("copied", map(writable, MAP_PRIVATE, file_in(folder, "copied")), BYTES);
    area("shared", map(writable, MAP_SHARED, file_in(folder, "shared")), BYTES);
    area("shared anonymous", map(writable, MAP_SHARED | MAP_ANONYMOUS, -1), BYTES);
    void *sealed = map(writable, anonymous, -1);
    area("read-only", sealed, BYTES);
    CHECK(mprotect(sealed, BYTES, PROT_READ) == 0);
    unsigned char *pointed_at = map(writable, MAP_SHARED | MAP_ANONYMOUS, -1);
    area("pointed at", pointed_at, BYTES);
    uint64_t local[32];
    area("stack", local, sizeof local);
    /* A word on the stack that points into the middle of the area. */
    void *volatile pointer = pointed_at + BYTES / 2 + 8;

    testify("{\"name\":\"end\",\"address\":0,\"length\":0,\"seed\":0}],\"pointer\":%" PRIuPTR, (uintptr_t)pointer);
    testify(",\"constant\":[%" PRIuPTR ",%" PRIuPTR "]", (uintptr_t)constant_area,
            (uintptr_t)constant_area + sizeof constant_area);
    testify(",\"code\":[%" PRIuPTR ",%" PRIuPTR "]}", (uintptr_t)code_area, (uintptr_t)code_area + 4096);
    say_ready();
    serve_until_end_of_input();
    NOT_A_TAIL_CALL();
    return local[0] == 0 || pointer == NULL;
}
