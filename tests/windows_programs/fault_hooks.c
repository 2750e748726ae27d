/*
 * A DLL that makes one system call of its program fail, for tests/windows_faults. fault_runner.c
 * loads it into dumpwright.exe before the program starts.
 *
 * Every function that the program imports from the system's DLLs, or looks up at run time, is
 * reached through a stub, which counts its uses. The environment variable DUMPWRIGHT_FAULT names
 * the call that fails:
 *
 *     FUNCTION WHEN EFFECT
 *
 * WHEN is 7 for the seventh use, and 7+ for the seventh use and all later ones. Uses are counted
 * from the moment at which the program asks for its command line: what Rust does before that is not
 * part of a dump. EFFECT is VALUE or VALUE/CODE: what the function returns without doing anything,
 * and the last error; or "half": reads and writes only half of the bytes.
 *
 * The file that DUMPWRIGHT_FAULT_LOG names gets the line "fired" when the call fails. When the
 * program ends it gets a line with name and number of uses for each function that was used.
 */
#include <windows.h>
#include <winternl.h>

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 512, NAME = 64 };

/* Writes to standard output and standard error are counted as another function. */
static const char writes[] = "NtWriteFile", standard_writes[] = "NtWriteFile-standard";

struct hooked {
    char name[NAME];
    uintptr_t function;
    volatile LONG uses;
};

static struct hooked hooked[MOST];
static volatile LONG hooked_count;
static struct hooked *standard;
static volatile LONG started, fired;
static HANDLE log_file = INVALID_HANDLE_VALUE;

static char fault_name[NAME];
static LONG fault_first, fault_last;
static int is_half;
static uintptr_t fault_value;
static DWORD fault_code;

/* The stubs: number I loads I and goes on to `shared_stub`. All have the same size. */
extern char stubs[];
enum { STUB = 16 };

/* A stub keeps the arguments in the four words that the caller reserves for them, in front of the
 * arguments on the stack. If the call is to be made, it jumps to the function with the stack and
 * all registers but RAX as they were. */
__asm__(".text\n"
        ".balign 16\n"
        "stubs:\n"
        ".set index, 0\n"
        ".rept 512\n"
        ".balign 16\n"
        "movl $index, %eax\n"
        "jmp shared_stub\n"
        ".set index, index + 1\n"
        ".endr\n"
        ".balign 16\n"
        "shared_stub:\n"
        "mov %rcx, 8(%rsp)\n"
        "mov %rdx, 16(%rsp)\n"
        "mov %r8, 24(%rsp)\n"
        "mov %r9, 32(%rsp)\n"
        "mov %eax, %ecx\n"
        "lea 8(%rsp), %rdx\n"
        "sub $0x38, %rsp\n"
        "lea 0x28(%rsp), %r8\n"
        "call decide\n"
        "mov 0x28(%rsp), %r10\n"
        "add $0x38, %rsp\n"
        "test %rax, %rax\n"
        "jz 1f\n"
        "mov 8(%rsp), %rcx\n"
        "mov 16(%rsp), %rdx\n"
        "mov 24(%rsp), %r8\n"
        "mov 32(%rsp), %r9\n"
        "jmp *%rax\n"
        "1:\n"
        "mov %r10, %rax\n"
        "ret\n");

static void say(const char *format, ...)
{
    char text[256];
    DWORD written;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    WriteFile(log_file, text, (DWORD)length, &written, NULL);
}

static int same(const char *left, const char *right)
{
    return strcmp(left, right) == 0;
}

/* The stub of a function. */
static uintptr_t stub_of(const char *name, uintptr_t function)
{
    for (LONG index = 0; index < hooked_count; index++)
        if (hooked[index].function == function && same(hooked[index].name, name))
            return (uintptr_t)stubs + (uintptr_t)index * STUB;
    LONG index = InterlockedIncrement(&hooked_count) - 1;
    if (index >= MOST)
        ExitProcess(97);
    snprintf(hooked[index].name, NAME, "%s", name);
    hooked[index].function = function;
    if (same(name, writes)) {
        stub_of(standard_writes, function);
        standard = &hooked[index + 1];
    }
    return (uintptr_t)stubs + (uintptr_t)index * STUB;
}

typedef NTSTATUS (WINAPI *transfers)(HANDLE, HANDLE, void *, void *, IO_STATUS_BLOCK *, void *, ULONG, LARGE_INTEGER *, ULONG *);

/* Does half of the work. Returns what the function returns then. */
static uintptr_t do_half(const struct hooked *call, uintptr_t *arguments)
{
    if (same(call->name, "ReadProcessMemory")) {
        SIZE_T *count = (SIZE_T *)arguments[4], half;
        ReadProcessMemory((HANDLE)arguments[0], (void *)arguments[1], (void *)arguments[2], arguments[3] / 2, &half);
        if (count)
            *count = half;
        SetLastError(ERROR_PARTIAL_COPY);
        return FALSE;
    }
    if (same(call->name, writes) || same(call->name, standard_writes)) {
        ULONG half = (ULONG)arguments[6] / 2 + (ULONG)arguments[6] % 2;
        return (uintptr_t)((transfers)call->function)((HANDLE)arguments[0], (HANDLE)arguments[1], (void *)arguments[2],
            (void *)arguments[3], (IO_STATUS_BLOCK *)arguments[4], (void *)arguments[5], half,
            (LARGE_INTEGER *)arguments[7], (ULONG *)arguments[8]);
    }
    ExitProcess(98);
}

static int is_standard(HANDLE handle)
{
    return handle == GetStdHandle(STD_OUTPUT_HANDLE) || handle == GetStdHandle(STD_ERROR_HANDLE);
}

/* Called by every stub. Returns the function that is to be called; or 0, with the result. */
__attribute__((used)) uintptr_t decide(unsigned index, uintptr_t *arguments, uintptr_t *result)
{
    struct hooked *call = &hooked[index];
    DWORD last_error = GetLastError();
    if (same(call->name, "GetCommandLineW"))
        started = 1;
    if (!started)
        return call->function;
    if (same(call->name, writes) && is_standard((HANDLE)arguments[0]))
        call = standard;
    LONG use = InterlockedIncrement(&call->uses);
    if (same(call->name, "GetProcAddress") && arguments[1] >= 0x10000) {
        const char *name = (const char *)arguments[1];
        uintptr_t found = (uintptr_t)GetProcAddress((HMODULE)arguments[0], name);
        *result = found ? stub_of(name, found) : 0;
        return 0;
    }
    if (use >= fault_first && use <= fault_last && same(call->name, fault_name)) {
        if (!InterlockedExchange(&fired, 1))
            say("fired\n");
        if (is_half) {
            *result = do_half(call, arguments);
        } else {
            *result = fault_value;
            SetLastError(fault_code);
        }
        return 0;
    }
    SetLastError(last_error);
    return call->function;
}

/* Functions that look at their caller's stack, and those that only take and free memory of the
 * program. */
static const char *const untouched[] = {
    "RtlCaptureContext", "RtlLookupFunctionEntry", "RtlUnwindEx", "RtlVirtualUnwind", "RaiseException",
    "__C_specific_handler", "GetLastError", "SetLastError", "GetProcessHeap", "HeapAlloc", "HeapReAlloc", "HeapFree",
};

static int is_untouched(const char *name)
{
    for (size_t index = 0; index < sizeof untouched / sizeof *untouched; index++)
        if (same(untouched[index], name))
            return 1;
    return 0;
}

/* Redirects the imports of the program to stubs. */
static void hook(char *base)
{
    IMAGE_NT_HEADERS *headers = (IMAGE_NT_HEADERS *)(base + ((IMAGE_DOS_HEADER *)base)->e_lfanew);
    IMAGE_DATA_DIRECTORY *directory = &headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT];
    IMAGE_IMPORT_DESCRIPTOR *library = (IMAGE_IMPORT_DESCRIPTOR *)(base + directory->VirtualAddress);
    for (; library->Name; library++) {
        /* The C library exports data as well. */
        if (_stricmp(base + library->Name, "msvcrt.dll") == 0)
            continue;
        IMAGE_THUNK_DATA *names = (IMAGE_THUNK_DATA *)(base + library->OriginalFirstThunk);
        IMAGE_THUNK_DATA *table = (IMAGE_THUNK_DATA *)(base + library->FirstThunk);
        for (; names->u1.AddressOfData; names++, table++) {
            if (IMAGE_SNAP_BY_ORDINAL(names->u1.Ordinal))
                continue;
            const char *name = (const char *)((IMAGE_IMPORT_BY_NAME *)(base + names->u1.AddressOfData))->Name;
            if (is_untouched(name))
                continue;
            DWORD old;
            VirtualProtect(&table->u1.Function, sizeof table->u1.Function, PAGE_READWRITE, &old);
            table->u1.Function = stub_of(name, table->u1.Function);
            VirtualProtect(&table->u1.Function, sizeof table->u1.Function, old, &old);
        }
    }
}

/* Returns whether the fault is understood. */
static int parse(const char *text)
{
    char when[32], effect[64];
    if (*text == 0)
        return 1;
    if (sscanf(text, "%63s %31s %63s", fault_name, when, effect) != 3)
        return 0;
    char *end;
    fault_first = strtol(when, &end, 10);
    fault_last = *end == '+' ? MAXLONG : fault_first;
    is_half = same(effect, "half");
    if (!is_half) {
        fault_value = (uintptr_t)strtoll(effect, &end, 0);
        fault_code = *end == '/' ? strtoul(end + 1, NULL, 0) : 0;
    }
    return fault_first > 0;
}

BOOL WINAPI DllMain(HINSTANCE self, DWORD reason, void *is_exit)
{
    (void)self;
    if (reason == DLL_PROCESS_ATTACH) {
        char name[MAX_PATH] = "", fault[256] = "";
        GetEnvironmentVariableA("DUMPWRIGHT_FAULT_LOG", name, sizeof name);
        GetEnvironmentVariableA("DUMPWRIGHT_FAULT", fault, sizeof fault);
        log_file = CreateFileA(name, GENERIC_WRITE, FILE_SHARE_READ, NULL, CREATE_ALWAYS, 0, NULL);
        if (log_file == INVALID_HANDLE_VALUE || !parse(fault))
            return FALSE;
        hook((char *)GetModuleHandleA(NULL));
    } else if (reason == DLL_PROCESS_DETACH && is_exit) {
        for (LONG index = 0; index < hooked_count; index++)
            if (hooked[index].uses)
                say("%s %ld\n", hooked[index].name, hooked[index].uses);
    }
    return TRUE;
}
