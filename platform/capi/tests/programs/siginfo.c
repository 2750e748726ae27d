/* siginfo: a program whose own handler keeps the arguments of a crash. Afterwards it translates
 * them, and compares the results with them. Ends with status 0 if all are right. */
#define _GNU_SOURCE
#include "dumpwright.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

static sigjmp_buf back;
static siginfo_t kept_siginfo;
static ucontext_t kept_ucontext;
static unsigned char kept_fxsave[512];

static void keep(int number, siginfo_t *siginfo, void *ucontext)
{
    (void)number;
    kept_siginfo = *siginfo;
    kept_ucontext = *(ucontext_t *)ucontext;
    memcpy(kept_fxsave, kept_ucontext.uc_mcontext.fpregs, sizeof kept_fxsave);
    siglongjmp(back, 1);
}

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            printf("line %d: not true: %s\n", __LINE__, #condition);           \
            failures++;                                                        \
        }                                                                      \
    } while (0)

static int compare(void)
{
    int failures = 0;
    EXCEPTION_RECORD record;
    CONTEXT context;
    const greg_t *registers = kept_ucontext.uc_mcontext.gregs;
    /* The floating-point registers of the frame may be overwritten by now. */
    kept_ucontext.uc_mcontext.fpregs = (fpregset_t)(void *)kept_fxsave;
    CHECK(dumpwright_exception_from_siginfo(&kept_siginfo, &kept_ucontext, &record, &context));
    CHECK(record.ExceptionCode == SIGSEGV && record.ExceptionFlags == (DWORD)SEGV_MAPERR);
    CHECK(record.ExceptionRecord == NULL && record.ExceptionAddress == (PVOID)0x18);
    CHECK(record.NumberParameters == 2 && record.ExceptionInformation[0] == 1);
    CHECK(record.ExceptionInformation[1] == 0x18);
    CHECK(context.Rip == (DWORD64)registers[REG_RIP] && context.Rsp == (DWORD64)registers[REG_RSP]);
    CHECK(context.R15 == (DWORD64)registers[REG_R15] && context.Rax == (DWORD64)registers[REG_RAX]);
    CHECK((context.ContextFlags & CONTEXT_FULL) == CONTEXT_FULL);
    /* All but the bytes that the kernel uses for itself. */
    CHECK(memcmp(&context.FltSave, kept_fxsave, 464) == 0);
    kept_ucontext.uc_mcontext.fpregs = NULL;
    CHECK(dumpwright_exception_from_siginfo(&kept_siginfo, &kept_ucontext, &record, &context));
    CHECK((context.ContextFlags & CONTEXT_FULL) != CONTEXT_FULL);
    CHECK(!dumpwright_exception_from_siginfo(NULL, &kept_ucontext, &record, &context));
    CHECK(dumpwright_last_error() == 0x80070057);
    return failures != 0;
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = keep, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    if (sigsetjmp(back, 1) == 0)
        __asm__ volatile("movl $1, (%0)" : : "r"((uintptr_t)0x18) : "memory");
    return compare();
}
