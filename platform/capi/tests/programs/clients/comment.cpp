// In the style of crash reporters that are a single C++ file. It asks for the code of modules,
// which has no effect, and sets a text of the program as the dump's comment. The text is a
// std::wstring, as in programs that come from Windows.
#include "client.h"

#include "dumpwright/strings.hpp"

int main(int count, char **arguments)
{
    begin(count, arguments);
    std::wstring reason = L"Unhandled exception \u2014 \U0001F4A5 in game.exe";
    reason += L" (build " + std::to_wstring(4711) + L")";
    const dumpwright::string16 text = dumpwright::to_utf16(reason);
    MINIDUMP_USER_STREAM comment = dumpwright::comment_stream(text);
    MINIDUMP_USER_STREAM_INFORMATION user = {1, &comment};
    auto callback = [](PVOID, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output) -> BOOL {
        if (input->CallbackType == IncludeModuleCallback)
            output->ModuleWriteFlags |= ModuleWriteCodeSegs;
        return input->CallbackType != MemoryCallback && input->CallbackType != RemoveMemoryCallback;
    };
    MINIDUMP_CALLBACK_INFORMATION information = {callback, nullptr};
    return end(MiniDumpWriteDump(process, process_id, file, MiniDumpNormal, nullptr, &user, &information));
}
