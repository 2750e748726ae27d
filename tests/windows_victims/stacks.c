/*
 * A Windows program with known functions, known registers and known memory. Its output has the form
 * of tests/victims/victim.h: READY with its testimony, then an answer to each line of its input.
 *
 * The known threads never wait. They stay in code of this program, so that the names and the unwind
 * information of their frames come from this program only. The functions are exported, because some
 * debuggers find no other names.
 */
#include <windows.h>

#include <fcntl.h>
#include <inttypes.h>
#include <io.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define KNOWN __declspec(dllexport) __attribute__((noinline))

static volatile LONG calls;
/* Set when the last thread is in its final function. */
static volatile LONG in_place;

/* The object to which a thread's stack points. */
static const char secret[] = "known bytes on the heap";

KNOWN void innermost(const char *text)
{
    for (;;) {
        in_place = 1;
        calls += text[0];
        YieldProcessor();
    }
}

KNOWN void middle(const char *text)
{
    volatile char frame[100];
    frame[0] = text[1];
    calls += frame[0];
    innermost(text);
    calls++;
}

KNOWN void outermost(const char *text)
{
    middle(text);
    calls++;
}

KNOWN DWORD WINAPI caller(void *text)
{
    outermost(text);
    return (DWORD)calls;
}

/* Spins with 0x1001, 0x1002, … in rax, rbx, … r15, except rsp. */
KNOWN DWORD WINAPI registers(void *unused)
{
    (void)unused;
    __asm__ volatile("movq $0x1001, %%rax\n\t"
                     "movq $0x1002, %%rbx\n\t"
                     "movq $0x1003, %%rcx\n\t"
                     "movq $0x1004, %%rdx\n\t"
                     "movq $0x1005, %%rsi\n\t"
                     "movq $0x1006, %%rdi\n\t"
                     "movq $0x1007, %%rbp\n\t"
                     "movq $0x1008, %%r8\n\t"
                     "movq $0x1009, %%r9\n\t"
                     "movq $0x100a, %%r10\n\t"
                     "movq $0x100b, %%r11\n\t"
                     "movq $0x100c, %%r12\n\t"
                     "movq $0x100d, %%r13\n\t"
                     "movq $0x100e, %%r14\n\t"
                     "movq $0x100f, %%r15\n\t"
                     "1: movl $1, %0\n\t"
                     "pause\n\t"
                     "jmp 1b"
                     : "=m"(in_place)
                     :
                     : "memory");
    return 0;
}

static DWORD start(DWORD(WINAPI *function)(void *), void *argument)
{
    DWORD id;
    in_place = 0;
    if (!CreateThread(NULL, 0, function, argument, 0, &id))
        exit(99);
    while (!in_place)
        SwitchToThread();
    return id;
}

int main(void)
{
    _setmode(_fileno(stdout), _O_BINARY);
    char *text = malloc(sizeof secret);
    for (size_t at = 0; at < sizeof secret; at++)
        text[at] = secret[at];
    DWORD called = start(caller, text);
    DWORD registered = start(registers, NULL);
    printf("READY {\"pid\":%lu,\"main\":%lu,\"caller\":%lu,\"registers\":%lu,\"text\":%" PRIuPTR ",\"module\":%" PRIuPTR "}\n",
           GetCurrentProcessId(), GetCurrentThreadId(), called, registered, (uintptr_t)text, (uintptr_t)GetModuleHandleA(NULL));
    fflush(stdout);
    char line[256];
    for (unsigned long pongs = 0; fgets(line, sizeof line, stdin);) {
        printf("pong %lu\n", ++pongs);
        fflush(stdout);
    }
    ExitProcess(0);
}
