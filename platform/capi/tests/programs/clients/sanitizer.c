/* In the style of products that want to overwrite memory before it is written to the dump, by a
 * member that no header has. It must not compile. */
#include "dumpwright.h"

BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    (void)parameter, (void)output;
    if (input->CallbackType == MemoryCallback)
        ((char *)input->Memory.Buffer)[0] = 0;
    return TRUE;
}
