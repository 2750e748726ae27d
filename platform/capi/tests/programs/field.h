/* How the two programs in the style of the field find their target and their file: the one thing that differs between systems. */
#ifndef FIELD_H
#define FIELD_H

#if defined(_WIN32)
#include <windows.h>
#endif
#include "dumpwright.h"

#include <stdio.h>
#include <stdlib.h>
#if !defined(_WIN32)
#include <fcntl.h>
#include <unistd.h>
#endif

static HANDLE open_process(DWORD id)
{
#if defined(_WIN32)
    return OpenProcess(PROCESS_QUERY_INFORMATION | PROCESS_VM_READ | PROCESS_DUP_HANDLE, FALSE, id);
#else
    return (HANDLE)(intptr_t)id;
#endif
}

static HANDLE create_file(const char *name)
{
#if defined(_WIN32)
    return CreateFileA(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
#else
    return (HANDLE)(intptr_t)open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
#endif
}

static void close_file(HANDLE file)
{
#if defined(_WIN32)
    CloseHandle(file);
#else
    close((int)(intptr_t)file);
#endif
}

#endif
