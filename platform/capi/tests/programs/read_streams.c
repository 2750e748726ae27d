/* read_streams FILE TYPE...: where MiniDumpReadDumpStream finds each stream: offset of its entry, offset, size; or the error. */
#include "dumpwright.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    struct stat status;
    int file = count < 2 ? -1 : open(arguments[1], O_RDONLY);
    if (file < 0 || fstat(file, &status) != 0 || status.st_size == 0)
        return 2;
    char *dump = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (dump == MAP_FAILED)
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
