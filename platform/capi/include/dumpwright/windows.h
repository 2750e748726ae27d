/* dumpwright/windows.h - a small <windows.h> for Linux, for programs that call MiniDumpWriteDump
 *
 * With this folder on the include path, these headers take the place of <windows.h>, <dbghelp.h>,
 * <minidumpapiset.h> and <tchar.h>. A program then compiles unchanged if it only opens a process,
 * dumps it, perhaps through a callback that writes the dump (IoWriteAll), and writes files:
 *
 *     cc tool.c $(pkg-config --cflags --libs dumpwright-windows)
 *
 * WHAT IT CONTAINS
 *
 *  - The types, constants and macros that such programs use.
 *  - Processes and threads: OpenProcess, GetProcessId, GetCurrentProcess, GetCurrentProcessId,
 *    GetCurrentThreadId, ReadProcessMemory.
 *  - Files: CreateFile, ReadFile, WriteFile, SetFilePointer(Ex), SetEndOfFile, GetFileSize(Ex),
 *    FlushFileBuffers, DeleteFile, GetStdHandle, CloseHandle.
 *  - Memory: HeapAlloc, VirtualAlloc, LocalAlloc, GlobalAlloc and the functions that free it.
 *  - GetLastError, SetLastError, Sleep, GetTickCount(64), Interlocked... functions.
 *  - LoadLibrary and GetProcAddress, for MiniDumpWriteDump and MiniDumpReadDumpStream only.
 *
 * WHAT IT CANNOT DO
 *
 *  - It does not emulate Windows. There are no lists of processes or modules (find the process id
 *    by other means), no tokens and privileges, no threads, no structured exceptions (__try) and no
 *    process snapshots (Pss... functions). _WIN32 is not defined.
 *  - Handles are numbers with a tag (dumpwright.h, "Handles on Linux"). The tag tells CloseHandle
 *    what to close: it closes a descriptor and does nothing for a process. It fails with
 *    ERROR_INVALID_HANDLE for a plain number such as (HANDLE)(intptr_t)3.
 *  - A process handle is the process id. When the process has ended, another process may get the
 *    same id.
 *  - GetLastError() returns errno, which the library and these functions set to Windows error
 *    codes. Other functions of the C library change errno too, so call GetLastError() immediately.
 *  - Access rights, share modes, security attributes and most flags are ignored. Only the owner can
 *    read new files. Backslashes in file names become slashes. There are no drives. The functions
 *    for files use the offset in OVERLAPPED and ignore the rest of it; they always wait.
 *  - DWORD is `unsigned int`, so "%lu" is not its printf format.
 *  - WCHAR is char16_t, and L"..." is not a WCHAR string (dumpwright.h, "WIDE STRINGS").
 *    TEXT("...") works with and without UNICODE.
 *  - The old annotations __in, __out and __inout are always defined in C. In C++ they are defined
 *    only if DUMPWRIGHT_SAL1 is, because C++ libraries have parameters with these names. If you
 *    define it, include the standard headers before this one. IN, OUT and OPTIONAL are always
 *    macros, as on Windows.
 *  - The compiler must use GNU C or C++, which is the default of GCC and Clang, or _GNU_SOURCE must
 *    be defined.
 */
#ifndef DUMPWRIGHT_WINDOWS_H
#define DUMPWRIGHT_WINDOWS_H

#if defined(_WIN32)
#error "dumpwright/windows.h is for Linux; remove this folder from the include path on Windows"
#endif
#if defined(DUMPWRIGHT_H) && !defined(DUMPWRIGHT_NO_WINDOWS_NAMES)
#error "include <windows.h> before dumpwright.h, as on Windows"
#endif
#ifndef DUMPWRIGHT_NO_WINDOWS_NAMES
/* This header defines its own GetLastError below. */
#define DUMPWRIGHT_NO_WINDOWS_NAMES 1
#endif

#pragma GCC system_header

#include "../dumpwright.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* ---- Annotations and calling conventions, which mean nothing here ---- */

#define IN
#define OUT
#define OPTIONAL
#define _In_
#define _In_opt_
#define _In_z_
#define _In_opt_z_
#define _In_reads_(count)
#define _In_reads_opt_(count)
#define _In_reads_bytes_(count)
#define _In_reads_bytes_opt_(count)
#define _Out_
#define _Out_opt_
#define _Out_writes_(count)
#define _Out_writes_opt_(count)
#define _Out_writes_bytes_(count)
#define _Out_writes_bytes_opt_(count)
#define _Inout_
#define _Inout_opt_
#define _Reserved_
#define _Success_(condition)
#define _Check_return_
#define _Must_inspect_result_
#define _Ret_maybenull_
#define _Use_decl_annotations_
#if !defined(__cplusplus) || defined(DUMPWRIGHT_SAL1)
#define __in
#define __in_opt
#define __in_bcount(count)
#define __in_bcount_opt(count)
#define __in_ecount(count)
#define __out
#define __out_opt
#define __out_bcount(count)
#define __out_ecount(count)
#define __inout
#define __inout_opt
#endif
#define APIENTRY
#define NTAPI
#define WINAPIV
#define STDMETHODCALLTYPE
#define __cdecl
#define __stdcall
#define __fastcall
#define FORCEINLINE static inline
#define DECLSPEC_NORETURN __attribute__((noreturn))
#define DECLSPEC_ALIGN(bytes) __attribute__((aligned(bytes)))
#define UNREFERENCED_PARAMETER(parameter) ((void)(parameter))
#define DBG_UNREFERENCED_LOCAL_VARIABLE(variable) ((void)(variable))

/* ---- Types ---- */

#define __int64 long long
typedef char CHAR, *PCHAR, *PSTR, *LPSTR;
typedef const char *PCSTR, *LPCSTR;
typedef WCHAR *LPWSTR;
typedef const WCHAR *LPCWSTR;
typedef unsigned char BOOLEAN, *PBOOLEAN;
typedef BYTE *PBYTE, *LPBYTE;
typedef UCHAR *PUCHAR;
typedef short SHORT, *PSHORT;
typedef WORD *PWORD, *LPWORD;
typedef int INT, *PINT, *LPINT;
typedef unsigned int UINT, *PUINT;
typedef LONG *PLONG, *LPLONG;
typedef DWORD *LPDWORD;
typedef BOOL *LPBOOL;
typedef long long INT64, *PINT64;
typedef unsigned long long UINT64, *PUINT64;
typedef ULONG64 *PULONG64;
typedef DWORD64 *PDWORD64;
typedef float FLOAT;
typedef intptr_t INT_PTR, LONG_PTR, SSIZE_T;
typedef uintptr_t UINT_PTR, DWORD_PTR, *PULONG_PTR, *PDWORD_PTR;
typedef SIZE_T *PSIZE_T;
typedef const void *PCVOID, *LPCVOID;
typedef HANDLE *PHANDLE, *LPHANDLE;
typedef HANDLE HMODULE, HINSTANCE, HWND, HLOCAL, HGLOBAL;
typedef UINT_PTR WPARAM;
typedef LONG_PTR LPARAM, LRESULT;
typedef LONG NTSTATUS;
typedef DWORD ACCESS_MASK;
typedef EXCEPTION_POINTERS *LPEXCEPTION_POINTERS;
typedef CONTEXT *LPCONTEXT;
/* Microsoft's FARPROC returns a number. GCC warns about casts from such a type to the type of the
 * function that GetProcAddress was called for. */
typedef void(WINAPI *FARPROC)(void);
typedef DWORD(WINAPI *LPTHREAD_START_ROUTINE)(LPVOID parameter);

typedef union _LARGE_INTEGER {
    struct {
        DWORD LowPart;
        LONG HighPart;
    };
    struct {
        DWORD LowPart;
        LONG HighPart;
    } u;
    LONGLONG QuadPart;
} LARGE_INTEGER, *PLARGE_INTEGER;
typedef union _ULARGE_INTEGER {
    struct {
        DWORD LowPart;
        DWORD HighPart;
    };
    struct {
        DWORD LowPart;
        DWORD HighPart;
    } u;
    ULONGLONG QuadPart;
} ULARGE_INTEGER, *PULARGE_INTEGER;
typedef struct _FILETIME {
    DWORD dwLowDateTime;
    DWORD dwHighDateTime;
} FILETIME, *PFILETIME, *LPFILETIME;
typedef struct _GUID {
    DWORD Data1;
    WORD Data2;
    WORD Data3;
    BYTE Data4[8];
} GUID;
typedef struct _SECURITY_ATTRIBUTES {
    DWORD nLength;
    LPVOID lpSecurityDescriptor;
    BOOL bInheritHandle;
} SECURITY_ATTRIBUTES, *PSECURITY_ATTRIBUTES, *LPSECURITY_ATTRIBUTES;
typedef struct _OVERLAPPED {
    ULONG_PTR Internal;
    ULONG_PTR InternalHigh;
    union {
        struct {
            DWORD Offset;
            DWORD OffsetHigh;
        };
        PVOID Pointer;
    };
    HANDLE hEvent;
} OVERLAPPED, *LPOVERLAPPED;
typedef struct _MEMORY_BASIC_INFORMATION {
    PVOID BaseAddress;
    PVOID AllocationBase;
    DWORD AllocationProtect;
    SIZE_T RegionSize;
    DWORD State;
    DWORD Protect;
    DWORD Type;
} MEMORY_BASIC_INFORMATION, *PMEMORY_BASIC_INFORMATION;

#if defined(UNICODE) || defined(_UNICODE)
typedef WCHAR TCHAR, *PTSTR, *LPTSTR;
typedef const WCHAR *PCTSTR, *LPCTSTR;
#if __SIZEOF_WCHAR_T__ == 2
#define DUMPWRIGHT_TEXT(text) L##text
#else
#define DUMPWRIGHT_TEXT(text) u##text
#endif
#else
typedef char TCHAR, *PTSTR, *LPTSTR;
typedef const char *PCTSTR, *LPCTSTR;
#define DUMPWRIGHT_TEXT(text) text
#endif
#define TEXT(text) DUMPWRIGHT_TEXT(text)

/* ---- Macros ---- */

#define LOBYTE(value) ((BYTE)((value) & 0xff))
#define HIBYTE(value) ((BYTE)(((value) >> 8) & 0xff))
#define LOWORD(value) ((WORD)((value) & 0xffff))
#define HIWORD(value) ((WORD)(((value) >> 16) & 0xffff))
#define MAKELONG(low, high) ((LONG)(((DWORD)(WORD)(low)) | ((DWORD)(WORD)(high)) << 16))
#define ZeroMemory(at, bytes) ((void)memset((at), 0, (bytes)))
#define FillMemory(at, bytes, byte) ((void)memset((at), (byte), (bytes)))
#define CopyMemory(into, from, bytes) ((void)memcpy((into), (from), (bytes)))
#define MoveMemory(into, from, bytes) ((void)memmove((into), (from), (bytes)))
#define SecureZeroMemory ZeroMemory
#define RtlZeroMemory ZeroMemory
#define RtlSecureZeroMemory ZeroMemory
#define RtlFillMemory FillMemory
#define RtlCopyMemory CopyMemory
#define RtlMoveMemory MoveMemory
#define ARRAYSIZE(array) (sizeof(array) / sizeof((array)[0]))
#define _countof(array) ARRAYSIZE(array)
#define _stricmp strcasecmp
#define _strnicmp strncasecmp
#define lstrcpyA strcpy
#define lstrlenA(text) ((int)strlen(text))
#define _snprintf snprintf

#define NO_ERROR 0L
#define ERROR_SUCCESS 0L
#define ERROR_FILE_NOT_FOUND 2L
#define ERROR_PATH_NOT_FOUND 3L
#define ERROR_TOO_MANY_OPEN_FILES 4L
#define ERROR_ACCESS_DENIED 5L
#define ERROR_INVALID_HANDLE 6L
#define ERROR_NOT_ENOUGH_MEMORY 8L
#define ERROR_OUTOFMEMORY 14L
#define ERROR_GEN_FAILURE 31L
#define ERROR_HANDLE_EOF 38L
#define ERROR_NOT_SUPPORTED 50L
#define ERROR_FILE_EXISTS 80L
#define ERROR_INVALID_PARAMETER 87L
#define ERROR_BROKEN_PIPE 109L
#define ERROR_INSUFFICIENT_BUFFER 122L
#define ERROR_MOD_NOT_FOUND 126L
#define ERROR_PROC_NOT_FOUND 127L
#define ERROR_ALREADY_EXISTS 183L
#define ERROR_MORE_DATA 234L
#define ERROR_INVALID_USER_BUFFER 1784L
#define E_POINTER ((HRESULT)0x80004003)
#define E_PENDING ((HRESULT)0x8000000A)

#define STATUS_ACCESS_VIOLATION ((DWORD)0xC0000005)
#define STATUS_STACK_OVERFLOW ((DWORD)0xC00000FD)
#define EXCEPTION_ACCESS_VIOLATION ((DWORD)0xC0000005)
#define EXCEPTION_BREAKPOINT ((DWORD)0x80000003)
#define EXCEPTION_ILLEGAL_INSTRUCTION ((DWORD)0xC000001D)
#define EXCEPTION_INT_DIVIDE_BY_ZERO ((DWORD)0xC0000094)
#define EXCEPTION_STACK_OVERFLOW ((DWORD)0xC00000FD)
#define EXCEPTION_NONCONTINUABLE 0x1
#define EXCEPTION_EXECUTE_HANDLER 1
#define EXCEPTION_CONTINUE_SEARCH 0
#define EXCEPTION_CONTINUE_EXECUTION (-1)

#define INFINITE 0xFFFFFFFF
#define DELETE 0x00010000L
#define SYNCHRONIZE 0x00100000L
#define STANDARD_RIGHTS_REQUIRED 0x000F0000L
#define GENERIC_READ 0x80000000u
#define GENERIC_WRITE 0x40000000u
#define GENERIC_EXECUTE 0x20000000u
#define GENERIC_ALL 0x10000000u
#define FILE_READ_DATA 0x0001
#define FILE_WRITE_DATA 0x0002
#define FILE_APPEND_DATA 0x0004
#define FILE_GENERIC_READ 0x00120089
#define FILE_GENERIC_WRITE 0x00120116
#define FILE_ALL_ACCESS 0x001F01FF
#define FILE_SHARE_READ 0x1
#define FILE_SHARE_WRITE 0x2
#define FILE_SHARE_DELETE 0x4
#define CREATE_NEW 1
#define CREATE_ALWAYS 2
#define OPEN_EXISTING 3
#define OPEN_ALWAYS 4
#define TRUNCATE_EXISTING 5
#define FILE_ATTRIBUTE_NORMAL 0x00000080
#define FILE_ATTRIBUTE_TEMPORARY 0x00000100
#define FILE_FLAG_DELETE_ON_CLOSE 0x04000000
#define FILE_FLAG_SEQUENTIAL_SCAN 0x08000000
#define FILE_FLAG_WRITE_THROUGH 0x80000000u
#define FILE_BEGIN 0
#define FILE_CURRENT 1
#define FILE_END 2
#define INVALID_FILE_SIZE ((DWORD)0xFFFFFFFF)
#define INVALID_SET_FILE_POINTER ((DWORD)0xFFFFFFFF)
#define STD_INPUT_HANDLE ((DWORD)-10)
#define STD_OUTPUT_HANDLE ((DWORD)-11)
#define STD_ERROR_HANDLE ((DWORD)-12)
#define PROCESS_TERMINATE 0x0001
#define PROCESS_CREATE_THREAD 0x0002
#define PROCESS_VM_OPERATION 0x0008
#define PROCESS_VM_READ 0x0010
#define PROCESS_VM_WRITE 0x0020
#define PROCESS_DUP_HANDLE 0x0040
#define PROCESS_QUERY_INFORMATION 0x0400
#define PROCESS_SUSPEND_RESUME 0x0800
#define PROCESS_QUERY_LIMITED_INFORMATION 0x1000
#define PROCESS_ALL_ACCESS 0x001FFFFF
#define THREAD_ALL_ACCESS 0x001FFFFF
#define MEM_DECOMMIT 0x4000
#define MEM_RELEASE 0x8000
#define HEAP_NO_SERIALIZE 0x1
#define HEAP_GENERATE_EXCEPTIONS 0x4
#define HEAP_ZERO_MEMORY 0x8
#define LMEM_FIXED 0x0
#define LMEM_ZEROINIT 0x40
#define LPTR 0x40
#define GMEM_FIXED 0x0
#define GMEM_ZEROINIT 0x40
#define GPTR 0x40

/* ---- The last error ---- */

static inline void SetLastError(DWORD code)
{
    errno = (int)code;
}

static inline DWORD GetLastError(void)
{
    return (DWORD)errno;
}

/* Replaces the C library's code in errno by the Windows error code. Returns FALSE, so that callers
 * can return its result. */
static inline BOOL dumpwright_failed(void)
{
    switch (errno) {
    case ENOENT: errno = ERROR_FILE_NOT_FOUND; break;
    case ENOTDIR: errno = ERROR_PATH_NOT_FOUND; break;
    case EACCES: case EPERM: case EROFS: case EISDIR: errno = ERROR_ACCESS_DENIED; break;
    case EEXIST: errno = ERROR_FILE_EXISTS; break;
    case EMFILE: case ENFILE: errno = ERROR_TOO_MANY_OPEN_FILES; break;
    case EBADF: errno = ERROR_INVALID_HANDLE; break;
    case ENOMEM: errno = ERROR_NOT_ENOUGH_MEMORY; break;
    case ENOSPC: case EDQUOT: errno = ERROR_DISK_FULL; break;
    case EPIPE: errno = ERROR_BROKEN_PIPE; break;
    case EINVAL: case ESRCH: errno = ERROR_INVALID_PARAMETER; break;
    case EFAULT: errno = ERROR_NOACCESS; break;
    default: errno = ERROR_GEN_FAILURE; break;
    }
    return FALSE;
}

/* ---- Processes and threads ---- */

static inline DWORD GetCurrentProcessId(void)
{
    return (DWORD)getpid();
}

static inline DWORD GetCurrentThreadId(void)
{
    return (DWORD)syscall(SYS_gettid);
}

static inline HANDLE GetCurrentProcess(void)
{
    return DUMPWRIGHT_PID(getpid());
}

static inline HANDLE OpenProcess(DWORD access, BOOL inherit, DWORD process_id)
{
    (void)access, (void)inherit;
    if (process_id == 0 || process_id > 0x1fffffff || (kill((pid_t)process_id, 0) != 0 && errno == ESRCH)) {
        SetLastError(ERROR_INVALID_PARAMETER);
        return NULL;
    }
    return DUMPWRIGHT_PID(process_id);
}

static inline DWORD GetProcessId(HANDLE process)
{
    DWORD id = dumpwright_pid_of_handle(process);
    if (id == 0)
        SetLastError(ERROR_INVALID_HANDLE);
    return id;
}

static inline BOOL ReadProcessMemory(HANDLE process, LPCVOID address, LPVOID buffer, SIZE_T bytes, SIZE_T *read_bytes)
{
    struct {
        void *at;
        size_t bytes;
    } here = {buffer, bytes}, there = {(void *)(uintptr_t)address, bytes};
    long got = syscall(SYS_process_vm_readv, (long)dumpwright_pid_of_handle(process), &here, 1L, &there, 1L, 0L);
    if (read_bytes != NULL)
        *read_bytes = got < 0 ? 0 : (SIZE_T)got;
    if (got < 0)
        return dumpwright_failed();
    if ((SIZE_T)got < bytes)
        SetLastError(ERROR_PARTIAL_COPY);
    return (SIZE_T)got == bytes;
}

static inline void Sleep(DWORD milliseconds)
{
    struct timespec time = {(time_t)(milliseconds / 1000), (long)(milliseconds % 1000) * 1000000};
    while (nanosleep(&time, &time) != 0 && errno == EINTR)
        continue;
}

static inline ULONGLONG GetTickCount64(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (ULONGLONG)time.tv_sec * 1000 + (ULONGLONG)time.tv_nsec / 1000000;
}

static inline DWORD GetTickCount(void)
{
    return (DWORD)GetTickCount64();
}

#define InterlockedIncrement(at) __atomic_add_fetch((at), 1, __ATOMIC_SEQ_CST)
#define InterlockedDecrement(at) __atomic_sub_fetch((at), 1, __ATOMIC_SEQ_CST)
#define InterlockedExchangeAdd(at, value) __atomic_fetch_add((at), (value), __ATOMIC_SEQ_CST)
#define InterlockedExchange(at, value) __atomic_exchange_n((at), (value), __ATOMIC_SEQ_CST)

static inline LONG InterlockedCompareExchange(LONG volatile *at, LONG value, LONG expected)
{
    __atomic_compare_exchange_n(at, &expected, value, FALSE, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return expected;
}

/* ---- Files ---- */

static inline BOOL CloseHandle(HANDLE handle)
{
    switch ((uintptr_t)handle >> 29) {
    case 1: /* a process: nothing to close */
        return TRUE;
    case 2:
        return close(dumpwright_fd_of_handle(handle)) == 0 ? TRUE : dumpwright_failed();
    default: /* a plain number, which may be a process or a file */
        SetLastError(ERROR_INVALID_HANDLE);
        return FALSE;
    }
}

/* Copies a file name and replaces its backslashes by slashes. Returns NULL if it is too long. */
static inline const char *dumpwright_slashes(char *into, size_t size, const char *name)
{
    size_t length = strlen(name);
    if (length >= size) {
        SetLastError(ERROR_PATH_NOT_FOUND);
        return NULL;
    }
    for (size_t at = 0; at <= length; at++)
        into[at] = name[at] == '\\' ? '/' : name[at];
    return into;
}

static inline HANDLE CreateFileA(LPCSTR name, DWORD access, DWORD share, LPSECURITY_ATTRIBUTES security, DWORD disposition, DWORD flags,
                                 HANDLE like)
{
    const DWORD reading = GENERIC_READ | GENERIC_ALL | FILE_READ_DATA;
    const DWORD writing = GENERIC_WRITE | GENERIC_ALL | FILE_WRITE_DATA | FILE_APPEND_DATA;
    char path[PATH_MAX];
    int how = O_CLOEXEC, file;
    (void)share, (void)security, (void)like;
    how |= (access & writing) == 0 ? O_RDONLY : (access & reading) == 0 ? O_WRONLY : O_RDWR;
    if ((access & FILE_APPEND_DATA) != 0 && (access & (GENERIC_WRITE | GENERIC_ALL | FILE_WRITE_DATA)) == 0)
        how |= O_APPEND;
    switch (disposition) {
    case CREATE_NEW: how |= O_CREAT | O_EXCL; break;
    case CREATE_ALWAYS: how |= O_CREAT | O_TRUNC; break;
    case OPEN_EXISTING: break;
    case OPEN_ALWAYS: how |= O_CREAT; break;
    case TRUNCATE_EXISTING: how |= O_TRUNC; break;
    default:
        SetLastError(ERROR_INVALID_PARAMETER);
        return INVALID_HANDLE_VALUE;
    }
    if (name == NULL || dumpwright_slashes(path, sizeof path, name) == NULL)
        return INVALID_HANDLE_VALUE;
    file = open(path, how, 0600);
    if (file < 0)
        dumpwright_failed();
    else if ((flags & FILE_FLAG_DELETE_ON_CLOSE) != 0)
        unlink(path);
    return DUMPWRIGHT_FD(file);
}

static inline HANDLE CreateFileW(LPCWSTR name, DWORD access, DWORD share, LPSECURITY_ATTRIBUTES security, DWORD disposition, DWORD flags,
                                 HANDLE like)
{
    char bytes[PATH_MAX];
    return CreateFileA(dumpwright_utf8(bytes, sizeof bytes, name), access, share, security, disposition, flags, like);
}

static inline BOOL DeleteFileA(LPCSTR name)
{
    char path[PATH_MAX];
    if (dumpwright_slashes(path, sizeof path, name) == NULL)
        return FALSE;
    return unlink(path) == 0 ? TRUE : dumpwright_failed();
}

static inline BOOL DeleteFileW(LPCWSTR name)
{
    char bytes[PATH_MAX];
    return DeleteFileA(dumpwright_utf8(bytes, sizeof bytes, name));
}

#if defined(UNICODE) || defined(_UNICODE)
#define CreateFile CreateFileW
#define DeleteFile DeleteFileW
#else
#define CreateFile CreateFileA
#define DeleteFile DeleteFileA
#endif

static inline off_t dumpwright_offset(const OVERLAPPED *overlapped, DWORD done)
{
    return (off_t)(((ULONGLONG)overlapped->OffsetHigh << 32 | overlapped->Offset) + done);
}

/* Writes all bytes or fails. Waits as long as necessary. */
static inline BOOL WriteFile(HANDLE file, LPCVOID buffer, DWORD bytes, LPDWORD written, LPOVERLAPPED overlapped)
{
    int descriptor = dumpwright_fd_of_handle(file);
    DWORD done = 0;
    BOOL result = TRUE;
    while (result && done < bytes) {
        const char *from = (const char *)buffer + done;
        ssize_t count = overlapped == NULL ? write(descriptor, from, bytes - done)
                                           : pwrite(descriptor, from, bytes - done, dumpwright_offset(overlapped, done));
        if (count >= 0)
            done += (DWORD)count;
        else if (errno != EINTR)
            result = dumpwright_failed();
    }
    if (written != NULL)
        *written = done;
    return result;
}

/* Reads what one read() returns, which may be less than `bytes`. At the end of the file that is 0
 * bytes and TRUE. */
static inline BOOL ReadFile(HANDLE file, LPVOID buffer, DWORD bytes, LPDWORD got, LPOVERLAPPED overlapped)
{
    int descriptor = dumpwright_fd_of_handle(file);
    ssize_t count;
    do
        count = overlapped == NULL ? read(descriptor, buffer, bytes)
                                   : pread(descriptor, buffer, bytes, dumpwright_offset(overlapped, 0));
    while (count < 0 && errno == EINTR);
    if (got != NULL)
        *got = count < 0 ? 0 : (DWORD)count;
    return count >= 0 ? TRUE : dumpwright_failed();
}

static inline BOOL SetFilePointerEx(HANDLE file, LARGE_INTEGER distance, PLARGE_INTEGER position, DWORD method)
{
    static const int from[] = {SEEK_SET, SEEK_CUR, SEEK_END};
    off_t at;
    if (method > FILE_END) {
        SetLastError(ERROR_INVALID_PARAMETER);
        return FALSE;
    }
    at = lseek(dumpwright_fd_of_handle(file), (off_t)distance.QuadPart, from[method]);
    if (at >= 0 && position != NULL)
        position->QuadPart = at;
    return at >= 0 ? TRUE : dumpwright_failed();
}

static inline DWORD SetFilePointer(HANDLE file, LONG distance, PLONG high, DWORD method)
{
    LARGE_INTEGER by, at;
    by.QuadPart = high == NULL ? distance : (LONGLONG)((ULONGLONG)(DWORD)*high << 32 | (DWORD)distance);
    if (!SetFilePointerEx(file, by, &at, method))
        return INVALID_SET_FILE_POINTER;
    if (high != NULL)
        *high = at.HighPart;
    SetLastError(NO_ERROR);
    return at.LowPart;
}

static inline BOOL SetEndOfFile(HANDLE file)
{
    int descriptor = dumpwright_fd_of_handle(file);
    off_t at = lseek(descriptor, 0, SEEK_CUR);
    return at >= 0 && ftruncate(descriptor, at) == 0 ? TRUE : dumpwright_failed();
}

static inline BOOL GetFileSizeEx(HANDLE file, PLARGE_INTEGER size)
{
    struct stat facts;
    if (fstat(dumpwright_fd_of_handle(file), &facts) != 0)
        return dumpwright_failed();
    size->QuadPart = facts.st_size;
    return TRUE;
}

static inline DWORD GetFileSize(HANDLE file, LPDWORD high)
{
    LARGE_INTEGER size;
    if (!GetFileSizeEx(file, &size))
        return INVALID_FILE_SIZE;
    if (high != NULL)
        *high = (DWORD)size.HighPart;
    SetLastError(NO_ERROR);
    return size.LowPart;
}

static inline BOOL FlushFileBuffers(HANDLE file)
{
    return fsync(dumpwright_fd_of_handle(file)) == 0 ? TRUE : dumpwright_failed();
}

static inline HANDLE GetStdHandle(DWORD which)
{
    switch (which) {
    case STD_INPUT_HANDLE: return DUMPWRIGHT_FD(0);
    case STD_OUTPUT_HANDLE: return DUMPWRIGHT_FD(1);
    case STD_ERROR_HANDLE: return DUMPWRIGHT_FD(2);
    default: SetLastError(ERROR_INVALID_HANDLE); return INVALID_HANDLE_VALUE;
    }
}

/* ---- Memory ---- */

static inline HANDLE GetProcessHeap(void)
{
    return (HANDLE)(uintptr_t)1;
}

static inline LPVOID HeapAlloc(HANDLE heap, DWORD flags, SIZE_T bytes)
{
    (void)heap;
    return (flags & HEAP_ZERO_MEMORY) != 0 ? calloc(1, bytes ? bytes : 1) : malloc(bytes ? bytes : 1);
}

/* Does not zero the new bytes, even with HEAP_ZERO_MEMORY. */
static inline LPVOID HeapReAlloc(HANDLE heap, DWORD flags, LPVOID block, SIZE_T bytes)
{
    (void)heap, (void)flags;
    return realloc(block, bytes ? bytes : 1);
}

static inline BOOL HeapFree(HANDLE heap, DWORD flags, LPVOID block)
{
    (void)heap, (void)flags;
    free(block);
    return TRUE;
}

#define LocalAlloc(flags, bytes) HeapAlloc(NULL, ((flags) & LMEM_ZEROINIT) ? HEAP_ZERO_MEMORY : 0, (bytes))
#define LocalFree(block) (free(block), (HLOCAL)NULL)
#define GlobalAlloc(flags, bytes) LocalAlloc((flags), (bytes))
#define GlobalFree(block) LocalFree(block)

/* Allocates zeroed pages that can be read and written, whatever `protect` is. Their size is stored
 * in a page before them, because VirtualFree does not receive it. */
static inline LPVOID VirtualAlloc(LPVOID address, SIZE_T bytes, DWORD type, DWORD protect)
{
    const size_t page = 4096;
    size_t *base;
    (void)type, (void)protect;
    if (address != NULL || bytes == 0 || bytes > SIZE_MAX - 2 * page) {
        SetLastError(ERROR_INVALID_PARAMETER);
        return NULL;
    }
    bytes = ((bytes + page - 1) & ~(page - 1)) + page;
    base = (size_t *)mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == (size_t *)MAP_FAILED) {
        dumpwright_failed();
        return NULL;
    }
    *base = bytes;
    return (char *)base + page;
}

static inline BOOL VirtualFree(LPVOID address, SIZE_T bytes, DWORD type)
{
    if (type != MEM_RELEASE || bytes != 0 || address == NULL) {
        SetLastError(ERROR_INVALID_PARAMETER);
        return FALSE;
    }
    {
        void *base = (char *)address - 4096;
        return munmap(base, *(size_t *)base) == 0 ? TRUE : dumpwright_failed();
    }
}

/* ---- Dynamic loading ---- */

/* Returns a handle for dbghelp.dll and dbgcore.dll, with or without folder and extension. Both
 * stand for this library. Other names fail with ERROR_MOD_NOT_FOUND. */
static inline HMODULE LoadLibraryA(LPCSTR name)
{
    const char *file = name, *at;
    for (at = name; *at != 0; at++) {
        if (*at == '/' || *at == '\\')
            file = at + 1;
    }
    if (strncasecmp(file, "dbghelp", 7) == 0 || strncasecmp(file, "dbgcore", 7) == 0)
        return (HMODULE)(uintptr_t)2;
    SetLastError(ERROR_MOD_NOT_FOUND);
    return NULL;
}

static inline HMODULE LoadLibraryW(LPCWSTR name)
{
    char bytes[PATH_MAX];
    return LoadLibraryA(dumpwright_utf8(bytes, sizeof bytes, name));
}

static inline FARPROC GetProcAddress(HMODULE module, LPCSTR name)
{
    if (module == (HMODULE)(uintptr_t)2 && strcmp(name, "MiniDumpWriteDump") == 0)
        return (FARPROC)MiniDumpWriteDump;
    if (module == (HMODULE)(uintptr_t)2 && strcmp(name, "MiniDumpReadDumpStream") == 0)
        return (FARPROC)MiniDumpReadDumpStream;
    SetLastError(ERROR_PROC_NOT_FOUND);
    return NULL;
}

static inline BOOL FreeLibrary(HMODULE module)
{
    (void)module;
    return TRUE;
}

#if defined(UNICODE) || defined(_UNICODE)
#define LoadLibrary LoadLibraryW
#else
#define LoadLibrary LoadLibraryA
#endif
#define GetModuleHandleA LoadLibraryA
#define GetModuleHandleW LoadLibraryW
#define GetModuleHandle LoadLibrary

#endif
