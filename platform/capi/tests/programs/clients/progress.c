/* In the style of crash reporters and process viewers with a window. It shows the progress step by
 * step, a button cancels the dump, it finds the module of the crash by its address, and it passes a
 * file for a kernel dump. Written in C with wide literals, for -fshort-wchar.
 *
 * Modes: count; stop (the button has been pressed before); later (another thread presses it during
 * the dump); kernel. */
#include "client.h"

#include <pthread.h>

struct window {
    int modules, threads, kernel_asked;
    HRESULT kernel_status;
    ULONG64 crashed_at;
    WCHAR crashed_in[64];
    pthread_barrier_t pressed;
    volatile int stop;
};

static void *user(void *parameter)
{
    struct window *window = parameter;
    pthread_barrier_wait(&window->pressed);
    window->stop = 1;
    pthread_barrier_wait(&window->pressed);
    return NULL;
}

static BOOL CALLBACK progress(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    struct window *window = parameter;
    switch (input->CallbackType) {
    case ModuleCallback:
        if (window->modules++ == 1 && is("later")) {
            pthread_barrier_wait(&window->pressed);
            pthread_barrier_wait(&window->pressed);
        }
        if (window->crashed_at - input->Module.BaseOfImage < input->Module.SizeOfImage) {
            const WCHAR *slash = wcsrchr(input->Module.FullPath, L'/');
            wcsncpy(window->crashed_in, slash ? slash + 1 : input->Module.FullPath, sizeof window->crashed_in / sizeof *window->crashed_in - 1);
        }
        return TRUE;
    case ThreadCallback:
        window->threads++;
        return TRUE;
    case CancelCallback:
        output->Cancel = window->stop != 0;
        output->CheckCancel = TRUE;
        return TRUE;
    case WriteKernelMinidumpCallback:
        window->kernel_asked = 1;
        if (is("kernel"))
            output->Handle = file;
        return is("kernel");
    case KernelMinidumpStatusCallback:
        window->kernel_status = input->Status;
        return TRUE;
    case MemoryCallback:
    case RemoveMemoryCallback:
        return FALSE;
    default:
        return TRUE;
    }
}

int main(int count, char **arguments)
{
    struct window window;
    memset(&window, 0, sizeof window);
    begin(count, arguments);
    window.crashed_at = fact("plugin1");
    window.stop = is("stop");
    pthread_barrier_init(&window.pressed, NULL, 2);
    pthread_t hand;
    if (is("later") && pthread_create(&hand, NULL, user, &window) != 0)
        return 3;
    MINIDUMP_CALLBACK_INFORMATION information = {progress, &window};
    BOOL done = MiniDumpWriteDump(process, process_id, file, MiniDumpWithThreadInfo, NULL, NULL, &information);
    char name[64];
    printf("threads %d, modules %s, crash in %s%s", window.threads, window.modules > 4 ? "many" : "few",
           wcscmp(window.crashed_in, L"libplugin1.so") == 0 ? "libplugin1.so: " : "another: ",
           dumpwright_utf8(name, sizeof name, window.crashed_in));
    printf(", kernel %s %08x\n", window.kernel_asked ? "asked" : "not asked", (unsigned)window.kernel_status);
    return end(done);
}
