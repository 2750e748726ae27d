//! The result of the capture phase: everything that the file will contain, in owned form.

use dumpwright_callback::SecondaryFlags;
use dumpwright_target::{AddressRange, Diagnostic};

use super::causes::Causes;
use super::{AddressMap, CapturedMemory, CapturedModule, CapturedThreads, ProcessFacts};
use crate::request::UserStream;
use crate::{DumpType, Profile};

/// The facts of the selected threads and modules, and of the process. Large memory is present only
/// as ranges.
///
/// The streams are made from this and nothing else. Each part has its own file, and only that file
/// sets it.
pub(crate) struct Snapshot {
    pub(super) terms: Terms,
    pub(super) facts: ProcessFacts,
    pub(super) threads: CapturedThreads,
    pub(super) modules: Vec<CapturedModule>,
    pub(super) map: AddressMap,
    pub(super) memory: CapturedMemory,
    /// The parts of `KUSER_SHARED_DATA` that were chosen before the threads.
    pub(super) shared_data: Vec<AddressRange>,
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) causes: Causes,
}

/// The parameters of the dump, settled before anything is read from the target.
pub(crate) struct Terms {
    pub dump_type: DumpType,
    pub profile: Profile,
    pub secondary: SecondaryFlags,
    pub process_id: u32,
    /// Whether the threads go into a ThreadExList.
    pub thread_ex: bool,
    pub user_streams: Vec<UserStream>,
}

impl Snapshot {
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    pub fn facts(&self) -> &ProcessFacts {
        &self.facts
    }

    pub fn threads(&self) -> &CapturedThreads {
        &self.threads
    }

    pub fn modules(&self) -> &[CapturedModule] {
        &self.modules
    }

    pub fn map(&self) -> &AddressMap {
        &self.map
    }

    pub fn memory(&self) -> &CapturedMemory {
        &self.memory
    }

    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Adds diagnostics.
    pub fn add_diagnostics(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        self.diagnostics.extend(diagnostics);
    }

    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }
}
