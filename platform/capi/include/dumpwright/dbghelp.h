/* dumpwright/dbghelp.h - takes the place of <dbghelp.h> in programs for Linux that use
 * dumpwright/windows.h. */
#include "windows.h"
