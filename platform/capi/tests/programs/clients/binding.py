"""binding.py LIBRARY PID FILE: calls the library through ctypes, in the style of bindings that declare the
structures by hand. The callback receives the output and assembles the file; it leaves out one module."""
import ctypes
import struct
import sys
from ctypes import POINTER, Structure, Union, c_int32, c_uint32, c_uint64, c_void_p

MODULE, INCLUDE_MODULE, MEMORY, REMOVE_MEMORY = 0, 4, 5, 9
IO_START, IO_WRITE_ALL, IO_FINISH = 11, 12, 13


class Io(Structure):
    _pack_ = 4
    _fields_ = [("Handle", c_void_p), ("Offset", c_uint64), ("Buffer", c_void_p), ("BufferBytes", c_uint32)]


class Module(Structure):
    _pack_ = 4
    _fields_ = [("FullPath", c_void_p), ("BaseOfImage", c_uint64), ("SizeOfImage", c_uint32)]


class Arms(Union):
    _pack_ = 4
    _fields_ = [("Io", Io), ("Module", Module), ("room", ctypes.c_char * 1296)]


class Input(Structure):
    _pack_ = 4
    _fields_ = [("ProcessId", c_uint32), ("ProcessHandle", c_void_p), ("CallbackType", c_uint32), ("Arms", Arms)]


Callback = ctypes.CFUNCTYPE(c_int32, c_void_p, POINTER(Input), c_void_p)


class Information(Structure):
    _pack_ = 4
    _fields_ = [("Routine", Callback), ("Parameter", c_void_p)]


def main(library, process_id, file):
    dumpwright = ctypes.CDLL(library, use_errno=True)
    dumpwright.MiniDumpWriteDump.argtypes = [c_void_p, c_uint32, c_void_p, c_uint32, c_void_p, c_void_p, POINTER(Information)]
    output = bytearray()

    def wide(address):
        units = []
        while True:
            unit = ctypes.c_uint16.from_address(address + 2 * len(units)).value
            if unit == 0:
                return struct.pack("=%dH" % len(units), *units).decode("utf-16")
            units.append(unit)

    def callback(_, input, answer):
        kind = input.contents.CallbackType
        status = c_int32.from_address(answer)
        if kind == MODULE and wide(input.contents.Arms.Module.FullPath).endswith("libplugin2.so"):
            status.value = 0
        elif kind == IO_START:
            status.value = 1
        elif kind == IO_WRITE_ALL:
            io = input.contents.Arms.Io
            output[io.Offset : io.Offset + io.BufferBytes] = ctypes.string_at(io.Buffer, io.BufferBytes)
            status.value = 0
        elif kind == IO_FINISH:
            status.value = 0
        return 0 if kind in (MEMORY, REMOVE_MEMORY) else 1

    # As long as the dump is made, somebody has to hold the function.
    information = Information(Callback(callback), None)
    if not dumpwright.MiniDumpWriteDump(process_id, process_id, None, 0, None, None, ctypes.byref(information)):
        sys.exit("FALSE %08x" % (ctypes.get_errno() & 0xFFFFFFFF))
    with open(file, "wb") as written:
        written.write(output)
    print("TRUE %d" % len(output))


main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
