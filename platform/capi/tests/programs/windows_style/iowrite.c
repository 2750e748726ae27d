/* iowrite PID FILE: dumps a process to memory through a callback, and writes the bytes to a file.
 * It is written like programs for Windows and has no line for another system. It is compiled with
 * mingw-w64's <windows.h>, and with dumpwright/windows.h on Linux. */
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#include <dbghelp.h>

#pragma comment(lib, "dbghelp.lib")

typedef struct _DUMP_BUFFER {
    PUCHAR Bytes;
    SIZE_T Capacity;
    DWORD Used;
    ULONG Asked[32];
} DUMP_BUFFER, *PDUMP_BUFFER;

static BOOL Reserve(IN OUT PDUMP_BUFFER Buffer, IN SIZE_T Bytes)
{
    SIZE_T Capacity = Buffer->Capacity ? Buffer->Capacity : 0x10000;
    LPVOID Moved;
    while (Capacity < Bytes)
        Capacity *= 2;
    if (Capacity == Buffer->Capacity)
        return TRUE;
    Moved = Buffer->Bytes ? HeapReAlloc(GetProcessHeap(), 0, Buffer->Bytes, Capacity)
                          : HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, Capacity);
    if (Moved == NULL)
        return FALSE;
    Buffer->Bytes = (PUCHAR)Moved;
    Buffer->Capacity = Capacity;
    return TRUE;
}

static BOOL CALLBACK OnMiniDump(__in PVOID Parameter, __in const PMINIDUMP_CALLBACK_INPUT Input, __inout PMINIDUMP_CALLBACK_OUTPUT Output)
{
    PDUMP_BUFFER Buffer = (PDUMP_BUFFER)Parameter;
    LPVOID Destination;

    Buffer->Asked[Input->CallbackType % ARRAYSIZE(Buffer->Asked)]++;
    switch (Input->CallbackType) {
    case IoStartCallback:
        Output->Status = S_FALSE;
        break;
    case IoWriteAllCallback:
        if (!Reserve(Buffer, (SIZE_T)Input->Io.Offset + Input->Io.BufferBytes)) {
            Output->Status = E_OUTOFMEMORY;
            break;
        }
        Destination = (LPVOID)((DWORD_PTR)Buffer->Bytes + (DWORD_PTR)Input->Io.Offset);
        RtlCopyMemory(Destination, Input->Io.Buffer, Input->Io.BufferBytes);
        Buffer->Used += Input->Io.BufferBytes;
        Output->Status = S_OK;
        break;
    case IoFinishCallback:
        Output->Status = S_OK;
        break;
    default:
        break;
    }
    return TRUE;
}

int main(int argc, char *argv[])
{
    DUMP_BUFFER Buffer;
    MINIDUMP_CALLBACK_INFORMATION CallbackInformation;
    HANDLE Process, File;
    DWORD ProcessId, Written = 0;
    LARGE_INTEGER Size;
    BOOL Dumped;

    if (argc != 3)
        return 2;
    ProcessId = (DWORD)atoi(argv[1]);
    if (OpenProcess(PROCESS_ALL_ACCESS, FALSE, 0) != NULL || GetLastError() != ERROR_INVALID_PARAMETER) {
        printf("[-] process 0 was opened\n");
        return 1;
    }
    Process = OpenProcess(PROCESS_ALL_ACCESS, FALSE, ProcessId);
    if (Process == NULL) {
        printf("[-] OpenProcess: %u\n", (unsigned)GetLastError());
        return 1;
    }
    File = CreateFileA(argv[2], GENERIC_ALL, 0, NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    if (File == INVALID_HANDLE_VALUE) {
        printf("[-] CreateFile: %u\n", (unsigned)GetLastError());
        return 1;
    }

    ZeroMemory(&Buffer, sizeof(Buffer));
    ZeroMemory(&CallbackInformation, sizeof(CallbackInformation));
    CallbackInformation.CallbackRoutine = OnMiniDump;
    CallbackInformation.CallbackParam = &Buffer;
    Dumped = MiniDumpWriteDump(Process, ProcessId, NULL, MiniDumpWithFullMemory, NULL, NULL, &CallbackInformation);
    if (!Dumped) {
        printf("[-] MiniDumpWriteDump: 0x%08x\n", (unsigned)GetLastError());
        return 1;
    }
    if (!WriteFile(File, Buffer.Bytes, Buffer.Used, &Written, NULL) || !GetFileSizeEx(File, &Size)) {
        printf("[-] WriteFile: %u\n", (unsigned)GetLastError());
        return 1;
    }
    printf("[+] %u bytes, %s, %s\n", (unsigned)Written, Size.QuadPart == Buffer.Used ? "all in the file" : "not all in the file",
           Buffer.Asked[IoStartCallback] == 1 && Buffer.Asked[IoFinishCallback] == 1 ? "started and finished" : "not finished");

    if (!CloseHandle(Process) || !CloseHandle(File))
        return 1;
    /* A closed handle cannot be written to. */
    if (WriteFile(File, Buffer.Bytes, 1, &Written, NULL) || GetLastError() != ERROR_INVALID_HANDLE)
        return 1;
    HeapFree(GetProcessHeap(), 0, Buffer.Bytes);
    printf("[+] closed\n");
    return 0;
}
