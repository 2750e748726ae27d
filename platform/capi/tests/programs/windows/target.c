/* target [LIBRARY]: the process that is dumped. Prints lines "NAME VALUE", then "ready", and waits
 * for the end of its input. Then it ends all its threads. Its exit code tells whether they all
 * could end: a thread that a dump has left suspended cannot.
 *
 * The library is loaded by a thread that has ended since, so that no stack refers to it. */
#include <windows.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS = 3, PAGE = 0x1000, LONG_ENOUGH = 60000 };

unsigned char global[PAGE] = {1};

/* Written to PRIV twice: in the middle of a page and across the border of two pages. */
static const char secret[] = {'o', 'p', 'e', 'n', '-', 's', 'e', 's', 'a', 'm', 'e', '-', '4', '7', '1', '1'};

static HANDLE ready, stop;

static DWORD WINAPI work(void *ignored)
{
    (void)ignored;
    SetEvent(ready);
    return WaitForSingleObject(stop, INFINITE);
}

static DWORD WINAPI load(void *library)
{
    return LoadLibraryA(library) == NULL;
}

int main(int count, char **arguments)
{
    ready = CreateEventA(NULL, FALSE, FALSE, NULL);
    stop = CreateEventA(NULL, TRUE, FALSE, NULL);
    if (count > 1) {
        HANDLE loader = CreateThread(NULL, 0, load, arguments[1], 0, NULL);
        DWORD failed = 1;
        if (WaitForSingleObject(loader, INFINITE) != WAIT_OBJECT_0 || !GetExitCodeThread(loader, &failed) || failed)
            return 1;
        CloseHandle(loader);
    }
    unsigned char *block = VirtualAlloc(NULL, 16 * PAGE, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
    if (block == NULL)
        return 1;
    for (int at = 0; at < 16 * PAGE; at++)
        block[at] = (unsigned char)(3 + at % 251);
    memcpy(block + 0x5000, secret, sizeof secret);
    memcpy(block + 0x8000 - 5, secret, sizeof secret);
    HANDLE threads[WORKERS];
    printf("pid %lu\nthread0 %lu\n", GetCurrentProcessId(), GetCurrentThreadId());
    for (int at = 0; at < WORKERS; at++) {
        DWORD id;
        threads[at] = CreateThread(NULL, 0, work, NULL, 0, &id);
        if (threads[at] == NULL || WaitForSingleObject(ready, INFINITE) != WAIT_OBJECT_0)
            return 1;
        printf("thread%d %lu\n", at + 1, id);
    }
    printf("PRIV 0x%llx\nGLOB 0x%llx\nready\n", (unsigned long long)(ULONG_PTR)block, (unsigned long long)(ULONG_PTR)global);
    fflush(stdout);
    while (getchar() != EOF)
        ;
    SetEvent(stop);
    return WaitForMultipleObjects(WORKERS, threads, TRUE, LONG_ENOUGH) == WAIT_OBJECT_0 ? 0 : 3;
}
