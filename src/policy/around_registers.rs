use dumpwright_callback::{Ask, Callback, ProcessAsked, ThreadWriteFlags};
use dumpwright_target::AddressRange;

use super::ranges::Ranges;
use super::registers;
use super::threads::{ThreadList, ThreadSelector};
use crate::memory::set::RangeSet;

/// The lowest address that can be a pointer. No system maps memory below it: 64 KiB is the default
/// of `vm.mmap_min_addr` on Linux and the size of the null partition on Windows. Smaller register
/// values are numbers.
const LOWEST_ADDRESS: u64 = 0x1_0000;

/// Adds the memory that registers point to: a number of bytes before and after each value that a
/// general register holds.
///
/// The added ranges may reach past mapped memory; whatever cannot be read is left out. By default
/// the policy looks at all threads that are in the dump; [`of_threads`](Self::of_threads) restricts
/// it to some.
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
    threads: Option<ThreadList>,
    found: Vec<AddressRange>,
    ranges: Option<Ranges>,
}

impl AroundRegisters {
    /// Adds `before` bytes in front of each address in a register, and `behind` bytes starting at
    /// it.
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

    /// Looks only at the registers of these threads.
    #[must_use]
    pub fn of_threads(mut self, ids: impl IntoIterator<Item = u32>) -> Self {
        self.threads = Some(ids.into_iter().map(ThreadSelector::Id).collect());
        self
    }

    /// Looks only at the registers of threads in this list.
    #[cfg(feature = "policy-file")]
    pub(super) fn of(mut self, threads: ThreadList) -> Self {
        self.threads = Some(threads);
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
                let is_meant = self.threads.as_ref().is_none_or(|list| list.has(&thread));
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

    fn process(&mut self, _: ProcessAsked) {}

    fn answers(&self) -> bool {
        true
    }
}
