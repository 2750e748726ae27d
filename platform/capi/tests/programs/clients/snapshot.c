/* In the style of Microsoft's sample for process snapshots, whose callback says that the handle is
 * that of a snapshot. Linux has no snapshots. In the mode "ported" the callback does not say so. */
#include "client.h"

static BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    (void)parameter;
    switch (input->CallbackType) {
    case IsProcessSnapshotCallback:
        if (!is("ported"))
            output->Status = S_FALSE;
        break;
    }
    return TRUE;
}

int main(int count, char **arguments)
{
    begin(count, arguments);
    MINIDUMP_CALLBACK_INFORMATION information = {callback, NULL};
    return end(MiniDumpWriteDump(process, process_id, file, MiniDumpWithProcessThreadData, NULL, NULL, &information));
}
