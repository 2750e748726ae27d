use std::collections::BTreeSet;

use dumpwright_callback::{Ask, Callback, ThreadWriteFlags};
use dumpwright_target::AddressRange;

use super::ranges::Ranges;
use super::registers;
use crate::memory::set::RangeSet;

/// Below this address no system maps anything (Linux' default `vm.mmap_min_addr`, Windows' null partition); such
/// values are numbers, not pointers.
const LOWEST_ADDRESS: u64 = 0x1_0000;

/// The memory that registers point to: so many bytes before and behind each value that a general register holds.
///
/// Asks the engine for more memory than is there; what cannot be read is left out. For all threads that are in the dump,
/// or some.
///
/// ```
/// use dumpwright::policy::AroundRegisters;
///
/// let mut objects = AroundRegisters::new(64, 512);
/// let mut of_the_crashed = AroundRegisters::new(64, 4096).of_threads([4711]);
/// # let _ = (&mut objects, &mut of_the_crashed);
/// ```
pub struct AroundRegisters {
    before: u64,
    behind: u64,
    threads: Option<BTreeSet<u32>>,
    found: Vec<AddressRange>,
    ranges: Option<Ranges>,
}

impl AroundRegisters {
    /// `before` bytes before the address in a register, and `behind` bytes from it on.
    #[must_use]
    pub fn new(before: u64, behind: u64) -> Self {
        Self {
            before,
            behind,
            threads: None,
            found: Vec::new(),
            ranges: None,
        }
    }

    /// Of these threads only.
    #[must_use]
    pub fn of_threads(mut self, ids: impl IntoIterator<Item = u32>) -> Self {
        self.threads = Some(ids.into_iter().collect());
        self
    }

    fn around(&self, address: u64) -> Option<AddressRange> {
        if address < LOWEST_ADDRESS {
            return None;
        }
        AddressRange::new(
            address.saturating_sub(self.before),
            address.saturating_add(self.behind),
        )
    }
}

impl Callback for AroundRegisters {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        match ask {
            Ask::IsProcessSnapshot { .. } => {
                self.found.clear();
                self.ranges = None;
                true
            }
            Ask::Thread { thread, keep } | Ask::ThreadEx { thread, keep } => {
                let is_meant = self
                    .threads
                    .as_ref()
                    .is_none_or(|ids| ids.contains(&thread.thread_id));
                if is_meant && keep.contains(ThreadWriteFlags::THREAD) {
                    let values = registers::general(thread.context);
                    let ranges: Vec<_> = values
                        .into_iter()
                        .filter_map(|value| self.around(value))
                        .collect();
                    self.found.extend(ranges);
                }
                true
            }
            Ask::Memory { wanted } => {
                let found = &mut self.found;
                let ranges = self
                    .ranges
                    .get_or_insert_with(|| Ranges::from_set(RangeSet::union(std::mem::take(found))));
                ranges.next(wanted)
            }
            _ => true,
        }
    }
}
