"""Reads a minidump with the PyPI package `minidump` and prints what it found as JSON.

    skelsec.py FILE [ADDRESS:LENGTH ...]

Every thread's registers, the exception, every list, and the bytes at the given addresses (hexadecimal, null
where the dump has none). Complaints of the package (it logs them and goes on) are in "complaints", except
that a process of Linux has no PEB.
"""

import json
import logging
import sys

from minidump.minidumpfile import MinidumpFile


class Complaints(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []

    def emit(self, record):
        self.texts.append(f"{record.getMessage()} {record.exc_info[1] if record.exc_info else ''}".strip())


GENERAL = "Rax Rbx Rcx Rdx Rsi Rdi Rbp Rsp R8 R9 R10 R11 R12 R13 R14 R15 Rip EFlags".split()


def thread(record):
    stack = [record.Stack.StartOfMemoryRange, record.Stack.MemoryLocation.DataSize]
    # The package knows no registers of ARM, and others of 32-bit x86.
    context = getattr(record, "ContextObject", None)
    if not hasattr(context, "Rip"):
        return {"tid": record.ThreadId, "stack": stack}
    save = context.DUMMYUNIONNAME.FltSave
    mask = (1 << 64) - 1
    return {
        "tid": record.ThreadId,
        "context_flags": context.ContextFlags,
        "registers": {name.lower(): getattr(context, name) for name in GENERAL},
        "segments": {
            name: getattr(context, "Seg" + name.capitalize()) for name in ("cs", "ss", "ds", "es", "fs", "gs")
        },
        "xmm": [[register.Low & mask, register.High & mask] for register in save.XmmRegisters],
        "mxcsr": [context.MxCsr, save.MxCsr],
        "fcw": save.ControlWord,
        "st0": [save.FloatRegisters[0].Low & mask, save.FloatRegisters[0].High & 0xFFFF],
        "stack": stack,
    }


def exception(dump):
    if dump.exception is None or not dump.exception.exception_records:
        return None
    stream = dump.exception.exception_records[0]
    record = stream.ExceptionRecord
    return {
        "tid": stream.ThreadId,
        "code": record.ExceptionCode_raw,
        "flags": record.ExceptionFlags,
        "address": record.ExceptionAddress,
    }


def ranges(dump):
    """[address, length, offset in the file] of every captured range."""
    lists = dump.memory_segments_64 or dump.memory_segments
    if lists is None:
        return []
    return [[s.start_virtual_address, s.size, s.start_file_address] for s in lists.memory_segments]


def read(reader, spec):
    address, length = (int(number, 0) for number in spec.split(":"))
    collected = b""
    while len(collected) < length:
        at = address + len(collected)
        segment = next(
            (s for s in reader.memory_segments if s.start_virtual_address <= at < s.end_virtual_address), None
        )
        if segment is None:
            return None
        collected += reader.read(at, min(length - len(collected), segment.end_virtual_address - at))
    return collected.hex()


def main():
    complaints = Complaints()
    logging.getLogger().addHandler(complaints)
    dump = MinidumpFile.parse(sys.argv[1])
    reader = dump.get_reader()
    json.dump(
        {
            "flags": int(dump.header.Flags),
            "streams": [directory.StreamType.value for directory in dump.directories],
            "threads": [thread(record) for record in dump.threads.threads],
            "modules": [
                {"name": m.name, "base": m.baseaddress, "size": m.size} for m in dump.modules.modules
            ],
            "memory_info": [
                {
                    "base": i.BaseAddress,
                    "size": i.RegionSize,
                    "state": int(i.State.value),
                    "protect": i.Protect.value if i.Protect else 0,
                }
                for i in (dump.memory_info.infos if dump.memory_info else [])
            ],
            "handles": [
                {"handle": h.Handle, "type": h.TypeName, "name": h.ObjectName, "access": h.GrantedAccess}
                for h in (dump.handles.handles if dump.handles else [])
            ],
            "process_id": dump.misc_info.ProcessId if dump.misc_info else None,
            "exception": exception(dump),
            "ranges": ranges(dump),
            "memory": [read(reader, spec) for spec in sys.argv[2:]],
            "complaints": [text for text in complaints.texts if not text.startswith("PEB parsing error")],
        },
        sys.stdout,
    )


main()
