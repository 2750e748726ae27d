use dumpwright_callback::{Ask, Callback, ModuleWriteFlags};

use super::modules::{collect, matches_any};

/// Global variables of some modules only.
///
/// A dump of type [`WITH_DATA_SEGS`](crate::DumpType::WITH_DATA_SEGS) holds the writable sections of every module, which
/// is usually too much. This keeps those of the modules that match a pattern (as for [`Modules`](super::Modules)).
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
    /// Of the modules that match one of the patterns.
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
}
