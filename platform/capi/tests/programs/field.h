/* How the programs in the style of published ones open their target and their file and find their
 * library. This differs between systems.
 *
 * If FIELD_DLL is defined on Windows, they call the DLL that the environment variable FIELD_DLL
 * names, which may be Microsoft's. */
#ifndef FIELD_H
#define FIELD_H

#include "../../../../examples/c/system.h"

#include <string.h>

#if defined(_WIN32) && defined(FIELD_DLL)
static BOOL field_write_dump(HANDLE process, DWORD id, HANDLE file, MINIDUMP_TYPE type, PMINIDUMP_EXCEPTION_INFORMATION exception,
                             PMINIDUMP_USER_STREAM_INFORMATION streams, PMINIDUMP_CALLBACK_INFORMATION callback)
{
    union {
        FARPROC found;
        BOOL(WINAPI *write)(HANDLE, DWORD, HANDLE, MINIDUMP_TYPE, PMINIDUMP_EXCEPTION_INFORMATION,
                            PMINIDUMP_USER_STREAM_INFORMATION, PMINIDUMP_CALLBACK_INFORMATION);
    } function;
    HMODULE library = LoadLibraryA(getenv("FIELD_DLL"));
    function.found = library ? GetProcAddress(library, "MiniDumpWriteDump") : NULL;
    if (function.found == NULL) {
        fprintf(stderr, "no MiniDumpWriteDump in %s\n", getenv("FIELD_DLL"));
        exit(3);
    }
    return function.write(process, id, file, type, exception, streams, callback);
}
#define MiniDumpWriteDump field_write_dump
#endif

#endif
