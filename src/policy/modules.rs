use dumpwright_callback::{Ask, Callback, ModuleAsked, ModuleWriteFlags};

use super::glob;

/// Keeps some modules only, or less of some.
///
/// Patterns may have `*` and `?`. One without a folder is held against the file's name, one with a folder against the
/// whole path; on Windows paths the case of letters does not matter.
///
/// ```
/// use dumpwright::callback::ModuleWriteFlags;
/// use dumpwright::policy::{Chain, Modules};
///
/// let no_plugins = Modules::except(["libplugin*.so", "/opt/vendor/*"]);
/// let large_only = Modules::matching(|module| module.size_of_image >= 1 << 20);
/// let without_debug_records = Modules::parts(|module| match module.full_path.ends_with(".dll") {
///     true => ModuleWriteFlags::all() - ModuleWriteFlags::CV_RECORD,
///     false => ModuleWriteFlags::all(),
/// });
/// let policies = Chain::new().then(no_plugins).then(large_only).then(without_debug_records);
/// # let _ = policies;
/// ```
pub struct Modules<'a>(Box<dyn FnMut(&ModuleAsked<'_>) -> ModuleWriteFlags + 'a>);

impl<'a> Modules<'a> {
    /// Modules that match one of the patterns only.
    #[must_use]
    pub fn only<P: Into<String>>(patterns: impl IntoIterator<Item = P>) -> Self {
        let patterns = collect(patterns);
        Self::matching(move |module| matches_any(&patterns, module))
    }

    /// All modules but those that match one of the patterns.
    #[must_use]
    pub fn except<P: Into<String>>(patterns: impl IntoIterator<Item = P>) -> Self {
        let patterns = collect(patterns);
        Self::matching(move |module| !matches_any(&patterns, module))
    }

    /// The modules whose facts please.
    #[must_use]
    pub fn matching(mut wanted: impl FnMut(&ModuleAsked<'_>) -> bool + 'a) -> Self {
        Self::parts(move |module| {
            if wanted(module) {
                ModuleWriteFlags::all()
            } else {
                ModuleWriteFlags::empty()
            }
        })
    }

    /// Of each module what it deserves: bits that are not in the returned flags are cleared, and without
    /// [`MODULE`](ModuleWriteFlags::MODULE) the module is left out, its memory included.
    #[must_use]
    pub fn parts(parts: impl FnMut(&ModuleAsked<'_>) -> ModuleWriteFlags + 'a) -> Self {
        Self(Box::new(parts))
    }
}

impl Callback for Modules<'_> {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        // IncludeModule comes first but knows no more than an address.
        if let Ask::Module { module, keep } = ask {
            *keep &= (self.0)(&module);
            if !keep.contains(ModuleWriteFlags::MODULE) {
                *keep = ModuleWriteFlags::empty();
            }
        }
        true
    }
}

pub(super) fn collect<P: Into<String>>(patterns: impl IntoIterator<Item = P>) -> Vec<String> {
    patterns.into_iter().map(Into::into).collect()
}

pub(super) fn matches_any(patterns: &[String], module: &ModuleAsked<'_>) -> bool {
    patterns
        .iter()
        .any(|pattern| glob::matches(pattern, module.full_path))
}
