/* A process that changes all the time: threads start and end, a library is loaded and unloaded,
 * memory is allocated and freed. Three threads do this, each with its own counter; a fourth only
 * counts. */
#include "truth.h"

static DWORD WINAPI short_lived(void *unused)
{
    volatile char room[8192];
    memset((char *)room, 1, sizeof room);
    (void)unused;
    return (DWORD)room[17];
}

static DWORD WINAPI makes_threads(void *unused)
{
    (void)unused;
    for (;;) {
        HANDLE made[3];
        for (int i = 0; i < 3; i++)
            made[i] = CreateThread(0, 0, short_lived, 0, 0, 0);
        for (int i = 0; i < 3; i++)
            if (made[i]) {
                WaitForSingleObject(made[i], INFINITE);
                CloseHandle(made[i]);
            }
        InterlockedIncrement64(&beats[1]);
    }
    return 0;
}

static DWORD WINAPI loads_libraries(void *unused)
{
    (void)unused;
    for (;;) {
        HMODULE library = LoadLibraryA("version.dll");
        if (library)
            FreeLibrary(library);
        InterlockedIncrement64(&beats[2]);
        Sleep(1);
    }
    return 0;
}

static DWORD WINAPI takes_memory(void *unused)
{
    (void)unused;
    for (unsigned size = 1;; size = size % 64 + 1) {
        char *memory = VirtualAlloc(0, size * 0x3000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
        if (memory) {
            memset(memory, (int)size, size * 0x3000);
            DWORD before;
            VirtualProtect(memory, 0x1000, PAGE_NOACCESS, &before);
            VirtualFree(memory, 0, MEM_RELEASE);
        }
        InterlockedIncrement64(&beats[3]);
        Sleep(1);
    }
    return 0;
}

int main(int count, char **words)
{
    need(count >= 3, "reading the command line");
    open_beats(words[2]);
    need(CreateThread(0, 0, makes_threads, 0, 0, 0) && CreateThread(0, 0, loads_libraries, 0, 0, 0)
         && CreateThread(0, 0, takes_memory, 0, 0, 0), "making threads");
    for (uintptr_t place = 1; place <= 3; place++)
        await_beats(place, 2);
    begin_testimony(words[1]);
    tell("{\"pid\":%lu}\n", GetCurrentProcessId());
    end_testimony();
    return (int)beat(0);
}
