use dumpwright_callback::{Ask, Callback, ModuleWriteFlags, ProcessAsked};

use super::modules::{collect, matches_any};

/// Includes the global variables of some modules only.
///
/// A dump of type [`WITH_DATA_SEGS`](crate::DumpType::WITH_DATA_SEGS) contains the writable
/// sections of every module, which is usually too much. This policy keeps those of the modules that
/// match a pattern. Patterns are those of [`Modules`](super::Modules).
///
/// ```
/// use dumpwright::policy::DataSegments;
/// use dumpwright::{DumpType, Request};
///
/// let request = Request::new(DumpType::WITH_DATA_SEGS);
/// let mut only_ours = DataSegments::of(["server", "libourcompany*.so"]);
/// # let _ = (request, &mut only_ours);
/// ```
pub struct DataSegments {
    patterns: Vec<String>,
}

impl DataSegments {
    /// Includes the variables of the modules that match one of the patterns.
    #[must_use]
    pub fn of<P: Into<String>>(patterns: impl IntoIterator<Item = P>) -> Self {
        Self {
            patterns: collect(patterns),
        }
    }
}

impl Callback for DataSegments {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        if let Ask::Module { module, keep } = ask
            && !matches_any(&self.patterns, &module)
        {
            keep.remove(ModuleWriteFlags::DATA_SEG | ModuleWriteFlags::TLS_DATA);
        }
        true
    }

    fn process(&mut self, _: ProcessAsked) {}

    fn answers(&self) -> bool {
        true
    }
}
