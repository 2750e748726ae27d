//! Finds readable memory by reading single bytes, as DbgHelp does.

use dumpwright_target::{AddressRange, Content, Extent, Frozen};

use crate::Error;
use crate::memory::reader;
use crate::protocol::dialogue::Service;

const PAGE: u64 = 4096;

/// The number of bytes outside the range at which probing begins and ends.
const MARGIN: u64 = 0x10;

/// The longest range that is probed without a survey. Longer ranges are surveyed first, and bytes
/// are read only of pages that have contents, because a reservation of gigabytes has millions of
/// pages.
const UNSURVEYED: u64 = 1 << 20;

/// Returns the parts of `wanted` that DbgHelp would find readable.
///
/// DbgHelp reads a byte a little before the range and one byte of each further page. It skips
/// unreadable pages at the beginning. The first unreadable page after a readable one ends the
/// range, unless the type says to continue (`goes_on`: 0x800000, as documented). Because of the
/// margin, it loses the whole range if the first page is unreadable while the page before it is
/// readable.
///
/// # Errors
/// If the callback cancelled the dump. DbgHelp does not send Cancel here; in long ranges,
/// dumpwright sends it every 256 MiB.
pub(super) fn probe(
    frozen: &mut dyn Frozen,
    service: &mut Service<'_>,
    wanted: AddressRange,
    goes_on: bool,
) -> Result<Vec<AddressRange>, Error> {
    let from = wanted.start().saturating_sub(MARGIN);
    let to = wanted.end().saturating_add(MARGIN);
    // If the callback wants reads, it is asked about each page, whatever the page contains.
    let is_surveyed = wanted.len() > UNSURVEYED && !service.wants_reads();
    let mut runs = Runs {
        runs: Vec::new(),
        run: None,
        goes_on,
        has_stopped: false,
    };
    let all = AddressRange::new(from, to).expect("at least the wanted range");
    for (index, window) in all.chunks(reader::SURVEY_WINDOW).enumerate() {
        if index > 0 {
            service.poll_cancel()?;
        }
        let extents = match is_surveyed {
            true => frozen.survey(window),
            false => vec![Extent {
                range: window,
                content: Content::Readable,
            }],
        };
        for extent in extents {
            // A page is represented by the first byte that is read of it.
            let (start, end) = (first_of_page(extent.range.start(), from), extent.range.end());
            match extent.content {
                Content::Readable => {
                    let mut at = start;
                    while at < end && !runs.has_stopped {
                        let byte = AddressRange::at(at, 1);
                        let is_readable =
                            byte.is_some_and(|byte| reader::read(frozen, service, byte, &mut [0]).is_ok());
                        runs.add(at, page_end(at), is_readable);
                        at = page_end(at);
                    }
                }
                content if start < end => {
                    runs.add(start, page_end(end - 1), content == Content::Zero);
                }
                _ => {}
            }
        }
        if runs.has_stopped {
            break;
        }
    }
    let runs = runs.runs.into_iter().chain(runs.run);
    Ok(runs.filter_map(|run| run.intersect(wanted)).collect())
}

/// Returns the end of the page that contains `address`.
fn page_end(address: u64) -> u64 {
    (address - address % PAGE).saturating_add(PAGE)
}

/// Returns the first address at or after `address` that is probed: the start of a page, or `from`.
fn first_of_page(address: u64, from: u64) -> u64 {
    match address == from || address.is_multiple_of(PAGE) {
        true => address,
        false => page_end(address),
    }
}

/// Collects pages in ascending order and joins readable ones to runs.
struct Runs {
    runs: Vec<AddressRange>,
    run: Option<AddressRange>,
    goes_on: bool,
    has_stopped: bool,
}

impl Runs {
    fn add(&mut self, start: u64, end: u64, is_readable: bool) {
        if self.has_stopped {
            return;
        }
        if is_readable {
            self.run = AddressRange::new(self.run.map_or(start, AddressRange::start), end);
        } else if let Some(run) = self.run.take() {
            self.runs.push(run);
            self.has_stopped = !self.goes_on;
        }
    }
}
