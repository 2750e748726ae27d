// loads PID FILE: loads MiniDumpWriteDump from dbghelp.dll at run time, dumps a process to a file
// and reads the dump. It is written like C++ programs for Windows. Compiled with and without
// UNICODE.
#include <windows.h>
#include <tchar.h>
#include <dbghelp.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <locale>
#include <map>
#include <sstream>
#include <string>
#include <vector>

typedef BOOL(WINAPI *MINIDUMPWRITEDUMP)(HANDLE hProcess, DWORD dwPid, HANDLE hFile, MINIDUMP_TYPE DumpType,
                                        CONST PMINIDUMP_EXCEPTION_INFORMATION ExceptionParam,
                                        CONST PMINIDUMP_USER_STREAM_INFORMATION UserStreamParam,
                                        CONST PMINIDUMP_CALLBACK_INFORMATION CallbackParam);

typedef std::basic_string<TCHAR> tstring;

class CMiniDumper {
public:
    explicit CMiniDumper(LPCTSTR pszLibrary) : m_hDll(::LoadLibrary(pszLibrary)), m_pfnWrite(NULL)
    {
        if (m_hDll != NULL)
            m_pfnWrite = reinterpret_cast<MINIDUMPWRITEDUMP>(::GetProcAddress(m_hDll, "MiniDumpWriteDump"));
    }
    ~CMiniDumper()
    {
        if (m_hDll != NULL)
            ::FreeLibrary(m_hDll);
    }
    BOOL IsLoaded() const { return m_pfnWrite != NULL; }

    BOOL Write(DWORD dwProcessId, const tstring &sFile)
    {
        HANDLE hProcess = ::OpenProcess(PROCESS_QUERY_INFORMATION | PROCESS_VM_READ | PROCESS_DUP_HANDLE, FALSE, dwProcessId);
        HANDLE hFile = ::CreateFile(sFile.c_str(), GENERIC_READ | GENERIC_WRITE, FILE_SHARE_WRITE, NULL, CREATE_ALWAYS,
                                    FILE_ATTRIBUTE_NORMAL, NULL);
        if (hProcess == NULL || hFile == INVALID_HANDLE_VALUE)
            return FALSE;
        BOOL bResult = m_pfnWrite(hProcess, dwProcessId, hFile,
                                  static_cast<MINIDUMP_TYPE>(MiniDumpWithThreadInfo | MiniDumpWithFullMemoryInfo), NULL, NULL, NULL);
        LARGE_INTEGER liSize = {};
        LARGE_INTEGER liStart = {};
        if (bResult && ::GetFileSizeEx(hFile, &liSize) && ::SetFilePointerEx(hFile, liStart, NULL, FILE_BEGIN)) {
            m_bytes.resize(static_cast<size_t>(liSize.QuadPart));
            DWORD dwRead = 0;
            bResult = ::ReadFile(hFile, m_bytes.data(), static_cast<DWORD>(m_bytes.size()), &dwRead, NULL) && dwRead == m_bytes.size();
        }
        ::CloseHandle(hFile);
        ::CloseHandle(hProcess);
        return bResult;
    }

    template <typename T> const T *Stream(ULONG nType)
    {
        PMINIDUMP_DIRECTORY pDirectory = NULL;
        PVOID pStream = NULL;
        ULONG cbStream = 0;
        if (!::MiniDumpReadDumpStream(m_bytes.data(), nType, &pDirectory, &pStream, &cbStream))
            return NULL;
        return static_cast<const T *>(pStream);
    }
    PVOID At(RVA rva) { return RVA_TO_ADDR(m_bytes.data(), rva); }

private:
    HMODULE m_hDll;
    MINIDUMPWRITEDUMP m_pfnWrite;
    std::vector<BYTE> m_bytes;
};

int main(int argc, char *argv[])
{
    if (argc != 3)
        return 2;
    CMiniDumper missing(_T("kernel32.dll")), dumper(_T("C:\\Windows\\System32\\dbghelp.dll"));
    if (missing.IsLoaded() || !dumper.IsLoaded())
        return 1;
    std::string name(argv[2]);
    tstring file(name.begin(), name.end());
    if (!dumper.Write(static_cast<DWORD>(std::atoi(argv[1])), file)) {
        std::cerr << "MiniDumpWriteDump: 0x" << std::hex << ::GetLastError() << std::endl;
        return 1;
    }
    const MINIDUMP_THREAD_LIST *threads = dumper.Stream<MINIDUMP_THREAD_LIST>(ThreadListStream);
    const MINIDUMP_MISC_INFO *misc = dumper.Stream<MINIDUMP_MISC_INFO>(MiscInfoStream);
    const MINIDUMP_THREAD_INFO_LIST *infos = dumper.Stream<MINIDUMP_THREAD_INFO_LIST>(ThreadInfoListStream);
    if (threads == NULL || misc == NULL || infos == NULL || dumper.Stream<BYTE>(HandleDataStream) != NULL)
        return 1;
    std::map<ULONG32, const MINIDUMP_THREAD *> known;
    for (ULONG32 n = 0; n < threads->NumberOfThreads; n++) {
        const MINIDUMP_THREAD &thread = threads->Threads[n];
        const CONTEXT *context = static_cast<const CONTEXT *>(dumper.At(thread.ThreadContext.Rva));
        if (context->Rip != 0)
            known[thread.ThreadId] = &thread;
    }
    std::cout << known.size() << " threads with registers, " << infos->NumberOfEntries << " with times, process "
              << ((misc->Flags1 & MINIDUMP_MISC1_PROCESS_ID) ? misc->ProcessId : 0) << std::endl;
    return 0;
}
