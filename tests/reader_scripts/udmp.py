"""Reads a minidump with the PyPI package `udmp-parser` and prints what it found as JSON.

    udmp.py FILE [ADDRESS:LENGTH ...]

It refuses a file outright ("parsed": false) where others leave out a stream.
"""

import json
import sys

from udmp_parser import UserDumpParser

GENERAL = "Rax Rbx Rcx Rdx Rsi Rdi Rbp Rsp R8 R9 R10 R11 R12 R13 R14 R15 Rip EFlags".split()


def thread(record):
    context = record.Context
    xmm = [getattr(context, f"Xmm{i}") for i in range(16)]
    return {
        "tid": record.ThreadId,
        "registers": {name.lower(): getattr(context, name) for name in GENERAL},
        "xmm": [[register.Low, register.High] for register in xmm],
        "mxcsr": [context.MxCsr, context.MxCsr2],
        "fcw": context.ControlWord,
    }


def read(dump, spec):
    address, length = (int(number, 0) for number in spec.split(":"))
    data = dump.ReadMemory(address, length)
    return None if data is None else bytes(data).hex()


def main():
    dump = UserDumpParser()
    if not dump.Parse(sys.argv[1]):
        json.dump({"parsed": False}, sys.stdout)
        return
    json.dump(
        {
            "parsed": True,
            "threads": [thread(record) for record in dump.Threads().values()],
            "modules": [
                {"name": m.ModuleName, "base": m.BaseOfImage, "size": m.SizeOfImage}
                for m in dump.Modules().values()
            ],
            "blocks": [[b.BaseAddress, b.RegionSize, b.DataSize] for b in dump.Memory().values()],
            "foreground": dump.ForegroundThreadId(),
            "memory": [read(dump, spec) for spec in sys.argv[2:]],
        },
        sys.stdout,
    )


main()
