/* A Windows process to be dumped: five threads and a block of memory with a secret in it. It writes
 * its testimony as JSON to the file REPORT, and counts up in the file BEAT, so that a test sees
 * that it runs. It runs until it is ended.
 *
 *   beats.exe REPORT BEAT LIBRARY
 */
#include <windows.h>

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { THREADS = 5, BLOCK = 0x10000, LONGEST_LIFE_MS = 30 * 60 * 1000 };

static const char secret[] = "open-sesame-4711";
static DWORD ids[THREADS];
static HANDLE ready;

static DWORD WINAPI rest(void *number)
{
    ids[(intptr_t)number] = GetCurrentThreadId();
    SetEvent(ready);
    Sleep(LONGEST_LIFE_MS);
    return 0;
}

static HANDLE create(const char *name)
{
    return CreateFileA(name, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, CREATE_ALWAYS, 0, NULL);
}

int main(int count, char **arguments)
{
    if (count != 4)
        return 2;
    if (LoadLibraryA(arguments[3]) == NULL)
        return 1;
    unsigned char *block = VirtualAlloc(NULL, BLOCK, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    for (int at = 0; at < BLOCK; at++)
        block[at] = (unsigned char)(at >> 8 ^ at);
    memcpy(block + 0x5000, secret, sizeof secret);
    memcpy(block + 0x8000 - 5, secret, sizeof secret);
    ready = CreateEventA(NULL, FALSE, FALSE, NULL);
    ids[0] = GetCurrentThreadId();
    for (int number = 1; number < THREADS; number++) {
        CreateThread(NULL, 0, rest, (void *)(intptr_t)number, 0, NULL);
        WaitForSingleObject(ready, INFINITE);
    }
    char text[256];
    DWORD written;
    int length = snprintf(text, sizeof text, "{\"pid\": %lu, \"block\": %" PRIuPTR ", \"threads\": [%lu, %lu, %lu, %lu, %lu]}\n",
                          GetCurrentProcessId(), (uintptr_t)block, ids[0], ids[1], ids[2], ids[3], ids[4]);
    HANDLE report = create(arguments[1]), beat = create(arguments[2]);
    WriteFile(report, text, (DWORD)length, &written, NULL);
    CloseHandle(report);
    for (unsigned beats = 0;; beats++) {
        length = snprintf(text, sizeof text, "%08u", beats);
        SetFilePointer(beat, 0, NULL, FILE_BEGIN);
        WriteFile(beat, text, (DWORD)length, &written, NULL);
        Sleep(10);
    }
}
