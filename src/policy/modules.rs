use dumpwright_callback::{Ask, Callback, ModuleAsked, ModuleWriteFlags, ProcessAsked};

use super::glob;

/// Includes only some modules, or only parts of them.
///
/// In patterns, `*` matches any number of characters and `?` exactly one. A pattern without a
/// folder is compared with the file name, a pattern with a folder with the whole path. For Windows
/// paths the case of ASCII letters is ignored.
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
    /// Includes only modules that match one of the patterns.
    #[must_use]
    pub fn only<P: Into<String>>(patterns: impl IntoIterator<Item = P>) -> Self {
        let patterns = collect(patterns);
        Self::matching(move |module| matches_any(&patterns, module))
    }

    /// Includes all modules except those that match one of the patterns.
    #[must_use]
    pub fn except<P: Into<String>>(patterns: impl IntoIterator<Item = P>) -> Self {
        let patterns = collect(patterns);
        Self::matching(move |module| !matches_any(&patterns, module))
    }

    /// Includes the modules for which `wanted` returns `true`.
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

    /// Includes only those parts of each module that `parts` returns for it. Without
    /// [`MODULE`](ModuleWriteFlags::MODULE), the whole module is left out, including its memory.
    #[must_use]
    pub fn parts(parts: impl FnMut(&ModuleAsked<'_>) -> ModuleWriteFlags + 'a) -> Self {
        Self(Box::new(parts))
    }
}

impl Callback for Modules<'_> {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        // IncludeModule comes earlier, but has only the address of the module.
        if let Ask::Module { module, keep } = ask {
            *keep &= (self.0)(&module);
            if !keep.contains(ModuleWriteFlags::MODULE) {
                *keep = ModuleWriteFlags::empty();
            }
        }
        true
    }

    fn process(&mut self, _: ProcessAsked) {}

    fn answers(&self) -> bool {
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
