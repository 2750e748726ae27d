/* dumpwright/minidumpapiset.h - takes the place of <minidumpapiset.h> in programs for Linux that
 * use dumpwright/windows.h. */
#include "windows.h"
