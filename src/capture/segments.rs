//! Finds the parts of modules that the type and each module's flags ask for.

use dumpwright_callback::ModuleWriteFlags;
use dumpwright_target::{AddressRange, Diagnostic, Memory, Region, Severity, Subject, protect};

use super::{Snapshot, image};
use crate::DumpType;

const WRITABLE: u32 =
    protect::READWRITE | protect::WRITECOPY | protect::EXECUTE_READWRITE | protect::EXECUTE_WRITECOPY;
const EXECUTABLE: u32 =
    protect::EXECUTE | protect::EXECUTE_READ | protect::EXECUTE_READWRITE | protect::EXECUTE_WRITECOPY;

/// Returns data, code and headers of the modules, according to the modules' own headers.
///
/// If the headers are malformed, the writable and the executable parts of the module are dumped in
/// place of data and code, which is more than necessary. If headers are wanted, only the first page
/// of the module is dumped. The dump then counts as partial, except in the profiles that follow
/// DbgHelp, which reads the headers from the module's file.
pub(super) fn ranges(memory: &mut dyn Memory, snapshot: &mut Snapshot, map: &[Region]) -> Vec<AddressRange> {
    let headers = snapshot.terms.dump_type.contains(DumpType::WITH_MODULE_HEADERS);
    let mut ranges = Vec::new();
    for kept in &snapshot.modules {
        let data = kept.flags.contains(ModuleWriteFlags::DATA_SEG);
        let code = kept.flags.contains(ModuleWriteFlags::CODE_SEGS);
        let Some(module) = AddressRange::at(kept.module.base, kept.module.size) else {
            continue;
        };
        if !(data || code || headers) {
            continue;
        }
        match image::parts(memory, module) {
            Ok(parts) => {
                let wanted = [(data, parts.data), (code, parts.code), (headers, parts.headers)];
                let wanted = wanted.into_iter().filter(|(wanted, _)| *wanted);
                ranges.extend(wanted.flat_map(|(_, parts)| parts));
            }
            Err(reason) => {
                if data {
                    ranges.extend(by_protection(map, module, WRITABLE));
                }
                if code {
                    ranges.extend(by_protection(map, module, EXECUTABLE));
                }
                if headers {
                    ranges.extend(image::first_page(module));
                }
                let is_lost = headers && snapshot.terms.profile.misses_broken_headers();
                snapshot.diagnostics.push(Diagnostic {
                    severity: if is_lost {
                        Severity::Missing
                    } else {
                        Severity::Note
                    },
                    subject: Subject::Module(kept.module.base),
                    reason: format!(
                        "{reason}; the parts of the module are guessed from the map of the address space"
                    ),
                });
            }
        }
    }
    ranges
}

/// Returns the parts of a module that have one of these protections.
fn by_protection(map: &[Region], module: AddressRange, wanted: u32) -> impl Iterator<Item = AddressRange> {
    let from = map.partition_point(|region| region.range.end() <= module.start());
    let inside = map[from..]
        .iter()
        .take_while(move |region| region.range.start() < module.end());
    inside
        .filter(move |region| region.protect & wanted != 0)
        .filter_map(move |region| region.range.intersect(module))
}
