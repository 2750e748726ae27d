//! The parts of modules that the type and each module's flags ask for.

use dumpwright_callback::ModuleWriteFlags;
use dumpwright_target::{AddressRange, Frozen, Gravity, Region, Remark, Subject, protect};

use super::{Snapshot, image};
use crate::DumpType;

const WRITABLE: u32 =
    protect::READWRITE | protect::WRITECOPY | protect::EXECUTE_READWRITE | protect::EXECUTE_WRITECOPY;
const EXECUTABLE: u32 =
    protect::EXECUTE | protect::EXECUTE_READ | protect::EXECUTE_READWRITE | protect::EXECUTE_WRITECOPY;

/// Data, code and headers, by the modules' own headers.
///
/// Where those make no sense, data and code are told by what may be written and executed, which is more rather than
/// less; of the headers there is only the first page then, and that is a loss.
pub(super) fn ranges(frozen: &mut dyn Frozen, snapshot: &mut Snapshot, map: &[Region]) -> Vec<AddressRange> {
    let headers = snapshot.dump_type.contains(DumpType::WITH_MODULE_HEADERS);
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
        match image::parts(frozen, module) {
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
                let is_lost = headers && snapshot.profile.misses_broken_headers();
                snapshot.remarks.push(Remark {
                    gravity: if is_lost { Gravity::Missing } else { Gravity::Note },
                    subject: Subject::Module(kept.module.base),
                    reason: format!("{reason}; its parts are guessed from the map of the address space"),
                });
            }
        }
    }
    ranges
}

/// What of a module has one of these protections.
fn by_protection(map: &[Region], module: AddressRange, wanted: u32) -> impl Iterator<Item = AddressRange> {
    let from = map.partition_point(|region| region.range.end() <= module.start());
    let inside = map[from..]
        .iter()
        .take_while(move |region| region.range.start() < module.end());
    inside
        .filter(move |region| region.protect & wanted != 0)
        .filter_map(move |region| region.range.intersect(module))
}
