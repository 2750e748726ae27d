"""Reads the lists around the threads of a minidump with the PyPI package `minidump` and prints them as JSON.

    skelsec_streams.py FILE

Of a chain of object information the package reads the first block only.
"""

import json
import sys

from minidump.minidumpfile import MinidumpFile


def numbers(record, *names):
    return [getattr(record, name) for name in names]


def value(flags):
    return flags.value if flags is not None else 0


def main():
    dump = MinidumpFile.parse(sys.argv[1])
    misc = dump.misc_info
    json.dump(
        {
            "threads_ex": [
                {
                    "id": t.ThreadId,
                    "stack": [t.Stack.StartOfMemoryRange, t.Stack.MemoryLocation.DataSize],
                    "context": t.ThreadContext.DataSize,
                    "store": [
                        t.BackingStore.StartOfMemoryRange,
                        t.BackingStore.MemoryLocation.DataSize,
                        t.BackingStore.MemoryLocation.Rva,
                    ],
                }
                for t in (dump.threads_ex.threads if dump.threads_ex else [])
            ],
            "thread_infos": [
                numbers(i, "ThreadId")
                + [value(i.DumpFlags)]
                + numbers(
                    i,
                    "DumpError",
                    "ExitStatus",
                    "CreateTime",
                    "ExitTime",
                    "KernelTime",
                    "UserTime",
                    "StartAddress",
                    "Affinity",
                )
                for i in (dump.thread_info.infos if dump.thread_info else [])
            ],
            "unloaded_modules": [
                [m.name, m.baseaddress, m.size, m.checksum, m.timestamp]
                for m in (dump.unloaded_modules.modules if dump.unloaded_modules else [])
            ],
            "handles": [
                {
                    "handle": h.Handle,
                    "type": h.TypeName,
                    "name": h.ObjectName,
                    "numbers": numbers(h, "Attributes", "GrantedAccess", "HandleCount", "PointerCount"),
                    "info": [[i.InfoType, i.info_bytes.hex()] for i in h.ObjectInfos],
                }
                for h in (dump.handles.handles if dump.handles else [])
            ],
            "memory_info": [
                numbers(i, "BaseAddress", "AllocationBase", "AllocationProtect", "RegionSize")
                + [value(i.State), value(i.Protect), value(i.Type)]
                for i in (dump.memory_info.infos if dump.memory_info else [])
            ],
            "misc": numbers(
                misc,
                "ProcessId",
                "ProcessCreateTime",
                "ProcessUserTime",
                "ProcessKernelTime",
                "ProcessorMaxMhz",
                "ProcessorCurrentMhz",
                "ProcessorMhzLimit",
            ),
            "comments": [c.data for c in (dump.comment_a, dump.comment_w) if c is not None],
        },
        sys.stdout,
    )


main()
