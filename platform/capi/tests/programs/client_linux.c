/* The client on Linux. It is linked with the library and leaves no files behind. */
#define _GNU_SOURCE
#include "client.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

static pid_t target;
static int given = -1, own = -1;

write_dump system_library(int count, char **arguments)
{
    (void)count, (void)arguments;
    return MiniDumpWriteDump;
}

bool system_line(const char *line)
{
    (void)line;
    return false;
}

void system_open(const struct job *job, HANDLE *file, HANDLE *own_file)
{
    target = (pid_t)job->target;
    given = open("/dev/null", job->read_only ? O_RDONLY : O_WRONLY);
    own = open("/dev/null", O_WRONLY);
    *file = job->no_file ? NULL : (HANDLE)(intptr_t)given;
    *own_file = (HANDLE)(intptr_t)own;
}

void system_close(void)
{
    close(given);
    close(own);
}

HANDLE system_process(const struct job *job, HANDLE *known)
{
    *known = (HANDLE)(uintptr_t)job->target;
    return (HANDLE)(uintptr_t)job->handle;
}

uint32_t system_process_id(const struct job *job)
{
    return job->target;
}

const char *system_handle_name(HANDLE handle)
{
    (void)handle;
    return "other";
}

/* The values of registers are not compared. */
void system_registers(const struct job *job, CONTEXT *context)
{
    (void)job;
    context->ContextFlags = CONTEXT_ALL;
}

void system_read(uint64_t address, void *buffer, uint32_t size)
{
    struct iovec here = {buffer, size}, there = {(void *)(uintptr_t)address, size};
    process_vm_readv(target, &here, 1, &there, 1, 0);
}

bool system_write(uint64_t offset, const void *bytes, uint32_t size)
{
    return pwrite(own, bytes, size, (off_t)offset) == (ssize_t)size;
}

/* Scenarios that use it are left out. */
void system_query(uint64_t address, MINIDUMP_CALLBACK_OUTPUT *output)
{
    (void)address;
    output->VmQueryStatus = E_NOTIMPL;
}

void system_print_outcome(const struct job *job)
{
    (void)job;
}
