// strings: tests the conversions of text. Prints "right", or the number of the line that is wrong.
// Also compiled as C, without the C++ part, with 16-bit wide literals.
#include "dumpwright.h"
#if defined(__cplusplus)
#include "dumpwright/strings.hpp"
#endif

#include <stdio.h>
#include <string.h>

#define IS(condition)                  \
    do                                 \
        if (!(condition)) {            \
            printf("%d\n", __LINE__);  \
            return 1;                  \
        }                              \
    while (0)

#if __SIZEOF_WCHAR_T__ == 2
#define U(text) L##text
#else
#define U(text) u##text
#endif

static int equal(const WCHAR *left, const WCHAR *right)
{
    return dumpwright_wcscmp(left, right) == 0;
}

int main(void)
{
    WCHAR units[8];
    char bytes[16];

    /* The text fits, is truncated, or is only measured. A surrogate pair is never split. */
    IS(dumpwright_utf8_to_utf16(units, 8, "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z") == 6 && equal(units, U("a\u00e9\u20ac\U0001F600z")));
    IS(dumpwright_utf8_to_utf16(units, 3, "abcdef") == 6 && equal(units, U("ab")));
    IS(dumpwright_utf8_to_utf16(NULL, 0, "abcdef") == 6);
    IS(dumpwright_utf8_to_utf16(units, 3, "a\xf0\x9f\x98\x80") == 3 && equal(units, U("a")));
    IS(dumpwright_utf8_to_utf16(units, 4, "a\xf0\x9f\x98\x80") == 3 && equal(units, U("a\U0001F600")));
    IS(dumpwright_utf8_to_utf16(units, 1, "abc") == 3 && units[0] == 0);
    /* Invalid UTF-8: stray and missing bytes, overlong forms, surrogates, beyond U+10FFFF. */
    IS(dumpwright_utf8_to_utf16(units, 8, "\x80x") == 2 && equal(units, U("\uFFFDx")));
    IS(dumpwright_utf8_to_utf16(units, 8, "\xe2\x82") == 2 && equal(units, U("\uFFFD\uFFFD")));
    IS(dumpwright_utf8_to_utf16(units, 8, "\xc0\xaf") == 2 && equal(units, U("\uFFFD\uFFFD")));
    IS(dumpwright_utf8_to_utf16(units, 8, "\xe0\x80\xaf") == 3 && units[0] == 0xFFFD);
    IS(dumpwright_utf8_to_utf16(units, 8, "\xed\xa0\x80") == 1 && units[0] == 0xFFFD);
    IS(dumpwright_utf8_to_utf16(units, 8, "\xf4\x90\x80\x80") >= 1 && units[0] == 0xFFFD);
    IS(dumpwright_utf8_to_utf16(units, 8, "\xff\xfe") == 2 && equal(units, U("\uFFFD\uFFFD")));

    IS(dumpwright_wide_to_utf16(units, 8, L"a\u20ac\U0001F600") == 4 && equal(units, U("a\u20ac\U0001F600")));
    IS(dumpwright_wide_to_utf16(units, 3, L"abcdef") == 6 && equal(units, U("ab")));
    IS(dumpwright_wide_to_utf16(NULL, 0, L"abc") == 3);

    IS(strcmp(dumpwright_utf8(bytes, sizeof bytes, U("a\u20ac\U0001F600")), "a\xe2\x82\xac\xf0\x9f\x98\x80") == 0);

    dumpwright_wcscpy(units, U("abc"));
    IS(equal(dumpwright_wcscat(units, U("de")), U("abcde")));
    memset(units, 0xff, sizeof units);
    IS(equal(dumpwright_wcsncpy(units, U("ab"), 4), U("ab")) && units[3] == 0 && units[4] == 0xFFFF);
    IS(dumpwright_wcsnlen(units, 1) == 1 && dumpwright_wcsnlen(units, 8) == 2);
#if __SIZEOF_WCHAR_T__ == 2 || defined(DUMPWRIGHT_WCS)
    /* The C library's functions would expect 32-bit units. */
    IS(wcslen(U("abcde")) == 5 && wcscmp(U("abcde"), U("abcdf")) < 0);
#endif

#if defined(__cplusplus)
    using dumpwright::to_utf16;
    using dumpwright::to_utf8;
    IS(to_utf16(std::wstring(L"Unhandled \U0001F600")) == u"Unhandled \U0001F600");
    IS(to_utf16(std::string("h\xc3\xa9")) == u"h\u00e9");
    IS(to_utf16(std::wstring(L"")) == u"" && to_utf16("") == u"");
    std::wstring whole(L"one\0two", 7);
    IS(to_utf16(whole) == std::u16string(u"one\0two", 7));
    IS(to_utf8(u"h\u00e9\u20ac\U0001F600") == "h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    IS(to_utf8(u"") == "");
    std::u16string text = u"text";
    MINIDUMP_USER_STREAM stream = dumpwright::comment_stream(text);
    IS(stream.Type == 11 && stream.BufferSize == 10 && stream.Buffer == text.data());
#endif
    printf("right\n");
    return 0;
}
