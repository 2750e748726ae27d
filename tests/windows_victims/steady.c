/* Threads that do not change: one with known registers and known bytes on its stack, one that was
 * suspended twice, one with a name, a priority and a processor, one that only counts, and the main
 * thread, which counts too. */
#include "truth.h"

static const char marked_bytes[32] = "known bytes on the stack 0123456";
static char *volatile mark;
static long (WINAPI *volatile delay)(BOOLEAN, LARGE_INTEGER *);
static LARGE_INTEGER interval = { .QuadPart = -10000 };

/* Increments counter 1 between two system calls, with registers that no function in between
 * changes. */
static DWORD WINAPI with_registers(void *unused)
{
    char bytes[32];
    (void)unused;
    memcpy(bytes, marked_bytes, sizeof bytes);
    mark = bytes;
    __asm__ volatile("sub $0x40, %%rsp\n"
                     "and $-16, %%rsp\n"
                     "movabs $0x1111222233334444, %%rbx\n"
                     "movabs $0x5555666677778888, %%rsi\n"
                     "movabs $0x9999aaaabbbbcccc, %%rdi\n"
                     "movabs $0x1212121212121212, %%r12\n"
                     "movabs $0x1313131313131313, %%r13\n"
                     "movabs $0x1414141414141414, %%r14\n"
                     "movq %%rbx, %%xmm6\n"
                     "movq %%rsi, %%xmm7\n"
                     "punpcklqdq %%xmm7, %%xmm6\n"
                     "mov %0, %%r15\n"
                     "1:\n"
                     "lock incq (%%r15)\n"
                     "xor %%ecx, %%ecx\n"
                     "lea %1, %%rdx\n"
                     "call *%2\n"
                     "jmp 1b\n"
                     :
                     : "r"(&beats[1]), "m"(interval), "m"(delay)
                     : "memory", "rbx", "rsi", "rdi", "r12", "r13", "r14", "r15", "xmm6", "xmm7");
    return (DWORD)(uintptr_t)bytes[0];
}

/* Adds the start address of a thread, and the stack bounds in its TEB. */
static void tell_thread(const char *role, HANDLE thread, void *start, LONG suspended, const char *end)
{
    struct basic { LONG status; NT_TIB *teb; uintptr_t process, id, affinity; LONG priority[2]; } basic;
    LONG (WINAPI *query)(HANDLE, int, void *, ULONG, ULONG *) =
        (void *)GetProcAddress(GetModuleHandleA("ntdll"), "NtQueryInformationThread");
    FILETIME times[4];
    need(query(thread, 0, &basic, sizeof basic, 0) >= 0, "asking for the thread's block");
    need(GetThreadTimes(thread, &times[0], &times[1], &times[2], &times[3]), "asking for the thread's times");
    tell("{\"role\":\"%s\",\"id\":%lu,\"teb\":%llu,\"start\":%llu,\"stack_base\":%llu,\"stack_limit\":%llu,"
         "\"created\":%llu,\"affinity\":%llu,\"priority\":%d,\"suspended\":%ld}%s\n",
         role, GetThreadId(thread), (unsigned long long)(uintptr_t)basic.teb,
         (unsigned long long)(uintptr_t)start, (unsigned long long)(uintptr_t)basic.teb->StackBase,
         (unsigned long long)(uintptr_t)basic.teb->StackLimit,
         (unsigned long long)times[0].dwHighDateTime << 32 | times[0].dwLowDateTime,
         (unsigned long long)basic.affinity, GetThreadPriority(thread), suspended, end);
}

int main(int count, char **words)
{
    need(count >= 3, "reading the command line");
    open_beats(words[2]);
    delay = (void *)GetProcAddress(GetModuleHandleA("ntdll"), "NtDelayExecution");
    need(delay != 0, "finding NtDelayExecution");
    HRESULT (WINAPI *name)(HANDLE, PCWSTR) =
        (void *)GetProcAddress(GetModuleHandleA("kernel32"), "SetThreadDescription");

    HANDLE registers = CreateThread(0, 0, with_registers, 0, 0, 0);
    HANDLE beating = CreateThread(0, 0, beat, (void *)2, 0, 0);
    HANDLE suspended = CreateThread(0, 0, beat, (void *)3, CREATE_SUSPENDED, 0);
    HANDLE named = CreateThread(0, 0, beat, (void *)4, 0, 0);
    need(registers && beating && suspended && named, "making threads");
    need(SuspendThread(suspended) == 1, "suspending a thread once more");
    need(SetThreadPriority(named, THREAD_PRIORITY_BELOW_NORMAL), "changing a priority");
    need(SetThreadAffinityMask(named, 1) != 0, "choosing a processor");
    if (name)
        need(name(named, L"n\x00e4me of a thread") >= 0, "naming a thread");
    need(SetPriorityClass(GetCurrentProcess(), BELOW_NORMAL_PRIORITY_CLASS), "changing the priority class");
    await_beats(1, 2);
    await_beats(2, 1);
    await_beats(4, 1);

    HANDLE own;
    need(DuplicateHandle(GetCurrentProcess(), GetCurrentThread(), GetCurrentProcess(), &own, 0, 0,
                         DUPLICATE_SAME_ACCESS), "duplicating a handle");
    begin_testimony(words[1]);
    tell("{\"pid\":%lu,\"named\":%s,\"mark\":%llu,\"beat\":%llu,\"threads\":[\n", GetCurrentProcessId(),
         name ? "true" : "false", (unsigned long long)(uintptr_t)mark,
         (unsigned long long)(uintptr_t)&beats[1]);
    tell_thread("main", own, 0, 0, ",");
    tell_thread("registers", registers, with_registers, 0, ",");
    tell_thread("beating", beating, beat, 0, ",");
    tell_thread("suspended", suspended, beat, 2, ",");
    tell_thread("named", named, beat, 0, "");
    tell("]}\n");
    end_testimony();
    return (int)beat(0);
}
