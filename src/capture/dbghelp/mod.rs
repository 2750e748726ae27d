//! Memory as DbgHelp 6.3.9600 chooses and reads it, mistakes included, for the profiles that rehearse it.
//!
//! The siblings of these files one folder up do what its documentation says. Each difference is a row in
//! `DEVIATIONS.md`.

mod blocks;
mod full;
mod probe;
mod selected;

use dumpwright_callback::Hresult;
use dumpwright_target::{AddressRange, Frozen};

pub(super) use full::full;
pub(super) use selected::selected;

use crate::memory::reader;
use crate::protocol::dialogue::Service;

/// DbgHelp reads no more at a time.
const CHUNK: u64 = 64 << 10;

/// Reads all of `range`, or says which chunk of it could not be read, and why.
fn fetch(
    frozen: &mut dyn Frozen,
    service: &mut Service<'_>,
    range: AddressRange,
) -> Result<Vec<u8>, (AddressRange, Hresult)> {
    let mut bytes = Vec::new();
    for chunk in range.chunks(CHUNK) {
        let done = bytes.len();
        bytes.resize(done + usize::try_from(chunk.len()).expect("at most CHUNK"), 0);
        reader::read(frozen, service, chunk, &mut bytes[done..]).map_err(|status| (chunk, status))?;
    }
    Ok(bytes)
}
