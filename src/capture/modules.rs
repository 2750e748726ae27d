//! The modules: their descriptions, and the Module question about each.

use dumpwright_callback::{ModuleAsked, ModuleWriteFlags};
use dumpwright_target::{Diagnostic, Frozen, Module, Subject};

use super::{Selection, paths};
use crate::memory::reader::Structures;
use crate::protocol::dialogue::{Dialogue, Service};
use crate::{DumpType, Error, Profile};

/// A module in the dump.
pub(crate) struct CapturedModule {
    pub module: Module,
    pub flags: ModuleWriteFlags,
}

/// Describes the selected modules.
pub(super) fn gather(
    frozen: &mut dyn Frozen,
    selection: &Selection,
    service: &mut Service<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<(Module, ModuleWriteFlags)> {
    let mut gathered = Vec::with_capacity(selection.modules.len());
    for (base, flags) in &selection.modules {
        match frozen.module(*base, &mut Structures(service)) {
            Ok(mut module) => {
                clear_unwanted(&mut module, *flags);
                gathered.push((module, *flags));
            }
            Err(fault) => diagnostics.push(Diagnostic::missing(Subject::Module(*base), fault.to_string())),
        }
    }
    gathered
}

/// Asks Module about each module.
pub(super) fn ask(
    gathered: Vec<(Module, ModuleWriteFlags)>,
    dump_type: DumpType,
    profile: Profile,
    dialogue: &mut Dialogue<'_>,
) -> Result<Vec<CapturedModule>, Error> {
    let mut kept = Vec::with_capacity(gathered.len());
    for (mut module, flags) in gathered {
        let asked = ModuleAsked {
            full_path: &module.path,
            base_of_image: module.base,
            size_of_image: u32::try_from(module.size).unwrap_or(u32::MAX),
            checksum: module.checksum,
            time_date_stamp: module.timestamp,
            version_info: module.version.unwrap_or_default(),
            cv_record: &module.cv_record,
            misc_record: &module.misc_record,
        };
        let flags = dialogue.module(asked, flags)?;
        if !flags.contains(ModuleWriteFlags::MODULE) {
            continue;
        }
        clear_unwanted(&mut module, flags);
        if dump_type.contains(DumpType::FILTER_MODULE_PATHS) {
            paths::shorten_module(&mut module, profile);
        }
        kept.push(CapturedModule { module, flags });
    }
    Ok(kept)
}

/// Removes the records that the flags do not ask for.
fn clear_unwanted(module: &mut Module, flags: ModuleWriteFlags) {
    if !flags.contains(ModuleWriteFlags::CV_RECORD) {
        module.cv_record.clear();
    }
    if !flags.contains(ModuleWriteFlags::MISC_RECORD) {
        module.misc_record.clear();
    }
}
