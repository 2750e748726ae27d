/* dumpwright.h - writes minidumps the way Microsoft's MiniDumpWriteDump does, callbacks included
 *
 * GENERATED from platform/capi/header/dumpwright.h.in. `cargo xtask bless` renews this file, and a
 * test compares it with its source.
 *
 * The library exports MiniDumpWriteDump and MiniDumpReadDumpStream, with the names, structures and
 * calling conventions of Microsoft's DbgHelp. Its own functions begin with dumpwright_. They offer
 * options that MiniDumpWriteDump has no parameters for. This file documents all of them for C and
 * C++ programs.
 *
 *     #include "dumpwright.h"
 *     #include <stdio.h>
 *
 *     int main(void)
 *     {
 *         dumpwright_request *request = dumpwright_request_create(MiniDumpNormal);
 *         BOOL done = dumpwright_request_process(request, 4711) &&
 *                     dumpwright_request_path(request, "4711.dmp", FALSE) &&
 *                     dumpwright_dump(request);
 *         if (!done)
 *             fprintf(stderr, "%s\n", dumpwright_last_error_message());
 *         dumpwright_request_free(request);
 *         return done ? 0 : 1;
 *     }
 *
 *     cc program.c $(pkg-config --cflags --libs dumpwright)
 *
 * More programs are in examples/c.
 *
 * The header is self-contained. It compiles as C99 and later and as C++11 and later, with GCC,
 * Clang, MSVC and mingw. Names and layouts are those of minidumpapiset.h in the Windows SDK
 * 10.0.28000, so code written for <dbghelp.h> compiles with this header in its place. The layouts
 * are asserted below for x64, x86 and arm64. (mingw-w64's dbghelp.h has three layouts wrong. Do not
 * mix the two.)
 *
 * Two macros change the header if they are defined before it is included. Both are for Linux:
 *
 *  - DUMPWRIGHT_WCS: wcslen and its relatives work on WCHAR; see WIDE STRINGS.
 *  - DUMPWRIGHT_NO_WINDOWS_NAMES: the header does not define GetLastError.
 *
 * ON WINDOWS
 *
 *  - Include <windows.h>, and the SDK's <dbghelp.h> or <minidumpapiset.h>, before this header if
 *    the program uses them. This header does not repeat their declarations.
 *  - Link with the import library dumpwright.dll.lib (MSVC) or libdumpwright.dll.a (mingw) instead
 *    of dbghelp.lib.
 *  - Handles are Windows handles. A process cannot dump itself; let another process do it, as
 *    examples/c/watch.c does.
 *  - File names that are passed to the dumpwright_request... functions are UTF-8, whatever the code
 *    page is.
 *
 * PORTING TO LINUX
 *
 *  - Programs that use little of <windows.h> compile unchanged with the compatibility headers of
 *    dumpwright/windows.h. That file documents what they contain and what they cannot do. The rest
 *    of this list is for all other programs.
 *  - Wide strings: see WIDE STRINGS.
 *  - Paths contain slashes, and module names do not end with .dll or .exe.
 *  - A process handle is the process id: (HANDLE)(intptr_t)pid or DUMPWRIGHT_PID(pid). To dump a
 *    process by its process descriptor (pidfd), use dumpwright_request_pidfd.
 *  - A process can dump itself, as examples/c/dump_itself.c does. The other threads are stopped
 *    for a moment, in which the process is cloned. The callback runs on the caller's thread while
 *    the others run, and may do anything. The thread of the library is not in the dump. The
 *    caller's registers are those of a thread that waits in MiniDumpWriteDump. The system must
 *    permit a child to trace its parent; the message of a failure says what is missing.
 *    For crashes, dumpwright_crash_install has another process make the dump.
 *  - Another process that makes the dump may need permission: prctl(PR_SET_PTRACER). Its callback
 *    must not compare thread ids with GetCurrentThreadId(), as it may in the dumped process.
 *  - A file handle is a descriptor: (HANDLE)(intptr_t)fd or DUMPWRIGHT_FD(fd). NULL means that
 *    there is no file, as on Windows. So descriptor 0, which open() returns to a daemon that has
 *    closed its standard input, can only be passed as DUMPWRIGHT_FD(0). The library does not close
 *    the descriptor. A regular file that was opened with O_APPEND must be empty.
 *  - There are no process snapshots, and PssCaptureSnapshot has no counterpart. A callback must not
 *    answer IsProcessSnapshotCallback with S_FALSE, or the call fails with 0x8007007F. Remove that
 *    case from the callback.
 *  - GetLastError() returns dumpwright_last_error(), unless DUMPWRIGHT_NO_WINDOWS_NAMES is defined.
 *  - CONTEXT is the structure of Windows. dumpwright_exception_from_siginfo copies the registers of
 *    a signal handler's ucontext_t into one.
 *
 * WIDE STRINGS on Linux
 *
 *  - Strings in minidumps have 16-bit units, while wchar_t has 32 bits on Linux. WCHAR is char16_t
 *    here. Write u"ntdll" instead of L"ntdll", WCHAR instead of wchar_t, and std::u16string instead
 *    of std::wstring.
 *  - The dumpwright_wcs... functions below work on WCHAR. If DUMPWRIGHT_WCS is defined before this
 *    header is included, the names wcslen, wcscmp, wcsicmp, wcsrchr and others stand for them.
 *  - dumpwright_wide_to_utf16 and dumpwright_utf8_to_utf16 convert wchar_t and UTF-8 text to WCHAR.
 *    dumpwright_utf8 converts WCHAR text to UTF-8. In C++, dumpwright/strings.hpp converts
 *    std::string, std::wstring and std::u16string. Never pass the bytes of a std::wstring as a
 *    stream: readers would show only the first character of such a CommentStreamW.
 *  - The compiler option -fshort-wchar makes wchar_t and L"..." 16 bits wide, but only in the code
 *    that is compiled with it. The C and C++ libraries still use 32 bits: their wcslen, wprintf and
 *    std::wstring read beyond the end of such strings. The option is suitable for C code with wide
 *    literals and WCHAR strings that calls the dumpwright_wcs... functions; with it, this header
 *    replaces wcslen and its relatives in C by itself. It is not suitable for C++ code that uses
 *    std::wstring.
 *
 * CALLBACKS, on every system
 *
 *  - The library calls callbacks and writer functions on the thread that requested the dump, and
 *    does the rest of its work on a thread of its own.
 *  - The structures that a callback receives, and all that they point to, are valid during that
 *    call only. The library reads the answer in the output structure and the buffers of VmPreRead
 *    and VmPostRead, and ignores all other changes. (DbgHelp also uses what a callback writes to
 *    the text of Module.FullPath. This library does not; use MiniDumpFilterModulePaths to remove
 *    folder names.)
 *  - A callback must set the statuses that it answers with: they do not contain S_OK when it is
 *    called.
 *  - When a 64-bit program dumps a 32-bit process, Thread.Context holds 32-bit registers:
 *    SizeOfContext is 716, and the bytes are a WOW64_CONTEXT. Do not read Rip or Rsp then. (DbgHelp
 *    presents the 64-bit context of such threads, which Linux does not have.)
 *  - A callback may write other dumps.
 *  - A callback may throw a C++ exception. The library resumes the target, and then the exception
 *    continues to the caller of MiniDumpWriteDump or dumpwright_dump. DbgHelp does not promise
 *    that.
 *  - A callback must not leave by longjmp, by a structured exception (such as an access violation
 *    that the caller handles with __except on Windows), or by ending its thread. The target would
 *    stay suspended until the calling process ends, and on Windows even after that. The same is
 *    true of DbgHelp.
 *
 * CALLBACK TYPES, in the order in which they are sent
 *
 * In this list the names lack "Callback" at their end. "Default" is what the output structure
 * contains when the callback is called. A callback that does not handle a type should return TRUE
 * for IncludeThread, IncludeModule, Module and Thread, and FALSE for all others.
 *
 *   IsProcessSnapshot    Is hProcess a process snapshot? If so, return TRUE with Status S_FALSE.
 *                        Default: E_NOTIMPL.
 *   VmStart              Return TRUE with Status S_FALSE to receive VmQuery, VmPreRead and
 *                        VmPostRead. Default: E_NOTIMPL.
 *   IoStart              Return TRUE with Status S_FALSE to write the dump yourself. IoWriteAll and
 *                        IoFinish follow later. Default: E_NOTIMPL.
 *   SecondaryFlags       Return TRUE with MiniSecondaryWithoutPowerInfo to omit the processor's
 *                        clock rates. Default: 0.
 *   Cancel               Return TRUE with Cancel TRUE to fail the dump with 0x800704C7. Set
 *                        CheckCancel to TRUE in every call to be asked again during the dump.
 *                        Default: both FALSE.
 *   IncludeThread,       Sent for each thread and each module. Return FALSE, or clear
 *   IncludeModule        ThreadWriteThread or ModuleWriteModule, to leave it out. Clear other flags
 *                        to leave out parts of it. Flags cannot be added, with one exception:
 *                        IncludeModule may add ModuleReferencedByMemory. Default: all that is
 *                        possible with this dump type.
 *   Module, Thread       Sent with the facts about each included module and thread. Clear flags to
 *                        leave out parts of it. FALSE fails the dump with E_ABORT. Default: the
 *                        flags that were left by the types before.
 *   Memory,              Return TRUE with a range to add it to the dump or to remove it. Sent again
 *   RemoveMemory         until the callback returns FALSE or MemorySize is 0. Not sent for full
 *                        memory. Default: an empty range.
 *   IncludeVmRegion      Full memory only. Sent for each region, in two passes whose answers must
 *                        agree. Return TRUE with Continue TRUE, after narrowing the region to some
 *                        of its pages if you like, or setting RegionSize to 0 to leave it out.
 *                        Without Continue or with FALSE, this region and all further ones are
 *                        included and not sent. Default: the region, Continue FALSE.
 *   IoWriteAll           Sent for each part of the file, in the order of offsets. Return TRUE with
 *                        Status S_OK if all bytes were written. Any other status fails the dump and
 *                        becomes the error code, even S_FALSE (1) or a number of bytes. FALSE fails
 *                        it with E_FAIL. Default: E_FAIL.
 *   IoFinish             The file is complete, or writing it failed. Return TRUE with Status S_OK.
 *                        A status that means failure fails the dump and becomes the error code.
 *                        FALSE fails it with E_FAIL. Default: E_FAIL.
 *   WriteKernelMinidump  Return TRUE with a Handle to request a kernel dump. There never is one:
 *                        KernelMinidumpStatus is then sent with 0xD0000002. Default: NULL.
 *
 * These are sent between the others:
 *
 *   ReadMemoryFailure    Selected memory could not be read. Return TRUE with Status S_OK to leave
 *                        it out. Any other answer fails the dump. Default: S_FALSE.
 *   VmQuery              Which region is at this address? Return TRUE with VmQueryStatus S_OK to
 *                        supply VmQueryResult, E_NOTIMPL to let the library ask the system (like
 *                        FALSE), or E_NOINTERFACE if there are no more regions. Any other status
 *                        fails the dump. Default: E_NOTIMPL.
 *   VmPreRead            Sent before a read. Return TRUE with VmReadStatus S_OK after storing the
 *                        first VmReadBytesCompleted bytes in Buffer. The library reads the rest.
 *                        Default: E_NOTIMPL, 0 bytes.
 *   VmPostRead           Sent after a read. Changes to the bytes in Buffer take effect whatever is
 *                        returned. Return TRUE with VmReadStatus and VmReadBytesCompleted set to
 *                        replace the result of the read as well. Default: E_NOTIMPL, and the number
 *                        of bytes that were read.
 *
 *   CompressedMemoryStreamStart
 *                        Sent for MiniDumpWithMemoryCompressed, before the regions. Return TRUE to
 *                        set MaxTransferSize, the largest piece of memory that is compressed as a
 *                        whole, from 1 MiB to 64 MiB, and MaxParallelism, the number of threads.
 *                        Values out of range are ignored. NUMA nodes are not used. Default: zeros,
 *                        so the library chooses.
 *   CompressedMemoryStreamFinish
 *                        Sent when all memory has been compressed. The result is ignored.
 *
 * ThreadEx, which is for Itanium processors, is never sent.
 *
 * ERRORS
 *
 * Functions that return BOOL return FALSE (0) on failure. Then dumpwright_last_error() is the error
 * code, and dumpwright_last_error_message() is a text that explains it. On Linux the code is also
 * in errno; on Windows GetLastError() returns it. Except those of MiniDumpReadDumpStream, codes are
 * HRESULTs:
 *
 *   0x80070057 E_INVALIDARG    A parameter is wrong: there is no such process, the handle is not a
 *                              handle of that process, the dump type is impossible, ...
 *   0x80070005 E_ACCESSDENIED  The caller may not read the process, another debugger traces it, or
 *                              it has ended. Or the caller may not write the output.
 *   0x80070006 E_HANDLE        There is no output: no file was given and the callback does not
 *                              write the dump, or the file is not open.
 *   0x80070032                 The process cannot be dumped: it is the calling process, a kernel
 *                              thread, or of a kind that is not supported.
 *   0x8007007F                 The callback answered IsProcessSnapshot with S_FALSE, but the target
 *                              is not a snapshot.
 *   0x8007012B                 Selected memory cannot be read, and nothing allows the dump to go on
 *                              without it (see ReadMemoryFailure).
 *   0x800703E6                 The exception's structures cannot be read.
 *   0x800706F8                 A user stream cannot be read.
 *   0x800704C7                 The callback cancelled the dump (Cancel).
 *   0x80004004 E_ABORT         The callback returned FALSE for Module or Thread.
 *   0x8007000D                 The two passes of IncludeVmRegion did not agree.
 *   0x80070050                 The file exists and was not to be replaced, or its name is that of a
 *                              symbolic link.
 *   0x80070070                 The disk is full.
 *   0x800700DF                 The dump is too large for the format or the file system.
 *   0x8007000E E_OUTOFMEMORY   The system could not start a thread.
 *   0x80004005 E_FAIL          Any other failure. The message explains it.
 *   0x8000FFFF E_UNEXPECTED    A defect in the library. Please report it.
 *
 * In addition there are the statuses with which a callback fails the dump and, on Windows, other
 * error codes of the system as HRESULT_FROM_WIN32. The library does not throw exceptions of its
 * own.
 *
 * TRACING (LINUX)
 *
 * The process is stopped with ptrace, by a helper process that the library starts for the time of a
 * dump. The rest of the program sees nothing of the stops: a wait for the process, if it is a child
 * of the program, ends only when the child does. The helper is a child of the program without an
 * exit signal. Only a wait with __WALL or __WCLONE for any child may report its end.
 *
 * Where the system refuses the helper, a thread of the program traces the process, and the report's
 * `tracer` is "in-process". That happens to a child of the program if kernel.yama.ptrace_scope is
 * 1, and the program neither has CAP_SYS_PTRACE nor is named in the child's prctl(PR_SET_PTRACER).
 * Then a waitpid for the child in another thread may return because of a stop, even without
 * WUNTRACED; check WIFSTOPPED and wait again. The program also receives SIGCHLD for the stops.
 *
 * A debugger can dump its own debuggee: on the thread that traces it, while all threads of the
 * debuggee are stopped. The library leaves the stops as they are and consumes no notification of
 * them; the report's `tracer` is "caller". A process that another program traces, or another thread
 * of the same program, cannot be dumped: the call fails with E_ACCESSDENIED.
 *
 * THREADS
 *
 * All functions can be called from any thread, and each thread has its own last error and last
 * report. A request must not be used by several threads at the same time. Several dumps can be
 * written at the same time, but on Linux only one of each process, because a process has only one
 * tracer: the others fail with E_ACCESSDENIED.
 */
#ifndef DUMPWRIGHT_H
#define DUMPWRIGHT_H

#if defined(__GNUC__) || defined(__clang__)
/* Like Microsoft's header, this one has anonymous structures and empty arrays. Compilers must not
 * warn the programs that include it about them. */
#pragma GCC system_header
#elif defined(_MSC_VER)
#pragma warning(push)
#pragma warning(disable : 4200 4201 4324)
#endif

#include <stddef.h>
#include <stdint.h>
#if !defined(_WIN32) && !defined(__cplusplus) && __SIZEOF_WCHAR_T__ != 2
#include <uchar.h>
#endif
#if !defined(_WIN32) && !defined(__cplusplus) && __SIZEOF_WCHAR_T__ == 2 && !defined(DUMPWRIGHT_WCS)
/* With -fshort-wchar, the C library's wcslen and its relatives still expect 32-bit units. */
#define DUMPWRIGHT_WCS 1
#endif
#if defined(_WIN32) || defined(DUMPWRIGHT_WCS) || __SIZEOF_WCHAR_T__ == 2
#include <wchar.h>
#endif

#if defined(_M_X64) || defined(__x86_64__)
#define DUMPWRIGHT_X64 1
#define DUMPWRIGHT_BY_CPU(x64, x86, arm64) (x64)
#elif defined(_M_IX86) || defined(__i386__)
#define DUMPWRIGHT_X86 1
#define DUMPWRIGHT_BY_CPU(x64, x86, arm64) (x86)
#elif defined(_M_ARM64) || defined(__aarch64__)
#define DUMPWRIGHT_ARM64 1
#define DUMPWRIGHT_BY_CPU(x64, x86, arm64) (arm64)
#else
#error "dumpwright.h supports x64, x86 and arm64 only"
#endif

/* On x64 and arm64, structures that contain a CONTEXT by value are aligned to 16 bytes. Compilers
 * disagree whether `#pragma pack(4)` lowers that alignment. So these structures state their
 * alignment explicitly, and the gap before the CONTEXT is a member (DUMPWRIGHT_PAD). */
#if defined(DUMPWRIGHT_X86)
#define DUMPWRIGHT_ALIGN16
#define DUMPWRIGHT_PAD
#elif defined(_MSC_VER)
#define DUMPWRIGHT_ALIGN16 __declspec(align(16))
#else
#define DUMPWRIGHT_ALIGN16 __attribute__((aligned(16)))
#endif
/* Microsoft's header names this member on arm64 only. */
#if defined(DUMPWRIGHT_ARM64)
#define DUMPWRIGHT_PAD ULONG Pad;
#elif defined(DUMPWRIGHT_X64)
#define DUMPWRIGHT_PAD ULONG dumpwright_pad;
#endif

#if defined(__cplusplus)
#define DUMPWRIGHT_ASSERT(condition) static_assert(condition, #condition)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define DUMPWRIGHT_ASSERT(condition) _Static_assert(condition, #condition)
#else
#define DUMPWRIGHT_ASSERT(condition) struct dumpwright_no_assertion
#endif
#define DUMPWRIGHT_SIZE(type, x64, x86, arm64) \
    DUMPWRIGHT_ASSERT(sizeof(type) == DUMPWRIGHT_BY_CPU(x64, x86, arm64))
#define DUMPWRIGHT_OFFSET(type, member, x64, x86, arm64) \
    DUMPWRIGHT_ASSERT(offsetof(type, member) == DUMPWRIGHT_BY_CPU(x64, x86, arm64))

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Basic types of Windows, unless <windows.h> was included before ---- */

#if !defined(_WINDEF_) && !defined(_MINWINDEF_) && !defined(_WINNT_)

#if defined(_WIN32)
#ifndef WINAPI
#define WINAPI __stdcall
#endif
#ifndef CALLBACK
#define CALLBACK __stdcall
#endif
typedef unsigned long DWORD;
typedef unsigned long ULONG;
typedef long LONG;
typedef long HRESULT;
typedef wchar_t WCHAR;
#else
#ifndef WINAPI
#define WINAPI
#endif
#ifndef CALLBACK
#define CALLBACK
#endif
typedef uint32_t DWORD;
typedef uint32_t ULONG;
typedef int32_t LONG;
typedef int32_t HRESULT;
#if __SIZEOF_WCHAR_T__ == 2
typedef wchar_t WCHAR;
#else
typedef char16_t WCHAR;
#endif
#endif
DUMPWRIGHT_ASSERT(sizeof(WCHAR) == 2);

#ifndef VOID
#define VOID void
#endif
#ifndef CONST
#define CONST const
#endif
#ifndef TRUE
#define TRUE 1
#endif
#ifndef FALSE
#define FALSE 0
#endif
typedef int BOOL;
typedef unsigned char BYTE;
typedef unsigned char UCHAR;
typedef unsigned short WORD;
typedef unsigned short USHORT;
typedef unsigned int ULONG32;
typedef int LONG32;
typedef unsigned int UINT32;
typedef int INT32;
typedef void *PVOID;
typedef void *LPVOID;
typedef void *HANDLE;
typedef WCHAR *PWCHAR;
typedef WCHAR *PWSTR;
typedef const WCHAR *PCWSTR;
typedef DWORD *PDWORD;
typedef ULONG *PULONG;
typedef BOOL *PBOOL;
typedef unsigned long long ULONG64;
typedef unsigned long long ULONGLONG;
typedef unsigned long long DWORD64;
typedef long long LONG64;
typedef long long LONGLONG;
typedef uintptr_t ULONG_PTR;
typedef size_t SIZE_T;
#ifndef INVALID_HANDLE_VALUE
#define INVALID_HANDLE_VALUE ((HANDLE)(intptr_t)-1)
#endif

#if defined(DUMPWRIGHT_X86)
#define DUMPWRIGHT_CONTEXT_ALIGN
#elif defined(_MSC_VER)
#define DUMPWRIGHT_CONTEXT_ALIGN __declspec(align(16))
#else
#define DUMPWRIGHT_CONTEXT_ALIGN __attribute__((aligned(16)))
#endif

#if defined(DUMPWRIGHT_X64)
typedef struct DUMPWRIGHT_CONTEXT_ALIGN _M128A {
    ULONGLONG Low;
    LONGLONG High;
} M128A;
typedef struct DUMPWRIGHT_CONTEXT_ALIGN _XSAVE_FORMAT {
    WORD ControlWord;
    WORD StatusWord;
    BYTE TagWord;
    BYTE Reserved1;
    WORD ErrorOpcode;
    DWORD ErrorOffset;
    WORD ErrorSelector;
    WORD Reserved2;
    DWORD DataOffset;
    WORD DataSelector;
    WORD Reserved3;
    DWORD MxCsr;
    DWORD MxCsr_Mask;
    M128A FloatRegisters[8];
    M128A XmmRegisters[16];
    BYTE Reserved4[96];
} XMM_SAVE_AREA32;
typedef struct DUMPWRIGHT_CONTEXT_ALIGN _CONTEXT {
    DWORD64 P1Home, P2Home, P3Home, P4Home, P5Home, P6Home;
    DWORD ContextFlags;
    DWORD MxCsr;
    WORD SegCs, SegDs, SegEs, SegFs, SegGs, SegSs;
    DWORD EFlags;
    DWORD64 Dr0, Dr1, Dr2, Dr3, Dr6, Dr7;
    DWORD64 Rax, Rcx, Rdx, Rbx, Rsp, Rbp, Rsi, Rdi;
    DWORD64 R8, R9, R10, R11, R12, R13, R14, R15;
    DWORD64 Rip;
    union {
        XMM_SAVE_AREA32 FltSave;
        struct {
            M128A Header[2];
            M128A Legacy[8];
            M128A Xmm0, Xmm1, Xmm2, Xmm3, Xmm4, Xmm5, Xmm6, Xmm7;
            M128A Xmm8, Xmm9, Xmm10, Xmm11, Xmm12, Xmm13, Xmm14, Xmm15;
        };
    };
    M128A VectorRegister[26];
    DWORD64 VectorControl;
    DWORD64 DebugControl;
    DWORD64 LastBranchToRip, LastBranchFromRip;
    DWORD64 LastExceptionToRip, LastExceptionFromRip;
} CONTEXT, *PCONTEXT;
#define CONTEXT_AMD64 0x00100000L
#define CONTEXT_CONTROL (CONTEXT_AMD64 | 0x1L)
#define CONTEXT_INTEGER (CONTEXT_AMD64 | 0x2L)
#define CONTEXT_SEGMENTS (CONTEXT_AMD64 | 0x4L)
#define CONTEXT_FLOATING_POINT (CONTEXT_AMD64 | 0x8L)
#define CONTEXT_DEBUG_REGISTERS (CONTEXT_AMD64 | 0x10L)
#define CONTEXT_FULL (CONTEXT_CONTROL | CONTEXT_INTEGER | CONTEXT_FLOATING_POINT)
#define CONTEXT_ALL (CONTEXT_FULL | CONTEXT_SEGMENTS | CONTEXT_DEBUG_REGISTERS)
DUMPWRIGHT_ASSERT(offsetof(CONTEXT, Rax) == 0x78);
DUMPWRIGHT_ASSERT(offsetof(CONTEXT, Rip) == 0xf8);
DUMPWRIGHT_ASSERT(offsetof(CONTEXT, Xmm0) == 0x1a0);
#elif defined(DUMPWRIGHT_X86)
typedef struct _FLOATING_SAVE_AREA {
    DWORD ControlWord, StatusWord, TagWord, ErrorOffset, ErrorSelector, DataOffset, DataSelector;
    BYTE RegisterArea[80];
    DWORD Spare0;
} FLOATING_SAVE_AREA;
typedef struct _CONTEXT {
    DWORD ContextFlags;
    DWORD Dr0, Dr1, Dr2, Dr3, Dr6, Dr7;
    FLOATING_SAVE_AREA FloatSave;
    DWORD SegGs, SegFs, SegEs, SegDs;
    DWORD Edi, Esi, Ebx, Edx, Ecx, Eax;
    DWORD Ebp, Eip, SegCs, EFlags, Esp, SegSs;
    BYTE ExtendedRegisters[512];
} CONTEXT, *PCONTEXT;
#define CONTEXT_i386 0x00010000L
#define CONTEXT_CONTROL (CONTEXT_i386 | 0x1L)
#define CONTEXT_INTEGER (CONTEXT_i386 | 0x2L)
#define CONTEXT_SEGMENTS (CONTEXT_i386 | 0x4L)
#define CONTEXT_FLOATING_POINT (CONTEXT_i386 | 0x8L)
#define CONTEXT_DEBUG_REGISTERS (CONTEXT_i386 | 0x10L)
#define CONTEXT_EXTENDED_REGISTERS (CONTEXT_i386 | 0x20L)
#define CONTEXT_FULL (CONTEXT_CONTROL | CONTEXT_INTEGER | CONTEXT_SEGMENTS)
#define CONTEXT_ALL (CONTEXT_FULL | CONTEXT_FLOATING_POINT | CONTEXT_DEBUG_REGISTERS | CONTEXT_EXTENDED_REGISTERS)
DUMPWRIGHT_ASSERT(offsetof(CONTEXT, Eip) == 0xb8);
#else
typedef union _ARM64_NT_NEON128 {
    struct {
        ULONGLONG Low;
        LONGLONG High;
    };
    double D[2];
    float S[4];
    WORD H[8];
    BYTE B[16];
} ARM64_NT_NEON128;
typedef struct DUMPWRIGHT_CONTEXT_ALIGN _CONTEXT {
    DWORD ContextFlags;
    DWORD Cpsr;
    union {
        struct {
            DWORD64 X0, X1, X2, X3, X4, X5, X6, X7, X8, X9, X10, X11, X12, X13, X14, X15, X16, X17, X18;
            DWORD64 X19, X20, X21, X22, X23, X24, X25, X26, X27, X28, Fp, Lr;
        };
        DWORD64 X[31];
    };
    DWORD64 Sp;
    DWORD64 Pc;
    ARM64_NT_NEON128 V[32];
    DWORD Fpcr;
    DWORD Fpsr;
    DWORD Bcr[8];
    DWORD64 Bvr[8];
    DWORD Wcr[2];
    DWORD64 Wvr[2];
} CONTEXT, *PCONTEXT;
#define CONTEXT_ARM64 0x00400000L
#define CONTEXT_CONTROL (CONTEXT_ARM64 | 0x1L)
#define CONTEXT_INTEGER (CONTEXT_ARM64 | 0x2L)
#define CONTEXT_FLOATING_POINT (CONTEXT_ARM64 | 0x4L)
#define CONTEXT_DEBUG_REGISTERS (CONTEXT_ARM64 | 0x8L)
#define CONTEXT_FULL (CONTEXT_CONTROL | CONTEXT_INTEGER | CONTEXT_FLOATING_POINT)
#define CONTEXT_ALL (CONTEXT_FULL | CONTEXT_DEBUG_REGISTERS)
DUMPWRIGHT_ASSERT(offsetof(CONTEXT, Pc) == 0x108);
#endif

#define EXCEPTION_MAXIMUM_PARAMETERS 15
typedef struct _EXCEPTION_RECORD {
    DWORD ExceptionCode;
    DWORD ExceptionFlags;
    struct _EXCEPTION_RECORD *ExceptionRecord;
    PVOID ExceptionAddress;
    DWORD NumberParameters;
    ULONG_PTR ExceptionInformation[EXCEPTION_MAXIMUM_PARAMETERS];
} EXCEPTION_RECORD, *PEXCEPTION_RECORD;
typedef struct _EXCEPTION_POINTERS {
    PEXCEPTION_RECORD ExceptionRecord;
    PCONTEXT ContextRecord;
} EXCEPTION_POINTERS, *PEXCEPTION_POINTERS;
DUMPWRIGHT_SIZE(EXCEPTION_RECORD, 152, 80, 152);

#if !defined(DUMPWRIGHT_X86)
/* The registers of a 32-bit thread on a 64-bit system. Thread.Context contains this structure when
 * SizeOfContext is 716. */
typedef struct _WOW64_FLOATING_SAVE_AREA {
    DWORD ControlWord, StatusWord, TagWord, ErrorOffset, ErrorSelector, DataOffset, DataSelector;
    BYTE RegisterArea[80];
    DWORD Cr0NpxState;
} WOW64_FLOATING_SAVE_AREA, *PWOW64_FLOATING_SAVE_AREA;
typedef struct _WOW64_CONTEXT {
    DWORD ContextFlags;
    DWORD Dr0, Dr1, Dr2, Dr3, Dr6, Dr7;
    WOW64_FLOATING_SAVE_AREA FloatSave;
    DWORD SegGs, SegFs, SegEs, SegDs;
    DWORD Edi, Esi, Ebx, Edx, Ecx, Eax;
    DWORD Ebp, Eip, SegCs, EFlags, Esp, SegSs;
    BYTE ExtendedRegisters[512];
} WOW64_CONTEXT, *PWOW64_CONTEXT;
DUMPWRIGHT_ASSERT(sizeof(WOW64_CONTEXT) == 716);
DUMPWRIGHT_ASSERT(offsetof(WOW64_CONTEXT, Eip) == 0xb8);
#endif

typedef struct _SYSTEMTIME {
    WORD wYear, wMonth, wDayOfWeek, wDay, wHour, wMinute, wSecond, wMilliseconds;
} SYSTEMTIME, *PSYSTEMTIME, *LPSYSTEMTIME;
typedef struct _TIME_ZONE_INFORMATION {
    LONG Bias;
    WCHAR StandardName[32];
    SYSTEMTIME StandardDate;
    LONG StandardBias;
    WCHAR DaylightName[32];
    SYSTEMTIME DaylightDate;
    LONG DaylightBias;
} TIME_ZONE_INFORMATION, *PTIME_ZONE_INFORMATION, *LPTIME_ZONE_INFORMATION;
DUMPWRIGHT_SIZE(TIME_ZONE_INFORMATION, 172, 172, 172);

#define PAGE_NOACCESS 0x01
#define PAGE_READONLY 0x02
#define PAGE_READWRITE 0x04
#define PAGE_WRITECOPY 0x08
#define PAGE_EXECUTE 0x10
#define PAGE_EXECUTE_READ 0x20
#define PAGE_EXECUTE_READWRITE 0x40
#define PAGE_EXECUTE_WRITECOPY 0x80
#define PAGE_GUARD 0x100
#define PAGE_NOCACHE 0x200
#define PAGE_WRITECOMBINE 0x400
#define MEM_COMMIT 0x1000
#define MEM_RESERVE 0x2000
#define MEM_FREE 0x10000
#define MEM_PRIVATE 0x20000
#define MEM_MAPPED 0x40000
#define MEM_IMAGE 0x1000000
#endif /* no <windows.h> */

DUMPWRIGHT_SIZE(CONTEXT, 1232, 716, 912);

#ifndef MAX_PATH
#define MAX_PATH 260
#endif

/* Older SDKs lack this structure. */
#ifndef MAXIMUM_XSTATE_FEATURES
#define MAXIMUM_XSTATE_FEATURES 64
typedef struct _XSTATE_FEATURE {
    DWORD Offset;
    DWORD Size;
} XSTATE_FEATURE, *PXSTATE_FEATURE;
#endif

#if !defined(VS_FFI_SIGNATURE)
#define VS_FFI_SIGNATURE 0xFEEF04BDL
typedef struct tagVS_FIXEDFILEINFO {
    DWORD dwSignature;
    DWORD dwStrucVersion;
    DWORD dwFileVersionMS;
    DWORD dwFileVersionLS;
    DWORD dwProductVersionMS;
    DWORD dwProductVersionLS;
    DWORD dwFileFlagsMask;
    DWORD dwFileFlags;
    DWORD dwFileOS;
    DWORD dwFileType;
    DWORD dwFileSubtype;
    DWORD dwFileDateMS;
    DWORD dwFileDateLS;
} VS_FIXEDFILEINFO;
#endif
DUMPWRIGHT_SIZE(VS_FIXEDFILEINFO, 52, 52, 52);

/* Status codes that callbacks answer with and that calls fail with. */
#ifndef S_OK
#define S_OK ((HRESULT)0)
#define S_FALSE ((HRESULT)1)
#endif
#ifndef E_UNEXPECTED
#define E_UNEXPECTED ((HRESULT)0x8000FFFF)
#endif
#ifndef E_NOTIMPL
#define E_NOTIMPL ((HRESULT)0x80004001)
#define E_NOINTERFACE ((HRESULT)0x80004002)
#define E_ABORT ((HRESULT)0x80004004)
#define E_FAIL ((HRESULT)0x80004005)
#define E_ACCESSDENIED ((HRESULT)0x80070005)
#define E_HANDLE ((HRESULT)0x80070006)
#define E_OUTOFMEMORY ((HRESULT)0x8007000E)
#define E_INVALIDARG ((HRESULT)0x80070057)
#endif
#ifndef SUCCEEDED
#define SUCCEEDED(status) (((HRESULT)(status)) >= 0)
#define FAILED(status) (((HRESULT)(status)) < 0)
#endif
#ifndef ERROR_NOT_FOUND
#define ERROR_INVALID_DATA 13L
#define ERROR_DISK_FULL 112L
#define ERROR_PARTIAL_COPY 299L
#define ERROR_NOACCESS 998L
#define ERROR_NOT_FOUND 1168L
#define ERROR_CANCELLED 1223L
#endif
#ifndef HRESULT_FROM_WIN32
#define HRESULT_FROM_WIN32(code) ((HRESULT)(code) <= 0 ? (HRESULT)(code) : (HRESULT)(((code) & 0xFFFF) | 0x80070000))
#endif

/* ---- The part of Microsoft's dbghelp.h that is about minidumps ---- */

/* These declarations are skipped if <dbghelp.h> or <minidumpapiset.h> was included before. The
 * SDK's <minidumpapiset.h>, which its <dbghelp.h> includes, is recognized by the macro
 * MINIDUMP_SIGNATURE. Its include guard, _MINIDUMP_H, would not do: many programs use that name for
 * a header of their own. mingw-w64's <dbghelp.h> is recognized by its guard, _DBGHELP_. */
#if !defined(_DBGHELP_) && !defined(MINIDUMP_SIGNATURE)

typedef enum _MINIDUMP_TYPE {
    MiniDumpNormal = 0x0,
    MiniDumpWithDataSegs = 0x1,
    MiniDumpWithFullMemory = 0x2,
    MiniDumpWithHandleData = 0x4,
    MiniDumpFilterMemory = 0x8,
    MiniDumpScanMemory = 0x10,
    MiniDumpWithUnloadedModules = 0x20,
    MiniDumpWithIndirectlyReferencedMemory = 0x40,
    MiniDumpFilterModulePaths = 0x80,
    MiniDumpWithProcessThreadData = 0x100,
    MiniDumpWithPrivateReadWriteMemory = 0x200,
    MiniDumpWithoutOptionalData = 0x400,
    MiniDumpWithFullMemoryInfo = 0x800,
    MiniDumpWithThreadInfo = 0x1000,
    MiniDumpWithCodeSegs = 0x2000,
    MiniDumpWithoutAuxiliaryState = 0x4000,
    MiniDumpWithFullAuxiliaryState = 0x8000,
    MiniDumpWithPrivateWriteCopyMemory = 0x10000,
    MiniDumpIgnoreInaccessibleMemory = 0x20000,
    MiniDumpWithTokenInformation = 0x40000,
    MiniDumpWithModuleHeaders = 0x80000,
    MiniDumpFilterTriage = 0x100000,
    MiniDumpWithAvxXStateContext = 0x200000,
    MiniDumpWithIptTrace = 0x400000,
    MiniDumpScanInaccessiblePartialPages = 0x800000,
    MiniDumpFilterWriteCombinedMemory = 0x1000000,
    MiniDumpNoIgnoreInaccessibleMemory = 0x2000000,
    MiniDumpWithMemoryCompressed = 0x4000000,
    MiniDumpValidTypeFlags = 0x5ffffff,
    MiniDumpValidTypeFlagsEx = 0x7ffffff,
} MINIDUMP_TYPE;

typedef enum _MINIDUMP_CALLBACK_TYPE {
    ModuleCallback = 0x0,
    ThreadCallback = 0x1,
    ThreadExCallback = 0x2,
    IncludeThreadCallback = 0x3,
    IncludeModuleCallback = 0x4,
    MemoryCallback = 0x5,
    CancelCallback = 0x6,
    WriteKernelMinidumpCallback = 0x7,
    KernelMinidumpStatusCallback = 0x8,
    RemoveMemoryCallback = 0x9,
    IncludeVmRegionCallback = 0xa,
    IoStartCallback = 0xb,
    IoWriteAllCallback = 0xc,
    IoFinishCallback = 0xd,
    ReadMemoryFailureCallback = 0xe,
    SecondaryFlagsCallback = 0xf,
    IsProcessSnapshotCallback = 0x10,
    VmStartCallback = 0x11,
    VmQueryCallback = 0x12,
    VmPreReadCallback = 0x13,
    VmPostReadCallback = 0x14,
    CompressedMemoryStreamStartCallback = 0x15,
    CompressedMemoryStreamFinishCallback = 0x16,
} MINIDUMP_CALLBACK_TYPE;

typedef enum _THREAD_WRITE_FLAGS {
    ThreadWriteThread = 0x1,
    ThreadWriteStack = 0x2,
    ThreadWriteContext = 0x4,
    ThreadWriteBackingStore = 0x8,
    ThreadWriteInstructionWindow = 0x10,
    ThreadWriteThreadData = 0x20,
    ThreadWriteThreadInfo = 0x40,
} THREAD_WRITE_FLAGS;

typedef enum _MODULE_WRITE_FLAGS {
    ModuleWriteModule = 0x1,
    ModuleWriteDataSeg = 0x2,
    ModuleWriteMiscRecord = 0x4,
    ModuleWriteCvRecord = 0x8,
    ModuleReferencedByMemory = 0x10,
    ModuleWriteTlsData = 0x20,
    ModuleWriteCodeSegs = 0x40,
} MODULE_WRITE_FLAGS;

typedef enum _MINIDUMP_SECONDARY_FLAGS {
    MiniSecondaryWithoutPowerInfo = 0x1,
    MiniSecondaryValidFlags = 0x1,
} MINIDUMP_SECONDARY_FLAGS;

typedef enum _MINIDUMP_STREAM_TYPE {
    UnusedStream = 0x0,
    ReservedStream0 = 0x1,
    ReservedStream1 = 0x2,
    ThreadListStream = 0x3,
    ModuleListStream = 0x4,
    MemoryListStream = 0x5,
    ExceptionStream = 0x6,
    SystemInfoStream = 0x7,
    ThreadExListStream = 0x8,
    Memory64ListStream = 0x9,
    CommentStreamA = 0xa,
    CommentStreamW = 0xb,
    HandleDataStream = 0xc,
    FunctionTableStream = 0xd,
    UnloadedModuleListStream = 0xe,
    MiscInfoStream = 0xf,
    MemoryInfoListStream = 0x10,
    ThreadInfoListStream = 0x11,
    HandleOperationListStream = 0x12,
    TokenStream = 0x13,
    JavaScriptDataStream = 0x14,
    SystemMemoryInfoStream = 0x15,
    ProcessVmCountersStream = 0x16,
    IptTraceStream = 0x17,
    ThreadNamesStream = 0x18,
    CompressedMemoryStream = 0x19,
    CompressedMemoryStreamSQL = 0x7000,
    ceStreamNull = 0x8000,
    ceStreamSystemInfo = 0x8001,
    ceStreamException = 0x8002,
    ceStreamModuleList = 0x8003,
    ceStreamProcessList = 0x8004,
    ceStreamThreadList = 0x8005,
    ceStreamThreadContextList = 0x8006,
    ceStreamThreadCallStackList = 0x8007,
    ceStreamMemoryVirtualList = 0x8008,
    ceStreamMemoryPhysicalList = 0x8009,
    ceStreamBucketParameters = 0x800a,
    ceStreamProcessModuleMap = 0x800b,
    ceStreamDiagnosisList = 0x800c,
    LastReservedStream = 0xffff,
} MINIDUMP_STREAM_TYPE;

/* Streams that Breakpad, Crashpad and Mozilla have defined. */
typedef enum _dumpwright_stream_type {
    dumpwright_CrashpadInfoStream = 0x43500001,
    dumpwright_BreakpadInfoStream = 0x47670001,
    dumpwright_AssertionInfoStream = 0x47670002,
    dumpwright_LinuxCpuInfoStream = 0x47670003,
    dumpwright_LinuxProcStatusStream = 0x47670004,
    dumpwright_LinuxLsbReleaseStream = 0x47670005,
    dumpwright_LinuxCmdLineStream = 0x47670006,
    dumpwright_LinuxEnvironStream = 0x47670007,
    dumpwright_LinuxAuxvStream = 0x47670008,
    dumpwright_LinuxMapsStream = 0x47670009,
    dumpwright_LinuxDsoDebugStream = 0x4767000a,
    dumpwright_MozMacosCrashInfoStream = 0x4d7a0001,
    dumpwright_MozMacosBootargsStream = 0x4d7a0002,
    dumpwright_MozLinuxLimitsStream = 0x4d7a0003,
    dumpwright_MozSoftErrorsStream = 0x4d7a0004,
} dumpwright_stream_type;

#define MINIDUMP_SIGNATURE 0x504D444D
#define MINIDUMP_VERSION 42899

#pragma pack(push, 4)

/* A memory region, with the values of MEMORY_BASIC_INFORMATION. */
typedef struct _MINIDUMP_MEMORY_INFO {
    ULONG64 BaseAddress;
    ULONG64 AllocationBase;
    ULONG32 AllocationProtect;
    ULONG32 __alignment1;
    ULONG64 RegionSize;
    ULONG32 State;
    ULONG32 Protect;
    ULONG32 Type;
    ULONG32 __alignment2;
} MINIDUMP_MEMORY_INFO, *PMINIDUMP_MEMORY_INFO;

/* The thread of ThreadCallback. StackBase is the upper end of its stack. */
typedef struct DUMPWRIGHT_ALIGN16 _MINIDUMP_THREAD_CALLBACK {
    ULONG ThreadId;
    HANDLE ThreadHandle;
    DUMPWRIGHT_PAD
    CONTEXT Context;
    ULONG SizeOfContext;
    ULONG64 StackBase;
    ULONG64 StackEnd;
} MINIDUMP_THREAD_CALLBACK, *PMINIDUMP_THREAD_CALLBACK;

/* The thread of ThreadExCallback, with the ends of its backing store. */
typedef struct DUMPWRIGHT_ALIGN16 _MINIDUMP_THREAD_EX_CALLBACK {
    ULONG ThreadId;
    HANDLE ThreadHandle;
    DUMPWRIGHT_PAD
    CONTEXT Context;
    ULONG SizeOfContext;
    ULONG64 StackBase;
    ULONG64 StackEnd;
    ULONG64 BackingStoreBase;
    ULONG64 BackingStoreEnd;
} MINIDUMP_THREAD_EX_CALLBACK, *PMINIDUMP_THREAD_EX_CALLBACK;

/* The thread that IncludeThreadCallback is about. */
typedef struct _MINIDUMP_INCLUDE_THREAD_CALLBACK {
    ULONG ThreadId;
} MINIDUMP_INCLUDE_THREAD_CALLBACK, *PMINIDUMP_INCLUDE_THREAD_CALLBACK;

/* The module of ModuleCallback. */
typedef struct _MINIDUMP_MODULE_CALLBACK {
    PWCHAR FullPath;
    ULONG64 BaseOfImage;
    ULONG SizeOfImage;
    ULONG CheckSum;
    ULONG TimeDateStamp;
    VS_FIXEDFILEINFO VersionInfo;
    PVOID CvRecord;
    ULONG SizeOfCvRecord;
    PVOID MiscRecord;
    ULONG SizeOfMiscRecord;
} MINIDUMP_MODULE_CALLBACK, *PMINIDUMP_MODULE_CALLBACK;

/* The module that IncludeModuleCallback is about. */
typedef struct _MINIDUMP_INCLUDE_MODULE_CALLBACK {
    ULONG64 BaseOfImage;
} MINIDUMP_INCLUDE_MODULE_CALLBACK, *PMINIDUMP_INCLUDE_MODULE_CALLBACK;

/* The output file. IoWriteAllCallback adds the bytes to write and their offset. */
typedef struct _MINIDUMP_IO_CALLBACK {
    HANDLE Handle;
    ULONG64 Offset;
    PVOID Buffer;
    ULONG BufferBytes;
} MINIDUMP_IO_CALLBACK, *PMINIDUMP_IO_CALLBACK;

/* Memory that could not be read. */
typedef struct _MINIDUMP_READ_MEMORY_FAILURE_CALLBACK {
    ULONG64 Offset;
    ULONG Bytes;
    HRESULT FailureStatus;
} MINIDUMP_READ_MEMORY_FAILURE_CALLBACK, *PMINIDUMP_READ_MEMORY_FAILURE_CALLBACK;

/* The address that VmQueryCallback asks about. */
typedef struct _MINIDUMP_VM_QUERY_CALLBACK {
    ULONG64 Offset;
} MINIDUMP_VM_QUERY_CALLBACK, *PMINIDUMP_VM_QUERY_CALLBACK;

/* A memory read that is about to happen. */
typedef struct _MINIDUMP_VM_PRE_READ_CALLBACK {
    ULONG64 Offset;
    PVOID Buffer;
    ULONG Size;
} MINIDUMP_VM_PRE_READ_CALLBACK, *PMINIDUMP_VM_PRE_READ_CALLBACK;

/* A memory read that has happened. */
typedef struct _MINIDUMP_VM_POST_READ_CALLBACK {
    ULONG64 Offset;
    PVOID Buffer;
    ULONG Size;
    ULONG Completed;
    HRESULT Status;
} MINIDUMP_VM_POST_READ_CALLBACK, *PMINIDUMP_VM_POST_READ_CALLBACK;

/* The answer to CompressedMemoryStreamStartCallback. */
typedef struct _MINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK {
    ULONG32 MaxParallelism;
    ULONG32 MaxTransferSize;
    PVOID NumaNodeInfoArray;
    ULONG32 NumaNodeInfoArraySize;
    ULONG32 Reserved;
} MINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK, *PMINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK;

/* The result of compressing the memory. */
typedef struct _MINIDUMP_COMPRESSED_MEMORY_STREAM_FINISH_CALLBACK {
    ULONG64 CompressedStreamSize;
    ULONG32 StreamCompressionRate;
} MINIDUMP_COMPRESSED_MEMORY_STREAM_FINISH_CALLBACK, *PMINIDUMP_COMPRESSED_MEMORY_STREAM_FINISH_CALLBACK;

/* One call of the callback: its type and the facts of the question. */
typedef struct DUMPWRIGHT_ALIGN16 _MINIDUMP_CALLBACK_INPUT {
    ULONG ProcessId;
    HANDLE ProcessHandle;
    ULONG CallbackType;
    union {
        HRESULT Status;
        MINIDUMP_THREAD_CALLBACK Thread;
        MINIDUMP_THREAD_EX_CALLBACK ThreadEx;
        MINIDUMP_MODULE_CALLBACK Module;
        MINIDUMP_INCLUDE_THREAD_CALLBACK IncludeThread;
        MINIDUMP_INCLUDE_MODULE_CALLBACK IncludeModule;
        MINIDUMP_IO_CALLBACK Io;
        MINIDUMP_READ_MEMORY_FAILURE_CALLBACK ReadMemoryFailure;
        ULONG SecondaryFlags;
        MINIDUMP_VM_QUERY_CALLBACK VmQuery;
        MINIDUMP_VM_PRE_READ_CALLBACK VmPreRead;
        MINIDUMP_VM_POST_READ_CALLBACK VmPostRead;
        MINIDUMP_COMPRESSED_MEMORY_STREAM_FINISH_CALLBACK CompressedMemoryStreamFinish;
    };
} MINIDUMP_CALLBACK_INPUT, *PMINIDUMP_CALLBACK_INPUT;

/* The answer. It holds the default answer when the callback is called. */
typedef struct _MINIDUMP_CALLBACK_OUTPUT {
    union {
        ULONG ModuleWriteFlags;
        ULONG ThreadWriteFlags;
        ULONG SecondaryFlags;
        struct {
            ULONG64 MemoryBase;
            ULONG MemorySize;
        };
        struct {
            BOOL CheckCancel;
            BOOL Cancel;
        };
        HANDLE Handle;
        struct {
            MINIDUMP_MEMORY_INFO VmRegion;
            BOOL Continue;
        };
        struct {
            HRESULT VmQueryStatus;
            MINIDUMP_MEMORY_INFO VmQueryResult;
        };
        struct {
            HRESULT VmReadStatus;
            ULONG VmReadBytesCompleted;
        };
        MINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK CompressedMemoryStreamStart;
        HRESULT Status;
    };
} MINIDUMP_CALLBACK_OUTPUT, *PMINIDUMP_CALLBACK_OUTPUT;

typedef BOOL(WINAPI *MINIDUMP_CALLBACK_ROUTINE)(PVOID CallbackParam, PMINIDUMP_CALLBACK_INPUT CallbackInput,
                                               PMINIDUMP_CALLBACK_OUTPUT CallbackOutput);

/* The callback routine and its first argument. */
typedef struct _MINIDUMP_CALLBACK_INFORMATION {
    MINIDUMP_CALLBACK_ROUTINE CallbackRoutine;
    PVOID CallbackParam;
} MINIDUMP_CALLBACK_INFORMATION, *PMINIDUMP_CALLBACK_INFORMATION;

/* The exception. With ClientPointers, the pointers are addresses in the target. */
typedef struct _MINIDUMP_EXCEPTION_INFORMATION {
    ULONG32 ThreadId;
    PEXCEPTION_POINTERS ExceptionPointers;
    BOOL ClientPointers;
} MINIDUMP_EXCEPTION_INFORMATION, *PMINIDUMP_EXCEPTION_INFORMATION;

/* A user stream. */
typedef struct _MINIDUMP_USER_STREAM {
    ULONG32 Type;
    ULONG BufferSize;
    PVOID Buffer;
} MINIDUMP_USER_STREAM, *PMINIDUMP_USER_STREAM;

/* All user streams. */
typedef struct _MINIDUMP_USER_STREAM_INFORMATION {
    ULONG UserStreamCount;
    PMINIDUMP_USER_STREAM UserStreamArray;
} MINIDUMP_USER_STREAM_INFORMATION, *PMINIDUMP_USER_STREAM_INFORMATION;

/* Structures in the file. An RVA is an offset from the beginning of the file, in bytes. */
typedef DWORD RVA;
typedef ULONG64 RVA64;

/* The address of the byte at offset `rva` of a dump that is in memory at `base`. */
#define RVA_TO_ADDR(base, rva) ((PVOID)((ULONG_PTR)(base) + (rva)))

typedef struct _MINIDUMP_LOCATION_DESCRIPTOR {
    ULONG32 DataSize;
    RVA Rva;
} MINIDUMP_LOCATION_DESCRIPTOR;
typedef struct _MINIDUMP_LOCATION_DESCRIPTOR64 {
    ULONG64 DataSize;
    RVA64 Rva;
} MINIDUMP_LOCATION_DESCRIPTOR64;
typedef struct _MINIDUMP_MEMORY_DESCRIPTOR {
    ULONG64 StartOfMemoryRange;
    MINIDUMP_LOCATION_DESCRIPTOR Memory;
} MINIDUMP_MEMORY_DESCRIPTOR, *PMINIDUMP_MEMORY_DESCRIPTOR;
typedef struct _MINIDUMP_MEMORY_DESCRIPTOR64 {
    ULONG64 StartOfMemoryRange;
    ULONG64 DataSize;
} MINIDUMP_MEMORY_DESCRIPTOR64, *PMINIDUMP_MEMORY_DESCRIPTOR64;
typedef struct _MINIDUMP_HEADER {
    ULONG32 Signature;
    ULONG32 Version;
    ULONG32 NumberOfStreams;
    RVA StreamDirectoryRva;
    ULONG32 CheckSum;
    union {
        ULONG32 Reserved;
        ULONG32 TimeDateStamp;
    };
    ULONG64 Flags;
} MINIDUMP_HEADER, *PMINIDUMP_HEADER;
typedef struct _MINIDUMP_DIRECTORY {
    ULONG32 StreamType;
    MINIDUMP_LOCATION_DESCRIPTOR Location;
} MINIDUMP_DIRECTORY, *PMINIDUMP_DIRECTORY;
typedef struct _MINIDUMP_STRING {
    ULONG32 Length;
    WCHAR Buffer[];
} MINIDUMP_STRING, *PMINIDUMP_STRING;
typedef union _CPU_INFORMATION {
    struct {
        ULONG32 VendorId[3];
        ULONG32 VersionInformation;
        ULONG32 FeatureInformation;
        ULONG32 AMDExtendedCpuFeatures;
    } X86CpuInfo;
    struct {
        ULONG64 ProcessorFeatures[2];
    } OtherCpuInfo;
} CPU_INFORMATION, *PCPU_INFORMATION;
typedef struct _MINIDUMP_SYSTEM_INFO {
    USHORT ProcessorArchitecture;
    USHORT ProcessorLevel;
    USHORT ProcessorRevision;
    union {
        USHORT Reserved0;
        struct {
            UCHAR NumberOfProcessors;
            UCHAR ProductType;
        };
    };
    ULONG32 MajorVersion;
    ULONG32 MinorVersion;
    ULONG32 BuildNumber;
    ULONG32 PlatformId;
    RVA CSDVersionRva;
    union {
        ULONG32 Reserved1;
        struct {
            USHORT SuiteMask;
            USHORT Reserved2;
        };
    };
    CPU_INFORMATION Cpu;
} MINIDUMP_SYSTEM_INFO, *PMINIDUMP_SYSTEM_INFO;
typedef struct _MINIDUMP_THREAD {
    ULONG32 ThreadId;
    ULONG32 SuspendCount;
    ULONG32 PriorityClass;
    ULONG32 Priority;
    ULONG64 Teb;
    MINIDUMP_MEMORY_DESCRIPTOR Stack;
    MINIDUMP_LOCATION_DESCRIPTOR ThreadContext;
} MINIDUMP_THREAD, *PMINIDUMP_THREAD;
typedef struct _MINIDUMP_THREAD_LIST {
    ULONG32 NumberOfThreads;
    MINIDUMP_THREAD Threads[];
} MINIDUMP_THREAD_LIST, *PMINIDUMP_THREAD_LIST;
typedef struct _MINIDUMP_THREAD_EX {
    ULONG32 ThreadId;
    ULONG32 SuspendCount;
    ULONG32 PriorityClass;
    ULONG32 Priority;
    ULONG64 Teb;
    MINIDUMP_MEMORY_DESCRIPTOR Stack;
    MINIDUMP_LOCATION_DESCRIPTOR ThreadContext;
    MINIDUMP_MEMORY_DESCRIPTOR BackingStore;
} MINIDUMP_THREAD_EX, *PMINIDUMP_THREAD_EX;
typedef struct _MINIDUMP_THREAD_EX_LIST {
    ULONG32 NumberOfThreads;
    MINIDUMP_THREAD_EX Threads[];
} MINIDUMP_THREAD_EX_LIST, *PMINIDUMP_THREAD_EX_LIST;
typedef struct _MINIDUMP_EXCEPTION {
    ULONG32 ExceptionCode;
    ULONG32 ExceptionFlags;
    ULONG64 ExceptionRecord;
    ULONG64 ExceptionAddress;
    ULONG32 NumberParameters;
    ULONG32 __unusedAlignment;
    ULONG64 ExceptionInformation[15];
} MINIDUMP_EXCEPTION, *PMINIDUMP_EXCEPTION;
typedef struct MINIDUMP_EXCEPTION_STREAM {
    ULONG32 ThreadId;
    ULONG32 __alignment;
    MINIDUMP_EXCEPTION ExceptionRecord;
    MINIDUMP_LOCATION_DESCRIPTOR ThreadContext;
} MINIDUMP_EXCEPTION_STREAM, *PMINIDUMP_EXCEPTION_STREAM;
typedef struct _MINIDUMP_MODULE {
    ULONG64 BaseOfImage;
    ULONG32 SizeOfImage;
    ULONG32 CheckSum;
    ULONG32 TimeDateStamp;
    RVA ModuleNameRva;
    VS_FIXEDFILEINFO VersionInfo;
    MINIDUMP_LOCATION_DESCRIPTOR CvRecord;
    MINIDUMP_LOCATION_DESCRIPTOR MiscRecord;
    ULONG64 Reserved0;
    ULONG64 Reserved1;
} MINIDUMP_MODULE, *PMINIDUMP_MODULE;
typedef struct _MINIDUMP_MODULE_LIST {
    ULONG32 NumberOfModules;
    MINIDUMP_MODULE Modules[];
} MINIDUMP_MODULE_LIST, *PMINIDUMP_MODULE_LIST;
typedef struct _MINIDUMP_MEMORY_LIST {
    ULONG32 NumberOfMemoryRanges;
    MINIDUMP_MEMORY_DESCRIPTOR MemoryRanges[];
} MINIDUMP_MEMORY_LIST, *PMINIDUMP_MEMORY_LIST;
typedef struct _MINIDUMP_MEMORY64_LIST {
    ULONG64 NumberOfMemoryRanges;
    RVA64 BaseRva;
    MINIDUMP_MEMORY_DESCRIPTOR64 MemoryRanges[];
} MINIDUMP_MEMORY64_LIST, *PMINIDUMP_MEMORY64_LIST;
typedef struct _MINIDUMP_EXCEPTION_INFORMATION64 {
    DWORD ThreadId;
    ULONG64 ExceptionRecord;
    ULONG64 ContextRecord;
    BOOL ClientPointers;
} MINIDUMP_EXCEPTION_INFORMATION64, *PMINIDUMP_EXCEPTION_INFORMATION64;
typedef enum _MINIDUMP_HANDLE_OBJECT_INFORMATION_TYPE {
    MiniHandleObjectInformationNone = 0,
    MiniThreadInformation1 = 1,
    MiniMutantInformation1 = 2,
    MiniMutantInformation2 = 3,
    MiniProcessInformation1 = 4,
    MiniProcessInformation2 = 5,
    MiniEventInformation1 = 6,
    MiniSectionInformation1 = 7,
    MiniSemaphoreInformation1 = 8,
    MiniHandleObjectInformationTypeMax = 9,
} MINIDUMP_HANDLE_OBJECT_INFORMATION_TYPE;
typedef struct _MINIDUMP_HANDLE_OBJECT_INFORMATION {
    RVA NextInfoRva;
    ULONG32 InfoType;
    ULONG32 SizeOfInfo;
} MINIDUMP_HANDLE_OBJECT_INFORMATION;
typedef struct _MINIDUMP_HANDLE_DESCRIPTOR {
    ULONG64 Handle;
    RVA TypeNameRva;
    RVA ObjectNameRva;
    ULONG32 Attributes;
    ULONG32 GrantedAccess;
    ULONG32 HandleCount;
    ULONG32 PointerCount;
} MINIDUMP_HANDLE_DESCRIPTOR, *PMINIDUMP_HANDLE_DESCRIPTOR;
typedef struct _MINIDUMP_HANDLE_DESCRIPTOR_2 {
    ULONG64 Handle;
    RVA TypeNameRva;
    RVA ObjectNameRva;
    ULONG32 Attributes;
    ULONG32 GrantedAccess;
    ULONG32 HandleCount;
    ULONG32 PointerCount;
    RVA ObjectInfoRva;
    ULONG32 Reserved0;
} MINIDUMP_HANDLE_DESCRIPTOR_2, *PMINIDUMP_HANDLE_DESCRIPTOR_2;
typedef MINIDUMP_HANDLE_DESCRIPTOR_2 MINIDUMP_HANDLE_DESCRIPTOR_N, *PMINIDUMP_HANDLE_DESCRIPTOR_N;
typedef struct _MINIDUMP_HANDLE_DATA_STREAM {
    ULONG32 SizeOfHeader;
    ULONG32 SizeOfDescriptor;
    ULONG32 NumberOfDescriptors;
    ULONG32 Reserved;
} MINIDUMP_HANDLE_DATA_STREAM, *PMINIDUMP_HANDLE_DATA_STREAM;
typedef struct _MINIDUMP_HANDLE_OPERATION_LIST {
    ULONG32 SizeOfHeader;
    ULONG32 SizeOfEntry;
    ULONG32 NumberOfEntries;
    ULONG32 Reserved;
} MINIDUMP_HANDLE_OPERATION_LIST, *PMINIDUMP_HANDLE_OPERATION_LIST;
typedef struct _MINIDUMP_FUNCTION_TABLE_DESCRIPTOR {
    ULONG64 MinimumAddress;
    ULONG64 MaximumAddress;
    ULONG64 BaseAddress;
    ULONG32 EntryCount;
    ULONG32 SizeOfAlignPad;
} MINIDUMP_FUNCTION_TABLE_DESCRIPTOR, *PMINIDUMP_FUNCTION_TABLE_DESCRIPTOR;
typedef struct _MINIDUMP_FUNCTION_TABLE_STREAM {
    ULONG32 SizeOfHeader;
    ULONG32 SizeOfDescriptor;
    ULONG32 SizeOfNativeDescriptor;
    ULONG32 SizeOfFunctionEntry;
    ULONG32 NumberOfDescriptors;
    ULONG32 SizeOfAlignPad;
} MINIDUMP_FUNCTION_TABLE_STREAM, *PMINIDUMP_FUNCTION_TABLE_STREAM;
typedef struct _MINIDUMP_UNLOADED_MODULE {
    ULONG64 BaseOfImage;
    ULONG32 SizeOfImage;
    ULONG32 CheckSum;
    ULONG32 TimeDateStamp;
    RVA ModuleNameRva;
} MINIDUMP_UNLOADED_MODULE, *PMINIDUMP_UNLOADED_MODULE;
typedef struct _MINIDUMP_UNLOADED_MODULE_LIST {
    ULONG32 SizeOfHeader;
    ULONG32 SizeOfEntry;
    ULONG32 NumberOfEntries;
} MINIDUMP_UNLOADED_MODULE_LIST, *PMINIDUMP_UNLOADED_MODULE_LIST;
#define MINIDUMP_MISC1_PROCESS_ID 0x00000001
#define MINIDUMP_MISC1_PROCESS_TIMES 0x00000002
#define MINIDUMP_MISC1_PROCESSOR_POWER_INFO 0x00000004
#define MINIDUMP_MISC3_PROCESS_INTEGRITY 0x00000010
#define MINIDUMP_MISC3_PROCESS_EXECUTE_FLAGS 0x00000020
#define MINIDUMP_MISC3_TIMEZONE 0x00000040
#define MINIDUMP_MISC3_PROTECTED_PROCESS 0x00000080
#define MINIDUMP_MISC4_BUILDSTRING 0x00000100
#define MINIDUMP_MISC5_PROCESS_COOKIE 0x00000200
typedef struct _XSTATE_CONFIG_FEATURE_MSC_INFO {
    ULONG32 SizeOfInfo;
    ULONG32 ContextSize;
    ULONG64 EnabledFeatures;
    XSTATE_FEATURE Features[MAXIMUM_XSTATE_FEATURES];
} XSTATE_CONFIG_FEATURE_MSC_INFO, *PXSTATE_CONFIG_FEATURE_MSC_INFO;
typedef struct _MINIDUMP_MISC_INFO {
    ULONG32 SizeOfInfo;
    ULONG32 Flags1;
    ULONG32 ProcessId;
    ULONG32 ProcessCreateTime;
    ULONG32 ProcessUserTime;
    ULONG32 ProcessKernelTime;
} MINIDUMP_MISC_INFO, *PMINIDUMP_MISC_INFO;
typedef struct _MINIDUMP_MISC_INFO_2 {
    ULONG32 SizeOfInfo;
    ULONG32 Flags1;
    ULONG32 ProcessId;
    ULONG32 ProcessCreateTime;
    ULONG32 ProcessUserTime;
    ULONG32 ProcessKernelTime;
    ULONG32 ProcessorMaxMhz;
    ULONG32 ProcessorCurrentMhz;
    ULONG32 ProcessorMhzLimit;
    ULONG32 ProcessorMaxIdleState;
    ULONG32 ProcessorCurrentIdleState;
} MINIDUMP_MISC_INFO_2, *PMINIDUMP_MISC_INFO_2;
typedef struct _MINIDUMP_MISC_INFO_3 {
    ULONG32 SizeOfInfo;
    ULONG32 Flags1;
    ULONG32 ProcessId;
    ULONG32 ProcessCreateTime;
    ULONG32 ProcessUserTime;
    ULONG32 ProcessKernelTime;
    ULONG32 ProcessorMaxMhz;
    ULONG32 ProcessorCurrentMhz;
    ULONG32 ProcessorMhzLimit;
    ULONG32 ProcessorMaxIdleState;
    ULONG32 ProcessorCurrentIdleState;
    ULONG32 ProcessIntegrityLevel;
    ULONG32 ProcessExecuteFlags;
    ULONG32 ProtectedProcess;
    ULONG32 TimeZoneId;
    TIME_ZONE_INFORMATION TimeZone;
} MINIDUMP_MISC_INFO_3, *PMINIDUMP_MISC_INFO_3;
typedef struct _MINIDUMP_MISC_INFO_4 {
    ULONG32 SizeOfInfo;
    ULONG32 Flags1;
    ULONG32 ProcessId;
    ULONG32 ProcessCreateTime;
    ULONG32 ProcessUserTime;
    ULONG32 ProcessKernelTime;
    ULONG32 ProcessorMaxMhz;
    ULONG32 ProcessorCurrentMhz;
    ULONG32 ProcessorMhzLimit;
    ULONG32 ProcessorMaxIdleState;
    ULONG32 ProcessorCurrentIdleState;
    ULONG32 ProcessIntegrityLevel;
    ULONG32 ProcessExecuteFlags;
    ULONG32 ProtectedProcess;
    ULONG32 TimeZoneId;
    TIME_ZONE_INFORMATION TimeZone;
    WCHAR BuildString[MAX_PATH];
    WCHAR DbgBldStr[40];
} MINIDUMP_MISC_INFO_4, *PMINIDUMP_MISC_INFO_4;
typedef struct _MINIDUMP_MISC_INFO_5 {
    ULONG32 SizeOfInfo;
    ULONG32 Flags1;
    ULONG32 ProcessId;
    ULONG32 ProcessCreateTime;
    ULONG32 ProcessUserTime;
    ULONG32 ProcessKernelTime;
    ULONG32 ProcessorMaxMhz;
    ULONG32 ProcessorCurrentMhz;
    ULONG32 ProcessorMhzLimit;
    ULONG32 ProcessorMaxIdleState;
    ULONG32 ProcessorCurrentIdleState;
    ULONG32 ProcessIntegrityLevel;
    ULONG32 ProcessExecuteFlags;
    ULONG32 ProtectedProcess;
    ULONG32 TimeZoneId;
    TIME_ZONE_INFORMATION TimeZone;
    WCHAR BuildString[MAX_PATH];
    WCHAR DbgBldStr[40];
    XSTATE_CONFIG_FEATURE_MSC_INFO XStateData;
    ULONG32 ProcessCookie;
} MINIDUMP_MISC_INFO_5, *PMINIDUMP_MISC_INFO_5;
typedef MINIDUMP_MISC_INFO_5 MINIDUMP_MISC_INFO_N, *PMINIDUMP_MISC_INFO_N;
typedef struct _MINIDUMP_MEMORY_INFO_LIST {
    ULONG SizeOfHeader;
    ULONG SizeOfEntry;
    ULONG64 NumberOfEntries;
} MINIDUMP_MEMORY_INFO_LIST, *PMINIDUMP_MEMORY_INFO_LIST;
#define MINIDUMP_THREAD_INFO_ERROR_THREAD 0x00000001
#define MINIDUMP_THREAD_INFO_WRITING_THREAD 0x00000002
#define MINIDUMP_THREAD_INFO_EXITED_THREAD 0x00000004
#define MINIDUMP_THREAD_INFO_INVALID_INFO 0x00000008
#define MINIDUMP_THREAD_INFO_INVALID_CONTEXT 0x00000010
#define MINIDUMP_THREAD_INFO_INVALID_TEB 0x00000020
typedef struct _MINIDUMP_THREAD_INFO {
    ULONG32 ThreadId;
    ULONG32 DumpFlags;
    ULONG32 DumpError;
    ULONG32 ExitStatus;
    ULONG64 CreateTime;
    ULONG64 ExitTime;
    ULONG64 KernelTime;
    ULONG64 UserTime;
    ULONG64 StartAddress;
    ULONG64 Affinity;
} MINIDUMP_THREAD_INFO, *PMINIDUMP_THREAD_INFO;
typedef struct _MINIDUMP_THREAD_INFO_LIST {
    ULONG SizeOfHeader;
    ULONG SizeOfEntry;
    ULONG NumberOfEntries;
} MINIDUMP_THREAD_INFO_LIST, *PMINIDUMP_THREAD_INFO_LIST;
typedef struct _MINIDUMP_THREAD_NAME {
    ULONG ThreadId;
    RVA64 RvaOfThreadName;
} MINIDUMP_THREAD_NAME, *PMINIDUMP_THREAD_NAME;
typedef struct _MINIDUMP_THREAD_NAME_LIST {
    ULONG NumberOfThreadNames;
    MINIDUMP_THREAD_NAME ThreadNames[];
} MINIDUMP_THREAD_NAME_LIST, *PMINIDUMP_THREAD_NAME_LIST;
typedef struct _MINIDUMP_TOKEN_INFO_HEADER {
    ULONG32 TokenSize;
    ULONG32 TokenId;
    ULONG64 TokenHandle;
} MINIDUMP_TOKEN_INFO_HEADER, *PMINIDUMP_TOKEN_INFO_HEADER;
typedef struct _MINIDUMP_TOKEN_INFO_LIST {
    ULONG32 TokenListSize;
    ULONG32 TokenListEntries;
    ULONG32 ListHeaderSize;
    ULONG32 ElementHeaderSize;
} MINIDUMP_TOKEN_INFO_LIST, *PMINIDUMP_TOKEN_INFO_LIST;
typedef struct _MINIDUMP_SYSTEM_BASIC_INFORMATION {
    ULONG32 TimerResolution;
    ULONG32 PageSize;
    ULONG32 NumberOfPhysicalPages;
    ULONG32 LowestPhysicalPageNumber;
    ULONG32 HighestPhysicalPageNumber;
    ULONG32 AllocationGranularity;
    ULONG64 MinimumUserModeAddress;
    ULONG64 MaximumUserModeAddress;
    ULONG64 ActiveProcessorsAffinityMask;
    ULONG32 NumberOfProcessors;
} MINIDUMP_SYSTEM_BASIC_INFORMATION, *PMINIDUMP_SYSTEM_BASIC_INFORMATION;
typedef struct _MINIDUMP_SYSTEM_FILECACHE_INFORMATION {
    ULONG64 CurrentSize;
    ULONG64 PeakSize;
    ULONG32 PageFaultCount;
    ULONG64 MinimumWorkingSet;
    ULONG64 MaximumWorkingSet;
    ULONG64 CurrentSizeIncludingTransitionInPages;
    ULONG64 PeakSizeIncludingTransitionInPages;
    ULONG32 TransitionRePurposeCount;
    ULONG32 Flags;
} MINIDUMP_SYSTEM_FILECACHE_INFORMATION, *PMINIDUMP_SYSTEM_FILECACHE_INFORMATION;
typedef struct _MINIDUMP_SYSTEM_BASIC_PERFORMANCE_INFORMATION {
    ULONG64 AvailablePages;
    ULONG64 CommittedPages;
    ULONG64 CommitLimit;
    ULONG64 PeakCommitment;
} MINIDUMP_SYSTEM_BASIC_PERFORMANCE_INFORMATION, *PMINIDUMP_SYSTEM_BASIC_PERFORMANCE_INFORMATION;
typedef struct _MINIDUMP_SYSTEM_PERFORMANCE_INFORMATION {
    ULONG64 IdleProcessTime;
    ULONG64 IoReadTransferCount;
    ULONG64 IoWriteTransferCount;
    ULONG64 IoOtherTransferCount;
    ULONG32 IoReadOperationCount;
    ULONG32 IoWriteOperationCount;
    ULONG32 IoOtherOperationCount;
    ULONG32 AvailablePages;
    ULONG32 CommittedPages;
    ULONG32 CommitLimit;
    ULONG32 PeakCommitment;
    ULONG32 PageFaultCount;
    ULONG32 CopyOnWriteCount;
    ULONG32 TransitionCount;
    ULONG32 CacheTransitionCount;
    ULONG32 DemandZeroCount;
    ULONG32 PageReadCount;
    ULONG32 PageReadIoCount;
    ULONG32 CacheReadCount;
    ULONG32 CacheIoCount;
    ULONG32 DirtyPagesWriteCount;
    ULONG32 DirtyWriteIoCount;
    ULONG32 MappedPagesWriteCount;
    ULONG32 MappedWriteIoCount;
    ULONG32 PagedPoolPages;
    ULONG32 NonPagedPoolPages;
    ULONG32 PagedPoolAllocs;
    ULONG32 PagedPoolFrees;
    ULONG32 NonPagedPoolAllocs;
    ULONG32 NonPagedPoolFrees;
    ULONG32 FreeSystemPtes;
    ULONG32 ResidentSystemCodePage;
    ULONG32 TotalSystemDriverPages;
    ULONG32 TotalSystemCodePages;
    ULONG32 NonPagedPoolLookasideHits;
    ULONG32 PagedPoolLookasideHits;
    ULONG32 AvailablePagedPoolPages;
    ULONG32 ResidentSystemCachePage;
    ULONG32 ResidentPagedPoolPage;
    ULONG32 ResidentSystemDriverPage;
    ULONG32 CcFastReadNoWait;
    ULONG32 CcFastReadWait;
    ULONG32 CcFastReadResourceMiss;
    ULONG32 CcFastReadNotPossible;
    ULONG32 CcFastMdlReadNoWait;
    ULONG32 CcFastMdlReadWait;
    ULONG32 CcFastMdlReadResourceMiss;
    ULONG32 CcFastMdlReadNotPossible;
    ULONG32 CcMapDataNoWait;
    ULONG32 CcMapDataWait;
    ULONG32 CcMapDataNoWaitMiss;
    ULONG32 CcMapDataWaitMiss;
    ULONG32 CcPinMappedDataCount;
    ULONG32 CcPinReadNoWait;
    ULONG32 CcPinReadWait;
    ULONG32 CcPinReadNoWaitMiss;
    ULONG32 CcPinReadWaitMiss;
    ULONG32 CcCopyReadNoWait;
    ULONG32 CcCopyReadWait;
    ULONG32 CcCopyReadNoWaitMiss;
    ULONG32 CcCopyReadWaitMiss;
    ULONG32 CcMdlReadNoWait;
    ULONG32 CcMdlReadWait;
    ULONG32 CcMdlReadNoWaitMiss;
    ULONG32 CcMdlReadWaitMiss;
    ULONG32 CcReadAheadIos;
    ULONG32 CcLazyWriteIos;
    ULONG32 CcLazyWritePages;
    ULONG32 CcDataFlushes;
    ULONG32 CcDataPages;
    ULONG32 ContextSwitches;
    ULONG32 FirstLevelTbFills;
    ULONG32 SecondLevelTbFills;
    ULONG32 SystemCalls;
    ULONG64 CcTotalDirtyPages;
    ULONG64 CcDirtyPageThreshold;
    ULONG64 ResidentAvailablePages;
    ULONG64 SharedCommittedPages;
} MINIDUMP_SYSTEM_PERFORMANCE_INFORMATION, *PMINIDUMP_SYSTEM_PERFORMANCE_INFORMATION;
typedef struct _MINIDUMP_SYSTEM_PERFORMANCE_INFORMATION_2 {
    ULONG64 IdleProcessTime;
    ULONG64 IoReadTransferCount;
    ULONG64 IoWriteTransferCount;
    ULONG64 IoOtherTransferCount;
    ULONG32 IoReadOperationCount;
    ULONG32 IoWriteOperationCount;
    ULONG32 IoOtherOperationCount;
    ULONG32 AvailablePages;
    ULONG32 CommittedPages;
    ULONG32 CommitLimit;
    ULONG32 PeakCommitment;
    ULONG32 PageFaultCount;
    ULONG32 CopyOnWriteCount;
    ULONG32 TransitionCount;
    ULONG32 CacheTransitionCount;
    ULONG32 DemandZeroCount;
    ULONG32 PageReadCount;
    ULONG32 PageReadIoCount;
    ULONG32 CacheReadCount;
    ULONG32 CacheIoCount;
    ULONG32 DirtyPagesWriteCount;
    ULONG32 DirtyWriteIoCount;
    ULONG32 MappedPagesWriteCount;
    ULONG32 MappedWriteIoCount;
    ULONG32 PagedPoolPages;
    ULONG32 NonPagedPoolPages;
    ULONG32 PagedPoolAllocs;
    ULONG32 PagedPoolFrees;
    ULONG32 NonPagedPoolAllocs;
    ULONG32 NonPagedPoolFrees;
    ULONG32 FreeSystemPtes;
    ULONG32 ResidentSystemCodePage;
    ULONG32 TotalSystemDriverPages;
    ULONG32 TotalSystemCodePages;
    ULONG32 NonPagedPoolLookasideHits;
    ULONG32 PagedPoolLookasideHits;
    ULONG32 AvailablePagedPoolPages;
    ULONG32 ResidentSystemCachePage;
    ULONG32 ResidentPagedPoolPage;
    ULONG32 ResidentSystemDriverPage;
    ULONG32 CcFastReadNoWait;
    ULONG32 CcFastReadWait;
    ULONG32 CcFastReadResourceMiss;
    ULONG32 CcFastReadNotPossible;
    ULONG32 CcFastMdlReadNoWait;
    ULONG32 CcFastMdlReadWait;
    ULONG32 CcFastMdlReadResourceMiss;
    ULONG32 CcFastMdlReadNotPossible;
    ULONG32 CcMapDataNoWait;
    ULONG32 CcMapDataWait;
    ULONG32 CcMapDataNoWaitMiss;
    ULONG32 CcMapDataWaitMiss;
    ULONG32 CcPinMappedDataCount;
    ULONG32 CcPinReadNoWait;
    ULONG32 CcPinReadWait;
    ULONG32 CcPinReadNoWaitMiss;
    ULONG32 CcPinReadWaitMiss;
    ULONG32 CcCopyReadNoWait;
    ULONG32 CcCopyReadWait;
    ULONG32 CcCopyReadNoWaitMiss;
    ULONG32 CcCopyReadWaitMiss;
    ULONG32 CcMdlReadNoWait;
    ULONG32 CcMdlReadWait;
    ULONG32 CcMdlReadNoWaitMiss;
    ULONG32 CcMdlReadWaitMiss;
    ULONG32 CcReadAheadIos;
    ULONG32 CcLazyWriteIos;
    ULONG32 CcLazyWritePages;
    ULONG32 CcDataFlushes;
    ULONG32 CcDataPages;
    ULONG32 ContextSwitches;
    ULONG32 FirstLevelTbFills;
    ULONG32 SecondLevelTbFills;
    ULONG32 SystemCalls;
    ULONG64 CcTotalDirtyPages;
    ULONG64 CcDirtyPageThreshold;
    ULONG64 ResidentAvailablePages;
    ULONG64 SharedCommittedPages;
    ULONG64 MdlPagesAllocated;
    ULONG64 PfnDatabaseCommittedPages;
    ULONG64 SystemPageTableCommittedPages;
    ULONG64 ContiguousPagesAllocated;
} MINIDUMP_SYSTEM_PERFORMANCE_INFORMATION_2, *PMINIDUMP_SYSTEM_PERFORMANCE_INFORMATION_2;
#define MINIDUMP_SYSMEMINFO1_FILECACHE_TRANSITIONREPURPOSECOUNT_FLAGS 0x0001
#define MINIDUMP_SYSMEMINFO1_BASICPERF 0x0002
#define MINIDUMP_SYSMEMINFO1_PERF_CCTOTALDIRTYPAGES_CCDIRTYPAGETHRESHOLD 0x0004
#define MINIDUMP_SYSMEMINFO1_PERF_RESIDENTAVAILABLEPAGES_SHAREDCOMMITPAGES 0x0008
#define MINIDUMP_SYSMEMINFO1_PERF_MDLPAGESALLOCATED_PFNDATABASECOMMITTEDPAGES 0x0010
#define MINIDUMP_SYSMEMINFO1_PERF_SYSTEMPAGETABLECOMMITTEDPAGES_CONTIGUOUSPAGESALLOCATED 0x0020
typedef struct _MINIDUMP_SYSTEM_MEMORY_INFO_1 {
    USHORT Revision;
    USHORT Flags;
    MINIDUMP_SYSTEM_BASIC_INFORMATION BasicInfo;
    MINIDUMP_SYSTEM_FILECACHE_INFORMATION FileCacheInfo;
    MINIDUMP_SYSTEM_BASIC_PERFORMANCE_INFORMATION BasicPerfInfo;
    MINIDUMP_SYSTEM_PERFORMANCE_INFORMATION PerfInfo;
} MINIDUMP_SYSTEM_MEMORY_INFO_1, *PMINIDUMP_SYSTEM_MEMORY_INFO_1;
typedef struct _MINIDUMP_SYSTEM_MEMORY_INFO_2 {
    USHORT Revision;
    USHORT Flags;
    MINIDUMP_SYSTEM_BASIC_INFORMATION BasicInfo;
    MINIDUMP_SYSTEM_FILECACHE_INFORMATION FileCacheInfo;
    MINIDUMP_SYSTEM_BASIC_PERFORMANCE_INFORMATION BasicPerfInfo;
    MINIDUMP_SYSTEM_PERFORMANCE_INFORMATION_2 PerfInfo;
} MINIDUMP_SYSTEM_MEMORY_INFO_2, *PMINIDUMP_SYSTEM_MEMORY_INFO_2;
typedef MINIDUMP_SYSTEM_MEMORY_INFO_2 MINIDUMP_SYSTEM_MEMORY_INFO_N, *PMINIDUMP_SYSTEM_MEMORY_INFO_N;
#define MINIDUMP_PROCESS_VM_COUNTERS 0x0001
#define MINIDUMP_PROCESS_VM_COUNTERS_VIRTUALSIZE 0x0002
#define MINIDUMP_PROCESS_VM_COUNTERS_EX 0x0004
#define MINIDUMP_PROCESS_VM_COUNTERS_EX2 0x0008
#define MINIDUMP_PROCESS_VM_COUNTERS_JOB 0x0010
typedef struct _MINIDUMP_PROCESS_VM_COUNTERS_1 {
    USHORT Revision;
    USHORT Flags;
    ULONG32 PageFaultCount;
    ULONG64 PeakWorkingSetSize;
    ULONG64 WorkingSetSize;
    ULONG64 QuotaPeakPagedPoolUsage;
    ULONG64 QuotaPagedPoolUsage;
    ULONG64 QuotaPeakNonPagedPoolUsage;
    ULONG64 QuotaNonPagedPoolUsage;
    ULONG64 PagefileUsage;
    ULONG64 PeakPagefileUsage;
    ULONG64 PrivateUsage;
} MINIDUMP_PROCESS_VM_COUNTERS_1, *PMINIDUMP_PROCESS_VM_COUNTERS_1;
typedef struct _MINIDUMP_PROCESS_VM_COUNTERS_2 {
    USHORT Revision;
    USHORT Flags;
    ULONG32 PageFaultCount;
    ULONG64 PeakWorkingSetSize;
    ULONG64 WorkingSetSize;
    ULONG64 QuotaPeakPagedPoolUsage;
    ULONG64 QuotaPagedPoolUsage;
    ULONG64 QuotaPeakNonPagedPoolUsage;
    ULONG64 QuotaNonPagedPoolUsage;
    ULONG64 PagefileUsage;
    ULONG64 PeakPagefileUsage;
    ULONG64 PeakVirtualSize;
    ULONG64 VirtualSize;
    ULONG64 PrivateUsage;
    ULONG64 PrivateWorkingSetSize;
    ULONG64 SharedCommitUsage;
    ULONG64 JobSharedCommitUsage;
    ULONG64 JobPrivateCommitUsage;
    ULONG64 JobPeakPrivateCommitUsage;
    ULONG64 JobPrivateCommitLimit;
    ULONG64 JobTotalCommitLimit;
} MINIDUMP_PROCESS_VM_COUNTERS_2, *PMINIDUMP_PROCESS_VM_COUNTERS_2;
typedef MINIDUMP_PROCESS_VM_COUNTERS_2 MINIDUMP_PROCESS_VM_COUNTERS_N, *PMINIDUMP_PROCESS_VM_COUNTERS_N;
typedef struct _MINIDUMP_USER_RECORD {
    ULONG32 Type;
    MINIDUMP_LOCATION_DESCRIPTOR Memory;
} MINIDUMP_USER_RECORD, *PMINIDUMP_USER_RECORD;

#pragma pack(pop)

/* Sizes and offsets that Microsoft's compiler uses on x64, x86 and arm64. */
DUMPWRIGHT_SIZE(MINIDUMP_MEMORY_INFO, 48, 48, 48);
DUMPWRIGHT_OFFSET(MINIDUMP_MEMORY_INFO, BaseAddress, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_MEMORY_INFO, AllocationBase, 8, 8, 8);
DUMPWRIGHT_OFFSET(MINIDUMP_MEMORY_INFO, AllocationProtect, 16, 16, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_MEMORY_INFO, __alignment1, 20, 20, 20);
DUMPWRIGHT_OFFSET(MINIDUMP_MEMORY_INFO, RegionSize, 24, 24, 24);
DUMPWRIGHT_OFFSET(MINIDUMP_MEMORY_INFO, State, 32, 32, 32);
DUMPWRIGHT_OFFSET(MINIDUMP_MEMORY_INFO, Protect, 36, 36, 36);
DUMPWRIGHT_OFFSET(MINIDUMP_MEMORY_INFO, Type, 40, 40, 40);
DUMPWRIGHT_OFFSET(MINIDUMP_MEMORY_INFO, __alignment2, 44, 44, 44);
DUMPWRIGHT_SIZE(MINIDUMP_THREAD_CALLBACK, 1280, 744, 960);
DUMPWRIGHT_OFFSET(MINIDUMP_THREAD_CALLBACK, ThreadId, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_THREAD_CALLBACK, ThreadHandle, 4, 4, 4);
DUMPWRIGHT_OFFSET(MINIDUMP_THREAD_CALLBACK, Context, 16, 8, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_THREAD_CALLBACK, SizeOfContext, 1248, 724, 928);
DUMPWRIGHT_OFFSET(MINIDUMP_THREAD_CALLBACK, StackBase, 1252, 728, 932);
DUMPWRIGHT_OFFSET(MINIDUMP_THREAD_CALLBACK, StackEnd, 1260, 736, 940);
DUMPWRIGHT_SIZE(MINIDUMP_THREAD_EX_CALLBACK, 1296, 760, 976);
DUMPWRIGHT_OFFSET(MINIDUMP_THREAD_EX_CALLBACK, ThreadId, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_THREAD_EX_CALLBACK, ThreadHandle, 4, 4, 4);
DUMPWRIGHT_OFFSET(MINIDUMP_THREAD_EX_CALLBACK, Context, 16, 8, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_THREAD_EX_CALLBACK, SizeOfContext, 1248, 724, 928);
DUMPWRIGHT_OFFSET(MINIDUMP_THREAD_EX_CALLBACK, StackBase, 1252, 728, 932);
DUMPWRIGHT_OFFSET(MINIDUMP_THREAD_EX_CALLBACK, StackEnd, 1260, 736, 940);
DUMPWRIGHT_OFFSET(MINIDUMP_THREAD_EX_CALLBACK, BackingStoreBase, 1268, 744, 948);
DUMPWRIGHT_OFFSET(MINIDUMP_THREAD_EX_CALLBACK, BackingStoreEnd, 1276, 752, 956);
DUMPWRIGHT_SIZE(MINIDUMP_INCLUDE_THREAD_CALLBACK, 4, 4, 4);
DUMPWRIGHT_OFFSET(MINIDUMP_INCLUDE_THREAD_CALLBACK, ThreadId, 0, 0, 0);
DUMPWRIGHT_SIZE(MINIDUMP_MODULE_CALLBACK, 104, 92, 104);
DUMPWRIGHT_OFFSET(MINIDUMP_MODULE_CALLBACK, FullPath, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_MODULE_CALLBACK, BaseOfImage, 8, 4, 8);
DUMPWRIGHT_OFFSET(MINIDUMP_MODULE_CALLBACK, SizeOfImage, 16, 12, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_MODULE_CALLBACK, CheckSum, 20, 16, 20);
DUMPWRIGHT_OFFSET(MINIDUMP_MODULE_CALLBACK, TimeDateStamp, 24, 20, 24);
DUMPWRIGHT_OFFSET(MINIDUMP_MODULE_CALLBACK, VersionInfo, 28, 24, 28);
DUMPWRIGHT_OFFSET(MINIDUMP_MODULE_CALLBACK, CvRecord, 80, 76, 80);
DUMPWRIGHT_OFFSET(MINIDUMP_MODULE_CALLBACK, SizeOfCvRecord, 88, 80, 88);
DUMPWRIGHT_OFFSET(MINIDUMP_MODULE_CALLBACK, MiscRecord, 92, 84, 92);
DUMPWRIGHT_OFFSET(MINIDUMP_MODULE_CALLBACK, SizeOfMiscRecord, 100, 88, 100);
DUMPWRIGHT_SIZE(MINIDUMP_INCLUDE_MODULE_CALLBACK, 8, 8, 8);
DUMPWRIGHT_OFFSET(MINIDUMP_INCLUDE_MODULE_CALLBACK, BaseOfImage, 0, 0, 0);
DUMPWRIGHT_SIZE(MINIDUMP_IO_CALLBACK, 28, 20, 28);
DUMPWRIGHT_OFFSET(MINIDUMP_IO_CALLBACK, Handle, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_IO_CALLBACK, Offset, 8, 4, 8);
DUMPWRIGHT_OFFSET(MINIDUMP_IO_CALLBACK, Buffer, 16, 12, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_IO_CALLBACK, BufferBytes, 24, 16, 24);
DUMPWRIGHT_SIZE(MINIDUMP_READ_MEMORY_FAILURE_CALLBACK, 16, 16, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_READ_MEMORY_FAILURE_CALLBACK, Offset, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_READ_MEMORY_FAILURE_CALLBACK, Bytes, 8, 8, 8);
DUMPWRIGHT_OFFSET(MINIDUMP_READ_MEMORY_FAILURE_CALLBACK, FailureStatus, 12, 12, 12);
DUMPWRIGHT_SIZE(MINIDUMP_VM_QUERY_CALLBACK, 8, 8, 8);
DUMPWRIGHT_OFFSET(MINIDUMP_VM_QUERY_CALLBACK, Offset, 0, 0, 0);
DUMPWRIGHT_SIZE(MINIDUMP_VM_PRE_READ_CALLBACK, 20, 16, 20);
DUMPWRIGHT_OFFSET(MINIDUMP_VM_PRE_READ_CALLBACK, Offset, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_VM_PRE_READ_CALLBACK, Buffer, 8, 8, 8);
DUMPWRIGHT_OFFSET(MINIDUMP_VM_PRE_READ_CALLBACK, Size, 16, 12, 16);
DUMPWRIGHT_SIZE(MINIDUMP_VM_POST_READ_CALLBACK, 28, 24, 28);
DUMPWRIGHT_OFFSET(MINIDUMP_VM_POST_READ_CALLBACK, Offset, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_VM_POST_READ_CALLBACK, Buffer, 8, 8, 8);
DUMPWRIGHT_OFFSET(MINIDUMP_VM_POST_READ_CALLBACK, Size, 16, 12, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_VM_POST_READ_CALLBACK, Completed, 20, 16, 20);
DUMPWRIGHT_OFFSET(MINIDUMP_VM_POST_READ_CALLBACK, Status, 24, 20, 24);
DUMPWRIGHT_SIZE(MINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK, 24, 20, 24);
DUMPWRIGHT_OFFSET(MINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK, MaxParallelism, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK, MaxTransferSize, 4, 4, 4);
DUMPWRIGHT_OFFSET(MINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK, NumaNodeInfoArray, 8, 8, 8);
DUMPWRIGHT_OFFSET(MINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK, NumaNodeInfoArraySize, 16, 12, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK, Reserved, 20, 16, 20);
DUMPWRIGHT_SIZE(MINIDUMP_COMPRESSED_MEMORY_STREAM_FINISH_CALLBACK, 12, 12, 12);
DUMPWRIGHT_OFFSET(MINIDUMP_COMPRESSED_MEMORY_STREAM_FINISH_CALLBACK, CompressedStreamSize, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_COMPRESSED_MEMORY_STREAM_FINISH_CALLBACK, StreamCompressionRate, 8, 8, 8);
DUMPWRIGHT_SIZE(MINIDUMP_CALLBACK_INPUT, 1312, 772, 992);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_INPUT, ProcessId, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_INPUT, ProcessHandle, 4, 4, 4);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_INPUT, CallbackType, 12, 8, 12);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_INPUT, Status, 16, 12, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_INPUT, Thread, 16, 12, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_INPUT, ThreadEx, 16, 12, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_INPUT, Module, 16, 12, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_INPUT, IncludeThread, 16, 12, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_INPUT, IncludeModule, 16, 12, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_INPUT, Io, 16, 12, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_INPUT, ReadMemoryFailure, 16, 12, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_INPUT, SecondaryFlags, 16, 12, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_INPUT, VmQuery, 16, 12, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_INPUT, VmPreRead, 16, 12, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_INPUT, VmPostRead, 16, 12, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_INPUT, CompressedMemoryStreamFinish, 16, 12, 16);
DUMPWRIGHT_SIZE(MINIDUMP_CALLBACK_OUTPUT, 52, 52, 52);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_OUTPUT, ModuleWriteFlags, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_OUTPUT, ThreadWriteFlags, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_OUTPUT, SecondaryFlags, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_OUTPUT, MemoryBase, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_OUTPUT, MemorySize, 8, 8, 8);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_OUTPUT, CheckCancel, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_OUTPUT, Cancel, 4, 4, 4);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_OUTPUT, Handle, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_OUTPUT, VmRegion, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_OUTPUT, Continue, 48, 48, 48);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_OUTPUT, VmQueryStatus, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_OUTPUT, VmQueryResult, 4, 4, 4);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_OUTPUT, VmReadStatus, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_OUTPUT, VmReadBytesCompleted, 4, 4, 4);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_OUTPUT, CompressedMemoryStreamStart, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_OUTPUT, Status, 0, 0, 0);
DUMPWRIGHT_SIZE(MINIDUMP_CALLBACK_INFORMATION, 16, 8, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_INFORMATION, CallbackRoutine, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_CALLBACK_INFORMATION, CallbackParam, 8, 4, 8);
DUMPWRIGHT_SIZE(MINIDUMP_EXCEPTION_INFORMATION, 16, 12, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_EXCEPTION_INFORMATION, ThreadId, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_EXCEPTION_INFORMATION, ExceptionPointers, 4, 4, 4);
DUMPWRIGHT_OFFSET(MINIDUMP_EXCEPTION_INFORMATION, ClientPointers, 12, 8, 12);
DUMPWRIGHT_SIZE(MINIDUMP_USER_STREAM, 16, 12, 16);
DUMPWRIGHT_OFFSET(MINIDUMP_USER_STREAM, Type, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_USER_STREAM, BufferSize, 4, 4, 4);
DUMPWRIGHT_OFFSET(MINIDUMP_USER_STREAM, Buffer, 8, 8, 8);
DUMPWRIGHT_SIZE(MINIDUMP_USER_STREAM_INFORMATION, 12, 8, 12);
DUMPWRIGHT_OFFSET(MINIDUMP_USER_STREAM_INFORMATION, UserStreamCount, 0, 0, 0);
DUMPWRIGHT_OFFSET(MINIDUMP_USER_STREAM_INFORMATION, UserStreamArray, 4, 4, 4);
DUMPWRIGHT_SIZE(MINIDUMP_LOCATION_DESCRIPTOR, 8, 8, 8);
DUMPWRIGHT_SIZE(MINIDUMP_LOCATION_DESCRIPTOR64, 16, 16, 16);
DUMPWRIGHT_SIZE(MINIDUMP_MEMORY_DESCRIPTOR, 16, 16, 16);
DUMPWRIGHT_SIZE(MINIDUMP_MEMORY_DESCRIPTOR64, 16, 16, 16);
DUMPWRIGHT_SIZE(MINIDUMP_HEADER, 32, 32, 32);
DUMPWRIGHT_SIZE(MINIDUMP_DIRECTORY, 12, 12, 12);
DUMPWRIGHT_SIZE(MINIDUMP_STRING, 4, 4, 4);
DUMPWRIGHT_SIZE(CPU_INFORMATION, 24, 24, 24);
DUMPWRIGHT_SIZE(MINIDUMP_SYSTEM_INFO, 56, 56, 56);
DUMPWRIGHT_SIZE(MINIDUMP_THREAD, 48, 48, 48);
DUMPWRIGHT_SIZE(MINIDUMP_THREAD_LIST, 4, 4, 4);
DUMPWRIGHT_SIZE(MINIDUMP_THREAD_EX, 64, 64, 64);
DUMPWRIGHT_SIZE(MINIDUMP_THREAD_EX_LIST, 4, 4, 4);
DUMPWRIGHT_SIZE(MINIDUMP_EXCEPTION, 152, 152, 152);
DUMPWRIGHT_SIZE(MINIDUMP_MODULE, 108, 108, 108);
DUMPWRIGHT_SIZE(MINIDUMP_MODULE_LIST, 4, 4, 4);
DUMPWRIGHT_SIZE(MINIDUMP_MEMORY_LIST, 4, 4, 4);
DUMPWRIGHT_SIZE(MINIDUMP_MEMORY64_LIST, 16, 16, 16);
DUMPWRIGHT_SIZE(MINIDUMP_EXCEPTION_INFORMATION64, 24, 24, 24);
DUMPWRIGHT_SIZE(MINIDUMP_HANDLE_OBJECT_INFORMATION, 12, 12, 12);
DUMPWRIGHT_SIZE(MINIDUMP_HANDLE_DESCRIPTOR, 32, 32, 32);
DUMPWRIGHT_SIZE(MINIDUMP_HANDLE_DESCRIPTOR_2, 40, 40, 40);
DUMPWRIGHT_SIZE(MINIDUMP_HANDLE_DATA_STREAM, 16, 16, 16);
DUMPWRIGHT_SIZE(MINIDUMP_HANDLE_OPERATION_LIST, 16, 16, 16);
DUMPWRIGHT_SIZE(MINIDUMP_FUNCTION_TABLE_DESCRIPTOR, 32, 32, 32);
DUMPWRIGHT_SIZE(MINIDUMP_FUNCTION_TABLE_STREAM, 24, 24, 24);
DUMPWRIGHT_SIZE(MINIDUMP_UNLOADED_MODULE, 24, 24, 24);
DUMPWRIGHT_SIZE(MINIDUMP_UNLOADED_MODULE_LIST, 12, 12, 12);
DUMPWRIGHT_SIZE(XSTATE_CONFIG_FEATURE_MSC_INFO, 528, 528, 528);
DUMPWRIGHT_SIZE(MINIDUMP_MISC_INFO, 24, 24, 24);
DUMPWRIGHT_SIZE(MINIDUMP_MISC_INFO_2, 44, 44, 44);
DUMPWRIGHT_SIZE(MINIDUMP_MISC_INFO_3, 232, 232, 232);
DUMPWRIGHT_SIZE(MINIDUMP_MISC_INFO_4, 832, 832, 832);
DUMPWRIGHT_SIZE(MINIDUMP_MISC_INFO_5, 1364, 1364, 1364);
DUMPWRIGHT_SIZE(MINIDUMP_MEMORY_INFO_LIST, 16, 16, 16);
DUMPWRIGHT_SIZE(MINIDUMP_THREAD_NAME, 12, 12, 12);
DUMPWRIGHT_SIZE(MINIDUMP_THREAD_NAME_LIST, 4, 4, 4);
DUMPWRIGHT_SIZE(MINIDUMP_THREAD_INFO, 64, 64, 64);
DUMPWRIGHT_SIZE(MINIDUMP_THREAD_INFO_LIST, 12, 12, 12);
DUMPWRIGHT_SIZE(MINIDUMP_TOKEN_INFO_HEADER, 16, 16, 16);
DUMPWRIGHT_SIZE(MINIDUMP_TOKEN_INFO_LIST, 16, 16, 16);
DUMPWRIGHT_SIZE(MINIDUMP_SYSTEM_BASIC_INFORMATION, 52, 52, 52);
DUMPWRIGHT_SIZE(MINIDUMP_SYSTEM_FILECACHE_INFORMATION, 60, 60, 60);
DUMPWRIGHT_SIZE(MINIDUMP_SYSTEM_BASIC_PERFORMANCE_INFORMATION, 32, 32, 32);
DUMPWRIGHT_SIZE(MINIDUMP_SYSTEM_PERFORMANCE_INFORMATION, 344, 344, 344);
DUMPWRIGHT_SIZE(MINIDUMP_SYSTEM_PERFORMANCE_INFORMATION_2, 376, 376, 376);
DUMPWRIGHT_SIZE(MINIDUMP_SYSTEM_MEMORY_INFO_1, 492, 492, 492);
DUMPWRIGHT_SIZE(MINIDUMP_SYSTEM_MEMORY_INFO_2, 524, 524, 524);
DUMPWRIGHT_SIZE(MINIDUMP_PROCESS_VM_COUNTERS_1, 80, 80, 80);
DUMPWRIGHT_SIZE(MINIDUMP_PROCESS_VM_COUNTERS_2, 152, 152, 152);
DUMPWRIGHT_SIZE(MINIDUMP_USER_RECORD, 12, 12, 12);
DUMPWRIGHT_SIZE(MINIDUMP_EXCEPTION_STREAM, 168, 168, 168);

/* Writes a minidump of a process to a file or through a callback.
 *
 *   hProcess         The process. Windows: a handle with PROCESS_QUERY_INFORMATION and
 *                    PROCESS_VM_READ, and with PROCESS_DUP_HANDLE for MiniDumpWithHandleData; or
 *                    the handle of a process snapshot, if the callback answers
 *                    IsProcessSnapshotCallback with S_FALSE. Linux: the process id as a pointer,
 *                    DUMPWRIGHT_PID(pid).
 *   ProcessId        The id of the same process, or 0. If it is the id of another process, the call
 *                    fails with E_INVALIDARG.
 *   hFile            A file handle (Linux: a descriptor) that is open for writing. Disk files are
 *                    written from their beginning; bytes after the end of the dump stay in the
 *                    file. Pipes and other devices receive the bytes in the order of offsets. NULL
 *                    means that there is no file: then the callback must answer IoStartCallback
 *                    with S_FALSE. The function does not close the handle. If it fails, the content
 *                    of the file is unusable.
 *   DumpType         MINIDUMP_TYPE flags.
 *   ExceptionParam   An exception for the dump, or NULL. The function copies the structures that it
 *                    points to. If ClientPointers is TRUE, they are in the memory of hProcess.
 *   UserStreamParam  The caller's own streams, or NULL. They are copied. A stream whose type is
 *                    above LastReservedStream (0xFFFF) replaces the library's stream of that type.
 *                    The call fails with E_INVALIDARG if a type is 0, if it is one of Microsoft's
 *                    types that the library writes itself, or if two streams have the same type.
 *                    (Under the dbghelp profiles, all types are accepted.)
 *   CallbackParam    The callback and its parameter, or NULL.
 *
 * Returns TRUE if a dump was written. dumpwright_last_report() then lists what it lacks. Returns
 * FALSE if there is no dump; see ERRORS at the top of this file.
 *
 * The process is suspended while the function reads it, and runs again before the function returns.
 * (A process snapshot is read while the process runs.)
 *
 * The function follows the profile "documented": what Microsoft documents and users expect. The
 * environment variable DUMPWRIGHT_PROFILE can name another profile: "dbghelp63" or "dbghelp10",
 * which is what Microsoft's DbgHelp was observed to do with a callback, including its mistakes. Any
 * other value makes every dump fail with E_INVALIDARG. Only the C library reads the variable. */
BOOL WINAPI MiniDumpWriteDump(HANDLE hProcess, DWORD ProcessId, HANDLE hFile, MINIDUMP_TYPE DumpType,
                              PMINIDUMP_EXCEPTION_INFORMATION ExceptionParam,
                              PMINIDUMP_USER_STREAM_INFORMATION UserStreamParam,
                              PMINIDUMP_CALLBACK_INFORMATION CallbackParam);

/* Finds a stream of a dump that is in memory.
 *
 *   BaseOfDump     The address of the dump, for example of a mapped file.
 *   StreamNumber   The type of the stream, a MINIDUMP_STREAM_TYPE. If the dump has several streams
 *                  of the type, the first one is found.
 *   Dir            Receives the address of the stream's directory entry. May be NULL.
 *   StreamPointer  Receives the address of the stream. May be NULL.
 *   StreamSize     Receives the size of the stream in bytes. May be NULL.
 *
 * The addresses point into the dump and are valid as long as it is in memory. The function checks
 * that the directory and every page of the stream can be read, but not the content of the stream.
 *
 * Returns TRUE if the stream was found. Otherwise it stores nothing and returns FALSE.
 * dumpwright_last_error() is then a plain Windows error code, as with DbgHelp:
 *
 *   ERROR_NOT_FOUND (1168)        The dump has no such stream.
 *   ERROR_INVALID_DATA (13)       This is not a minidump, or it is damaged: its directory or the
 *                                 stream reaches beyond readable memory, or it claims to have more
 *                                 than 65536 streams.
 *   ERROR_NOACCESS (998)          There is no readable memory at BaseOfDump.
 *   ERROR_INVALID_PARAMETER (87)  BaseOfDump is NULL. */
BOOL WINAPI MiniDumpReadDumpStream(PVOID BaseOfDump, ULONG StreamNumber, PMINIDUMP_DIRECTORY *Dir, PVOID *StreamPointer,
                                   ULONG *StreamSize);

#endif /* no <dbghelp.h> */

/* ---- Functions that DbgHelp does not have ---- */

/* Returns the error code of the calling thread's last call, or 0 if it succeeded. Every function
 * that returns BOOL sets it. */
uint32_t dumpwright_last_error(void);

/* Returns an English text that explains the error of the calling thread's last call: the operation,
 * the object, the system's reason and, where possible, what to do. Returns "" if the call
 * succeeded. Never returns NULL.
 *
 * The library owns the text. It is valid until the thread calls another function that returns BOOL,
 * or ends. */
const char *dumpwright_last_error_message(void);

/* How much a diagnostic matters. */
enum {
    DUMPWRIGHT_NOTE = 0,     /* worth knowing; nothing is lost */
    DUMPWRIGHT_LEFT_OUT = 1, /* left out on purpose, or the system does not have it */
    DUMPWRIGHT_MISSING = 2   /* was requested and exists, but could not be obtained */
};

/* One diagnostic of a dump. */
typedef struct dumpwright_diagnostic {
    int severity;     /* DUMPWRIGHT_NOTE, DUMPWRIGHT_LEFT_OUT or DUMPWRIGHT_MISSING */
    const char *text; /* the subject and the reason, in English; UTF-8 */
} dumpwright_diagnostic;

/* What a dump contains and what it lacks. Later versions of the library add members at the end. */
typedef struct dumpwright_report {
    size_t size;                 /* of this structure in bytes; shows which members exist */
    BOOL complete;               /* TRUE if nothing is DUMPWRIGHT_MISSING */
    uint32_t dump_type;          /* MINIDUMP_TYPE, after contradictions were resolved */
    uint64_t bytes;              /* size of the dump in bytes */
    uint64_t memory_bytes;       /* how many of them are memory of the process */
    uint32_t memory_ranges;      /* number of memory ranges in the dump */
    uint32_t threads;            /* number of threads in the dump */
    uint32_t modules;            /* number of modules in the dump */
    uint32_t pause_microseconds; /* how long the process was suspended; at most 0xFFFFFFFF */
    const char *hold;            /* see dumpwright_request_hold; "simulated" for a scenario */
    size_t diagnostic_count;     /* number of elements of `diagnostics` */
    const dumpwright_diagnostic *diagnostics; /* those of the highest severity first */
    const char *tracer; /* Linux: "helper", "in-process" or "caller", see TRACING; otherwise NULL */
} dumpwright_report;

/* Returns the report about the dump that the calling thread wrote last. Returns NULL if it has not
 * written one, or if the last attempt failed.
 *
 * The library owns the report and all that it points to. They are valid until the thread calls
 * MiniDumpWriteDump or dumpwright_dump again, or ends. */
const dumpwright_report *dumpwright_last_report(void);

/* ---- Requests: dumps with options that MiniDumpWriteDump has no parameters for ----
 *
 * A request describes a dump: what is dumped, where the dump goes, and options. Create a request,
 * set the process and the output, call dumpwright_dump, and free the request. A request can be used
 * for several dumps and changed between them. A function that is called again replaces what was set
 * before.
 *
 * Functions that return BOOL return FALSE and set the last error if they fail; the request is then
 * unchanged. A request that is NULL is E_INVALIDARG. Strings are copied; file names are bytes on
 * Linux and UTF-8 on Windows. Handles, descriptors and functions must stay valid as long as the
 * request is used. */
typedef struct dumpwright_request dumpwright_request;

/* Creates a request for a dump of this type, a combination of MINIDUMP_TYPE flags. The caller must
 * free it with dumpwright_request_free. Returns NULL only after a defect in the library. */
dumpwright_request *dumpwright_request_create(uint32_t dump_type);

/* Frees a request. Does nothing if it is NULL. */
void dumpwright_request_free(dumpwright_request *request);

/* -- The process: one of these functions must be called. -- */

/* Sets the process to dump: the live process with this id. dumpwright_dump checks whether it
 * exists. An id of 0 is E_INVALIDARG. */
BOOL dumpwright_request_process(dumpwright_request *request, uint32_t process_id);

#if defined(_WIN32)
/* Sets the process to dump by a handle, which must have the access rights that MiniDumpWriteDump
 * needs. Unlike an id, a handle never refers to a later process. The caller keeps it open as long
 * as the request is used. E_INVALIDARG if it is not a handle of a process. */
BOOL dumpwright_request_handle(dumpwright_request *request, HANDLE process);
#else
/* Sets the process to dump by a process descriptor (see pidfd_open(2)). Unlike an id, a descriptor
 * never refers to a later process. The caller keeps it open as long as the request is used.
 * E_INVALIDARG if it is not a process descriptor or its process is not in the caller's pid
 * namespace, E_ACCESSDENIED if the process has ended. */
BOOL dumpwright_request_pidfd(dumpwright_request *request, int pidfd);
#endif

/* Sets a simulated process to dump. A scenario describes it: a TOML file, see docs/scenario.md.
 * This function reads the file. E_INVALIDARG if the file cannot be read or has an error. */
BOOL dumpwright_request_scenario(dumpwright_request *request, const char *file);

/* -- The output: one of these functions, or a callback that writes the dump. -- */

/* Sets the output to an open file, like the parameter hFile of MiniDumpWriteDump. NULL, which is
 * also the initial state, means that there is no file. */
BOOL dumpwright_request_file(dumpwright_request *request, HANDLE file);

#if !defined(_WIN32)
/* Sets the output to an open descriptor, which may be 0. Otherwise like dumpwright_request_file. A
 * negative number is E_INVALIDARG. */
BOOL dumpwright_request_fd(dumpwright_request *request, int descriptor);
#endif

/* Sets the output to a file with this name.
 *
 * The file appears under its name only when the whole dump has been written. A dump that fails
 * leaves no file. On Linux only its owner can read the file; on Windows the folder's access rights
 * apply. If the file exists, dumpwright_dump fails with 0x80070050 unless `replace` is TRUE. It
 * never writes through a symbolic link (0x80070050). If the name is that of a device or a pipe, the
 * bytes are written there directly. */
BOOL dumpwright_request_path(dumpwright_request *request, const char *file, BOOL replace);

/* A function that receives the bytes of a dump, in one or more calls and in the order of offsets.
 * It is called on the thread that calls dumpwright_dump.
 *
 *   parameter  The parameter of dumpwright_request_writer.
 *   offset     The number of bytes that came before.
 *   bytes      The bytes. They are valid during the call only.
 *   count      The number of bytes.
 *
 * Returns TRUE if it has taken all bytes. FALSE fails the dump with E_FAIL. It may throw a C++
 * exception, like a callback. */
typedef BOOL (*dumpwright_writer)(void *parameter, uint64_t offset, const void *bytes, size_t count);

/* Sets the output to a function, which receives `parameter` and the bytes. A function that is NULL
 * is E_INVALIDARG. */
BOOL dumpwright_request_writer(dumpwright_request *request, dumpwright_writer writer, void *parameter);

/* -- The other parameters of MiniDumpWriteDump. NULL removes what was set before. -- */

/* Sets the callback. The structure is copied; what CallbackParam points to is not. If the output is
 * a path or a writer, callbacks receive INVALID_HANDLE_VALUE as the file handle. */
BOOL dumpwright_request_callback(dumpwright_request *request, const MINIDUMP_CALLBACK_INFORMATION *callback);

/* Sets the exception. This function copies the structures and all that they point to. If
 * ClientPointers is TRUE, it reads them from the live process of the request, which must have been
 * set before (otherwise E_INVALIDARG). 0x800703E6 if they cannot be read. */
BOOL dumpwright_request_exception(dumpwright_request *request, const MINIDUMP_EXCEPTION_INFORMATION *exception);

/* Sets the caller's own streams, whose bytes are copied. 0x800706F8 if they cannot be read, and
 * 0x800700DF if they have more than 4 GiB together. The rules for their types are those of
 * MiniDumpWriteDump; dumpwright_dump checks them. */
BOOL dumpwright_request_user_streams(dumpwright_request *request, const MINIDUMP_USER_STREAM_INFORMATION *streams);

/* -- Options -- */

/* Chooses whose behaviour is followed where Microsoft's documentation and DbgHelp differ:
 * "documented", "dbghelp63" or "dbghelp10". Other names are E_INVALIDARG. Default: the profile in
 * the environment variable DUMPWRIGHT_PROFILE, or else "documented". */
BOOL dumpwright_request_profile(dumpwright_request *request, const char *name);

/* Chooses how a live process is kept from changing while it is read:
 *
 *   "stop"   The process is suspended. This is the default.
 *   "clone"  The process is suspended only until the system has copied its memory, and the copy is
 *            read: a copy-on-write clone on Linux (about 20 ms for each GiB), a process snapshot on
 *            Windows 8.1 and later. If that is not possible, or might harm the process, it is
 *            suspended as with "stop", and the report has a note with the reason.
 *   "auto"   Only on Linux: "clone" if it is estimated to halve a pause of more than 5 ms, or if
 *            only a clone is estimated to keep the limit of dumpwright_request_max_pause, else
 *            "stop". The report has a note with the reason.
 *
 * Other names are E_INVALIDARG. */
BOOL dumpwright_request_hold(dumpwright_request *request, const char *name);

/* Limits the time for which a live Linux process is suspended, in milliseconds. 0 means no limit,
 * which is the default. When the time has passed, the process is resumed at once, even while the
 * callback runs or the output is blocked. Nothing more is read from it; the report lists what is
 * missing, and deferred memory that was not read is filled with 0xDD, and after 64 MiB with zeros.
 * If not even the threads and the memory map are known by then, dumpwright_dump fails.
 *
 * Even without this limit, a live Linux process is resumed in this way if nothing can be written to
 * the output for 10 seconds. Dumps of live Windows processes fail if there is a limit. */
BOOL dumpwright_request_max_pause(dumpwright_request *request, uint32_t milliseconds);

/* Limits the time for which a clone of a live Linux process exists (dumpwright_request_hold), in
 * milliseconds. 0 means the default, which is 10 minutes. When the time has passed, the clone is
 * ended at once, even while the callback runs or the output is blocked. As with
 * dumpwright_request_max_pause, the report lists what is missing, and deferred memory that was not
 * read is filled. */
BOOL dumpwright_request_max_clone(dumpwright_request *request, uint32_t milliseconds);

/* Chooses whether dumpwright_dump looks for a crash that the program handles at the moment, if the
 * request has no exception. Default: FALSE.
 *
 * A program that handles its own crashes stays in the handler of the signal while another program
 * makes the dump. The dump then has an exception stream with that signal and the registers at that
 * moment. It is found in 64-bit Linux programs, for handlers that were installed with SA_SIGINFO
 * and without SA_NODEFER. */
BOOL dumpwright_request_find_crash(dumpwright_request *request, BOOL find);

/* Limits the bytes of memory in the dump. 0 means no limit, which is the default. Threads, modules
 * and other streams are not counted.
 *
 * If the memory does not fit, the most useful part is kept, in this order: stacks, from their
 * innermost frames on; ranges that the callback adds and code around instruction pointers; then
 * other memory. In dumps of full memory, private writable regions come before other writable
 * regions, those before read-only regions, and small regions before large ones. The report lists
 * what was dropped. The documentation of the Rust type SizeBudget has the details. */
BOOL dumpwright_request_budget(dumpwright_request *request, uint64_t bytes);

/* Sets the policy file (docs/policies.md), which is read now: which threads, modules and memory are
 * in the dump, what is overwritten, how large it may be and how long it may take. A mistake in the
 * file is an error; its message has the line, the key and the nearest valid name.
 *
 * The dump types of the policy are added to those of the request. Other settings of the request
 * replace those of the policy. The policy answers before the callback, which sees what the policy
 * has left. The report lists what the policy dropped or overwrote; losses that it accepts do not
 * make the dump partial.
 *
 * NULL, the default, means the file that the environment variable DUMPWRIGHT_POLICY names, if it is
 * set and not empty. The variable applies to MiniDumpWriteDump too. */
BOOL dumpwright_request_policy(dumpwright_request *request, const char *file);

/* Sets the file to which dumpwright_dump writes the dialogue with the callback, one JSON object per
 * line (docs/transcript.md), even if the dump fails. NULL, the default, means no such file. An
 * existing file is replaced; on Linux only its owner can read the new one, because it contains
 * bytes that the callback supplies. If the transcript cannot be written, dumpwright_dump fails. */
BOOL dumpwright_request_transcript(dumpwright_request *request, const char *file);

/* Sets whether the answers of the callback are checked for misuse: answers in a field that is
 * ignored, a status that does not mean what the answer intends, a list of ranges that never ends, a
 * callback that excludes everything, and more. Each finding is a diagnostic of severity 2 in the
 * report (dumpwright_last_report), with the text "callback: ..."; after a failure, the findings are
 * lines of dumpwright_last_error_message. Default: the environment variable DUMPWRIGHT_LINT, which
 * switches the check on if it is set and is not "0". */
BOOL dumpwright_request_lint(dumpwright_request *request, BOOL checks);

/* Sets the time in the dump's header, in seconds since 1970. Default: the current time, or the time
 * in the scenario. */
BOOL dumpwright_request_time(dumpwright_request *request, uint32_t seconds);

/* Writes the dump that the request describes. Like MiniDumpWriteDump, it returns TRUE if a dump was
 * written, which dumpwright_last_report() then describes, and FALSE if there is no dump.
 * E_INVALIDARG if no process was set. The request is unchanged and can be used again. */
BOOL dumpwright_dump(dumpwright_request *request);

#if !defined(_WIN32)
/* ---- A crash handler for the calling program (Linux) ----
 *
 *     if (!dumpwright_crash_install("/var/crash", NULL))
 *         fprintf(stderr, "%s\n", dumpwright_last_error_message());
 *
 * When the program crashes (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP or SIGSYS; abort and
 * an uncaught C++ exception raise SIGABRT), another process writes a dump of it into the folder.
 * Then the program dies as it would have: its earlier signal handler runs, if it has one, the
 * kernel writes its core file, and its parent sees the same signal. docs/guide/crash-handler.md
 * describes what the handler can be relied on for.
 *
 * The other process, the server, is started by dumpwright_crash_install: dumpwright's command line
 * (dumpwright crash-server). It ends with the program. It is not a child of the program, unless the
 * program adopts orphans. A process that the program forks has no server; it can call
 * dumpwright_crash_install again. Where kernel.yama.ptrace_scope is 1, the handler calls
 * prctl(PR_SET_PTRACER) when the program crashes. */

/* What the handler does. Set `size` to sizeof(dumpwright_crash_options) and all other members to 0
 * or NULL, which stands for the defaults. New members are added only at the end. */
typedef struct dumpwright_crash_options {
    size_t size;
    uint32_t dump_type;  /* MINIDUMP_TYPE; default MiniDumpNormal */
    uint32_t limit;      /* milliseconds that the crashed program waits for its dump; default 30000 */
    const char *name;    /* pattern of file names, see dumpwright dump --name; default "%e.%p.%t.dmp" */
    const char *policy;  /* a policy file (docs/policies.md); default none */
    const char *server;  /* the program dumpwright; default: next to the program, else in PATH */
    BOOL quiet;          /* TRUE: no line on standard error that names the dump */
} dumpwright_crash_options;

/* Installs the handler and starts the server. `options` may be NULL. A second call replaces both.
 * The calling thread gets an alternate signal stack if it has none. E_INVALIDARG if there is no
 * server, E_FAIL if it cannot be started or refuses the options: the message has the reason, and
 * nothing is installed. */
BOOL dumpwright_crash_install(const char *folder, const dumpwright_crash_options *options);

/* Sets a text that the dump of a crash will have, or removes it if `value` is NULL. The texts are a
 * JSON object in the comment of the dump (CommentStreamA). There is room for 32 texts. A key has 1
 * to 64 bytes; key and value have 488 bytes together, and the end of a longer value is cut off.
 * E_INVALIDARG if there is no room or the key is wrong. Do not call it in signal handlers. */
BOOL dumpwright_crash_annotate(const char *key, const char *value);

/* Gives the calling thread an alternate signal stack if it has none, until the thread ends. Without
 * one, a stack overflow in the thread kills the program without a dump. */
BOOL dumpwright_crash_signal_stack(void);

/* Translates the arguments of a signal handler that was installed with SA_SIGINFO: `siginfo` is a
 * siginfo_t, and `ucontext` a ucontext_t. The results are what MINIDUMP_EXCEPTION_INFORMATION
 * points to. ExceptionCode is the number of the signal, and ExceptionFlags is si_code.
 *
 * This is for programs with a crash handler of their own. It allocates memory, so call it in the
 * process that makes the dump, with copies of the structures. The floating-point registers are read
 * from uc_mcontext.fpregs; let it point to a copy of these 512 bytes, or set it to NULL.
 * E_INVALIDARG if a pointer is NULL. */
BOOL dumpwright_exception_from_siginfo(const void *siginfo, const void *ucontext, EXCEPTION_RECORD *record, CONTEXT *context);
#endif

#ifdef __cplusplus
} /* extern "C" */
#endif

#if !defined(_WIN32) && !defined(DUMPWRIGHT_NO_WINDOWS_NAMES)
static inline DWORD GetLastError(void)
{
    return dumpwright_last_error();
}
#endif

#if !defined(_WIN32)
/* ---- Handles on Linux ----
 *
 * A HANDLE is a number: a process id where a function expects a process, a descriptor where it
 * expects a file. A plain number will do, but a handle can also carry a tag that tells a process
 * from a file. With the tag, descriptor 0 has a handle that is not NULL. The library accepts both
 * forms and passes callbacks the form that it was given. */

/* Returns the tagged handle of a descriptor, or INVALID_HANDLE_VALUE if the number is negative, as
 * after an open() that failed. */
static inline HANDLE dumpwright_handle_of_fd(int descriptor)
{
    return descriptor < 0 ? INVALID_HANDLE_VALUE : (HANDLE)(uintptr_t)(0x40000000u | (uint32_t)descriptor);
}

/* Returns the tagged handle of a process id, or NULL for 0. */
static inline HANDLE dumpwright_handle_of_pid(uint32_t process_id)
{
    return process_id == 0 ? NULL : (HANDLE)(uintptr_t)(0x20000000u | process_id);
}

/* Returns the descriptor of a handle in either form, or -1 if it is not the handle of a file. */
static inline int dumpwright_fd_of_handle(HANDLE handle)
{
    uintptr_t number = (uintptr_t)handle;
    if (number >> 29 == 2)
        return (int)(number & 0x1fffffff);
    return number == 0 || number > INT32_MAX || number >> 29 == 1 ? -1 : (int)number;
}

/* Returns the process id of a handle in either form, or 0 if it is not the handle of a process. */
static inline uint32_t dumpwright_pid_of_handle(HANDLE handle)
{
    uintptr_t number = (uintptr_t)handle;
    if (number >> 29 == 1)
        return (uint32_t)(number & 0x1fffffff);
    return number > INT32_MAX || number >> 29 == 2 ? 0 : (uint32_t)number;
}

#define DUMPWRIGHT_FD(descriptor) dumpwright_handle_of_fd(descriptor)
#define DUMPWRIGHT_PID(process_id) dumpwright_handle_of_pid((uint32_t)(process_id))
#endif

/* ---- Strings of 16-bit units ----
 *
 * The dumpwright_wcs... functions do for WCHAR strings what the functions of <wchar.h> with similar
 * names do for wchar_t strings. */

static inline size_t dumpwright_wcslen(const WCHAR *text)
{
    size_t length = 0;
    while (text[length] != 0)
        length++;
    return length;
}

/* Compares at most `most` units. If `fold` is not 0, A to Z are equal to a to z. Used by the four
 * functions below. */
static inline int dumpwright_wcscompare(const WCHAR *left, const WCHAR *right, size_t most, int fold)
{
    for (size_t at = 0; at < most; at++) {
        int a = (int)left[at], b = (int)right[at];
        if (fold && a >= 'A' && a <= 'Z')
            a += 'a' - 'A';
        if (fold && b >= 'A' && b <= 'Z')
            b += 'a' - 'A';
        if (a != b)
            return a < b ? -1 : 1;
        if (a == 0)
            break;
    }
    return 0;
}

static inline int dumpwright_wcscmp(const WCHAR *left, const WCHAR *right)
{
    return dumpwright_wcscompare(left, right, SIZE_MAX, 0);
}

static inline int dumpwright_wcsncmp(const WCHAR *left, const WCHAR *right, size_t most)
{
    return dumpwright_wcscompare(left, right, most, 0);
}

static inline int dumpwright_wcsicmp(const WCHAR *left, const WCHAR *right)
{
    return dumpwright_wcscompare(left, right, SIZE_MAX, 1);
}

static inline int dumpwright_wcsnicmp(const WCHAR *left, const WCHAR *right, size_t most)
{
    return dumpwright_wcscompare(left, right, most, 1);
}

static inline WCHAR *dumpwright_wcschr(const WCHAR *text, WCHAR wanted)
{
    for (;; text++) {
        if (*text == wanted)
            return (WCHAR *)text;
        if (*text == 0)
            return NULL;
    }
}

static inline WCHAR *dumpwright_wcsrchr(const WCHAR *text, WCHAR wanted)
{
    const WCHAR *found = NULL;
    for (;; text++) {
        if (*text == wanted)
            found = text;
        if (*text == 0)
            return (WCHAR *)found;
    }
}

static inline WCHAR *dumpwright_wcsstr(const WCHAR *text, const WCHAR *wanted)
{
    size_t length = dumpwright_wcslen(wanted);
    for (;; text++) {
        if (dumpwright_wcsncmp(text, wanted, length) == 0)
            return (WCHAR *)text;
        if (*text == 0)
            return NULL;
    }
}

/* Copies at most `size` units, including the final 0, which is always written unless `size` is 0.
 * Returns the length of the whole text in units, without the final 0. */
static inline size_t dumpwright_wcslcpy(WCHAR *into, const WCHAR *text, size_t size)
{
    size_t length = dumpwright_wcslen(text);
    for (size_t at = 0; at < size; at++) {
        into[at] = at < length && at + 1 < size ? text[at] : (WCHAR)0;
        if (into[at] == 0)
            break;
    }
    return length;
}

/* Returns the length of the text in units, but at most `most`, and reads no further than that. */
static inline size_t dumpwright_wcsnlen(const WCHAR *text, size_t most)
{
    size_t length = 0;
    while (length < most && text[length] != 0)
        length++;
    return length;
}

/* Like wcscpy, wcsncpy and wcscat. Prefer dumpwright_wcslcpy, which always ends the text with 0 and
 * never writes beyond `size` units. */
static inline WCHAR *dumpwright_wcscpy(WCHAR *into, const WCHAR *text)
{
    size_t at = 0;
    do
        into[at] = text[at];
    while (text[at++] != 0);
    return into;
}

static inline WCHAR *dumpwright_wcsncpy(WCHAR *into, const WCHAR *text, size_t size)
{
    size_t length = dumpwright_wcsnlen(text, size);
    for (size_t at = 0; at < size; at++)
        into[at] = at < length ? text[at] : (WCHAR)0;
    return into;
}

static inline WCHAR *dumpwright_wcscat(WCHAR *into, const WCHAR *text)
{
    dumpwright_wcscpy(into + dumpwright_wcslen(into), text);
    return into;
}

/* Stores a character at index `at` of `into`, in one or two units, if they and a final 0 fit into
 * `size` units. Returns 1 or 2, the number of units that it takes. A value that is not a character
 * becomes U+FFFD. Used by the functions below. */
static inline size_t dumpwright_put_utf16(WCHAR *into, size_t size, size_t at, uint32_t character)
{
    if (character > 0x10FFFF || (character >= 0xD800 && character < 0xE000))
        character = 0xFFFD;
    if (character >= 0x10000) {
        if (at + 2 < size) {
            into[at] = (WCHAR)(0xD800 + ((character - 0x10000) >> 10));
            into[at + 1] = (WCHAR)(0xDC00 + ((character - 0x10000) & 0x3FF));
        } else if (at < size) {
            into[at] = 0;
        }
        return 2;
    }
    if (at + 1 < size)
        into[at] = (WCHAR)character;
    return 1;
}

/* Converts wchar_t text to UTF-16. Writes at most `size` units, including the final 0, which is
 * always written unless `size` is 0. If `size` is 0, `into` may be NULL. Returns the length of the
 * whole result in units, without the final 0. Values that are not characters become U+FFFD. On
 * Windows the text is copied. */
static inline size_t dumpwright_wide_to_utf16(WCHAR *into, size_t size, const wchar_t *text)
{
    size_t length = 0;
    for (; *text != 0; text++) {
        if (sizeof(wchar_t) == 2) {
            if (length + 1 < size)
                into[length] = (WCHAR)*text;
            length++;
        } else {
            length += dumpwright_put_utf16(into, size, length, (uint32_t)*text);
        }
    }
    if (size > 0)
        into[length < size ? length : size - 1] = 0;
    return length;
}

/* Converts UTF-8 text to UTF-16, like dumpwright_wide_to_utf16. Each byte that is not part of valid
 * UTF-8 becomes U+FFFD. */
static inline size_t dumpwright_utf8_to_utf16(WCHAR *into, size_t size, const char *text)
{
    static const uint32_t smallest[] = {0, 0x80, 0x800, 0x10000};
    size_t length = 0;
    while (*text != 0) {
        uint32_t character = (unsigned char)*text++;
        int valid = character < 0x80 || (character >= 0xC2 && character <= 0xF4);
        size_t more = 0, at = 0;
        if (valid && character >= 0x80) {
            more = character >= 0xF0 ? 3 : character >= 0xE0 ? 2 : 1;
            character &= 0x3Fu >> more;
            while (at < more && ((unsigned char)text[at] & 0xC0) == 0x80)
                character = character << 6 | ((unsigned char)text[at++] & 0x3Fu);
        }
        if (valid && at == more && character >= smallest[more])
            text += more;
        else
            character = 0xFFFD; /* for this byte alone; decoding resumes at the next one */
        length += dumpwright_put_utf16(into, size, length, character);
    }
    if (size > 0)
        into[length < size ? length : size - 1] = 0;
    return length;
}

/* Returns the part of a path after its last slash or backslash. */
static inline const WCHAR *dumpwright_file_name(const WCHAR *path)
{
    const WCHAR *name = path;
    for (; *path != 0; path++) {
        if (*path == '/' || *path == '\\')
            name = path + 1;
    }
    return name;
}

/* Converts UTF-16 text to UTF-8. Writes at most `size` bytes, including the final 0, and truncates
 * the text between two characters if it does not fit. Unpaired surrogates become question marks.
 * Returns `into`. */
static inline char *dumpwright_utf8(char *into, size_t size, const WCHAR *text)
{
    size_t used = 0;
    if (size == 0)
        return into;
    while (*text != 0) {
        uint32_t unit = (uint16_t)*text++;
        size_t need;
        if (unit >= 0xD800 && unit < 0xDC00 && (uint16_t)*text >= 0xDC00 && (uint16_t)*text < 0xE000)
            unit = 0x10000 + ((unit - 0xD800) << 10) + ((uint16_t)*text++ - 0xDC00u);
        else if (unit >= 0xD800 && unit < 0xE000)
            unit = '?';
        need = unit < 0x80 ? 1 : unit < 0x800 ? 2 : unit < 0x10000 ? 3 : 4;
        if (used + need >= size)
            break;
        if (need == 1) {
            into[used] = (char)unit;
        } else {
            for (size_t at = need; at-- > 1; unit >>= 6)
                into[used + at] = (char)(0x80 | (unit & 0x3F));
            into[used] = (char)((0xF00 >> need) | unit);
        }
        used += need;
    }
    into[used] = 0;
    return into;
}

#if defined(DUMPWRIGHT_WCS) && !defined(_WIN32)
#define wcslen dumpwright_wcslen
#define wcsnlen dumpwright_wcsnlen
#define wcscpy dumpwright_wcscpy
#define wcsncpy dumpwright_wcsncpy
#define wcscat dumpwright_wcscat
#define wcscmp dumpwright_wcscmp
#define wcsncmp dumpwright_wcsncmp
#define wcsicmp dumpwright_wcsicmp
#define _wcsicmp dumpwright_wcsicmp
#define wcsnicmp dumpwright_wcsnicmp
#define _wcsnicmp dumpwright_wcsnicmp
#define wcschr dumpwright_wcschr
#define wcsrchr dumpwright_wcsrchr
#define wcsstr dumpwright_wcsstr
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#pragma warning(pop)
#endif

#endif /* DUMPWRIGHT_H */
