/* target.exe LIBRARY FILE: the process that the recorded scenarios dump, on Windows. It has the
 * same threads, blocks and modules, created in the same order, so that the regions of its memory
 * follow each other as in the recordings. MAPF is a view of FILE.
 *
 * Prints names and threads as JSON, and then sleeps. client.exe ends it.
 */
#include <windows.h>

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { WORKERS = 4, WAITING = 2, DEEP = 3, PAGE = 0x1000, LONGEST_LIFE_MS = 30 * 60 * 1000 };

static unsigned char global[PAGE] = {1};
static unsigned char *heap, *private_block;
static HANDLE event, ready;

static struct {
    DWORD id;
    uintptr_t low, high, block;
} threads[WORKERS + 1];

static void check(BOOL worked, const char *what)
{
    if (worked)
        return;
    fprintf(stderr, "%s: error %lu\n", what, GetLastError());
    exit(1);
}

static void tell_thread(int number)
{
    const NT_TIB *block = (const NT_TIB *)NtCurrentTeb();
    MEMORY_BASIC_INFORMATION stack;
    check(VirtualQuery(&stack, &stack, sizeof stack) != 0, "VirtualQuery");
    threads[number].id = GetCurrentThreadId();
    threads[number].low = (uintptr_t)stack.AllocationBase;
    threads[number].high = (uintptr_t)block->StackBase;
    threads[number].block = (uintptr_t)block;
}

static void rest(int number)
{
    if (number == WAITING)
        WaitForSingleObject(event, INFINITE);
    else
        Sleep(LONGEST_LIFE_MS);
}

/* Ten frames of 4 KiB, each with three addresses. */
static __attribute__((noinline)) int dive(int depth, int number)
{
    unsigned char *volatile addresses[] = {private_block + 0x4010, heap + 0x100, global + 0x200};
    volatile char room[0x1000];
    room[0] = (char)depth;
    if (depth == 0) {
        tell_thread(number);
        SetEvent(ready);
        rest(number);
        return 0;
    }
    return dive(depth - 1, number) + room[0] + *addresses[0];
}

static DWORD WINAPI work(void *argument)
{
    int number = (int)(intptr_t)argument;
    if (number == DEEP) {
        dive(9, number);
    } else {
        tell_thread(number);
        SetEvent(ready);
        rest(number);
    }
    return 0;
}

/* Fills a block as in the recordings: its letter at each sixteenth byte, and a mix of the offset's
 * two lowest bytes in between. */
static void fill(unsigned char *block, size_t size, unsigned char letter)
{
    for (size_t at = 0; at < size; at++)
        block[at] = at % 16 == 0 ? letter : (unsigned char)(at >> 8 ^ at);
}

static unsigned char *block(size_t size, DWORD protection)
{
    unsigned char *made = VirtualAlloc(NULL, size, MEM_RESERVE | MEM_COMMIT, protection);
    check(made != NULL, "VirtualAlloc");
    return made;
}

static void protect(unsigned char *block, size_t size, DWORD protection)
{
    DWORD before;
    check(VirtualProtect(block, size, protection, &before), "VirtualProtect");
}

static unsigned char *view(HANDLE file)
{
    HANDLE section = CreateFileMappingA(file, NULL, PAGE_READWRITE, 0, 3 * PAGE, NULL);
    check(section != NULL, "CreateFileMapping");
    unsigned char *made = MapViewOfFile(section, FILE_MAP_ALL_ACCESS, 0, 0, 0);
    check(made != NULL, "MapViewOfFile");
    return made;
}

static void tell(const char *name, const unsigned char *block, size_t size)
{
    printf("[\"%s\", %" PRIuPTR ", %zu], ", name, (uintptr_t)block, size);
}

int main(int count, char **arguments)
{
    if (count != 3)
        return 2;
    event = CreateEventA(NULL, TRUE, FALSE, "dumpwright-twin");
    /* An unloaded module. */
    FreeLibrary(LoadLibraryA("version.dll"));
    HMODULE library = LoadLibraryA(arguments[1]);
    check(library != NULL, arguments[1]);
    unsigned char *extra = (unsigned char *)GetProcAddress(library, "extra_data");
    check(extra != NULL, "extra_data");
    heap = HeapAlloc(GetProcessHeap(), 0, 2 * PAGE);
    check(heap != NULL, "HeapAlloc");

    private_block = block(16 * PAGE, PAGE_READWRITE);
    unsigned char *read_only = block(2 * PAGE, PAGE_READWRITE), *executable = block(PAGE, PAGE_EXECUTE_READWRITE);
    unsigned char *mixed = block(3 * PAGE, PAGE_READWRITE), *guarded = block(3 * PAGE, PAGE_READWRITE);
    unsigned char *reserved = VirtualAlloc(NULL, 16 * PAGE, MEM_RESERVE, PAGE_READWRITE);
    check(reserved && VirtualAlloc(reserved + PAGE, PAGE, MEM_COMMIT, PAGE_READWRITE), "VirtualAlloc");
    HANDLE file = CreateFileA(arguments[2], GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                              NULL, CREATE_ALWAYS, 0, NULL);
    check(file != INVALID_HANDLE_VALUE, arguments[2]);
    unsigned char *mapped = view(file), *section = view(INVALID_HANDLE_VALUE);

    fill(global, PAGE, 'G');
    fill(heap, 2 * PAGE, 'H');
    fill(private_block, 16 * PAGE, 'P');
    fill(read_only, 2 * PAGE, 'R');
    fill(executable, PAGE, 'E');
    fill(mixed, 3 * PAGE, 'M');
    fill(guarded, 3 * PAGE, 'U');
    fill(reserved + PAGE, PAGE, 'V');
    fill(mapped, 3 * PAGE, 'F');
    fill(section, 3 * PAGE, 'S');
    protect(read_only, 2 * PAGE, PAGE_READONLY);
    protect(mixed + PAGE, PAGE, PAGE_NOACCESS);
    protect(guarded + PAGE, PAGE, PAGE_READWRITE | PAGE_GUARD);

    /* Started one after the other, so that stacks and ids ascend. */
    ready = CreateEventA(NULL, FALSE, FALSE, NULL);
    for (int number = 1; number <= WORKERS; number++) {
        check(CreateThread(NULL, 0, work, (void *)(intptr_t)number, 0, NULL) != NULL, "CreateThread");
        WaitForSingleObject(ready, INFINITE);
    }
    tell_thread(0);

    printf("{\"id\": %lu, \"names\": [", GetCurrentProcessId());
    tell("GLOB", global, PAGE);
    tell("HEAP", heap, 2 * PAGE);
    tell("PRIV", private_block, 16 * PAGE);
    tell("RO", read_only, 2 * PAGE);
    tell("RX", executable, PAGE);
    tell("MIXED", mixed, 3 * PAGE);
    tell("GUARD", guarded, 3 * PAGE);
    tell("RESV", reserved, 16 * PAGE);
    tell("MAPF", mapped, 3 * PAGE);
    tell("SECN", section, 3 * PAGE);
    tell("XDATA", extra, 0x400);
    /* The address of the process block in the thread block, on x64. */
    const unsigned char *const *thread_block = (const unsigned char *const *)NtCurrentTeb();
    printf("[\"peb\", %" PRIuPTR ", %d]], \"threads\": [", (uintptr_t)thread_block[0x60 / 8], PAGE);
    for (int number = 0; number <= WORKERS; number++)
        printf("%s[%lu, %" PRIuPTR ", %" PRIuPTR ", %" PRIuPTR "]", number ? ", " : "", threads[number].id, threads[number].low,
               threads[number].high, threads[number].block);
    printf("]}\n");
    fflush(stdout);
    Sleep(LONGEST_LIFE_MS);
    return 0;
}
