/* In the style of services that dump other programs. It adds a list of ranges as in a configuration
 * file, with an empty one and overlapping ones, and several streams. */
#include "client.h"

struct range {
    ULONG64 start;
    ULONG bytes;
};

struct list {
    struct range ranges[5];
    size_t next;
};

static BOOL CALLBACK add(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    struct list *list = parameter;
    if (input->CallbackType == RemoveMemoryCallback)
        return FALSE;
    if (input->CallbackType != MemoryCallback)
        return TRUE;
    /* An empty range would end the Memory calls. */
    while (list->next < 5 && list->ranges[list->next].bytes == 0)
        list->next++;
    if (list->next == 5)
        return FALSE;
    output->MemoryBase = list->ranges[list->next].start;
    output->MemorySize = list->ranges[list->next++].bytes;
    return TRUE;
}

int main(int count, char **arguments)
{
    begin(count, arguments);
    struct list list = {{{fact("heap"), 64}, {fact("heap"), 0}, {fact("secret"), 0x1800}, {fact("secret") + 0x1000, 0x2000}, {fact("heap"), 16}}, 0};
    char report[] = "{\"product\": \"example\"}", empty[1];
    ULONG numbers[] = {1, 2, 3};
    MINIDUMP_USER_STREAM streams[] = {
        {0x4d000001, sizeof report, report}, {0x4d000002, sizeof numbers, numbers}, {0x4d000003, 0, empty}, {JavaScriptDataStream, 4, report}};
    MINIDUMP_USER_STREAM_INFORMATION user = {4, streams};
    MINIDUMP_CALLBACK_INFORMATION information = {add, &list};
    return end(MiniDumpWriteDump(process, process_id, file, MiniDumpNormal, NULL, &user, &information));
}
