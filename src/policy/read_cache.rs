use std::collections::BTreeMap;
use std::ops::Range;

use dumpwright_callback::{Ask, Callback, Hresult, VmReadAnswer};

const PAGE: usize = 4096;

/// What was read once is not read again.
///
/// Within one dump the target holds still, and some memory is read more than once: stacks whose words are followed, ranges of
/// which a part failed. A target that does not change at all, a snapshot for instance, can be dumped several times at the price of one with
/// [`across_dumps`](Self::across_dumps).
///
/// Put it in front of [`Redact`](super::Redact): it then keeps what the target has, and whatever it serves is redacted
/// all the same.
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

/// The known parts of a page.
#[derive(Debug)]
struct Page {
    /// Disjoint.
    known: Vec<Range<usize>>,
    bytes: Box<[u8; PAGE]>,
}

impl ReadCache {
    /// A cache of at most this many bytes. When it is full, nothing new is kept.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self {
            pages: BTreeMap::new(),
            most_pages: bytes / PAGE,
            keeps: false,
            served: 0,
        }
    }

    /// Stays valid when another dump begins. Only for targets that do not change in between.
    #[must_use]
    pub fn across_dumps(mut self) -> Self {
        self.keeps = true;
        self
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.pages.clear();
    }

    /// Bytes that did not have to be read from the target so far.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served
    }

    /// Fills in the known bytes from `offset` on; returns how many that are.
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

/// The pieces of a range by page: number of the page, place in the page, place in the range.
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
                // The result of the read stands.
                false
            }
            _ => true,
        }
    }
}
