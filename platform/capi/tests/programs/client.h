/* What the client of the recorded dialogues needs of the system that it runs on: `client_linux.c`, `client_windows.c`. */
#ifndef CLIENT_H
#define CLIENT_H

#ifdef _WIN32
#include <windows.h>
#endif
#include "dumpwright.h"

#include <stdbool.h>
#include <stdint.h>

typedef BOOL(WINAPI *write_dump)(HANDLE, DWORD, HANDLE, MINIDUMP_TYPE, PMINIDUMP_EXCEPTION_INFORMATION,
                                 PMINIDUMP_USER_STREAM_INFORMATION, PMINIDUMP_CALLBACK_INFORMATION);

/* What is dumped next, and what is said of it. */
struct job {
    uint32_t type;
    /* The process, and what it is said to be: its id stands for its handle. */
    uint32_t target, process;
    uint64_t handle;
    /* The thread that has an exception, or 0. */
    uint32_t thread;
    bool no_callback, no_routine, no_file, read_only;
};

/* The library that is tried. The arguments are those of the program. Ends the program if there is none. */
write_dump system_library(int count, char **arguments);

/* A line that only the client of this system knows. False: it is no such line. */
bool system_line(const char *line);

/* Opens the files for a dump: the one that is handed over, which may be NULL, and the one that IoWriteAll writes to. */
void system_open(const struct job *job, HANDLE *file, HANDLE *own);
void system_close(void);

/* The handle that the library is given; `known` is the one that transcripts call target. */
HANDLE system_process(const struct job *job, HANDLE *known);
uint32_t system_process_id(const struct job *job);
/* What transcripts call a handle that is neither 0 nor the target's. */
const char *system_handle_name(HANDLE handle);

/* The registers of a thread of the target. */
void system_registers(const struct job *job, CONTEXT *context);

/* Reads memory of the target, writes to the file of IoWriteAll. */
void system_read(uint64_t address, void *buffer, uint32_t size);
bool system_write(uint64_t offset, const void *bytes, uint32_t size);

/* VmQuery's answer, if the system has one. */
void system_query(uint64_t address, MINIDUMP_CALLBACK_OUTPUT *output);

/* Added to the line of the result: what has become of the target. */
void system_print_outcome(const struct job *job);

#endif
