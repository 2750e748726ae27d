/*
 * A process that has moved its argument and environment strings, as systemd does to change the name
 * that ps shows: the kernel's note of them leads elsewhere, and the old ones stay on the stack.
 *
 *   moved a|e|ae|top SECRET
 *
 * The letters say which of both are moved to the heap. "top" moves both notes to the last string of
 * the stack.
 */
#include "../victims/victim.h"

#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

/* Fields of /proc/self/stat (proc_pid_stat(5)), counted from 1. */
static uint64_t fields[53];

static void read_fields(void) {
    static char text[4096];
    FILE *file = fopen("/proc/self/stat", "r");
    CHECK(file && fgets(text, sizeof text, file));
    fclose(file);
    char *at = strrchr(text, ')');
    CHECK(at);
    int number = 3;
    for (char *word = strtok(at + 1, " "); word && number < 53; word = strtok(NULL, " "))
        fields[number++] = strtoull(word, NULL, 10);
}

int main(int count, char **arguments) {
    CHECK(count == 3);
    read_fields();
    uint64_t begin = (uintptr_t)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(begin != (uintptr_t)MAP_FAILED);
    uint64_t end = begin + 16;
    strcpy((char *)(uintptr_t)begin, "a new name");
    int to_top = !strcmp(arguments[1], "top");
    if (to_top)
        begin = fields[51] - 8, end = fields[51];
    int argument = to_top || strchr(arguments[1], 'a'), environment = to_top || strchr(arguments[1], 'e');
    struct prctl_mm_map map = {
        .start_code = fields[26],
        .end_code = fields[27],
        .start_stack = fields[28],
        .start_data = fields[45],
        .end_data = fields[46],
        .start_brk = fields[47],
        .brk = (uintptr_t)sbrk(0),
        .arg_start = argument ? begin : fields[48],
        .arg_end = argument ? end : fields[49],
        .env_start = environment ? begin : fields[50],
        .env_end = environment ? end : fields[51],
        .exe_fd = -1,
    };
    CHECK(prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0) == 0);
    testify("{\"pid\":%d}", getpid());
    say_ready();
    serve_until_end_of_input();
    return 0;
}
