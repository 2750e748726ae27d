/* read_streams FILE TYPE...: prints for each stream type the offset of its directory entry, the
 * stream's offset and its size, as MiniDumpReadDumpStream finds them; or the error code. */
#if defined(_WIN32)
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif
#include "dumpwright.h"

#include <stdio.h>
#include <stdlib.h>

/* Maps a whole file into memory. Returns NULL if that fails. */
static char *map(const char *name)
{
#if defined(_WIN32)
    HANDLE file = CreateFileA(name, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    HANDLE section = CreateFileMappingA(file, NULL, PAGE_READONLY, 0, 0, NULL);
    return section ? MapViewOfFile(section, FILE_MAP_READ, 0, 0, 0) : NULL;
#else
    struct stat status;
    int file = open(name, O_RDONLY);
    if (file < 0 || fstat(file, &status) != 0 || status.st_size == 0)
        return NULL;
    char *bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    return bytes == MAP_FAILED ? NULL : bytes;
#endif
}

int main(int count, char **arguments)
{
    char *dump = count < 2 ? NULL : map(arguments[1]);
    if (dump == NULL)
        return 2;
    for (int at = 2; at < count; at++) {
        PMINIDUMP_DIRECTORY entry = NULL;
        PVOID stream = NULL;
        ULONG size = 0;
        ULONG type = (ULONG)strtoul(arguments[at], NULL, 0);
        if (MiniDumpReadDumpStream(dump, type, &entry, &stream, &size))
            printf("%td %td %u\n", (char *)entry - dump, (char *)stream - dump, (unsigned)size);
        else
            printf("error %u\n", (unsigned)GetLastError());
        if (MiniDumpReadDumpStream(dump, type, NULL, NULL, NULL) != (entry != NULL))
            return 3;
    }
    return 0;
}
