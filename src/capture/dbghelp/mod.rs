//! Chooses and reads memory as DbgHelp does, including its mistakes, for the profiles that follow
//! it.
//!
//! `full.rs` and `selected.rs` in the parent folder do what DbgHelp's documentation says.
//! `DEVIATIONS.md` lists each difference.

mod blocks;
mod compressed;
mod full;
mod probe;
mod selected;
mod system_data;

use dumpwright_callback::Hresult;
use dumpwright_target::{AddressRange, Content, Diagnostic, Frozen, Memory};

pub(super) use compressed::compressed;
pub(super) use full::full;
pub(super) use selected::selected;
pub(super) use system_data::{ask_about_thread_block, drop_stacks, parts_of_thread_blocks, shared_data};

use super::full::{LONGEST_UNTOUCHED_RUN, untouched};
use crate::memory::buffer::PageBuffer;
use crate::memory::reader;
use crate::protocol::dialogue::Service;

/// The most bytes that DbgHelp reads at a time.
const CHUNK: u64 = 64 << 10;

/// The number of bytes that may still be read now. Memory that does not fit is deferred, as in the
/// documented profile. The C library is called for processes of any size, and DbgHelp stores no
/// memory and therefore has no limit that could be followed.
struct Room(u64);

impl Room {
    /// Takes `bytes` off if they fit, and returns whether they did.
    fn take(&mut self, bytes: u64) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// Returns a range without long runs of untouched memory, and reports these runs.
fn without_untouched_runs(
    frozen: &mut dyn Frozen,
    range: AddressRange,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<AddressRange> {
    if range.len() <= LONGEST_UNTOUCHED_RUN {
        return vec![range];
    }
    let mut kept = Vec::new();
    let mut start = range.start();
    reader::survey(frozen, range, |part, content| {
        if content == Content::Zero && part.len() > LONGEST_UNTOUCHED_RUN {
            kept.extend(AddressRange::new(start, part.start()));
            start = part.end();
            diagnostics.push(untouched(part));
        }
    });
    kept.extend(AddressRange::new(start, range.end()));
    kept
}

/// Reads all of `range`. If that fails, returns the chunk that could not be read, and why.
fn fetch(
    memory: &mut dyn Memory,
    service: &mut Service<'_>,
    range: AddressRange,
) -> Result<PageBuffer, (AddressRange, Hresult)> {
    let len = usize::try_from(range.len()).expect("memory to fetch fits into memory");
    let mut bytes = PageBuffer::new(range.start(), len);
    let mut done = 0;
    for chunk in range.chunks(CHUNK) {
        let end = done + usize::try_from(chunk.len()).expect("at most CHUNK");
        reader::read(memory, service, chunk, &mut bytes[done..end]).map_err(|status| (chunk, status))?;
        done = end;
    }
    Ok(bytes)
}
