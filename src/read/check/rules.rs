//! The table of rules.

use serde::{Serialize, Serializer};

use super::Severity;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident $id:literal $severity:ident $who:literal,)*) => {
        /// A rule of the format or of its readers. The documentation of each says what it demands.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Rule { $($(#[$doc])* $name,)* }

        impl Rule {
            /// Every rule, in the order of the check.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable name, in kebab case.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)* }
            }

            /// Whether a dump that breaks it fails the check.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }

            /// Which readers mind, and what they do.
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
    /// The low word of the version is 0xA793.
    HeaderVersion "header-version" Error "all readers refuse the file",
    /// The directory begins right behind the header, at offset 32.
    DirectoryPlace "directory-place" Error "dbgeng refuses streams that lie in front of the directory",
    /// The directory lies inside the file.
    DirectoryOutsideFile "directory-outside-file" Error "all readers refuse the file",
    /// The directory has at most 128 entries.
    DirectoryLong "directory-long" Warning "Breakpad stops at 128 entries",
    /// Unused entries (type 0) have neither size nor offset.
    UnusedSlotFilled "unused-slot-filled" Warning "readers skip it, so its bytes are lost",
    /// Each type of stream occurs once.
    StreamDuplicate "stream-duplicate" Error "LLDB, Breakpad and udmp-parser refuse the file",
    /// Streams lie behind the directory.
    StreamBeforeDirectory "stream-before-directory" Error "dbgeng refuses the file",
    /// Streams end below 4 GiB.
    StreamPast32Bits "stream-past-32-bits" Error "readers compute the end in 32 bits and see it wrap",
    /// Streams lie inside the file.
    StreamOutsideFile "stream-outside-file" Error "LLDB refuses the file, others miss the stream",
    /// No two streams share bytes, and none lies in the data of the Memory64List.
    StreamOverlap "stream-overlap" Error "every reader takes bytes of one for the other's",
    /// Streams of one's own have types above 0xFFFF.
    PrivateStreamType "private-stream-type" Error "skelsec's parser raises, dbgeng warns",
    /// ThreadList (or ThreadExList), ModuleList, SystemInfo and MiscInfo are there.
    RequiredStreamMissing "required-stream-missing" Error "no reader gets far without it",
    /// There is a MemoryList or a Memory64List.
    MemoryListMissing "memory-list-missing" Error "rust-minidump, Breakpad and dbgeng find no stack",

    // Strings.
    /// The length of a string is even.
    StringOddLength "string-odd-length" Error "rust-minidump and Breakpad drop the list that names it",
    /// Strings lie inside the file.
    StringOutsideFile "string-outside-file" Error "rust-minidump and Breakpad drop the list that names it",
    /// A NUL that the length does not count follows each string.
    StringUnterminated "string-unterminated" Error "dbgeng shows garbage behind the text",
    /// Strings have at most 1024 units.
    StringLong "string-long" Warning "Breakpad refuses longer strings",

    // The process.
    /// SystemInfo has 56 bytes.
    SystemInfoSize "system-info-size" Error "all readers refuse it",
    /// The processor is one that readers know.
    SystemInfoProcessor "system-info-processor" Error "LLDB refuses the file, contexts are not understood",
    /// The operating system is one that readers know.
    SystemInfoPlatform "system-info-platform" Warning "exceptions and module ids are misread, LLDB names no frame",
    /// The CSD string is there, even if it is empty.
    CsdStringMissing "csd-string-missing" Error "Breakpad drops the system info",
    /// MiscInfo has the size of one of its generations, in the stream and in its own field.
    MiscInfoSize "misc-info-size" Error "readers take later fields for absent or for garbage",
    /// MiscInfo has the process id.
    MiscInfoProcessId "misc-info-process-id" Error "LLDB says that the process id is 1",

    // Threads.
    /// ThreadList has 4 + 48 × n bytes, ThreadExList 4 + 64 × n.
    ThreadListSize "thread-list-size" Error "Breakpad, rust-minidump and udmp-parser lose all threads, LLDB crashes",
    /// Thread ids differ.
    ThreadIdDuplicate "thread-id-duplicate" Error "Breakpad refuses the list",
    /// Threads have contexts.
    ThreadContextMissing "thread-context-missing" Warning "readers show the thread without frames",
    /// Contexts lie inside the file.
    ContextOutsideFile "context-outside-file" Error "readers show the thread without frames",
    /// Contexts have the processor's size (more with extended state).
    ContextSize "context-size" Error "Breakpad and LLDB drop the registers",
    /// `ContextFlags` has the processor's bit.
    ContextFlags "context-flags" Error "Breakpad, rust-minidump and LLDB drop the registers",
    /// Threads have stacks.
    ThreadStackMissing "thread-stack-missing" Warning "readers show the first frame only, Breakpad reports an error",
    /// Stacks do not run past the end of the address space.
    ThreadStackWraps "thread-stack-wraps" Error "Breakpad drops the stack",
    /// The bytes of stacks lie inside the file.
    ThreadStackOutsideFile "thread-stack-outside-file" Error "Breakpad and udmp-parser lose the stack",
    /// Stacks are in the memory list too.
    ThreadStackUnlisted "thread-stack-unlisted" Error "rust-minidump, LLDB and dbgeng look there and find nothing",
    /// Both ways lead to the same bytes.
    ThreadStackDiffers "thread-stack-differs" Error "readers disagree about the stack",
    /// The stack pointer lies in the stack. (After an overflow it can honestly lie below everything that is mapped.)
    StackPointerOutside "stack-pointer-outside" Warning "readers that start at the stack pointer find no stack",

    // Modules.
    /// ModuleList has 4 + 108 × n bytes.
    ModuleListSize "module-list-size" Error "Breakpad and rust-minidump lose all modules",
    /// There are at most 2048 modules.
    ModuleCount "module-count" Warning "Breakpad refuses longer lists",
    /// The names of modules are ASCII.
    ModuleNameNotAscii "module-name-not-ascii" Warning "udmp-parser 0.7.0 refuses the file",
    /// Modules have a size.
    ModuleSizeZero "module-size-zero" Error "Breakpad drops the list, rust-minidump the module",
    /// Modules do not run past the end of the address space.
    ModuleWraps "module-wraps" Error "Breakpad drops the list",
    /// Modules have different bases.
    ModuleBaseDuplicate "module-base-duplicate" Error "Breakpad can't store the module",
    /// Modules do not overlap (a warning outside Windows).
    ModuleOverlap "module-overlap" Error "in Windows dumps Breakpad can't store the module; addresses get two owners",
    /// Modules have CodeView records.
    CodeViewMissing "code-view-missing" Warning "readers of Breakpad symbols have no key and name no function",
    /// CodeView records lie inside the file.
    CodeViewOutsideFile "code-view-outside-file" Error "rust-minidump and Breakpad lose the module's id",
    /// CodeView records are RSDS with a terminated path, NB10, or BpEL with a build id.
    CodeViewMalformed "code-view-malformed" Error "readers of Breakpad symbols have no key",

    // Memory.
    /// MemoryList has 4 + 16 × n bytes.
    MemoryListSize "memory-list-size" Error "readers drop the list; dbgeng and skelsec misread a padded one",
    /// Memory64List has 16 + 16 × n bytes.
    Memory64ListSize "memory64-list-size" Error "readers drop the list",
    /// The header's flag 0x2 (full memory) comes with a Memory64List.
    FullMemoryFlag "full-memory-flag" Error "dbgeng refuses the file",
    /// A Memory64List comes with flag 0x2.
    FullMemoryFlagMissing "full-memory-flag-missing" Warning "the flags do not say what the file has",
    /// There is only one of the two lists.
    MemoryListsBoth "memory-lists-both" Warning "readers differ in which one they take",
    /// There are at most 4096 ranges in the MemoryList.
    MemoryRangeCount "memory-range-count" Warning "Breakpad's minidump_dump refuses longer lists",
    /// Ranges of the MemoryList are not empty.
    MemoryRangeEmpty "memory-range-empty" Error "Breakpad drops all memory",
    /// Ranges of the Memory64List are not empty.
    Memory64RangeEmpty "memory64-range-empty" Warning "this is how DbgHelp says that a range could not be read",
    /// Ranges do not run past the end of the address space.
    MemoryRangeWraps "memory-range-wraps" Error "Breakpad drops all memory",
    /// Ranges do not overlap.
    MemoryRangeOverlap "memory-range-overlap" Error "Breakpad drops all memory, dbgeng refuses the file, LLDB cuts stacks",
    /// The bytes of ranges lie inside the file.
    MemoryRangeOutsideFile "memory-range-outside-file" Error "readers miss the bytes or refuse the list",
    /// The bytes of ranges lie behind the directory.
    MemoryRangeBeforeDirectory "memory-range-before-directory" Error "readers show the directory as memory",
    /// Ranges of the MemoryList have at most 64 MiB.
    MemoryRangeLarge "memory-range-large" Warning "Breakpad refuses to read larger ranges",
    /// A Memory64List comes with a MemoryInfoList.
    Memory64WithoutInfo "memory64-without-info" Warning "udmp-parser refuses the file",
    /// Each range of a Memory64List begins where a region of the MemoryInfoList begins.
    Memory64RangeAtRegion "memory64-range-at-region" Warning "udmp-parser 0.7.0 refuses the file",
    /// MemoryInfoList has a header of 16 bytes and entries of 48, exactly as many as it says.
    MemoryInfoSize "memory-info-size" Error "Breakpad and udmp-parser refuse it",
    /// Regions have a size and do not run past the end of the address space.
    MemoryInfoRegion "memory-info-region" Error "Breakpad drops the list",
    /// Regions ascend and do not overlap.
    MemoryInfoOrder "memory-info-order" Error "Breakpad drops the list, LLDB searches it wrongly",

    // The exception.
    /// ExceptionStream has 168 bytes.
    ExceptionSize "exception-size" Error "Breakpad and rust-minidump drop the exception",
    /// The exception's thread is in the thread list.
    ExceptionThread "exception-thread" Error "no reader knows which thread crashed",
    /// The exception has its own context.
    ExceptionContextMissing "exception-context-missing" Error "LLDB shows the thread without frames",
    /// The exception has at most 15 parameters.
    ExceptionParameters "exception-parameters" Error "rust-minidump panics",

    // Other lists.
    /// ThreadInfoList has a header of 12 bytes and entries of 64, exactly as many as it says.
    ThreadInfoSize "thread-info-size" Error "readers drop the list",
    /// Entries of the ThreadInfoList belong to threads of the ThreadList.
    ThreadInfoThread "thread-info-thread" Warning "readers have no thread for it",
    /// ThreadNames has 4 + 12 × n bytes.
    ThreadNamesSize "thread-names-size" Error "readers lose the names",
    /// HandleData has a header of 16 bytes and descriptors of 32 or 40, exactly as many as it says.
    HandleDataSize "handle-data-size" Error "readers drop the list",
    /// UnloadedModuleList has a header of 12 bytes and entries of 24, exactly as many as it says.
    UnloadedModulesSize "unloaded-modules-size" Error "readers drop the list",

    /// HandleOperationList has a header of 16 bytes and entries of 288, exactly as many as it says.
    HandleOperationsSize "handle-operations-size" Error "readers drop the list",
    /// Information about an object lies inside the file and its chain has an end.
    ObjectInformationBroken "object-information-broken" Error "readers lose what is known of the object",
    /// FunctionTable holds its tables, each at a multiple of 8, and little more.
    FunctionTableSize "function-table-size" Error "readers cannot unwind through functions made at run time",
    /// Token holds its elements, exactly as many as it says, each with a user.
    TokenSize "token-size" Error "readers cannot tell whom the process acted for",
    /// SystemMemoryInfo has the size of its revision.
    SystemMemorySize "system-memory-size" Error "readers take later fields for absent or for garbage",
    /// ProcessVmCounters has the size of its revision.
    VmCountersSize "vm-counters-size" Error "readers take later fields for absent or for garbage",

    // Breakpad's and Mozilla's streams.
    /// BreakpadInfo has 12 bytes.
    BreakpadInfoSize "breakpad-info-size" Error "Breakpad and rust-minidump drop it",
    /// LinuxDsoDebug holds its fixed part, and its list lies inside the file.
    DsoDebugSize "dso-debug-size" Error "Breakpad refuses it",
    /// The `Pid:` line of LinuxProcStatus is the process id of MiscInfo.
    ProcStatusPid "proc-status-pid" Warning "LLDB takes the process id from here when MiscInfo is absent",
    /// MozSoftErrors is JSON.
    SoftErrorsJson "soft-errors-json" Error "rust-minidump's tools can't show it",

    // Our loss trailer.
    /// A loss trailer is whole.
    LossTrailerMalformed "loss-trailer-malformed" Error "what was lost can't be told from what was captured",
    /// No memory was lost (a warning when losses are expected).
    MemoryLost "memory-lost" Error "readers show the fill pattern as the process's memory",
    /// Losses name captured memory.
    LossOutsideMemory "loss-outside-memory" Error "what was lost can't be told from what was captured",
    /// Lost bytes are 0xDD.
    LossNotFilled "loss-not-filled" Error "readers show bytes that were never in the process",
}
