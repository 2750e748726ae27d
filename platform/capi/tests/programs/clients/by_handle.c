/* In the style of tools whose callback receives the output, but writes to the file handle that it
 * receives with it. */
#include "client.h"

static BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    (void)parameter;
    switch (input->CallbackType) {
    case IoStartCallback:
        output->Status = S_FALSE;
        return TRUE;
    case IoWriteAllCallback: {
        ssize_t written = pwrite(dumpwright_fd_of_handle(input->Io.Handle), input->Io.Buffer, input->Io.BufferBytes, (off_t)input->Io.Offset);
        output->Status = written == (ssize_t)input->Io.BufferBytes ? S_OK : HRESULT_FROM_WIN32(ERROR_DISK_FULL);
        return TRUE;
    }
    case IoFinishCallback:
        output->Status = fsync(dumpwright_fd_of_handle(input->Io.Handle)) == 0 || errno == EINVAL ? S_OK : E_FAIL;
        return TRUE;
    default:
        return input->CallbackType != MemoryCallback && input->CallbackType != RemoveMemoryCallback;
    }
}

int main(int count, char **arguments)
{
    begin(count, arguments);
    MINIDUMP_CALLBACK_INFORMATION information = {callback, NULL};
    HANDLE given = is("tagged") ? DUMPWRIGHT_FD((int)(intptr_t)file) : file;
    return end(MiniDumpWriteDump(process, process_id, given, MiniDumpNormal, NULL, NULL, &information));
}
