/* Replaces mingw-w64's <dbghelp.h>, which has three structures with wrong layouts. */
#include "dumpwright.h"
