/* dump_itself FILE: a program that dumps itself. Linux only.
 *
 * The other threads are stopped for a moment only, in which the process is cloned. So the callback
 * may do what it likes: it runs on the thread that has called MiniDumpWriteDump, in this process.
 * A program that dumps itself can compare thread ids with its own. */
#include "system.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

struct threads {
    ULONG *ids;
    size_t count;
    ULONG left_out;
};

static pthread_barrier_t started;
static ULONG housekeeper;

static void *keep_house(void *unused)
{
    housekeeper = (ULONG)syscall(SYS_gettid);
    pthread_barrier_wait(&started);
    pause();
    return unused;
}

static BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    struct threads *threads = parameter;
    switch (input->CallbackType) {
    case IncludeModuleCallback:
    case ModuleCallback:
        return TRUE; /* keep the default flags */
    case IncludeThreadCallback:
        return input->IncludeThread.ThreadId != threads->left_out;
    case ThreadCallback:
    case ThreadExCallback:
        threads->ids = realloc(threads->ids, (threads->count + 1) * sizeof *threads->ids);
        if (!threads->ids)
            abort();
        threads->ids[threads->count++] = input->Thread.ThreadId;
        return TRUE;
    default:
        (void)output;
        return FALSE; /* not handled */
    }
}

int main(int count, char **arguments)
{
    if (count != 2) {
        fprintf(stderr, "dump_itself FILE\n");
        return 2;
    }
    pthread_t thread;
    pthread_barrier_init(&started, NULL, 2);
    if (pthread_create(&thread, NULL, keep_house, NULL) != 0)
        return 1;
    pthread_barrier_wait(&started);

    HANDLE file = create_file(arguments[1]);
    if (file == NO_FILE)
        return 1;
    struct threads threads = {NULL, 0, housekeeper};
    MINIDUMP_CALLBACK_INFORMATION information = {callback, &threads};
    DWORD process = (DWORD)getpid();
    BOOL done =
        MiniDumpWriteDump(open_process(process), process, file, MiniDumpWithThreadInfo, NULL, NULL, &information);
    close_file(file);
    if (!done) {
        fprintf(stderr, "no dump: %s (0x%08x)\n", dumpwright_last_error_message(), (unsigned)dumpwright_last_error());
        remove(arguments[1]);
        return 1;
    }
    for (size_t at = 0; at < threads.count; at++)
        printf("%u%s\n", (unsigned)threads.ids[at], threads.ids[at] == (ULONG)syscall(SYS_gettid) ? " this thread" : "");
    free(threads.ids);
    return 0;
}
