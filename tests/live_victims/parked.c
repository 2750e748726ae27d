/*
 * A process in which nothing moves between two dumps: three threads wait for a byte from a pipe,
 * and the memory has known contents. "check" on standard input makes every thread compare its
 * registers and the first thread compare the memory; the answer is "whole" or what has changed.
 */
#include "../victims/victim.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <string.h>
#include <sys/prctl.h>

#define THREADS 3
#define HEAP (256 * 1024)
#define MAPPED (64 * 1024)
#define SEED UINT64_C(0x5EEDED0000000001)

static int wake[THREADS][2];
static int answers[2];
static uint64_t *heap, *mapped;

/* Waits for a byte with `value` in xmm15 and in r15; returns how many of the two have changed. */
static KNOWN long wait_with_registers(int descriptor, uint64_t value) {
    char byte;
    uint64_t general, vector;
    long got;
    register char *buffer __asm__("rsi") = &byte;
    __asm__ volatile("movq %[value], %%xmm15\n\t"
                     "mov %[value], %%r15\n\t"
                     "syscall\n\t"
                     "mov %%r15, %[general]\n\t"
                     "movq %%xmm15, %[vector]"
                     : "=a"(got), [general] "=&r"(general), [vector] "=&r"(vector)
                     : "a"(SYS_read), "D"((long)descriptor), "r"(buffer), "d"(1L), [value] "r"(value)
                     : "rcx", "r11", "r15", "xmm15", "memory");
    CHECK(got == 1);
    return (general != value) + (vector != value);
}

static void *park(void *argument) {
    size_t number = (size_t)argument;
    char name[16];
    snprintf(name, sizeof name, "parked-%zu", number);
    prctl(PR_SET_NAME, name);
    char answer = 'p';
    for (;;) {
        CHECK(write(answers[1], &answer, 1) == 1);
        answer = wait_with_registers(wake[number][0], SEED * (number + 2)) == 0 ? 'w' : 'x';
    }
    return NULL;
}

static int differs(const uint64_t *words, size_t bytes, uint64_t seed) {
    for (size_t k = 0; k < bytes / sizeof *words; k++)
        if (words[k] != seed + k * PATTERN_STEP)
            return 1;
    return 0;
}

static char next_answer(void) {
    char answer;
    CHECK(read(answers[0], &answer, 1) == 1);
    return answer;
}

static const char *check(void) {
    int changed = 0;
    for (size_t number = 0; number < THREADS; number++)
        CHECK(write(wake[number][1], "g", 1) == 1);
    for (size_t number = 0; number < THREADS; number++)
        changed |= next_answer() != 'w';
    if (changed)
        return "registers have changed";
    if (differs(heap, HEAP, SEED) || differs(mapped, MAPPED, ~SEED))
        return "memory has changed";
    return "whole";
}

int main(void) {
    heap = malloc(HEAP);
    mapped = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(heap != NULL && mapped != MAP_FAILED && pipe(answers) == 0);
    fill_pattern(heap, HEAP, SEED);
    fill_pattern(mapped, MAPPED, ~SEED);
    CHECK(open("/proc/self/exe", O_RDONLY) >= 0);
    for (size_t number = 0; number < THREADS; number++) {
        pthread_t thread;
        CHECK(pipe(wake[number]) == 0 && pthread_create(&thread, NULL, park, (void *)number) == 0);
        CHECK(next_answer() == 'p');
    }
    testify("{\"pid\":%d}", getpid());
    say_ready();
    char line[16];
    size_t length = 0;
    while (read(STDIN_FILENO, line + length, 1) == 1) {
        if (line[length] == '\n') {
            const char *answer = check();
            CHECK(write(STDOUT_FILENO, answer, strlen(answer)) > 0 && write(STDOUT_FILENO, "\n", 1) == 1);
            length = 0;
        } else if (length + 1 < sizeof line) {
            length++;
        }
    }
    return 0;
}
