//! Finding out what is readable by reading single bytes.

use dumpwright_target::{AddressRange, Frozen};

use crate::memory::reader;
use crate::protocol::dialogue::Service;

const PAGE: u64 = 4096;

/// Probing begins and ends this far outside the range.
const MARGIN: u64 = 0x10;

/// The parts of `wanted` that are readable by DbgHelp's way of finding out.
///
/// It reads a byte a little before the range and one of each further page. Unreadable pages at the beginning
/// are skipped; the first unreadable one behind a readable one ends the range, whatever follows, unless the type
/// says to go on (`goes_on`: 0x800000, as documented). The margin makes it lose all of a range whose first page is
/// unreadable while the page before it is not.
pub(super) fn probe(
    frozen: &mut dyn Frozen,
    service: &mut Service<'_>,
    wanted: AddressRange,
    goes_on: bool,
) -> Vec<AddressRange> {
    let from = wanted.start().saturating_sub(MARGIN);
    let to = wanted.end().saturating_add(MARGIN);
    let mut readable = |address| {
        let byte = AddressRange::at(address, 1);
        byte.is_some_and(|byte| reader::read(frozen, service, byte, &mut [0]).is_ok())
    };
    let pages = (from - from % PAGE..to)
        .step_by(usize::try_from(PAGE).expect("small"))
        .map(|page| page.max(from));
    let mut runs = Vec::new();
    let mut run: Option<AddressRange> = None;
    for at in pages {
        match (readable(at), run) {
            (true, _) => {
                let end = (at - at % PAGE).saturating_add(PAGE);
                run = AddressRange::new(run.map_or(at, AddressRange::start), end);
            }
            (false, None) => {}
            (false, Some(_)) => {
                runs.extend(run.take());
                if !goes_on {
                    break;
                }
            }
        }
    }
    runs.extend(run);
    runs.into_iter().filter_map(|run| run.intersect(wanted)).collect()
}
