/* Opens a dump in Microsoft's debugger engine and executes commands:
 *
 *     dbgeng.exe FOLDER_OF_THE_DLLS DUMP [COMMAND...]
 *
 * It prints the engine's output, a line "==== COMMAND" before the output of each command, and a
 * line "FAILED STEP HRESULT" for each failure. The status is 0 if the dump was opened. The
 * interfaces are those of Microsoft's documentation of the debugger engine, as mingw-w64 declares
 * them in dbgeng.h.
 */
#define INITGUID
#include <windows.h>
#include <dbgeng.h>
#include <stdio.h>

typedef HRESULT(WINAPI *Create)(REFIID, void **);

/* The engine requests only one interface, and this object lives as long as the program. */
static HRESULT STDMETHODCALLTYPE query(IDebugOutputCallbacks *self, REFIID id, void **object)
{
    if (!IsEqualGUID(id, &IID_IUnknown) && !IsEqualGUID(id, &IID_IDebugOutputCallbacks)) {
        *object = NULL;
        return E_NOINTERFACE;
    }
    *object = self;
    return S_OK;
}

static ULONG STDMETHODCALLTYPE count(IDebugOutputCallbacks *self)
{
    (void)self;
    return 1;
}

static HRESULT STDMETHODCALLTYPE output(IDebugOutputCallbacks *self, ULONG mask, PCSTR text)
{
    (void)self;
    (void)mask;
    fputs(text, stdout);
    return S_OK;
}

static IDebugOutputCallbacksVtbl methods = {query, count, count, output};
static IDebugOutputCallbacks printer = {&methods};

static int failed(const char *step, HRESULT result)
{
    printf("\nFAILED %s %08lx\n", step, (unsigned long)result);
    fflush(stdout);
    return FAILED(result) ? 1 : 0;
}

static int open_and_ask(Create create, char **arguments)
{
    IDebugClient *client = NULL;
    IDebugControl *control = NULL;
    HRESULT result = create(&IID_IDebugClient, (void **)&client);
    if (result != S_OK)
        return failed("DebugCreate", result);
    result = client->lpVtbl->QueryInterface(client, &IID_IDebugControl, (void **)&control);
    if (result != S_OK)
        return failed("IDebugControl", result);
    client->lpVtbl->SetOutputCallbacks(client, &printer);
    /* All output, including what debuggers usually hide. */
    client->lpVtbl->SetOutputMask(client, 0x3ff);
    result = client->lpVtbl->OpenDumpFile(client, *arguments++);
    if (result != S_OK)
        return failed("OpenDumpFile", result);
    result = control->lpVtbl->WaitForEvent(control, 0, INFINITE);
    if (result != S_OK)
        return failed("WaitForEvent", result);
    for (; *arguments; arguments++) {
        printf("\n==== %s\n", *arguments);
        result = control->lpVtbl->Execute(control, DEBUG_OUTCTL_THIS_CLIENT, *arguments, DEBUG_EXECUTE_DEFAULT);
        if (result != S_OK)
            failed("Execute", result);
    }
    return 0;
}

int main(int count_of_arguments, char **arguments)
{
    if (count_of_arguments < 3)
        return 2;
    /* The engine and dbghelp.dll are in one folder and find each other there. */
    SetDllDirectoryA(arguments[1]);
    HMODULE engine = LoadLibraryA("dbgeng.dll");
    Create create = engine ? (Create)(void *)GetProcAddress(engine, "DebugCreate") : NULL;
    if (!create)
        return failed("LoadLibrary", HRESULT_FROM_WIN32(GetLastError()));
    int status = open_and_ask(create, arguments + 2);
    fflush(stdout);
    /* The engine has its own threads, whose work is no longer needed. */
    TerminateProcess(GetCurrentProcess(), status);
    return status;
}
