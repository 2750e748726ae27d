/* The functions that client.c calls and that differ between systems. client_linux.c and
 * client_windows.c define them. */
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

enum { MOST_STREAMS = 16, MOST_STREAM_BYTES = 16 };

/* The next dump, and the arguments for it. */
struct job {
    uint32_t type;
    /* The process, and the id to be passed for it. An id also stands for a handle. */
    uint32_t target, process;
    uint64_t handle;
    /* The id of the thread with the exception, or 0. */
    uint32_t thread;
    bool no_callback, no_routine, no_file, read_only;
    /* The streams of the caller. */
    MINIDUMP_USER_STREAM streams[MOST_STREAMS];
    uint32_t stream_count;
};

/* Returns MiniDumpWriteDump of the library under test. The parameters are the arguments of the
 * program. Ends the program if there is no library. */
write_dump system_library(int count, char **arguments);

/* Executes a command that only the client of this system has. Returns false if it is not one. */
bool system_line(const char *line);

/* Opens the files for a dump: the one that is passed to MiniDumpWriteDump, which may be NULL, and
 * the one that IoWriteAll writes to. */
void system_open(const struct job *job, HANDLE *file, HANDLE *own);
void system_close(void);

/* Returns the process handle for the library. `known` receives the one that transcripts call
 * target. */
HANDLE system_process(const struct job *job, HANDLE *known);
uint32_t system_process_id(const struct job *job);
/* Returns the name of a handle in transcripts, if it is neither 0 nor that of the target. */
const char *system_handle_name(HANDLE handle);

/* Gets the registers of the thread with the exception. */
void system_registers(const struct job *job, CONTEXT *context);

/* The first reads memory of the target, the second writes to the file for IoWriteAll. */
void system_read(uint64_t address, void *buffer, uint32_t size);
bool system_write(uint64_t offset, const void *bytes, uint32_t size);

/* Sets the answer to VmQuery to the region that the system reports, if it can. */
void system_query(uint64_t address, MINIDUMP_CALLBACK_OUTPUT *output);

/* Adds the state of the target after the dump to the line with the result. */
void system_print_outcome(const struct job *job);

#endif
