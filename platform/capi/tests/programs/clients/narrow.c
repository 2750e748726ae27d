/* A 64-bit program that dumps a 32-bit process and reads the registers of its threads. */
#include "client.h"

static BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    int *threads = parameter;
    (void)output;
    if (input->CallbackType == ThreadCallback) {
        WOW64_CONTEXT context;
        memcpy(&context, &input->Thread.Context, sizeof context);
        threads[0] += input->Thread.SizeOfContext == sizeof context;
        threads[1] += context.Esp >= input->Thread.StackEnd && context.Esp < input->Thread.StackBase;
    }
    return input->CallbackType != MemoryCallback && input->CallbackType != RemoveMemoryCallback;
}

int main(int count, char **arguments)
{
    int threads[2] = {0, 0};
    begin(count, arguments);
    MINIDUMP_CALLBACK_INFORMATION information = {callback, threads};
    BOOL done = MiniDumpWriteDump(process, process_id, file, MiniDumpNormal, NULL, NULL, &information);
    printf("%d with 32-bit registers, %d with a stack around them\n", threads[0], threads[1]);
    return end(done);
}
