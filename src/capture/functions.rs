//! The unwind information of functions made at run time: without it, nobody unwinds through them.

use dumpwright_target::{AddressRange, Frozen, FunctionTable};

use crate::memory::reader;
use crate::protocol::dialogue::Service;

/// `UNWIND_INFO` of x86-64 without its codes: version, size of the prologue, number of codes, frame register.
const HEAD: u64 = 4;
/// Where in it the number of codes stands.
const CODES: usize = 2;
/// A code of it.
const CODE: u64 = 2;

/// Where each function of the tables has its unwind information, codes included; what DbgHelp 6.3.9600 adds to the memory
/// of every dump. What cannot be read is not there.
pub(super) fn unwind_information(
    frozen: &mut dyn Frozen,
    tables: &[FunctionTable],
    service: &mut Service<'_>,
) -> Vec<AddressRange> {
    let mut ranges = Vec::new();
    for table in tables {
        for entry in &table.entries {
            let at = table.base_address.saturating_add(entry.unwind_info.into());
            let mut head = [0; HEAD as usize];
            let Some(range) = AddressRange::at(at, HEAD) else {
                continue;
            };
            if reader::read(frozen, service, range, &mut head).is_ok() {
                ranges.extend(AddressRange::at(at, HEAD + CODE * u64::from(head[CODES])));
            }
        }
    }
    ranges
}
