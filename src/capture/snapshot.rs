//! What the phases before the layout produce: everything the file will say, owned.

use dumpwright_callback::{ModuleWriteFlags, SecondaryFlags, ThreadWriteFlags};
use dumpwright_target::{
    AddressRange, Exception, FunctionTable, Handle, HandleOperation, LinuxFacts, Module, Process, Region,
    Remark, System, SystemMemory, Thread, Token, UnloadedModule, VmCounters,
};

use crate::request::UserStream;
use crate::{DumpType, Profile};

/// The owned facts of the selection; bulk memory only as ranges.
///
/// The streams are made from this and nothing else.
pub(crate) struct Snapshot {
    pub dump_type: DumpType,
    pub profile: Profile,
    pub secondary: SecondaryFlags,
    pub process_id: u32,
    pub system: Option<System>,
    pub process: Option<Process>,
    pub threads: Vec<KeptThread>,
    /// Threads go into a ThreadExList.
    pub thread_ex: bool,
    pub modules: Vec<KeptModule>,
    /// The map of the address space, if it is to be written.
    pub regions: Option<Vec<Region>>,
    /// Executable memory, as filters have to know it.
    pub generated_code: Vec<AddressRange>,
    /// Open handles, if they are to be written.
    pub handles: Option<Vec<Handle>>,
    /// Modules that have been unloaded, if they are to be written.
    pub unloaded_modules: Option<Vec<UnloadedModule>>,
    /// What was done with handles, if it is to be written.
    pub handle_operations: Option<Vec<HandleOperation>>,
    pub function_tables: Vec<FunctionTable>,
    /// Where the functions of those tables have their unwind information.
    pub unwind_information: Vec<AddressRange>,
    /// As whom the process and its threads act, if it is to be written.
    pub tokens: Option<Vec<Token>>,
    pub system_memory: Option<SystemMemory>,
    pub vm_counters: Option<VmCounters>,
    pub linux: Option<LinuxFacts>,
    pub exception: Option<Exception>,
    /// The thread that readers are to show first.
    pub requesting_thread: Option<u32>,
    pub user_streams: Vec<UserStream>,
    /// The memory, in the order of the file.
    pub pieces: Vec<Piece>,
    /// Memory goes into a Memory64List: there is too much of it, or all was wanted.
    pub large: bool,
    pub remarks: Vec<Remark>,
}

/// A thread that will be in the dump.
pub(crate) struct KeptThread {
    pub thread: Thread,
    pub flags: ThreadWriteFlags,
}

/// A module that will be in the dump.
pub(crate) struct KeptModule {
    pub module: Module,
    pub flags: ModuleWriteFlags,
}

/// A piece of the target's memory that will be in the dump.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub range: AddressRange,
    pub bytes: Bytes,
}

/// The two ways for memory to reach the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Bytes {
    /// Read already; the target is not needed any more.
    Fetched(Vec<u8>),
    /// To be read while the file is written.
    Promised,
    /// Known to be unreadable: the range is listed with no bytes.
    Lost,
}

impl Piece {
    /// How many bytes of it the file has.
    pub fn len(&self) -> u64 {
        match self.bytes {
            Bytes::Fetched(_) | Bytes::Promised => self.range.len(),
            Bytes::Lost => 0,
        }
    }
}

impl Snapshot {
    /// The piece that holds `address`, and where in it.
    pub fn piece_at(&self, address: u64) -> Option<(usize, u64)> {
        self.pieces
            .iter()
            .position(|piece| piece.len() > 0 && piece.range.contains(address))
            .map(|index| (index, address - self.pieces[index].range.start()))
    }
}

/// Bytes of a pointer in the target.
pub(super) fn pointer_size(system: Option<&System>) -> u64 {
    system.map_or(8, |system| system.cpu.pointer_size())
}
