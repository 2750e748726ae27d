//! One read: what the callback has before it, the target's bytes, what the callback makes of them.

use dumpwright_callback::Hresult;
use dumpwright_target::{AddressRange, Content, Frozen};

use crate::protocol::dialogue::{PreRead, Service};

/// The unit in which the Vm questions are put and failures are narrowed down.
const PAGE: u64 = 4096;

/// Reads `range` into `buffer` (of exactly its size), completely.
///
/// Without Vm questions this is one read of the target; with them, one after the other up to page
/// boundaries, as Microsoft's writer does.
///
/// # Errors
/// Some of it cannot be read; how much could be read before is lost on purpose, see [`read_pages`].
pub(crate) fn read(
    frozen: &mut dyn Frozen,
    service: &mut Service<'_>,
    range: AddressRange,
    buffer: &mut [u8],
) -> Result<(), Hresult> {
    if service.wants_reads() {
        return read_with_questions(frozen, service, range, buffer);
    }
    let mut done = 0;
    while done < buffer.len() {
        match frozen.read(range.start() + done as u64, &mut buffer[done..]) {
            Ok(count) if count > 0 => done += count,
            _ => return Err(Hresult::PARTIAL_COPY),
        }
    }
    Ok(())
}

fn read_with_questions(
    frozen: &mut dyn Frozen,
    service: &mut Service<'_>,
    range: AddressRange,
    buffer: &mut [u8],
) -> Result<(), Hresult> {
    let mut done = 0;
    while done < buffer.len() {
        let offset = range.start() + done as u64;
        let rest = &mut buffer[done..];
        let given = match service.vm_pre_read(offset, rest) {
            PreRead::Done => return Ok(()),
            PreRead::Failed => return Err(Hresult::PARTIAL_COPY),
            PreRead::Partly(given) => given,
        };
        // The writer's own read ends at the end of the page.
        let from = offset + given as u64;
        let to_page_end = usize::try_from(PAGE - from % PAGE).unwrap_or(usize::MAX);
        let end = rest.len().min(given + to_page_end);
        let own = frozen.read(from, &mut rest[given..end]);
        let (completed, status) = match own {
            Ok(count) => (given + count, Hresult::S_OK),
            Err(_) => (given, Hresult::PARTIAL_COPY),
        };
        done += service.vm_post_read(offset, rest, completed, status)?;
    }
    Ok(())
}

/// Reads `range` page by page and fills what cannot be read; returns the ranges that could not.
///
/// For what follows a failed [`read`]: one bad page must cost no more than itself.
pub(crate) fn read_pages(
    frozen: &mut dyn Frozen,
    service: &mut Service<'_>,
    range: AddressRange,
    buffer: &mut [u8],
    fill: u8,
) -> Vec<(AddressRange, Hresult)> {
    let mut lost: Vec<(AddressRange, Hresult)> = Vec::new();
    let mut at = range.start();
    while at < range.end() {
        let page_end = (at - at % PAGE).saturating_add(PAGE).min(range.end());
        let page = AddressRange::new(at, page_end).expect("not at the end");
        let from = usize::try_from(at - range.start()).expect("inside the buffer");
        let to = usize::try_from(page_end - range.start()).expect("inside the buffer");
        if let Err(status) = read(frozen, service, page, &mut buffer[from..to]) {
            buffer[from..to].fill(fill);
            match lost.last_mut() {
                Some((last, why)) if last.end() == at && *why == status => {
                    *last = AddressRange::new(last.start(), page_end).expect("grew");
                }
                _ => lost.push((page, status)),
            }
        }
        at = page_end;
    }
    lost
}

/// Extents of at most this many bytes are surveyed at a time, so that a region of any size costs
/// bounded memory.
pub(crate) const SURVEY_WINDOW: u64 = 256 << 20;

/// Where the bytes of `range` come from, neighbours of one kind joined across windows.
pub(crate) fn survey(
    frozen: &mut dyn Frozen,
    range: AddressRange,
    mut each: impl FnMut(AddressRange, Content),
) {
    let mut pending: Option<(AddressRange, Content)> = None;
    for window in range.chunks(SURVEY_WINDOW) {
        for extent in frozen.survey(window) {
            match &mut pending {
                Some((joined, content))
                    if *content == extent.content && joined.end() == extent.range.start() =>
                {
                    *joined = AddressRange::new(joined.start(), extent.range.end()).expect("grew");
                }
                _ => {
                    if let Some((joined, content)) = pending.replace((extent.range, extent.content)) {
                        each(joined, content);
                    }
                }
            }
        }
    }
    if let Some((joined, content)) = pending {
        each(joined, content);
    }
}
