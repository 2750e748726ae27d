"""Runs inside LLDB and prints what it sees in a minidump as JSON, on one line that starts with "REPORT ".

    lldb-19 --batch -o 'command script import lldb_report.py' -o 'report FILE [ADDRESS:LENGTH ...]'

LLDB unwinds and names functions from the binaries on disk, by the module paths in the dump. Frames that it
shows for inlined functions are left out: the functions asked for are real ones.
"""

import json
import shlex

import lldb


def frame(f):
    return {
        "function": f.GetFunctionName(),
        "module": f.GetModule().GetFileSpec().GetFilename(),
        "pc": f.GetPC(),
        "sp": f.GetSP(),
    }


def registers(f):
    found = {}
    for group in f.GetRegisters():
        for register in group:
            if register.GetByteSize() in (4, 8) and register.GetError().Success() and register.GetValue():
                found[register.GetName()] = register.GetValueAsUnsigned()
    return found


def thread(t):
    real = [f for f in t if not f.IsInlined()]
    return {
        "tid": t.GetThreadID(),
        "frames": [frame(f) for f in real],
        "registers": registers(t.GetFrameAtIndex(0)) if t.GetNumFrames() else {},
        "stop_reason": t.GetStopReason(),
        "stop_data": [t.GetStopReasonDataAtIndex(i) for i in range(t.GetStopReasonDataCount())],
        "stop_description": t.GetStopDescription(256),
    }


def read(process, spec):
    address, length = (int(number, 0) for number in spec.split(":"))
    error = lldb.SBError()
    data = process.ReadMemory(address, length, error)
    return data.hex() if error.Success() and data is not None else None


def report(debugger, command, result, _dictionary):
    path, *specs = shlex.split(command)
    target = debugger.CreateTarget("")
    error = lldb.SBError()
    process = target.LoadCore(path, error)
    if error.Fail() or not process.IsValid():
        result.AppendMessage("REPORT " + json.dumps({"error": error.GetCString() or "no process"}))
        return
    regions = process.GetMemoryRegions()
    region = lldb.SBMemoryRegionInfo()
    found = []
    for index in range(regions.GetSize()):
        regions.GetMemoryRegionAtIndex(index, region)
        found.append([region.GetRegionBase(), region.GetRegionEnd(), region.IsMapped()])
    result.AppendMessage(
        "REPORT "
        + json.dumps(
            {
                "pid": process.GetProcessID(),
                "selected_tid": process.GetSelectedThread().GetThreadID(),
                "threads": [thread(t) for t in process],
                "modules": [
                    {
                        "path": str(m.GetFileSpec()),
                        "uuid": m.GetUUIDString(),
                        "base": m.GetObjectFileHeaderAddress().GetLoadAddress(target),
                    }
                    for m in target.module_iter()
                ],
                "regions": found,
                "memory": [read(process, spec) for spec in specs],
            }
        )
    )


def __lldb_init_module(debugger, _dictionary):
    debugger.HandleCommand(f"command script add --overwrite --function {__name__}.report report")
