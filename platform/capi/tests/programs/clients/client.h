/* What the clients have in common and what is not the point of any of them: opening the process and
 * the file, the addresses in the process, and printing the outcome.
 *
 *     CLIENT PID FILE [MODE]
 *
 * The environment variable TARGET_name has the address of `name` in target.c. */
#ifndef CLIENT_H
#define CLIENT_H

#include "dumpwright.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static DWORD process_id;
static HANDLE process, file;
static const char *mode;

static inline ULONG64 fact(const char *name)
{
    char variable[64];
    snprintf(variable, sizeof variable, "TARGET_%s", name);
    const char *value = getenv(variable);
    if (value == NULL) {
        fprintf(stderr, "the target has not told of %s\n", name);
        exit(9);
    }
    return strtoull(value, NULL, 10);
}

static inline void begin(int count, char **arguments)
{
    if (count < 3)
        exit(2);
    process_id = (DWORD)strtoul(arguments[1], NULL, 10);
    process = (HANDLE)(intptr_t)process_id;
    file = (HANDLE)(intptr_t)open(arguments[2], O_RDWR | O_CREAT | O_TRUNC, 0600);
    mode = count > 3 ? arguments[3] : "";
}

static inline int is(const char *wanted)
{
    return strcmp(mode, wanted) == 0;
}

/* Prints the outcome of a dump in one line, and then what the dump lacks. */
static inline int end(BOOL done)
{
    if (!done) {
        printf("FALSE %08x %s\n", (unsigned)GetLastError(), dumpwright_last_error_message());
        return 0;
    }
    const dumpwright_report *report = dumpwright_last_report();
    printf("TRUE %s\n", report->complete ? "complete" : "partial");
    for (size_t at = 0; at < report->diagnostic_count; at++)
        printf("%s: %s\n", report->diagnostics[at].severity == DUMPWRIGHT_MISSING ? "missing" : "note", report->diagnostics[at].text);
    return 0;
}

#endif
