//! The unwind information of functions that were generated at run time. Without it, no debugger can
//! unwind through them.

use dumpwright_target::{AddressRange, FunctionTable, Memory};

use crate::memory::reader;
use crate::protocol::dialogue::Service;

/// The size of an x86-64 `UNWIND_INFO` without its codes: version, size of the prologue, number of
/// codes, frame register.
const HEAD: u64 = 4;
/// The offset of the number of codes.
const CODES: usize = 2;
/// The size of a code.
const CODE: u64 = 2;

/// Returns the unwind information of each function in the tables, codes included. DbgHelp 6.3.9600
/// adds it to the memory of every dump. Unwind information that cannot be read is left out.
pub(super) fn unwind_information(
    memory: &mut dyn Memory,
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
            if reader::read(memory, service, range, &mut head).is_ok() {
                ranges.extend(AddressRange::at(at, HEAD + CODE * u64::from(head[CODES])));
            }
        }
    }
    ranges
}
