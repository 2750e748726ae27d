//! Reads of the target's memory, in which the callback takes part.
//!
//! If the callback wants reads, a read has three steps: the callback may provide bytes (VmPreRead),
//! the rest is read from the target, and the callback may change the result (VmPostRead). [`read`]
//! reads contents for the dump. Other reads, by backends and the engine, use the hook
//! [`Structures`].

use dumpwright_callback::Hresult;
use dumpwright_target::{AddressRange, Content, Fault, FaultKind, Frozen, Memory, MemoryExt, ReadHook};

use crate::Error;
use crate::error::remedy;
use crate::protocol::dialogue::{PreRead, Service};

/// The unit in which VmPreRead and VmPostRead are asked, and in which failures are narrowed down.
const PAGE: u64 = 4096;

/// Fills `buffer` with the contents of `range`, which has the same size. For bytes that go into the
/// dump, and for stacks that are searched for addresses.
///
/// If the callback wants reads, it takes part in these reads in every profile. The range is then
/// read up to page boundaries, one page after the other, as Microsoft's writer does. Otherwise the
/// target is read once.
///
/// # Errors
/// If a part of the range cannot be read. The bytes that were read before are then not usable; see
/// [`read_pages`].
pub(crate) fn read(
    memory: &mut dyn Memory,
    service: &mut Service<'_>,
    range: AddressRange,
    buffer: &mut [u8],
) -> Result<(), Hresult> {
    if service.wants_reads() {
        return match ask(memory, service, range.start(), buffer).1 {
            Some(stop) => Err(stop.status),
            None => Ok(()),
        };
    }
    memory
        .fill_all(range.start(), buffer)
        .map_err(|_| Hresult::PARTIAL_COPY)
}

/// The hook for reads of structures: headers, lists and blocks that are followed but not dumped.
///
/// If the callback wants reads, it takes part in these reads in the profile `documented`.
/// Recordings of DbgHelp have no questions about them.
pub(crate) struct Structures<'s, 'c>(pub &'s mut Service<'c>);

impl ReadHook for Structures<'_, '_> {
    fn read(&mut self, memory: &mut dyn Memory, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        if into.is_empty() || !self.0.wants_reads_of_structures() {
            return memory.read(at, into);
        }
        match ask(memory, self.0, at, into) {
            (0, Some(stop)) => Err(stop.into_fault(at)),
            (count, _) => Ok(count),
        }
    }
}

/// Why a read that the callback took part in ended early.
struct FailedRead {
    status: Hresult,
    /// The fault of the target's memory, if it was read.
    fault: Option<Fault>,
}

impl FailedRead {
    fn into_fault(self, at: u64) -> Fault {
        self.fault.unwrap_or_else(|| {
            Fault::new(
                FaultKind::Unreadable,
                format!("read memory at {at:#x}"),
                format!("the callback failed the read ({})", self.status),
            )
        })
    }
}

/// Reads, and asks VmPreRead and VmPostRead about each part. Returns how many bytes are valid, and
/// why the read ended if these are not all.
fn ask(
    memory: &mut dyn Memory,
    service: &mut Service<'_>,
    at: u64,
    buffer: &mut [u8],
) -> (usize, Option<FailedRead>) {
    let mut done = 0;
    while done < buffer.len() {
        let Some(offset) = at.checked_add(done as u64) else {
            let (status, fault) = (Hresult::PARTIAL_COPY, None);
            return (done, Some(FailedRead { status, fault }));
        };
        let rest = &mut buffer[done..];
        let given = match service.vm_pre_read(offset, rest) {
            PreRead::Done => return (buffer.len(), None),
            PreRead::Failed => {
                let (status, fault) = (Hresult::PARTIAL_COPY, None);
                return (done, Some(FailedRead { status, fault }));
            }
            PreRead::Partly(given) => given,
        };
        // The writer's own read ends at the end of the page.
        let from = offset.saturating_add(given as u64);
        let to_page_end = usize::try_from(PAGE - from % PAGE).unwrap_or(usize::MAX);
        let end = rest.len().min(given + to_page_end);
        let (completed, status, fault) = match memory.read(from, &mut rest[given..end]) {
            Ok(count) => (given + count, Hresult::S_OK, None),
            Err(fault) => (given, Hresult::PARTIAL_COPY, Some(fault)),
        };
        match service.vm_post_read(offset, rest, completed, status) {
            Ok(count) => done += count,
            Err(status) => return (done, Some(FailedRead { status, fault })),
        }
    }
    (done, None)
}

/// Reads `range` page by page, fills pages that cannot be read with `fill`, and returns their
/// ranges.
///
/// Used after [`read`] has failed, so that an unreadable page does not affect the others.
pub(crate) fn read_pages(
    memory: &mut dyn Memory,
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
        if let Err(status) = read(memory, service, page, &mut buffer[from..to]) {
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

/// What to do when memory that is in the dump cannot be read.
#[derive(Clone, Copy)]
pub(crate) struct Failures {
    /// Whether to send ReadMemoryFailure. The callback then decides whether the dump continues.
    pub are_asked_about: bool,
    /// Whether the dump continues whatever the callback answers.
    pub are_ignored: bool,
    /// What to do if no callback decides. `Some`: the dump fails, and the error has this advice.
    /// `None`: the page is lost and reported.
    pub are_errors: Option<&'static str>,
}

/// Reads `range`. If that fails, and the dump may continue, reads it page by page, fills pages that
/// cannot be read with `fill`, and returns their ranges.
///
/// # Errors
/// If the callback or the dump type does not let the dump continue.
pub(crate) fn read_or_lose(
    memory: &mut dyn Memory,
    service: &mut Service<'_>,
    range: AddressRange,
    buffer: &mut [u8],
    fill: u8,
    failures: Failures,
) -> Result<Vec<(AddressRange, Hresult)>, Error> {
    let Err(status) = read(memory, service, range, buffer) else {
        return Ok(Vec::new());
    };
    let answer = match failures.are_asked_about {
        true => service.read_memory_failure(range, status),
        false => None,
    };
    let remedy = match answer {
        Some(true) => None,
        Some(false) if failures.are_ignored => None,
        Some(false) => Some(remedy::CALLBACK),
        None => failures.are_errors,
    };
    if let Some(remedy) = remedy {
        return Err(Error::Unreadable {
            range,
            status,
            remedy,
        });
    }
    Ok(read_pages(memory, service, range, buffer, fill))
}

/// The most bytes that are surveyed at a time, so that a region of any size needs bounded memory.
pub(crate) const SURVEY_WINDOW: u64 = 256 << 20;

/// Surveys `range` and calls `each` with the extents. Adjacent extents of one kind are joined.
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
