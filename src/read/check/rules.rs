//! The table of rules.

use serde::{Serialize, Serializer};

use super::Level;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident $id:literal $severity:ident $who:literal,)*) => {
        /// A rule of the format or of its readers. The documentation of each variant states the
        /// requirement.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Rule { $($(#[$doc])* $name,)* }

        impl Rule {
            /// All rules, in the order of the check.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the name of the rule in kebab case. It does not change between versions.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)* }
            }

            /// Returns the severity of a violation. A dump with an error fails the check.
            #[must_use]
            pub fn severity(self) -> Level {
                match self { $(Self::$name => Level::$severity,)* }
            }

            /// Returns what follows from a violation. It names a reader only if that reader was
            /// seen to refuse or misread a dump that breaks the rule.
            #[must_use]
            pub fn who_minds(self) -> &'static str {
                match self { $(Self::$name => $who,)* }
            }
        }
    };
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

rules! {
    // The file.
    /// The low word of the version must be 0xA793.
    HeaderVersion "header-version" Error "LLDB, Breakpad and rust-minidump refuse the file",
    /// The directory must start directly after the header, at offset 32.
    DirectoryPlace "directory-place" Error "dbgeng refuses streams that lie before the directory",
    /// The directory must lie inside the file.
    DirectoryOutsideFile "directory-outside-file" Error "all readers refuse the file",
    /// The directory must have at most 128 entries.
    DirectoryLong "directory-long" Warning "Breakpad stops at 128 entries",
    /// The size and the offset of unused entries (type 0) must be 0.
    UnusedSlotFilled "unused-slot-filled" Warning "its bytes belong to no stream",
    /// Lists must have at most 1,048,576 entries, the directory and the list of modules at most
    /// 65,536, and texts and tables must not be longer than the reader supports.
    ListTooLong "list-too-long" Error "this check does not read the rest",
    /// There must be at most one stream of each type.
    StreamDuplicate "stream-duplicate" Error "LLDB and udmp-parser refuse the file",
    /// Streams must lie after the directory.
    StreamBeforeDirectory "stream-before-directory" Error "dbgeng refuses the file",
    /// Streams must end below 4 GiB.
    StreamPast32Bits "stream-past-32-bits" Error "the end of the stream does not fit into 32 bits",
    /// Streams must lie inside the file.
    StreamOutsideFile "stream-outside-file" Error "LLDB refuses the file, and the stream is incomplete",
    /// Streams must not overlap each other or the data of the Memory64List.
    StreamOverlap "stream-overlap" Error "the same bytes belong to two streams",
    /// Types up to 0xFFFF must be those that Microsoft defines. Other streams must have higher
    /// types.
    PrivateStreamType "private-stream-type" Error "skelsec's parser raises an exception, dbgeng prints a warning",
    /// There must be a MiscInfo. Breakpad's writer for Linux writes none.
    MiscInfoMissing "misc-info-missing" Warning "the process id and the times of the process are unknown",
    /// There must be a ThreadList (or a ThreadExList), a ModuleList and a SystemInfo.
    RequiredStreamMissing "required-stream-missing" Error "stacks cannot be walked without it",
    /// There must be a MemoryList or a Memory64List.
    MemoryListMissing "memory-list-missing" Error "rust-minidump finds no stack, skelsec's parser raises an exception",

    /// The entries of a list must follow its count directly. Some writers of Breakpad's family put
    /// four bytes of padding between them, and Breakpad and rust-minidump accept that.
    ListPadded "list-padded" Warning "the entries are not where the format has them",

    // Strings.
    /// The length of a string must be even.
    StringOddLength "string-odd-length" Error "rust-minidump and Breakpad drop the list that refers to it",
    /// Strings must lie inside the file.
    StringOutsideFile "string-outside-file" Error "Breakpad drops what refers to it",
    /// Each string must be followed by a NUL that is not included in its length.
    StringUnterminated "string-unterminated" Error "dbgeng shows garbage after the text",
    /// Strings must have at most 1024 UTF-16 code units.
    StringLong "string-long" Warning "Breakpad refuses longer strings",

    // The process.
    /// SystemInfo must have 56 bytes.
    SystemInfoSize "system-info-size" Error "Breakpad, rust-minidump and LLDB refuse it",
    /// The processor architecture must be one that readers support.
    SystemInfoProcessor "system-info-processor" Error "LLDB refuses the file, Breakpad and rust-minidump cannot read the contexts",
    /// The operating system must be one that readers support.
    SystemInfoPlatform "system-info-platform" Warning "exception codes and module ids have another meaning on each system",
    /// The CSD string must be present, even if it is empty.
    CsdStringMissing "csd-string-missing" Error "Breakpad reports an error",
    /// The size of MiscInfo, in the directory and in its own field, must be that of a generation.
    MiscInfoSize "misc-info-size" Error "Breakpad and rust-minidump drop it",
    /// MiscInfo must contain the process id.
    MiscInfoProcessId "misc-info-process-id" Error "LLDB shows 1 as the process id",

    // Threads.
    /// ThreadList must have 4 + 48 × n bytes, and ThreadExList 4 + 64 × n. Four bytes of padding
    /// after the count are another rule.
    ThreadListSize "thread-list-size" Error "Breakpad, rust-minidump and udmp-parser lose all threads, LLDB refuses the file",
    /// Thread ids must be unique.
    ThreadIdDuplicate "thread-id-duplicate" Error "Breakpad refuses the list",
    /// Each thread must have a context.
    ThreadContextMissing "thread-context-missing" Warning "Breakpad and rust-minidump show no registers of the thread",
    /// Contexts must lie inside the file.
    ContextOutsideFile "context-outside-file" Error "Breakpad, rust-minidump and LLDB show no registers of the thread",
    /// Contexts must have the size for the processor. Contexts with extended state are longer.
    ContextSize "context-size" Error "Breakpad and rust-minidump drop the registers",
    /// `ContextFlags` must contain the bit of the processor.
    ContextFlags "context-flags" Error "Breakpad, rust-minidump and LLDB drop the registers",
    /// Each thread must have a stack.
    ThreadStackMissing "thread-stack-missing" Warning "Breakpad reports an error",
    /// Stacks must not extend past the end of the address space.
    ThreadStackWraps "thread-stack-wraps" Error "Breakpad drops the stack",
    /// The bytes of stacks must lie inside the file.
    ThreadStackOutsideFile "thread-stack-outside-file" Error "Breakpad loses the stack",
    /// Stacks must also be in the memory list.
    ThreadStackUnlisted "thread-stack-unlisted" Error "LLDB finds no stack",
    /// The memory list must contain the same bytes for a stack as the thread list.
    ThreadStackDiffers "thread-stack-differs" Error "the file has two versions of the stack",
    /// The stack pointer must lie in the stack. After a stack overflow, it may lie below all mapped
    /// memory; such a dump is valid.
    StackPointerOutside "stack-pointer-outside" Warning "the captured stack is not the one in use",

    // Modules.
    /// ModuleList must have 4 + 108 × n bytes. Four bytes of padding after the count are another
    /// rule.
    ModuleListSize "module-list-size" Error "Breakpad and rust-minidump lose all modules",
    /// There must be at most 2048 modules.
    ModuleCount "module-count" Warning "Breakpad refuses longer lists",
    /// The names of modules must be ASCII.
    ModuleNameNotAscii "module-name-not-ascii" Warning "udmp-parser 0.7.0 refuses the file",
    /// The size of a module must not be 0.
    ModuleSizeZero "module-size-zero" Error "Breakpad drops the list, rust-minidump the module",
    /// Modules must not extend past the end of the address space.
    ModuleWraps "module-wraps" Error "Breakpad drops the list",
    /// The base addresses of modules must be unique.
    ModuleBaseDuplicate "module-base-duplicate" Error "Breakpad cannot store the module",
    /// Modules must not overlap. In dumps of other systems than Windows, this is a warning.
    ModuleOverlap "module-overlap" Error "addresses belong to two modules",
    /// Each module must have a CodeView record.
    CodeViewMissing "code-view-missing" Warning "the module has no identifier by which its symbols can be found",
    /// CodeView records must lie inside the file.
    CodeViewOutsideFile "code-view-outside-file" Error "rust-minidump and Breakpad lose the module's id",
    /// A CodeView record must be RSDS or NB10 with a terminated path, or BpEL with a build id.
    CodeViewMalformed "code-view-malformed" Error "the module has no identifier by which its symbols can be found",

    // Memory.
    /// MemoryList must have 4 + 16 × n bytes. Four bytes of padding after the count are another
    /// rule.
    MemoryListSize "memory-list-size" Error "readers drop the list",
    /// Memory64List must have 16 + 16 × n bytes.
    Memory64ListSize "memory64-list-size" Error "readers drop the list",
    /// If the flag 0x2 (full memory) of the header is set, there must be a Memory64List.
    FullMemoryFlag "full-memory-flag" Error "dbgeng refuses the file",
    /// If there is a Memory64List, the flag 0x2 of the header must be set.
    FullMemoryFlagMissing "full-memory-flag-missing" Warning "the flags do not match the contents of the file",
    /// There must be only one of the two memory lists.
    MemoryListsBoth "memory-lists-both" Warning "the two lists may contradict each other",
    /// The MemoryList must have at most 4096 ranges.
    MemoryRangeCount "memory-range-count" Warning "Breakpad's minidump_dump refuses longer lists",
    /// Ranges of the MemoryList must not be empty.
    MemoryRangeEmpty "memory-range-empty" Error "Breakpad drops all memory",
    /// Ranges of the Memory64List must not be empty.
    Memory64RangeEmpty "memory64-range-empty" Warning "DbgHelp writes an empty range if it could not read the memory",
    /// Ranges must not extend past the end of the address space.
    MemoryRangeWraps "memory-range-wraps" Error "Breakpad drops all memory",
    /// Ranges must not overlap.
    MemoryRangeOverlap "memory-range-overlap" Error "Breakpad drops all memory, dbgeng refuses the file",
    /// The bytes of ranges must lie inside the file.
    MemoryRangeOutsideFile "memory-range-outside-file" Error "readers miss the bytes or refuse the list",
    /// The bytes of ranges must lie after the directory.
    MemoryRangeBeforeDirectory "memory-range-before-directory" Error "the directory is shown as memory",
    /// Ranges of the MemoryList must have at most 64 MiB.
    MemoryRangeLarge "memory-range-large" Warning "the range is larger than the limits of some tools",
    /// If there is a Memory64List, there must be a MemoryInfoList.
    Memory64WithoutInfo "memory64-without-info" Warning "udmp-parser refuses the file",
    /// Each range of a Memory64List must start at the start of a region of the MemoryInfoList.
    Memory64RangeAtRegion "memory64-range-at-region" Warning "udmp-parser 0.7.0 refuses the file",
    /// MemoryInfoList must have a header of 16 bytes, the stated number of entries of 48 bytes
    /// each, and nothing else.
    MemoryInfoSize "memory-info-size" Error "Breakpad and udmp-parser refuse it",
    /// The size of a region must not be 0, and the region must not extend past the end of the
    /// address space.
    MemoryInfoRegion "memory-info-region" Error "Breakpad drops the list",
    /// Regions must be sorted by address and must not overlap.
    MemoryInfoOrder "memory-info-order" Error "Breakpad drops the list",

    // Compressed memory.
    /// The header of CompressedMemory must have 192 bytes, its tables must lie inside the file, and
    /// its regions inside their buckets.
    CompressedMemoryMalformed "compressed-memory-malformed" Error "WinDbg refuses the file, or shows other bytes",
    /// CompressedMemory must extend to the end of the file exactly.
    CompressedMemoryEnd "compressed-memory-end" Error "WinDbg refuses the file",
    /// MaxTransferSize must be at least the size of the largest bucket.
    CompressedTransferSize "compressed-transfer-size" Error "WinDbg hangs while it opens the file",
    /// A bucket must have at most 16 MiB of compressed bytes.
    CompressedBucketLarge "compressed-bucket-large" Error "WinDbg cannot read the memory",
    /// The writer must have read as many bytes as the buckets have.
    CompressedMemoryUnread "compressed-memory-unread" Warning "Microsoft's writer leaves bytes of another region in place of those that it could not read",
    /// Compressed regions must be sorted by address and must not overlap.
    CompressedRegionOrder "compressed-region-order" Error "WinDbg refuses the file",
    /// Buckets must lie inside the file, and their LZ4 blocks must have the stated size.
    CompressedBucketBroken "compressed-bucket-broken" Error "the memory of the bucket cannot be read",
    /// The memory lists must contain the same bytes as the compressed memory.
    CompressedMemoryDiffers "compressed-memory-differs" Error "the file has two versions of the memory",

    // The exception.
    /// ExceptionStream must have 168 bytes.
    ExceptionSize "exception-size" Error "Breakpad and rust-minidump drop the exception",
    /// The thread of the exception must be in the thread list.
    ExceptionThread "exception-thread" Error "the thread that crashed is unknown",
    /// The exception must have a context of its own.
    ExceptionContextMissing "exception-context-missing" Error "LLDB shows the thread without frames",
    /// The exception must have at most 15 parameters.
    ExceptionParameters "exception-parameters" Error "rust-minidump panics",

    // Other lists.
    /// ThreadInfoList must have a header of 12 bytes, the stated number of entries of 64 bytes
    /// each, and nothing else.
    ThreadInfoSize "thread-info-size" Error "readers drop the list",
    /// The threads of the ThreadInfoList must be in the thread list.
    ThreadInfoThread "thread-info-thread" Warning "the entry belongs to no thread",
    /// ThreadNames must have 4 + 12 × n bytes.
    ThreadNamesSize "thread-names-size" Error "readers lose the names",
    /// HandleData must have a header of 16 bytes, the stated number of descriptors of 32 or 40
    /// bytes each, and nothing else.
    HandleDataSize "handle-data-size" Error "readers drop the list",
    /// UnloadedModuleList must have a header of 12 bytes, the stated number of entries of 24 bytes
    /// each, and nothing else.
    UnloadedModulesSize "unloaded-modules-size" Error "the list and its stream differ in size",

    /// HandleOperationList must have a header of 16 bytes, the stated number of entries of 288
    /// bytes each, and nothing else.
    HandleOperationsSize "handle-operations-size" Error "the list and its stream differ in size",
    /// Information about the object of a handle must lie inside the file, and its chain must end.
    ObjectInformationBroken "object-information-broken" Error "information about the object is lost",
    /// FunctionTable must contain its tables, each at a file offset that is a multiple of 8, and at
    /// most 12 further bytes.
    FunctionTableSize "function-table-size" Error "functions that were generated at run time cannot be found",
    /// Token must contain the stated number of elements, each with a user, and its header must
    /// state the size of the stream.
    TokenSize "token-size" Error "the user of the process is unknown",
    /// SystemMemoryInfo must have the size of its revision.
    SystemMemorySize "system-memory-size" Error "fields are missing, or other bytes are taken for them",
    /// ProcessVmCounters must have the size of its revision.
    VmCountersSize "vm-counters-size" Error "fields are missing, or other bytes are taken for them",

    // Breakpad's and Mozilla's streams.
    /// BreakpadInfo must have 12 bytes.
    BreakpadInfoSize "breakpad-info-size" Error "Breakpad drops it",
    /// LinuxDsoDebug must contain its fixed part, and its list must lie inside the file.
    DsoDebugSize "dso-debug-size" Error "the list of loaded objects cannot be read",
    /// The `Pid:` line of LinuxProcStatus must contain the process id of MiscInfo.
    ProcStatusPid "proc-status-pid" Warning "the file has two process ids",
    /// MozSoftErrors must be JSON.
    SoftErrorsJson "soft-errors-json" Error "what the writer reported cannot be shown",

    // dumpwright's loss trailer.
    /// The loss trailer must be complete and consistent.
    LossTrailerMalformed "loss-trailer-malformed" Error "lost memory cannot be told from captured memory",
    /// There must be no lost memory. This is a warning if losses are expected.
    MemoryLost "memory-lost" Error "a filler is in place of the process's memory",
    /// Lost ranges must be in the memory list.
    LossOutsideMemory "loss-outside-memory" Error "lost memory cannot be told from captured memory",
    /// The file must contain 0xDD in place of lost bytes. It may contain zeros if the process was
    /// resumed early.
    LossNotFilled "loss-not-filled" Error "the file has bytes there that were never in the process",
}
