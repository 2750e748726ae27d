// dumpwright/strings.hpp - converts between the strings of C++ programs and the strings of
// minidumps, which have 16-bit units. C++17 and later.
//
//     std::wstring comment = L"Unhandled exception in " + name;
//     auto text = dumpwright::to_utf16(comment);
//     MINIDUMP_USER_STREAM stream = dumpwright::comment_stream(text);
//
// On Linux a std::wstring has 32-bit units. If its bytes become a stream, readers show only the
// first character. The option -fshort-wchar does not help: the C++ library is not compiled with it
// and still expects 32-bit units. This header refuses to be compiled with that option.
#ifndef DUMPWRIGHT_STRINGS_HPP
#define DUMPWRIGHT_STRINGS_HPP

#include "../dumpwright.h"

#include <string>
#include <string_view>

#if !defined(_WIN32) && __SIZEOF_WCHAR_T__ == 2
#error "std::wstring does not work with -fshort-wchar: the C++ library expects 32-bit units"
#endif

namespace dumpwright {

// A string of WCHAR: std::u16string on Linux, std::wstring on Windows.
using string16 = std::basic_string<WCHAR>;
using string16_view = std::basic_string_view<WCHAR>;

namespace detail {

template <typename Char, typename Convert>
string16 convert(std::basic_string_view<Char> text, Convert convert)
{
    // `convert` stops at the first 0. So the parts between the 0 characters of the text are
    // converted one by one, and the 0 characters are kept.
    string16 converted;
    for (;;) {
        std::basic_string<Char> part(text.substr(0, text.find(Char())));
        string16 units(convert(nullptr, 0, part.c_str()), WCHAR());
        convert(&units[0], units.size() + 1, part.c_str());
        converted += units;
        if (part.size() == text.size())
            return converted;
        converted += WCHAR();
        text.remove_prefix(part.size() + 1);
    }
}

} // namespace detail

// Converts wchar_t text to UTF-16. Values that are not characters become U+FFFD.
inline string16 to_utf16(std::wstring_view text)
{
    return detail::convert(text, dumpwright_wide_to_utf16);
}

// Converts UTF-8 text to UTF-16. Each byte that is not part of valid UTF-8 becomes U+FFFD.
inline string16 to_utf16(std::string_view text)
{
    return detail::convert(text, dumpwright_utf8_to_utf16);
}

// Converts UTF-16 text to UTF-8, up to its first 0. Unpaired surrogates become question marks.
inline std::string to_utf8(const WCHAR *text)
{
    // One unit becomes at most three bytes, and a pair of surrogates becomes four.
    std::string converted(3 * dumpwright_wcslen(text), '\0');
    dumpwright_utf8(&converted[0], converted.size() + 1, text);
    converted.resize(std::char_traits<char>::length(converted.c_str()));
    return converted;
}

inline std::string to_utf8(const string16 &text)
{
    return to_utf8(text.c_str());
}

// Returns a CommentStreamW with this text and its final 0, which readers require. The stream points
// to the text, which must live until the dump is written or the request has copied it.
inline MINIDUMP_USER_STREAM comment_stream(const string16 &text)
{
    return {CommentStreamW, static_cast<ULONG>((text.size() + 1) * sizeof(WCHAR)), const_cast<WCHAR *>(text.c_str())};
}

} // namespace dumpwright

#endif
