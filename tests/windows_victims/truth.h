/* Code that the victims share: their testimony, and counters that show that they run.
 *
 * Each is started as VICTIM.EXE TESTIMONY BEATS [...]. It writes its testimony as JSON into the
 * first file, which appears when it is complete. The second file is a table of 64-bit counters, one
 * for each thread that counts. */
#include <windows.h>

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BEATS 64
/* Not every victim uses all of them. */
#define SHARED static __attribute__((unused))

SHARED volatile LONG64 *beats;

static void need(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "victim: %s failed (%lu)\n", what, GetLastError());
        exit(9);
    }
}

SHARED void open_beats(const char *path)
{
    HANDLE file = CreateFileA(path, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, 0,
                              OPEN_ALWAYS, 0, 0);
    need(file != INVALID_HANDLE_VALUE, "opening the beats");
    HANDLE mapping = CreateFileMappingA(file, 0, PAGE_READWRITE, 0, BEATS * sizeof(LONG64), 0);
    need(mapping != 0, "mapping the beats");
    beats = MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, BEATS * sizeof(LONG64));
    need(beats != 0, "viewing the beats");
}

SHARED FILE *testimony;
SHARED char testimony_name[2][MAX_PATH];

SHARED void begin_testimony(const char *path)
{
    snprintf(testimony_name[0], MAX_PATH, "%s.new", path);
    snprintf(testimony_name[1], MAX_PATH, "%s", path);
    testimony = fopen(testimony_name[0], "w");
    need(testimony != 0, "opening the testimony");
}

SHARED void tell(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(testimony, format, arguments);
    va_end(arguments);
}

SHARED void end_testimony(void)
{
    fclose(testimony);
    need(MoveFileA(testimony_name[0], testimony_name[1]), "naming the testimony");
}

/* Increments the counter with this index for ever. */
SHARED DWORD WINAPI beat(void *place)
{
    for (;;) {
        InterlockedIncrement64(&beats[(uintptr_t)place]);
        Sleep(1);
    }
    return 0;
}

SHARED void await_beats(uintptr_t place, LONG64 count)
{
    LONG64 until = beats[place] + count;
    while (beats[place] < until)
        Sleep(1);
}
