/* dumpwright.h - minidumps as Microsoft's MiniDumpWriteDump writes them, callbacks and all
 *
 * GENERATED from platform/capi/header/dumpwright.h.in; `cargo xtask bless` renews it, a test holds it against its source.
 *
 * Self-contained: C11 and C++17, GCC, Clang, MSVC and mingw. Names are those of Microsoft's dbghelp.h, so that code written for
 * it compiles with this header in its place. The layouts are asserted below for x64, x86 and arm64. (mingw-w64's dbghelp.h has three
 * of them wrong: do not mix.)
 *
 * ON WINDOWS
 *
 *  - <windows.h>, if it is wanted, comes before this header, and so does the SDK's <dbghelp.h>, nothing of which is then declared
 *    again. Link with the import library dumpwright.dll.lib (MSVC) or libdumpwright.dll.a (mingw) in the place of dbghelp.lib.
 *  - Handles are Windows' own. The calling process cannot dump itself; have another one do it (examples/c/watch.c).
 *  - Names of files that dumpwright_request... functions are given are UTF-8, whatever the code page is.
 *
 * WHAT PORTED CODE HAS TO CHANGE ON LINUX
 *
 *  - Wide strings have 16-bit units, as everywhere in minidumps, but wchar_t has 32: write u"ntdll" instead of L"ntdll", WCHAR
 *    instead of wchar_t, and use the dumpwright_wcs... functions below (define DUMPWRIGHT_WCS before including this header, and wcslen, wcscmp,
 *    wcsicmp, wcsrchr... stand for them). Or compile all of it with -fshort-wchar and leave the literals.
 *  - Paths have slashes, and names of modules have no .dll or .exe.
 *  - A process handle is the process id: (HANDLE)(intptr_t)pid. A process descriptor has dumpwright_request_pidfd. The calling process
 *    cannot dump itself; have a child or a helper do it (prctl(PR_SET_PTRACER) may be needed).
 *  - A file handle is a descriptor: (HANDLE)(intptr_t)fd. 0 is no file. It is not closed.
 *  - GetLastError() is dumpwright_last_error() here, unless DUMPWRIGHT_NO_WINDOWS_NAMES is defined.
 *  - A CONTEXT is Windows' CONTEXT; signal handlers have ucontext_t, whose registers must be copied into one.
 *
 * RULES FOR CALLBACKS, on every system
 *
 *  - The structures and what they point to are lent for one call. What a callback writes to them, apart from the answer and the buffers
 *    of the Vm questions, is ignored.
 *  - A callback runs on the thread that asked for the dump. It may ask for other dumps.
 *  - It may throw a C++ exception: the target is let go, then the exception goes on to the caller of MiniDumpWriteDump or
 *    dumpwright_dump. DbgHelp does not promise that.
 *  - It must not leave by longjmp, by a structured exception (Windows: an access violation that the caller's __except takes, say), nor by
 *    ending its thread: then nobody lets go of the target before the process ends, and on Windows not even then. So it is with DbgHelp.
 */
#ifndef DUMPWRIGHT_H
#define DUMPWRIGHT_H

#if defined(__GNUC__) || defined(__clang__)
/* Anonymous structures and empty arrays, as Microsoft's header has them, are no mistake of whoever includes this. */
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
#error "dumpwright.h knows x64, x86 and arm64"
#endif

/* What holds a CONTEXT by value is aligned to 16 on x64 and arm64. Compilers differ in whether `#pragma pack(4)` lowers that, so it
 * is said where it counts, and the gap before the CONTEXT is a member. */
#if defined(DUMPWRIGHT_X86)
#define DUMPWRIGHT_ALIGN16
#define DUMPWRIGHT_PAD
#elif defined(_MSC_VER)
#define DUMPWRIGHT_ALIGN16 __declspec(align(16))
#define DUMPWRIGHT_PAD ULONG dumpwright_pad;
#else
#define DUMPWRIGHT_ALIGN16 __attribute__((aligned(16)))
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

/* ---- Windows' basic types, if <windows.h> has not brought them ------------------------------------------------------------ */

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
typedef void *PVOID;
typedef void *LPVOID;
typedef void *HANDLE;
typedef WCHAR *PWCHAR;
typedef WCHAR *PWSTR;
typedef const WCHAR *PCWSTR;
typedef DWORD *PDWORD;
typedef ULONG *PULONG;
typedef BOOL *PBOOL;
#if defined(_WIN32)
typedef unsigned long long ULONG64;
typedef unsigned long long ULONGLONG;
typedef unsigned long long DWORD64;
typedef long long LONGLONG;
#else
typedef uint64_t ULONG64;
typedef uint64_t ULONGLONG;
typedef uint64_t DWORD64;
typedef int64_t LONGLONG;
#endif
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

/* Status codes that callbacks answer with, and that calls end with. */
#ifndef S_OK
#define S_OK ((HRESULT)0)
#define S_FALSE ((HRESULT)1)
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

/* ---- Microsoft's dbghelp.h, the part about minidumps ----------------------------------------------------------------------- */

#if !defined(_DBGHELP_) && !defined(_APISETMINIDUMP_)

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
    MiniDumpValidTypeFlags = 0x3ffffff,
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

/* A region of memory in Windows' terms. */
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

/* The facts of a thread, as ThreadCallback shows them. StackBase is the upper end. */
typedef struct DUMPWRIGHT_ALIGN16 _MINIDUMP_THREAD_CALLBACK {
    ULONG ThreadId;
    HANDLE ThreadHandle;
    DUMPWRIGHT_PAD
    CONTEXT Context;
    ULONG SizeOfContext;
    ULONG64 StackBase;
    ULONG64 StackEnd;
} MINIDUMP_THREAD_CALLBACK, *PMINIDUMP_THREAD_CALLBACK;

/* The same with a backing store, for ThreadExCallback. */
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

/* The facts of a module, as ModuleCallback shows them. */
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

/* Output: the file, and for IoWriteAllCallback what is to be written where. */
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

/* A read that is about to be done. */
typedef struct _MINIDUMP_VM_PRE_READ_CALLBACK {
    ULONG64 Offset;
    PVOID Buffer;
    ULONG Size;
} MINIDUMP_VM_PRE_READ_CALLBACK, *PMINIDUMP_VM_PRE_READ_CALLBACK;

/* A read that has been done. */
typedef struct _MINIDUMP_VM_POST_READ_CALLBACK {
    ULONG64 Offset;
    PVOID Buffer;
    ULONG Size;
    ULONG Completed;
    HRESULT Status;
} MINIDUMP_VM_POST_READ_CALLBACK, *PMINIDUMP_VM_POST_READ_CALLBACK;

/* A question. */
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
    };
} MINIDUMP_CALLBACK_INPUT, *PMINIDUMP_CALLBACK_INPUT;

/* The answer to a question, prefilled. */
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
        HRESULT Status;
    };
} MINIDUMP_CALLBACK_OUTPUT, *PMINIDUMP_CALLBACK_OUTPUT;

typedef BOOL(WINAPI *MINIDUMP_CALLBACK_ROUTINE)(PVOID CallbackParam, PMINIDUMP_CALLBACK_INPUT CallbackInput,
                                               PMINIDUMP_CALLBACK_OUTPUT CallbackOutput);

/* The callback, and what it is given as its first argument. */
typedef struct _MINIDUMP_CALLBACK_INFORMATION {
    MINIDUMP_CALLBACK_ROUTINE CallbackRoutine;
    PVOID CallbackParam;
} MINIDUMP_CALLBACK_INFORMATION, *PMINIDUMP_CALLBACK_INFORMATION;

/* What happened to the process. With ClientPointers, the pointers are addresses in the process that is dumped. */
typedef struct _MINIDUMP_EXCEPTION_INFORMATION {
    ULONG32 ThreadId;
    PEXCEPTION_POINTERS ExceptionPointers;
    BOOL ClientPointers;
} MINIDUMP_EXCEPTION_INFORMATION, *PMINIDUMP_EXCEPTION_INFORMATION;

/* A stream of the caller's own. */
typedef struct _MINIDUMP_USER_STREAM {
    ULONG32 Type;
    ULONG BufferSize;
    PVOID Buffer;
} MINIDUMP_USER_STREAM, *PMINIDUMP_USER_STREAM;

/* All streams of the caller's own. */
typedef struct _MINIDUMP_USER_STREAM_INFORMATION {
    ULONG UserStreamCount;
    PMINIDUMP_USER_STREAM UserStreamArray;
} MINIDUMP_USER_STREAM_INFORMATION, *PMINIDUMP_USER_STREAM_INFORMATION;

/* The structures of the file. */
typedef DWORD RVA;
typedef ULONG64 RVA64;

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
typedef struct _MINIDUMP_EXCEPTION {
    ULONG32 ExceptionCode;
    ULONG32 ExceptionFlags;
    ULONG64 ExceptionRecord;
    ULONG64 ExceptionAddress;
    ULONG32 NumberParameters;
    ULONG32 __unusedAlignment;
    ULONG64 ExceptionInformation[15];
} MINIDUMP_EXCEPTION, *PMINIDUMP_EXCEPTION;
typedef struct _MINIDUMP_EXCEPTION_STREAM {
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
typedef struct _MINIDUMP_HANDLE_DESCRIPTOR {
    ULONG64 Handle;
    RVA TypeNameRva;
    RVA ObjectNameRva;
    ULONG32 Attributes;
    ULONG32 GrantedAccess;
    ULONG32 HandleCount;
    ULONG32 PointerCount;
} MINIDUMP_HANDLE_DESCRIPTOR, *PMINIDUMP_HANDLE_DESCRIPTOR;
typedef struct _MINIDUMP_HANDLE_DATA_STREAM {
    ULONG32 SizeOfHeader;
    ULONG32 SizeOfDescriptor;
    ULONG32 NumberOfDescriptors;
    ULONG32 Reserved;
} MINIDUMP_HANDLE_DATA_STREAM, *PMINIDUMP_HANDLE_DATA_STREAM;
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
typedef struct _MINIDUMP_MISC_INFO {
    ULONG32 SizeOfInfo;
    ULONG32 Flags1;
    ULONG32 ProcessId;
    ULONG32 ProcessCreateTime;
    ULONG32 ProcessUserTime;
    ULONG32 ProcessKernelTime;
} MINIDUMP_MISC_INFO, *PMINIDUMP_MISC_INFO;
typedef struct _MINIDUMP_MEMORY_INFO_LIST {
    ULONG SizeOfHeader;
    ULONG SizeOfEntry;
    ULONG64 NumberOfEntries;
} MINIDUMP_MEMORY_INFO_LIST, *PMINIDUMP_MEMORY_INFO_LIST;
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

#pragma pack(pop)

/* Layouts, as Microsoft's compiler has them: x64, x86, arm64. */
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
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_LOCATION_DESCRIPTOR) == 8);
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_MEMORY_DESCRIPTOR) == 16);
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_MEMORY_DESCRIPTOR64) == 16);
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_HEADER) == 32);
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_DIRECTORY) == 12);
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_SYSTEM_INFO) == 56);
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_THREAD) == 48);
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_EXCEPTION) == 152);
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_EXCEPTION_STREAM) == 168);
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_MODULE) == 108);
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_MEMORY64_LIST) == 16);
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_HANDLE_DESCRIPTOR) == 32);
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_HANDLE_DATA_STREAM) == 16);
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_UNLOADED_MODULE) == 24);
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_UNLOADED_MODULE_LIST) == 12);
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_MISC_INFO) == 24);
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_MEMORY_INFO_LIST) == 16);
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_THREAD_INFO) == 64);
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_THREAD_INFO_LIST) == 12);
DUMPWRIGHT_ASSERT(sizeof(MINIDUMP_THREAD_NAME) == 12);

/* Dumps a process into a file.
 *
 * FALSE: there is no dump, dumpwright_last_error() is an HRESULT, and so is errno (on Windows GetLastError()); dumpwright_last_error_message()
 * says more. TRUE: there is one, and dumpwright_last_report() says what it lacks, if anything.
 *
 * hProcess   Windows: a handle with PROCESS_QUERY_INFORMATION, PROCESS_VM_READ and, for handle data, PROCESS_DUP_HANDLE; that of a
 *            snapshot if the callback answers IsProcessSnapshotCallback with S_FALSE. Linux: the process id as a pointer. It must be of the
 *            process of ProcessId, which may be 0.
 * hFile      A handle (Linux: a descriptor) that is open for writing; files on disks are written from their beginning. 0: no file,
 *            the callback answers IoStartCallback with S_FALSE. It stays open. After FALSE the file is worth nothing.
 * The behaviour is that of the profile dbghelp10: what Microsoft's DbgHelp does with a callback, mistakes included. The variable
 * DUMPWRIGHT_PROFILE chooses another one: dbghelp63, or documented. */
BOOL WINAPI MiniDumpWriteDump(HANDLE hProcess, DWORD ProcessId, HANDLE hFile, MINIDUMP_TYPE DumpType,
                              PMINIDUMP_EXCEPTION_INFORMATION ExceptionParam,
                              PMINIDUMP_USER_STREAM_INFORMATION UserStreamParam,
                              PMINIDUMP_CALLBACK_INFORMATION CallbackParam);

/* Finds a stream of a dump in memory. Any of the three last may be NULL. FALSE: the code is ERROR_NOT_FOUND (no such stream),
 * ERROR_INVALID_DATA (no minidump, or a damaged one) or ERROR_NOACCESS; nothing is stored then. */
BOOL WINAPI MiniDumpReadDumpStream(PVOID BaseOfDump, ULONG StreamNumber, PMINIDUMP_DIRECTORY *Dir, PVOID *StreamPointer,
                                   ULONG *StreamSize);

#endif /* no <dbghelp.h> */

/* ---- What DbgHelp has not --------------------------------------------------------------------------------------------------- */

/* Why the calling thread's last call failed; 0 and "" after one that succeeded. Good until its next call. */
uint32_t dumpwright_last_error(void);
const char *dumpwright_last_error_message(void);

/* What a dump holds and lacks. Later versions add members at the end; `size` is what there is. */
enum { DUMPWRIGHT_NOTE = 0, DUMPWRIGHT_LEFT_OUT = 1, DUMPWRIGHT_MISSING = 2 };
typedef struct dumpwright_remark {
    int gravity;      /* DUMPWRIGHT_MISSING: it was asked for, exists, and could not be got */
    const char *text; /* what, and why */
} dumpwright_remark;
typedef struct dumpwright_report {
    size_t size;
    BOOL complete;      /* nothing is missing */
    uint32_t dump_type; /* what was effective */
    uint64_t bytes;     /* size of the dump */
    uint64_t memory_bytes;
    uint32_t memory_ranges;
    uint32_t threads;
    uint32_t modules;
    uint32_t pause_microseconds; /* for how long the process was held */
    const char *hold;            /* how */
    size_t remark_count;
    const dumpwright_remark *remarks; /* what is missing first */
} dumpwright_report;

/* About the calling thread's last dump; NULL if the last attempt failed. Good until its next attempt. */
const dumpwright_report *dumpwright_last_report(void);

/* A dump that is described step by step: what cannot be said to MiniDumpWriteDump. All functions that return BOOL fail with
 * FALSE and leave an error as above. Pointers that are given are used until the request is freed, except where it says that something
 * is copied. One thread at a time may use a request. */
typedef struct dumpwright_request dumpwright_request;
dumpwright_request *dumpwright_request_create(uint32_t dump_type);
void dumpwright_request_free(dumpwright_request *request);

/* What is dumped: one of these. A handle or a process descriptor cannot be mistaken for a later process with the same id; it
 * stays open as long as the request is used. A scenario is a simulated process, described by a file. */
BOOL dumpwright_request_process(dumpwright_request *request, uint32_t process_id);
#if defined(_WIN32)
BOOL dumpwright_request_handle(dumpwright_request *request, HANDLE process);
#else
BOOL dumpwright_request_pidfd(dumpwright_request *request, int pidfd);
#endif
BOOL dumpwright_request_scenario(dumpwright_request *request, const char *file);

/* Where the dump goes: one of these, or to the callback. A path gets its file only when the dump is whole, readable by its owner only. A
 * writer gets all bytes front to back and returns FALSE to fail the dump; it may throw. */
typedef BOOL (*dumpwright_writer)(void *parameter, uint64_t offset, const void *bytes, size_t count);
BOOL dumpwright_request_file(dumpwright_request *request, HANDLE file);
BOOL dumpwright_request_path(dumpwright_request *request, const char *file, BOOL replace);
BOOL dumpwright_request_writer(dumpwright_request *request, dumpwright_writer writer, void *parameter);

/* What else MiniDumpWriteDump can be given. The structures are copied, exceptions and streams with all they lead to; for ClientPointers the
 * process has to be set before. */
BOOL dumpwright_request_callback(dumpwright_request *request, const MINIDUMP_CALLBACK_INFORMATION *callback);
BOOL dumpwright_request_exception(dumpwright_request *request, const MINIDUMP_EXCEPTION_INFORMATION *exception);
BOOL dumpwright_request_user_streams(dumpwright_request *request, const MINIDUMP_USER_STREAM_INFORMATION *streams);

/* Whose behaviour is followed: "documented", "dbghelp63" or "dbghelp10". Default: DUMPWRIGHT_PROFILE, else dbghelp10. */
BOOL dumpwright_request_profile(dumpwright_request *request, const char *name);

/* How a live process is held: "stop", or on Windows "clone": by a snapshot, a copy of its memory that the system makes in a moment. Where
 * there are no snapshots (before Windows 8.1) its threads are stopped, and the report says so. */
BOOL dumpwright_request_hold(dumpwright_request *request, const char *name);

/* A limit to the bytes of memory in the dump; what goes first is said in the documentation of SizeBudget. 0: none. */
BOOL dumpwright_request_budget(dumpwright_request *request, uint64_t bytes);

/* Writes the dialogue with the callback to a file, also when the dump fails: one JSON object a line. NULL: to none. */
BOOL dumpwright_request_transcript(dumpwright_request *request, const char *file);

/* The time in the dump's header, in seconds since 1970. */
BOOL dumpwright_request_time(dumpwright_request *request, uint32_t seconds);

/* Makes the dump. TRUE and FALSE mean what they mean for MiniDumpWriteDump. The request can be used again. */
BOOL dumpwright_dump(dumpwright_request *request);

#ifdef __cplusplus
} /* extern "C" */
#endif

#if !defined(_WIN32) && !defined(DUMPWRIGHT_NO_WINDOWS_NAMES)
static inline DWORD GetLastError(void)
{
    return dumpwright_last_error();
}
#endif

/* ---- Strings of 16-bit units ------------------------------------------------------------------------------------------------ */

static inline size_t dumpwright_wcslen(const WCHAR *text)
{
    size_t length = 0;
    while (text[length] != 0)
        length++;
    return length;
}

/* A to Z are taken for a to z if `fold`. */
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

/* At most `size` units, the final 0 included, which is always there unless `size` is 0. Returns the length of the whole text. */
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

/* What stands behind the last slash or backslash. */
static inline const WCHAR *dumpwright_file_name(const WCHAR *path)
{
    const WCHAR *name = path;
    for (; *path != 0; path++) {
        if (*path == '/' || *path == '\\')
            name = path + 1;
    }
    return name;
}

/* The text in UTF-8, cut off to fit `size` bytes with the final 0. Half surrogates become question marks. */
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
