//! What Windows tells of the objects behind handles, of what was done with handles, and of functions made at run time.

/// What kind of information about an object, with the values of `MINIDUMP_HANDLE_OBJECT_INFORMATION_TYPE`.
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
    /// The value of `MINIDUMP_HANDLE_OBJECT_INFORMATION_TYPE`.
    #[must_use]
    pub fn value(self) -> u32 {
        self as u32
    }
}

/// Information about the object that a handle leads to.
///
/// Windows documents that there is some and not what it looks like. The constructors make the layouts that
/// DbgHelp 6.3.9600 was observed to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInformation {
    /// What kind.
    pub kind: ObjectInformationKind,
    /// Its bytes, without the head that links them.
    pub bytes: Vec<u8>,
}

impl ObjectInformation {
    /// An event: whether it wakes one waiter only (a synchronization event), and whether it is signalled.
    #[must_use]
    pub fn event(wakes_one: bool, signalled: bool) -> Self {
        Self {
            kind: ObjectInformationKind::Event1,
            bytes: [u32::from(wakes_one), u32::from(signalled)]
                .map(u32::to_le_bytes)
                .concat(),
        }
    }

    /// A mutant (mutex): its count (1 when free), whether the dumper owns it, whether its owner ended without a release.
    #[must_use]
    pub fn mutant(count: u32, owned_by_caller: bool, abandoned: bool) -> Self {
        let mut bytes = count.to_le_bytes().to_vec();
        bytes.extend([owned_by_caller.into(), abandoned.into(), 0, 0]);
        Self {
            kind: ObjectInformationKind::Mutant1,
            bytes,
        }
    }

    /// A section: its base, its attributes (`SEC_…`) and its size in bytes.
    #[must_use]
    pub fn section(base: u64, attributes: u32, size: u64) -> Self {
        let attributes = u64::from(attributes);
        Self {
            kind: ObjectInformationKind::Section1,
            bytes: [base, attributes, size].map(u64::to_le_bytes).concat(),
        }
    }
}

/// Something that was done with a handle, as Application Verifier records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandleOperation {
    /// The handle.
    pub handle: u64,
    /// The process that did it.
    pub process_id: u32,
    /// The thread that did it.
    pub thread_id: u32,
    /// What was done.
    pub kind: HandleOperationKind,
    /// Its number in the record.
    pub index: u32,
    /// The calls that led there, the innermost first; at most [`MOST_RETURNS`](Self::MOST_RETURNS) count.
    pub return_addresses: Vec<u64>,
}

impl HandleOperation {
    /// Application Verifier keeps no more return addresses.
    pub const MOST_RETURNS: usize = 32;
}

/// What was done with a handle, with the values of Application Verifier's `eHANDLE_TRACE_OPERATIONS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names say it")]
pub enum HandleOperationKind {
    Open = 1,
    Close = 2,
    BadReference = 3,
}

impl HandleOperationKind {
    /// The value of `eHANDLE_TRACE_OPERATIONS`.
    #[must_use]
    pub fn value(self) -> u32 {
        self as u32
    }
}

/// Functions that a program made at run time and announced to Windows (`RtlAddFunctionTable`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionTable {
    /// The lowest address of its functions.
    pub minimum_address: u64,
    /// The address behind them.
    pub maximum_address: u64,
    /// What the entries' offsets count from.
    pub base_address: u64,
    /// The system's own record of the table, as it is in the process' memory: 88 bytes on x86-64.
    pub native: [u8; 88],
    /// The functions.
    pub entries: Vec<FunctionEntry>,
}

/// A function of a [`FunctionTable`] (`RUNTIME_FUNCTION` of x86-64); offsets from the table's base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionEntry {
    /// Where it begins.
    pub begin: u32,
    /// Where it ends.
    pub end: u32,
    /// Where its unwind information is.
    pub unwind_info: u32,
}
