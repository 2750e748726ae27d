use std::collections::BTreeMap;
use std::ops::Range;

use dumpwright_callback::{Ask, Callback, Hresult, ProcessAsked, VmReadAnswer};

const PAGE: usize = 4096;

/// Reads each page of the target only once.
///
/// The target does not change during a dump, and some memory is read more than once: stacks that
/// are searched for addresses, and ranges that contain an unreadable page. With
/// [`across_dumps`](Self::across_dumps), the cache also serves later dumps of a target that does
/// not change at all, such as a process snapshot.
///
/// Put it before [`Redact`](super::Redact). The cache then stores the target's original bytes, and
/// cached bytes are redacted as well.
///
/// ```
/// use dumpwright::policy::{Chain, ReadCache, Redact};
///
/// let mut cache = ReadCache::new(64 << 20).across_dumps();
/// let policies = Chain::new().then_mut(&mut cache).then(Redact::new().text("hunter2"));
/// # let _ = policies;
/// ```
#[derive(Debug)]
pub struct ReadCache {
    pages: BTreeMap<u64, Page>,
    most_pages: usize,
    keeps: bool,
    served: u64,
}

/// The cached parts of a page.
#[derive(Debug)]
struct Page {
    /// Disjoint ranges.
    known: Vec<Range<usize>>,
    bytes: Box<[u8; PAGE]>,
}

impl ReadCache {
    /// Creates a cache of at most `bytes` bytes. A full cache stores no further pages.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self {
            pages: BTreeMap::new(),
            most_pages: bytes / PAGE,
            keeps: false,
            served: 0,
        }
    }

    /// Keeps the cache when another dump begins. Use this only for targets that do not change
    /// between the dumps.
    #[must_use]
    pub fn across_dumps(mut self) -> Self {
        self.keeps = true;
        self
    }

    /// Removes everything from the cache.
    pub fn clear(&mut self) {
        self.pages.clear();
    }

    /// Returns how many bytes the cache has served so far.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served
    }

    /// Copies the cached bytes from `offset` on into `buffer`. Returns their number.
    fn recall(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        for (number, within, part) in pages(offset, buffer.len()) {
            let Some(page) = self.pages.get(&number) else {
                break;
            };
            let Some(known) = page.known.iter().find(|known| known.contains(&within.start)) else {
                break;
            };
            let end = within.end.min(known.end);
            let count = end - within.start;
            buffer[part.start..part.start + count].copy_from_slice(&page.bytes[within.start..end]);
            done += count;
            if end < within.end {
                break;
            }
        }
        done
    }

    fn remember(&mut self, offset: u64, bytes: &[u8]) {
        for (number, within, part) in pages(offset, bytes.len()) {
            if !self.pages.contains_key(&number) && self.pages.len() >= self.most_pages {
                continue;
            }
            let page = self.pages.entry(number).or_insert_with(|| Page {
                known: Vec::new(),
                bytes: Box::new([0; PAGE]),
            });
            page.bytes[within.clone()].copy_from_slice(&bytes[part]);
            let touches = |known: &Range<usize>| within.start <= known.end && known.start <= within.end;
            let (joined, apart): (Vec<_>, Vec<_>) = page.known.drain(..).partition(touches);
            let start = joined
                .iter()
                .map(|known| known.start)
                .fold(within.start, usize::min);
            let end = joined.iter().map(|known| known.end).fold(within.end, usize::max);
            page.known = apart;
            page.known.push(start..end);
        }
    }
}

/// Splits a range at page boundaries: the number of the page, the place in the page, the place in
/// the range.
fn pages(offset: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= len {
            return None;
        }
        let at = offset.checked_add(done as u64)?;
        let start = usize::try_from(at % PAGE as u64).expect("less than a page");
        let count = (PAGE - start).min(len - done);
        let part = done..done + count;
        done += count;
        Some((at / PAGE as u64, start..start + count, part))
    })
}

impl Callback for ReadCache {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        match ask {
            Ask::IsProcessSnapshot { .. } => {
                if !self.keeps {
                    self.clear();
                }
                true
            }
            Ask::VmStart { status } => {
                *status = Hresult::S_FALSE;
                true
            }
            Ask::VmPreRead {
                offset,
                buffer,
                answer,
            } => {
                let count = self.recall(offset, buffer);
                self.served += count as u64;
                let completed = u32::try_from(count).unwrap_or(u32::MAX);
                *answer = VmReadAnswer {
                    status: Hresult::S_OK,
                    completed,
                };
                count > 0
            }
            Ask::VmPostRead {
                offset,
                buffer,
                completed,
                ..
            } => {
                let good = buffer.len().min(completed as usize);
                self.remember(offset, &buffer[..good]);
                // `false` leaves the result of the read as it is.
                false
            }
            _ => true,
        }
    }

    fn process(&mut self, _: ProcessAsked) {}

    fn answers(&self) -> bool {
        true
    }
}
