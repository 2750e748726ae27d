# Targets:
#
#   dumpwright::dumpwright  the shared library
#   dumpwright::static      the static library
#   dumpwright::windows     the shared library for programs that are written for Windows: dumpwright's
#                           headers take the place of <windows.h> and <dbghelp.h>
get_filename_component(_dumpwright_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

if(NOT TARGET dumpwright::dumpwright)
  add_library(dumpwright::dumpwright SHARED IMPORTED)
  set_target_properties(dumpwright::dumpwright PROPERTIES
    IMPORTED_LOCATION "${_dumpwright_prefix}/lib/libdumpwright.so"
    IMPORTED_NO_SONAME TRUE
    INTERFACE_INCLUDE_DIRECTORIES "${_dumpwright_prefix}/include")

  add_library(dumpwright::static STATIC IMPORTED)
  set_target_properties(dumpwright::static PROPERTIES
    IMPORTED_LOCATION "${_dumpwright_prefix}/lib/libdumpwright.a"
    INTERFACE_INCLUDE_DIRECTORIES "${_dumpwright_prefix}/include"
    INTERFACE_LINK_LIBRARIES "gcc_s;util;rt;pthread;m;dl")

  add_library(dumpwright::windows INTERFACE IMPORTED)
  set_target_properties(dumpwright::windows PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${_dumpwright_prefix}/include/dumpwright"
    INTERFACE_LINK_LIBRARIES dumpwright::dumpwright)
endif()

unset(_dumpwright_prefix)
