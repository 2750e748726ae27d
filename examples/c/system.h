/* How the examples open their target and their file. This is all that differs between systems. */
#ifndef SYSTEM_H
#define SYSTEM_H

#if defined(_WIN32)
#include <windows.h>

#include <fcntl.h>
#include <io.h>
#else
#include <fcntl.h>
#include <unistd.h>
#endif
#include "dumpwright.h"

#include <stdio.h>
#include <stdlib.h>

#if defined(_WIN32)
#define NOWHERE "NUL"
#define NO_FILE INVALID_HANDLE_VALUE
#else
#define NOWHERE "/dev/null"
#define NO_FILE ((HANDLE)(intptr_t)-1)
#endif

/* Returns a process handle for MiniDumpWriteDump. */
static inline HANDLE open_process(DWORD id)
{
#if defined(_WIN32)
    return OpenProcess(PROCESS_QUERY_INFORMATION | PROCESS_VM_READ | PROCESS_DUP_HANDLE, FALSE, id);
#else
    return (HANDLE)(intptr_t)id;
#endif
}

/* Creates a file, or truncates an existing one. If that fails, prints a message and returns
 * NO_FILE. */
static inline HANDLE create_file(const char *name)
{
#if defined(_WIN32)
    HANDLE file = CreateFileA(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    if (file == NO_FILE)
        fprintf(stderr, "%s: error %lu\n", name, GetLastError());
    return file;
#else
    int file = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0)
        perror(name);
    return (HANDLE)(intptr_t)file;
#endif
}

static inline void close_file(HANDLE file)
{
#if defined(_WIN32)
    CloseHandle(file);
#else
    close((int)(intptr_t)file);
#endif
}

/* Makes standard output write bytes unchanged. */
static inline void binary_output(void)
{
#if defined(_WIN32)
    _setmode(_fileno(stdout), _O_BINARY);
#endif
}

#endif
