//! What single readers refuse although the format allows it. Such a dump is sound, and its user should know.

use dumpwright_target::{Remark, Subject};

use super::Snapshot;

/// Breakpad's default for the most modules of a list.
const MOST_MODULES: usize = 2048;
/// `minidump_dump` refuses longer memory lists; `minidump_stackwalk` took 5045 ranges.
const MOST_RANGES: usize = 4096;
/// Breakpad's longest string, in UTF-16 units.
const LONGEST_NAME: usize = 1024;

/// The limits that this dump passes.
pub(crate) fn passed_limits(snapshot: &Snapshot) -> Vec<Remark> {
    let mut notes = Vec::new();
    let modules = snapshot.modules.len();
    if modules > MOST_MODULES {
        notes.push(Remark::note(
            Subject::Stream("ModuleList"),
            format!("{modules} modules; Breakpad's readers load no list of more than {MOST_MODULES}"),
        ));
    }
    let ranges = snapshot.pieces.len();
    if !snapshot.large && ranges > MOST_RANGES {
        notes.push(Remark::note(
            Subject::Stream("MemoryList"),
            format!("{ranges} ranges; Breakpad's minidump_dump loads no list of more than {MOST_RANGES}"),
        ));
    }
    for kept in &snapshot.modules {
        let units = kept.module.path.encode_utf16().count();
        if units > LONGEST_NAME {
            notes.push(Remark::note(
                Subject::Module(kept.module.base),
                format!(
                    "its name has {units} units; Breakpad's readers load none of more than {LONGEST_NAME}"
                ),
            ));
        }
    }
    notes
}
