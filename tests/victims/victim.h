/*
 * Code that all victims share. A victim is a small program with known functions, known registers
 * and known memory. When all of it is in place, it prints one line:
 *
 *     READY {"pid":…, …}
 *
 * The object is its testimony. Tests compare a dump of the victim with it. After that, the victim
 * reads its standard input. It answers each line ("ping") with "pong 1", "pong 2", and so on, so
 * that a test sees that it still runs and has lost no step. At end of input it ends with status 0,
 * so it never outlives the test that started it.
 *
 * If the environment variable VICTIM_TESTIMONY=FILE is set, the READY line goes to that file
 * instead of standard output. This is for programs that dumpwright itself starts, whose output the
 * test does not receive.
 */
#ifndef DUMPWRIGHT_TESTS_VICTIM_H
#define DUMPWRIGHT_TESTS_VICTIM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Marks a function whose name a reader must show: it keeps its own frame and its plain name. */
#define KNOWN __attribute__((noinline, noclone, used))

/* After a call: keeps the compiler from turning the call into a jump. */
#define NOT_A_TAIL_CALL() __asm__ volatile("" ::: "memory")

#define PATTERN_STEP UINT64_C(0x9E3779B97F4A7C15)

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: not true: %s: %m\n", __FILE__, __LINE__, #condition);                    \
            _exit(99);                                                                                       \
        }                                                                                                    \
    } while (0)

static inline pid_t own_tid(void) {
    return (pid_t)syscall(SYS_gettid);
}

/* Known memory: the word with index k is seed + k * PATTERN_STEP (modulo 2^64). */
static inline void fill_pattern(void *at, size_t bytes, uint64_t seed) {
    volatile uint64_t *words = at;
    for (size_t k = 0; k < bytes / sizeof *words; k++)
        words[k] = seed + k * PATTERN_STEP;
}

/* The testimony so far. */
static char testimony_text[1 << 16];
static size_t testimony_length;

__attribute__((format(printf, 1, 2))) static inline void testify(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(testimony_text + testimony_length, sizeof testimony_text - testimony_length,
                            format, arguments);
    va_end(arguments);
    CHECK(written >= 0 && testimony_length + (size_t)written < sizeof testimony_text);
    testimony_length += (size_t)written;
}

/* Adds an entry of `"memory"`: address, length and seed of a pattern. */
static inline void testify_pattern(const char *name, const volatile void *at, size_t bytes, uint64_t seed) {
    testify("{\"name\":\"%s\",\"address\":%" PRIuPTR ",\"length\":%zu,\"seed\":%" PRIu64 "}", name,
            (uintptr_t)at, bytes, seed);
}

/* Prints READY in one write, so that a reader never sees a part of the line. */
static inline void say_ready(void) {
    static char line[sizeof testimony_text + 16];
    int length = snprintf(line, sizeof line, "READY %.*s\n", (int)testimony_length, testimony_text);
    const char *file = getenv("VICTIM_TESTIMONY");
    if (file) {
        FILE *out = fopen(file, "w");
        CHECK(out && fwrite(line, 1, (size_t)length, out) == (size_t)length && fclose(out) == 0);
    } else {
        CHECK(fwrite(line, 1, (size_t)length, stdout) == (size_t)length && fflush(stdout) == 0);
    }
}

/*
 * Answers pings until end of input. Uses `read` instead of stdio, so that signal handlers and stops
 * lose nothing. An interrupted read (a handler without SA_RESTART) is repeated.
 */
static inline void serve_until_end_of_input(void) {
    char buffer[256];
    unsigned long pongs = 0;
    for (;;) {
        ssize_t got = read(STDIN_FILENO, buffer, sizeof buffer);
        if (got == 0)
            return;
        for (ssize_t i = 0; i < got; i++)
            if (buffer[i] == '\n') {
                printf("pong %lu\n", ++pongs);
                fflush(stdout);
            }
    }
}

#endif
