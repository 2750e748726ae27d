//! Information that only Windows provides: about the objects behind handles, operations on handles,
//! and functions that were generated at run time.

/// A kind of information about an object, with the values of
/// `MINIDUMP_HANDLE_OBJECT_INFORMATION_TYPE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names are Windows'")]
pub enum ObjectInformationKind {
    Thread1 = 1,
    Mutant1 = 2,
    Mutant2 = 3,
    Process1 = 4,
    Process2 = 5,
    Event1 = 6,
    Section1 = 7,
    Semaphore1 = 8,
}

impl ObjectInformationKind {
    /// Returns the value of `MINIDUMP_HANDLE_OBJECT_INFORMATION_TYPE`.
    #[must_use]
    pub fn value(self) -> u32 {
        self as u32
    }
}

/// Information about the object to which a handle refers.
///
/// Microsoft documents that this information exists, but not its layout. The constructors produce
/// the layouts that DbgHelp 6.3.9600 was observed to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInformation {
    /// The kind of information.
    pub kind: ObjectInformationKind,
    /// The information, without the header that links it to the next one.
    pub bytes: Vec<u8>,
}

impl ObjectInformation {
    /// Returns the information about an event: whether it wakes only one waiter (a synchronization
    /// event), and whether it is signalled.
    #[must_use]
    pub fn event(wakes_one: bool, signalled: bool) -> Self {
        Self {
            kind: ObjectInformationKind::Event1,
            bytes: [u32::from(wakes_one), u32::from(signalled)]
                .map(u32::to_le_bytes)
                .concat(),
        }
    }

    /// Returns the information about a mutant (mutex): its count (1 if it is free), whether the
    /// dumper owns it, and whether its owner ended without releasing it.
    #[must_use]
    pub fn mutant(count: u32, owned_by_caller: bool, abandoned: bool) -> Self {
        let mut bytes = count.to_le_bytes().to_vec();
        bytes.extend([owned_by_caller.into(), abandoned.into(), 0, 0]);
        Self {
            kind: ObjectInformationKind::Mutant1,
            bytes,
        }
    }

    /// Returns the information about a section: its base, its attributes (`SEC_…`) and its size in
    /// bytes.
    #[must_use]
    pub fn section(base: u64, attributes: u32, size: u64) -> Self {
        let attributes = u64::from(attributes);
        Self {
            kind: ObjectInformationKind::Section1,
            bytes: [base, attributes, size].map(u64::to_le_bytes).concat(),
        }
    }
}

/// An operation on a handle, as recorded by Application Verifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandleOperation {
    /// The handle.
    pub handle: u64,
    /// The process that performed the operation.
    pub process_id: u32,
    /// The thread that performed the operation.
    pub thread_id: u32,
    /// The kind of operation.
    pub kind: HandleOperationKind,
    /// The number of the operation in the record.
    pub index: u32,
    /// The return addresses of the calls that led to the operation, the innermost first. Only the
    /// first [`MOST_RETURNS`](Self::MOST_RETURNS) are used.
    pub return_addresses: Vec<u64>,
}

impl HandleOperation {
    /// The highest number of return addresses that Application Verifier keeps for an operation.
    pub const MOST_RETURNS: usize = 32;
}

/// A kind of operation on a handle, with the values of Application Verifier's
/// `eHANDLE_TRACE_OPERATIONS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names say it")]
pub enum HandleOperationKind {
    Open = 1,
    Close = 2,
    BadReference = 3,
}

impl HandleOperationKind {
    /// Returns the value of `eHANDLE_TRACE_OPERATIONS`.
    #[must_use]
    pub fn value(self) -> u32 {
        self as u32
    }
}

/// A table of functions that a program generated at run time and registered with Windows
/// (`RtlAddFunctionTable`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionTable {
    /// The lowest address of the functions.
    pub minimum_address: u64,
    /// The first address after the functions.
    pub maximum_address: u64,
    /// The address to which the offsets in the entries are relative.
    pub base_address: u64,
    /// The system's own record of the table, copied from the memory of the process: 88 bytes on
    /// x86-64.
    pub native: [u8; 88],
    /// The functions.
    pub entries: Vec<FunctionEntry>,
}

/// A function of a [`FunctionTable`] (`RUNTIME_FUNCTION` of x86-64). Offsets are relative to the
/// table's base address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionEntry {
    /// The offset of the function's first byte.
    pub begin: u32,
    /// The offset of the function's end.
    pub end: u32,
    /// The offset of the function's unwind information.
    pub unwind_info: u32,
}
