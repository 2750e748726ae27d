use bitflags::bitflags;

bitflags! {
    /// What is written about a thread (Windows' `THREAD_WRITE_FLAGS`). Answers can only clear bits.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct ThreadWriteFlags: u32 {
        /// The entry in the thread list.
        const THREAD = 0x01;
        /// The stack.
        const STACK = 0x02;
        /// The registers.
        const CONTEXT = 0x04;
        /// The backing store (Itanium only).
        const BACKING_STORE = 0x08;
        /// The memory around the instruction pointer.
        const INSTRUCTION_WINDOW = 0x10;
        /// The system's data about the thread (with `MiniDumpWithProcessThreadData`).
        const THREAD_DATA = 0x20;
        /// The entry in the thread information list (with `MiniDumpWithThreadInfo`).
        const THREAD_INFO = 0x40;
        // Callbacks may set unknown bits. They are stored, masked and reported as given.
        const _ = !0;
    }

    /// What is written about a module (Windows' `MODULE_WRITE_FLAGS`). Answers can only clear bits,
    /// except that the answer to IncludeModule may set `REFERENCED_BY_MEMORY`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct ModuleWriteFlags: u32 {
        /// The entry in the module list.
        const MODULE = 0x01;
        /// The writable sections (with `MiniDumpWithDataSegs`).
        const DATA_SEG = 0x02;
        /// The miscellaneous debug record.
        const MISC_RECORD = 0x04;
        /// The CodeView record.
        const CV_RECORD = 0x08;
        /// Not a selection but a state: a captured stack contains a pointer into the module.
        const REFERENCED_BY_MEMORY = 0x10;
        /// The thread-local data (with `MiniDumpWithProcessThreadData`).
        const TLS_DATA = 0x20;
        /// The executable sections (with `MiniDumpWithCodeSegs`).
        const CODE_SEGS = 0x40;
        const _ = !0;
    }

    /// Further options for the dump (Windows' `MINIDUMP_SECONDARY_FLAGS`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct SecondaryFlags: u32 {
        /// Leave the processor's clock rates out of MiscInfo.
        const WITHOUT_POWER_INFO = 0x01;
        const _ = !0;
    }
}
