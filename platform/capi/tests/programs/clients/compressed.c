/* In the style of services that make compressed dumps with WinDbg in mind: the callback limits the
 * number of threads and the size of what is compressed at once, and takes note of the result. The
 * mode is "file"; "output", if the callback writes the dump; or "pipe". */
#include "client.h"

static unsigned starts, finishes, regions, early, prefilled;
static uint64_t size;
static unsigned rate;

static BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    (void)parameter;
    switch (input->CallbackType) {
    case IncludeVmRegionCallback:
        regions++;
        early += starts == 0 || finishes > 0;
        output->Continue = TRUE; /* with the next region */
        return TRUE;
    case CompressedMemoryStreamStartCallback: {
        MINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK *start = &output->CompressedMemoryStreamStart;
        starts++;
        prefilled |= start->MaxParallelism | start->MaxTransferSize | start->NumaNodeInfoArraySize |
                     (start->NumaNodeInfoArray != NULL);
        start->MaxParallelism = 1;
        start->MaxTransferSize = 1 << 20;
        return TRUE;
    }
    case CompressedMemoryStreamFinishCallback:
        finishes++;
        size = input->CompressedMemoryStreamFinish.CompressedStreamSize;
        rate = input->CompressedMemoryStreamFinish.StreamCompressionRate;
        return TRUE;
    case IoStartCallback:
        if (!is("output"))
            return FALSE;
        output->Status = S_FALSE;
        return TRUE;
    case IoWriteAllCallback:
        if (pwrite((int)(intptr_t)file, input->Io.Buffer, input->Io.BufferBytes, (off_t)input->Io.Offset) !=
            (ssize_t)input->Io.BufferBytes)
            exit(3);
        output->Status = S_OK;
        return TRUE;
    case IoFinishCallback:
        output->Status = S_OK;
        return TRUE;
    default:
        return TRUE;
    }
}

int main(int count, char **arguments)
{
    begin(count, arguments);
    int ends[2] = {-1, -1};
    if (is("pipe") && pipe(ends) != 0)
        exit(3);
    HANDLE into = is("pipe") ? (HANDLE)(intptr_t)ends[1] : file;
    MINIDUMP_CALLBACK_INFORMATION information = {callback, NULL};
    BOOL done = MiniDumpWriteDump(process, process_id, into, MiniDumpWithMemoryCompressed, NULL, NULL, &information);
    printf("start %u, finish %u, %s regions, early %u, prefilled %u\n", starts, finishes, regions > 10 ? "many" : "few",
           early, prefilled);
    printf("size %llu\nrate %u\n", (unsigned long long)size, rate);
    return end(done);
}
