use bitflags::bitflags;

bitflags! {
    /// What is written of a thread (Windows' `THREAD_WRITE_FLAGS`). Answers may only clear bits.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct ThreadWriteFlags: u32 {
        /// The entry in the thread list.
        const THREAD = 0x01;
        /// Its stack.
        const STACK = 0x02;
        /// Its registers.
        const CONTEXT = 0x04;
        /// Its backing store (Itanium only).
        const BACKING_STORE = 0x08;
        /// The memory around its instruction pointer.
        const INSTRUCTION_WINDOW = 0x10;
        /// The system's data about it (with `MiniDumpWithProcessThreadData`).
        const THREAD_DATA = 0x20;
        /// Its entry in the thread information list (with `MiniDumpWithThreadInfo`).
        const THREAD_INFO = 0x40;
        // Callbacks may set bits that nobody knows; they are carried, masked and reported as given.
        const _ = !0;
    }

    /// What is written of a module (Windows' `MODULE_WRITE_FLAGS`). Answers may only clear bits,
    /// except that IncludeModule may set `REFERENCED_BY_MEMORY`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct ModuleWriteFlags: u32 {
        /// The entry in the module list.
        const MODULE = 0x01;
        /// Its writable sections (with `MiniDumpWithDataSegs`).
        const DATA_SEG = 0x02;
        /// Its miscellaneous debug record.
        const MISC_RECORD = 0x04;
        /// Its CodeView record.
        const CV_RECORD = 0x08;
        /// A status, not a wish: some captured stack points into it.
        const REFERENCED_BY_MEMORY = 0x10;
        /// Its thread-local data (with `MiniDumpWithProcessThreadData`).
        const TLS_DATA = 0x20;
        /// Its executable sections (with `MiniDumpWithCodeSegs`).
        const CODE_SEGS = 0x40;
        const _ = !0;
    }

    /// Secondary wishes (Windows' `MINIDUMP_SECONDARY_FLAGS`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct SecondaryFlags: u32 {
        /// Leave the processor's clock rates out of MiscInfo.
        const WITHOUT_POWER_INFO = 0x01;
        const _ = !0;
    }
}
