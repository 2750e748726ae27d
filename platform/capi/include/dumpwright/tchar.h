/* dumpwright/tchar.h - the parts of <tchar.h> that programs around MiniDumpWriteDump use, for
 * Linux. */
#ifndef DUMPWRIGHT_TCHAR_H
#define DUMPWRIGHT_TCHAR_H

#include "windows.h"

#define _T(text) TEXT(text)
#define _TEXT(text) TEXT(text)
#if defined(UNICODE) || defined(_UNICODE)
#define _tcslen dumpwright_wcslen
#define _tcscmp dumpwright_wcscmp
#define _tcsicmp dumpwright_wcsicmp
#define _tcschr dumpwright_wcschr
#define _tcsrchr dumpwright_wcsrchr
#define _tcsstr dumpwright_wcsstr
#define _tcscpy dumpwright_wcscpy
#define _tcscat dumpwright_wcscat
#else
#define _tcslen strlen
#define _tcscmp strcmp
#define _tcsicmp strcasecmp
#define _tcschr strchr
#define _tcsrchr strrchr
#define _tcsstr strstr
#define _tcscpy strcpy
#define _tcscat strcat
#endif

#endif
