/* The client on Windows. It loads the library under test by its path. It can replace functions that
 * the library imports, to make reads of the target fail and to simulate process snapshots on
 * systems that have none.
 *
 *   client.exe LIBRARY [snapshots]
 *
 * With "snapshots", the library finds the functions for snapshots (see below) from the first dump
 * on. Commands in addition to those of client.c:
 *
 *   target ID        sets the process to be dumped, to which the `dump` commands refer.
 *   look             prints the facts about it: "thread RIP RSP" for the threads named before,
 *                    "module BASE SIZE NAME", "region BASE SIZE STATE PROTECT ALLOCATION_BASE
 *                    ALLOCATION_PROTECT TYPE"; then "== end".
 *   words            prints the words of the threads' stacks that point into modules, as "word
 *                    ADDRESS VALUE"; then "== end".
 *   end              ends the process; prints "== end".
 *   new              clears what the commands below have set.
 *   output FILE      sets the file for the dump. What IoWriteAll receives is written to FILE.own.
 *   name ID TEXT     gives a thread of the target a name, which may be empty.
 *   thread ID TEB    names a thread of the target, in the order of their numbers.
 *   peb ADDRESS      sets the address of its process block.
 *   winread          makes reads fail where they fail on Windows: in memory that is not committed,
 *                    PAGE_NOACCESS or PAGE_GUARD. (Wine reads the last two.)
 *   fail LOW SIZE ALL
 *                    makes reads of these pages fail; if ALL is 0, only reads of more than one
 *                    byte.
 *   snapshot         passes a snapshot of the target to the library instead of the target.
 *   self             makes the client itself the target.
 */
#include "client.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tlhelp32.h>

enum { PAGE = 0x1000, MOST_THREADS = 64, MOST_FAILING = 16 };

/* The handle of the simulated snapshot. It is not a handle of the system. */
#define SNAPSHOT ((HANDLE)(uintptr_t)0x51ea0)

static struct {
    DWORD id;
    HANDLE handle, clone;
} target;

static struct {
    char output[MAX_PATH];
    struct {
        DWORD id;
        uint64_t block;
    } threads[MOST_THREADS];
    unsigned thread_count;
    uint64_t process_block;
    bool as_windows, as_snapshot, self, has_region;
    struct {
        uint64_t low, size;
        int all;
    } failing[MOST_FAILING];
    unsigned failing_count;
} now;

static HANDLE given, own;
static bool has_snapshots;

static void fail(const char *what, const char *which)
{
    fprintf(stderr, "cannot %s %s: error %lu\n", what, which, GetLastError());
    exit(2);
}

/* ---- Failing reads of the target ---- */

/* Returns the region of a page. The last region is cached during one dump: the target's threads
 * wait, so it does not change. */
static const MEMORY_BASIC_INFORMATION *region_of(uint64_t page)
{
    static MEMORY_BASIC_INFORMATION region;
    if (now.has_region && page - (uintptr_t)region.BaseAddress < region.RegionSize)
        return &region;
    now.has_region = VirtualQueryEx(target.handle, (void *)(uintptr_t)page, &region, sizeof region) != 0;
    return now.has_region ? &region : NULL;
}

static bool can_read(uint64_t page, SIZE_T length)
{
    for (unsigned at = 0; at < now.failing_count; at++)
        if ((now.failing[at].all || length > 1) && page < now.failing[at].low + now.failing[at].size &&
            page + PAGE > now.failing[at].low)
            return false;
    if (!now.as_windows)
        return true;
    const MEMORY_BASIC_INFORMATION *region = region_of(page);
    return region && region->State == MEM_COMMIT && region->Protect != 0 &&
           !(region->Protect & (PAGE_NOACCESS | PAGE_GUARD));
}

/* Replaces ReadProcessMemory. Reads the pages before the first one that must not be read. */
static BOOL WINAPI read_memory(HANDLE process, LPCVOID from, LPVOID into, SIZE_T size, SIZE_T *count)
{
    if (!now.as_windows && now.failing_count == 0)
        return ReadProcessMemory(process, from, into, size, count);
    uint64_t address = (uintptr_t)from;
    SIZE_T allowed = 0, done = 0;
    while (allowed < size && address + size >= address && can_read((address + allowed) & ~(uint64_t)(PAGE - 1), size))
        allowed += PAGE - (address + allowed) % PAGE;
    BOOL result = FALSE;
    if (allowed >= size)
        result = ReadProcessMemory(process, from, into, size, &done);
    else {
        if (allowed > 0)
            ReadProcessMemory(process, from, into, allowed, &done);
        SetLastError(ERROR_PARTIAL_COPY);
    }
    if (count)
        *count = done;
    return result;
}

/* ---- Simulated snapshots, which present the target itself ----
 *
 * Microsoft documents the functions in "Process Snapshotting". */

enum { QUERY_PROCESS = 0, QUERY_CLONE = 1, QUERY_THREADS = 5, WALK_THREADS = 3 };

struct process_entry {
    DWORD status;
    void *block;
    ULONG_PTR affinity;
    LONG base_priority;
    DWORD id, parent, flags;
    FILETIME times[4];
    DWORD priority_class;
    ULONG_PTR virtual_size[2];
    DWORD page_faults;
    ULONG_PTR sizes[9];
    DWORD execute_flags;
    WCHAR image[MAX_PATH];
};
_Static_assert(sizeof(struct process_entry) == 0x2c0, "PSS_PROCESS_INFORMATION");

struct thread_entry {
    DWORD status;
    void *block;
    DWORD process, thread;
    ULONG_PTR affinity;
    int priority, base_priority;
    void *argument;
    WORD system_call;
    FILETIME times[4];
    void *start;
    FILETIME captured;
    DWORD flags;
    WORD suspended, context_size;
    CONTEXT *context;
};
_Static_assert(sizeof(struct thread_entry) == 0x78, "PSS_THREAD_ENTRY");

static void registers(DWORD id, DWORD flags, CONTEXT *context)
{
    HANDLE thread = OpenThread(THREAD_SUSPEND_RESUME | THREAD_GET_CONTEXT | THREAD_QUERY_INFORMATION, FALSE, id);
    memset(context, 0, sizeof *context);
    context->ContextFlags = flags;
    if (!thread || SuspendThread(thread) == (DWORD)-1 || !GetThreadContext(thread, context))
        fail("read the registers of", "a thread");
    ResumeThread(thread);
    CloseHandle(thread);
}

static DWORD WINAPI query_snapshot(HANDLE snapshot, int what, void *buffer, DWORD size)
{
    if (snapshot != SNAPSHOT)
        return ERROR_INVALID_HANDLE;
    memset(buffer, 0, size);
    if (what == QUERY_PROCESS && size == sizeof(struct process_entry)) {
        struct process_entry *entry = buffer;
        entry->status = STILL_ACTIVE;
        entry->block = (void *)(uintptr_t)now.process_block;
        entry->affinity = 3;
        entry->base_priority = 8;
        entry->id = target.id;
        entry->priority_class = NORMAL_PRIORITY_CLASS;
        wcscpy(entry->image, L"C:\\target.exe");
    } else if (what == QUERY_CLONE && size == sizeof(HANDLE)) {
        memcpy(buffer, &target.clone, sizeof target.clone);
    } else if (what == QUERY_THREADS && size == 2 * sizeof(DWORD)) {
        DWORD captured[] = {now.thread_count, sizeof(CONTEXT)};
        memcpy(buffer, captured, sizeof captured);
    }
    return ERROR_SUCCESS;
}

/* A marker is the number of the next thread. */
static DWORD WINAPI walk_snapshot(HANDLE snapshot, int what, HANDLE marker, void *buffer, DWORD size)
{
    static __attribute__((aligned(16))) CONTEXT contexts[MOST_THREADS];
    uint64_t *next = marker;
    if (snapshot != SNAPSHOT)
        return ERROR_INVALID_HANDLE;
    memset(buffer, 0, size);
    if (what != WALK_THREADS || size != sizeof(struct thread_entry) || *next >= now.thread_count)
        return ERROR_NO_MORE_ITEMS;
    unsigned at = (unsigned)(*next)++;
    struct thread_entry *entry = buffer;
    registers(now.threads[at].id, CONTEXT_AMD64 | 0x1f, &contexts[at]);
    entry->status = STILL_ACTIVE;
    entry->block = (void *)(uintptr_t)now.threads[at].block;
    entry->process = target.id;
    entry->thread = now.threads[at].id;
    entry->affinity = 3;
    entry->context_size = sizeof(CONTEXT);
    entry->context = &contexts[at];
    return ERROR_SUCCESS;
}

static DWORD WINAPI create_marker(const void *allocator, HANDLE *marker)
{
    (void)allocator;
    *marker = calloc(1, sizeof(uint64_t));
    return ERROR_SUCCESS;
}

static DWORD WINAPI free_marker(HANDLE marker)
{
    free(marker);
    return ERROR_SUCCESS;
}

static DWORD WINAPI rewind_marker(HANDLE marker)
{
    *(uint64_t *)marker = 0;
    return ERROR_SUCCESS;
}

static DWORD WINAPI set_marker(HANDLE marker, ULONG_PTR position)
{
    *(uint64_t *)marker = position;
    return ERROR_SUCCESS;
}

static DWORD WINAPI tell_marker(HANDLE marker, ULONG_PTR *position)
{
    *position = *(uint64_t *)marker;
    return ERROR_SUCCESS;
}

/* ---- Replacements for functions that the library imports ---- */

struct substitute {
    const char *name;
    void *function;
};

static const struct substitute reads[] = {{"ReadProcessMemory", read_memory}};
static const struct substitute snapshots[] = {
    {"PssQuerySnapshot", query_snapshot},         {"PssWalkSnapshot", walk_snapshot},
    {"PssWalkMarkerCreate", create_marker},       {"PssWalkMarkerFree", free_marker},
    {"PssWalkMarkerSeekToBeginning", rewind_marker}, {"PssWalkMarkerSetPosition", set_marker},
    {"PssWalkMarkerGetPosition", tell_marker},
    /* The names in the first documentation, which 6.3.9600 looks up. */
    {"PssWalkMarkerRewind", rewind_marker},       {"PssWalkMarkerSeek", set_marker},
    {"PssWalkMarkerTell", tell_marker},
};

static void *find(const struct substitute *substitutes, size_t count, const char *name)
{
    for (size_t at = 0; at < count; at++)
        if (strcmp(substitutes[at].name, name) == 0)
            return substitutes[at].function;
    return NULL;
}

static FARPROC WINAPI get_address(HMODULE module, LPCSTR name)
{
    void *found = NULL;
    /* Smaller values are ordinals. */
    if ((uintptr_t)name > 0xffff) {
        found = find(reads, sizeof reads / sizeof *reads, name);
        if (!found && has_snapshots)
            found = find(snapshots, sizeof snapshots / sizeof *snapshots, name);
    }
    return found ? (FARPROC)found : GetProcAddress(module, name);
}

/* Replaces functions in the import table of the library. Microsoft's "PE Format" describes the
 * table. */
static void redirect(HMODULE library)
{
    unsigned char *base = (unsigned char *)library;
    const IMAGE_NT_HEADERS *header = (void *)(base + ((const IMAGE_DOS_HEADER *)base)->e_lfanew);
    IMAGE_DATA_DIRECTORY directory = header->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT];
    if (directory.VirtualAddress == 0)
        return;
    const IMAGE_IMPORT_DESCRIPTOR *imported = (void *)(base + directory.VirtualAddress);
    for (; imported->Name != 0; imported++) {
        if (imported->OriginalFirstThunk == 0)
            continue;
        const IMAGE_THUNK_DATA *asked = (void *)(base + imported->OriginalFirstThunk);
        IMAGE_THUNK_DATA *found = (void *)(base + imported->FirstThunk);
        for (; asked->u1.AddressOfData != 0; asked++, found++) {
            if (IMAGE_SNAP_BY_ORDINAL(asked->u1.Ordinal))
                continue;
            const IMAGE_IMPORT_BY_NAME *name = (void *)(base + asked->u1.AddressOfData);
            void *ours = strcmp((const char *)name->Name, "GetProcAddress") == 0
                             ? (void *)get_address
                             : find(reads, sizeof reads / sizeof *reads, (const char *)name->Name);
            DWORD before;
            if (ours && VirtualProtect(found, sizeof *found, PAGE_READWRITE, &before)) {
                found->u1.Function = (uintptr_t)ours;
                VirtualProtect(found, sizeof *found, before, &before);
            }
        }
    }
}

write_dump system_library(int count, char **arguments)
{
    if (count < 2 || count > 3) {
        fprintf(stderr, "client.exe LIBRARY [snapshots]\n");
        exit(2);
    }
    has_snapshots = count == 3;
    HMODULE library = LoadLibraryExA(arguments[1], NULL, LOAD_WITH_ALTERED_SEARCH_PATH);
    if (!library)
        fail("load", arguments[1]);
    void *function = (void *)GetProcAddress(library, "MiniDumpWriteDump");
    if (!function)
        fail("find MiniDumpWriteDump in", arguments[1]);
    redirect(library);
    return (write_dump)function;
}

/* ---- The target ---- */

static void tell_threads(void)
{
    static CONTEXT context;
    for (unsigned at = 0; at < now.thread_count; at++) {
        registers(now.threads[at].id, CONTEXT_CONTROL, &context);
        printf("thread %" PRIx64 " %" PRIx64 "\n", (uint64_t)context.Rip, (uint64_t)context.Rsp);
    }
}

static void tell_modules(void)
{
    /* This fails while a module is being loaded. Then it is tried again. */
    HANDLE list = INVALID_HANDLE_VALUE;
    for (int attempt = 0; list == INVALID_HANDLE_VALUE && attempt < 100; attempt++)
        list = CreateToolhelp32Snapshot(TH32CS_SNAPMODULE, target.id);
    if (list == INVALID_HANDLE_VALUE)
        fail("list the modules of", "the target");
    MODULEENTRY32 module = {.dwSize = sizeof module};
    for (BOOL more = Module32First(list, &module); more; more = Module32Next(list, &module))
        printf("module %" PRIx64 " %lx %s\n", (uint64_t)(uintptr_t)module.modBaseAddr, module.modBaseSize, module.szModule);
    CloseHandle(list);
}

static void tell_regions(void)
{
    MEMORY_BASIC_INFORMATION region;
    for (uint64_t at = 0; VirtualQueryEx(target.handle, (void *)(uintptr_t)at, &region, sizeof region); at += region.RegionSize)
        printf("region %" PRIx64 " %" PRIx64 " %lx %lx %" PRIx64 " %lx %lx\n", at, (uint64_t)region.RegionSize, region.State,
               region.Protect, (uint64_t)(uintptr_t)region.AllocationBase, region.AllocationProtect, region.Type);
}

/* Prints the words that a scan of the stacks finds. */
static void tell_words(void)
{
    static CONTEXT context;
    uint64_t words[PAGE / 8];
    for (unsigned thread = 0; thread < now.thread_count; thread++) {
        registers(now.threads[thread].id, CONTEXT_CONTROL, &context);
        MEMORY_BASIC_INFORMATION region;
        if (!VirtualQueryEx(target.handle, (void *)(uintptr_t)context.Rsp, &region, sizeof region))
            continue;
        uint64_t end = (uint64_t)(uintptr_t)region.BaseAddress + region.RegionSize;
        for (uint64_t at = context.Rsp & ~7ull; at < end;) {
            SIZE_T size = (SIZE_T)(end - at < sizeof words ? end - at : sizeof words), got = 0;
            if (!ReadProcessMemory(target.handle, (void *)(uintptr_t)at, words, size, &got) || got == 0)
                break;
            for (SIZE_T index = 0; index < got / 8; index++)
                if (words[index] && VirtualQueryEx(target.handle, (void *)(uintptr_t)words[index], &region, sizeof region) &&
                    region.State == MEM_COMMIT && region.Type == MEM_IMAGE)
                    printf("word %" PRIx64 " %" PRIx64 "\n", at + index * 8, words[index]);
            at += got;
        }
    }
}

static void choose_target(DWORD id)
{
    if (target.handle && target.id == id)
        return;
    if (target.handle) {
        CloseHandle(target.handle);
        CloseHandle(target.clone);
    }
    target.id = id;
    target.handle = OpenProcess(PROCESS_ALL_ACCESS, FALSE, id);
    if (!target.handle || !DuplicateHandle(GetCurrentProcess(), target.handle, GetCurrentProcess(), &target.clone, 0, FALSE,
                                           DUPLICATE_SAME_ACCESS))
        fail("open", "the target");
}

static void name_thread(DWORD id, const char *name)
{
    typedef HRESULT(WINAPI * set_description)(HANDLE, const WCHAR *);
    WCHAR wide[512];
    /* Headers for Windows 7 lack this function. */
    set_description set =
        (set_description)(void *)GetProcAddress(GetModuleHandleA("kernelbase.dll"), "SetThreadDescription");
    HANDLE thread = OpenThread(THREAD_SET_LIMITED_INFORMATION, FALSE, id);
    if (!MultiByteToWideChar(CP_UTF8, 0, name, -1, wide, sizeof wide / sizeof *wide) || !set || !thread ||
        set(thread, wide) < 0)
        fail("give a name to", "a thread");
    CloseHandle(thread);
}

bool system_line(const char *line)
{
    unsigned long long low, size;
    unsigned long id;
    int all, name;
    if (sscanf(line, "target %lu", &id) == 1) {
        choose_target(id);
    } else if (sscanf(line, "name %lu %n", &id, &name) == 1) {
        name_thread(id, line + name);
    } else if (strcmp(line, "new") == 0) {
        memset(&now, 0, sizeof now);
    } else if (sscanf(line, "output %259[^\n]", now.output) == 1) {
    } else if (now.thread_count < MOST_THREADS && sscanf(line, "thread %lu %llu", &id, &low) == 2) {
        now.threads[now.thread_count].id = id;
        now.threads[now.thread_count++].block = low;
    } else if (sscanf(line, "peb %llu", &low) == 1) {
        now.process_block = low;
    } else if (now.failing_count < MOST_FAILING && sscanf(line, "fail %llu %llu %d", &low, &size, &all) == 3) {
        now.failing[now.failing_count].low = low;
        now.failing[now.failing_count].size = size;
        now.failing[now.failing_count++].all = all;
    } else if (strcmp(line, "winread") == 0) {
        now.as_windows = true;
    } else if (strcmp(line, "snapshot") == 0) {
        now.as_snapshot = true;
    } else if (strcmp(line, "self") == 0) {
        now.self = true;
    } else if (strcmp(line, "look") == 0) {
        tell_threads();
        tell_modules();
        tell_regions();
        printf("== end\n");
        fflush(stdout);
    } else if (strcmp(line, "words") == 0) {
        tell_words();
        printf("== end\n");
        fflush(stdout);
    } else if (strcmp(line, "end") == 0) {
        TerminateProcess(target.handle, 0);
        printf("== end\n");
        fflush(stdout);
    } else {
        return false;
    }
    return true;
}

void system_open(const struct job *job, HANDLE *file, HANDLE *own_file)
{
    DWORD shared = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    char name[MAX_PATH + 8];
    given = CreateFileA(now.output, job->read_only ? GENERIC_READ : GENERIC_READ | GENERIC_WRITE, shared, NULL, CREATE_ALWAYS, 0,
                        NULL);
    snprintf(name, sizeof name, "%s.own", now.output);
    own = CreateFileA(name, GENERIC_READ | GENERIC_WRITE, shared, NULL, CREATE_ALWAYS, 0, NULL);
    if (given == INVALID_HANDLE_VALUE || own == INVALID_HANDLE_VALUE)
        fail("create", now.output);
    *file = job->no_file ? NULL : given;
    *own_file = own;
}

void system_close(void)
{
    CloseHandle(given);
    CloseHandle(own);
}

HANDLE system_process(const struct job *job, HANDLE *known)
{
    *known = now.self ? GetCurrentProcess() : target.handle;
    if (now.as_snapshot)
        return SNAPSHOT;
    return job->handle == job->target ? *known : (HANDLE)(uintptr_t)job->handle;
}

uint32_t system_process_id(const struct job *job)
{
    return now.self ? GetCurrentProcessId() : job->target;
}

const char *system_handle_name(HANDLE handle)
{
    return handle == SNAPSHOT ? "snapshot" : handle == target.clone ? "clone" : "other";
}

void system_registers(const struct job *job, CONTEXT *context)
{
    registers(job->thread, CONTEXT_ALL, context);
}

void system_read(uint64_t address, void *buffer, uint32_t size)
{
    SIZE_T done;
    ReadProcessMemory(target.handle, (void *)(uintptr_t)address, buffer, size, &done);
}

bool system_write(uint64_t offset, const void *bytes, uint32_t size)
{
    LARGE_INTEGER place = {.QuadPart = (LONGLONG)offset};
    DWORD done;
    return SetFilePointerEx(own, place, NULL, FILE_BEGIN) && WriteFile(own, bytes, size, &done, NULL) && done == size;
}

void system_query(uint64_t address, MINIDUMP_CALLBACK_OUTPUT *output)
{
    MEMORY_BASIC_INFORMATION region;
    if (!VirtualQueryEx(target.handle, (void *)(uintptr_t)address, &region, sizeof region)) {
        output->VmQueryStatus = E_INVALIDARG;
        return;
    }
    output->VmQueryStatus = S_OK;
    output->VmQueryResult = (MINIDUMP_MEMORY_INFO){
        .BaseAddress = (uintptr_t)region.BaseAddress,
        .AllocationBase = (uintptr_t)region.AllocationBase,
        .AllocationProtect = region.AllocationProtect,
        .RegionSize = region.RegionSize,
        .State = region.State,
        .Protect = region.Protect,
        .Type = region.Type,
    };
}

/* Prints how many suspensions are left on the target's threads. */
void system_print_outcome(const struct job *job)
{
    (void)job;
    DWORD left = 0;
    for (unsigned at = 0; at < now.thread_count; at++) {
        HANDLE thread = OpenThread(THREAD_SUSPEND_RESUME, FALSE, now.threads[at].id);
        DWORD before = thread ? SuspendThread(thread) : (DWORD)-1;
        if (before == (DWORD)-1)
            fail("suspend", "a thread of the target");
        left += before;
        ResumeThread(thread);
        CloseHandle(thread);
    }
    printf(" left_suspended=%lu", left);
}
