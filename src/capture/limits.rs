//! Reports where a dump exceeds the limits of individual readers, and numbers for which the format
//! has too few bits. Such a dump obeys the format, but its user should know.

use dumpwright_target::{Diagnostic, Subject};

use super::Snapshot;

/// The most modules that Breakpad's readers accept by default.
const MOST_MODULES: usize = 2048;
/// The most ranges of a memory list that `minidump_dump` accepts. `minidump_stackwalk` accepted
/// 5045.
const MOST_RANGES: usize = 4096;
/// The longest string that Breakpad's readers accept, in UTF-16 units.
const LONGEST_NAME: usize = 1024;

/// The largest size of a module that the format can store.
const MOST_IMAGE: u64 = 0xFFFF_FFFF;

/// Returns a diagnostic for each limit that this dump exceeds.
pub(crate) fn passed_limits(snapshot: &Snapshot) -> Vec<Diagnostic> {
    let mut notes = Vec::new();
    let modules = snapshot.modules.len();
    if modules > MOST_MODULES {
        notes.push(Diagnostic::note(
            Subject::Stream("ModuleList"),
            format!("{modules} modules; Breakpad's readers refuse a list of more than {MOST_MODULES}"),
        ));
    }
    let ranges = snapshot.memory.pieces().len();
    if !snapshot.memory.is_large() && ranges > MOST_RANGES {
        notes.push(Diagnostic::note(
            Subject::Stream("MemoryList"),
            format!("{ranges} ranges; Breakpad's minidump_dump refuses a list of more than {MOST_RANGES}"),
        ));
    }
    let unloaded = snapshot.facts.unloaded_modules().iter();
    let unloaded = unloaded.map(|module| (module.base, module.size));
    let loaded = snapshot
        .modules
        .iter()
        .map(|kept| (kept.module.base, kept.module.size));
    for (base, size) in loaded.chain(unloaded).filter(|(_, size)| *size > MOST_IMAGE) {
        notes.push(Diagnostic::note(
            Subject::Module(base),
            format!(
                "the module has {size} bytes; the format has 32 bits for the size, so the dump records {MOST_IMAGE}"
            ),
        ));
    }
    let processors = snapshot.facts.system().map_or(0, |system| system.processors);
    if u8::try_from(processors).is_err() {
        notes.push(Diagnostic::note(
            Subject::Stream("SystemInfo"),
            format!(
                "{processors} processors; the format has 8 bits for their number, so the dump records {}",
                u8::MAX
            ),
        ));
    }
    for kept in &snapshot.modules {
        let units = kept.module.path.encode_utf16().count();
        if units > LONGEST_NAME {
            notes.push(Diagnostic::note(
                Subject::Module(kept.module.base),
                format!(
                    "the name has {units} UTF-16 units; Breakpad's readers refuse a name of more than {LONGEST_NAME}"
                ),
            ));
        }
    }
    notes
}
