//! The stream types that this reader supports.
//!
//! The constants have the names of `MINIDUMP_STREAM_TYPE` and, from 0x47670001 on, the names that
//! Breakpad and Mozilla use.
#![allow(missing_docs)] // Microsoft, Breakpad and Mozilla document these names.

pub const UNUSED: u32 = 0;
pub const THREAD_LIST: u32 = 3;
pub const MODULE_LIST: u32 = 4;
pub const MEMORY_LIST: u32 = 5;
pub const EXCEPTION: u32 = 6;
pub const SYSTEM_INFO: u32 = 7;
pub const THREAD_EX_LIST: u32 = 8;
pub const MEMORY64_LIST: u32 = 9;
pub const COMMENT_A: u32 = 10;
pub const COMMENT_W: u32 = 11;
pub const HANDLE_DATA: u32 = 12;
pub const FUNCTION_TABLE: u32 = 13;
pub const UNLOADED_MODULE_LIST: u32 = 14;
pub const MISC_INFO: u32 = 15;
pub const MEMORY_INFO_LIST: u32 = 16;
pub const THREAD_INFO_LIST: u32 = 17;
pub const HANDLE_OPERATION_LIST: u32 = 18;
pub const TOKEN: u32 = 19;
pub const SYSTEM_MEMORY_INFO: u32 = 21;
pub const PROCESS_VM_COUNTERS: u32 = 22;
pub const THREAD_NAMES: u32 = 24;
pub const COMPRESSED_MEMORY: u32 = 25;
pub const COMPRESSED_MEMORY_SQL: u32 = 0x7000;
pub const BREAKPAD_INFO: u32 = 0x4767_0001;
pub const LINUX_CPU_INFO: u32 = 0x4767_0003;
pub const LINUX_PROC_STATUS: u32 = 0x4767_0004;
pub const LINUX_LSB_RELEASE: u32 = 0x4767_0005;
pub const LINUX_CMD_LINE: u32 = 0x4767_0006;
pub const LINUX_ENVIRON: u32 = 0x4767_0007;
pub const LINUX_AUXV: u32 = 0x4767_0008;
pub const LINUX_MAPS: u32 = 0x4767_0009;
pub const LINUX_DSO_DEBUG: u32 = 0x4767_000A;
pub const MOZ_LINUX_LIMITS: u32 = 0x4D7A_0003;
pub const MOZ_SOFT_ERRORS: u32 = 0x4D7A_0004;

/// Returns the name of a stream type, or `None` if neither Microsoft's headers nor Breakpad,
/// Crashpad or Mozilla define it.
#[must_use]
pub fn stream_name(stream_type: u32) -> Option<&'static str> {
    Some(match stream_type {
        0 => "UnusedStream",
        1 => "ReservedStream0",
        2 => "ReservedStream1",
        3 => "ThreadListStream",
        4 => "ModuleListStream",
        5 => "MemoryListStream",
        6 => "ExceptionStream",
        7 => "SystemInfoStream",
        8 => "ThreadExListStream",
        9 => "Memory64ListStream",
        10 => "CommentStreamA",
        11 => "CommentStreamW",
        12 => "HandleDataStream",
        13 => "FunctionTableStream",
        14 => "UnloadedModuleListStream",
        15 => "MiscInfoStream",
        16 => "MemoryInfoListStream",
        17 => "ThreadInfoListStream",
        18 => "HandleOperationListStream",
        19 => "TokenStream",
        20 => "JavaScriptDataStream",
        21 => "SystemMemoryInfoStream",
        22 => "ProcessVmCountersStream",
        23 => "IptTraceStream",
        24 => "ThreadNamesStream",
        25 => "CompressedMemoryStream",
        0x7000 => "CompressedMemoryStreamSQL",
        0x8000 => "ceStreamNull",
        0x8001 => "ceStreamSystemInfo",
        0x8002 => "ceStreamException",
        0x8003 => "ceStreamModuleList",
        0x8004 => "ceStreamProcessList",
        0x8005 => "ceStreamThreadList",
        0x8006 => "ceStreamThreadContextList",
        0x8007 => "ceStreamThreadCallStackList",
        0x8008 => "ceStreamMemoryVirtualList",
        0x8009 => "ceStreamMemoryPhysicalList",
        0x800A => "ceStreamBucketParameters",
        0x800B => "ceStreamProcessModuleMap",
        0x800C => "ceStreamDiagnosisList",
        0x4767_0001 => "BreakpadInfo",
        0x4767_0002 => "AssertionInfo",
        0x4767_0003 => "LinuxCpuInfo",
        0x4767_0004 => "LinuxProcStatus",
        0x4767_0005 => "LinuxLsbRelease",
        0x4767_0006 => "LinuxCmdLine",
        0x4767_0007 => "LinuxEnviron",
        0x4767_0008 => "LinuxAuxv",
        0x4767_0009 => "LinuxMaps",
        0x4767_000A => "LinuxDsoDebug",
        0x4350_0001 => "CrashpadInfo",
        0x4D7A_0001 => "MozMacosCrashInfo",
        0x4D7A_0002 => "MozMacosBootargs",
        0x4D7A_0003 => "MozLinuxLimits",
        0x4D7A_0004 => "MozSoftErrors",
        _ => return None,
    })
}
