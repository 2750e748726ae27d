use dumpwright_callback::{Ask, Callback, MemoryInfo, ProcessAsked, ThreadWriteFlags};
use dumpwright_target::AddressRange;

use super::regions::{self, whole_pages};
use crate::memory::set::RangeSet;

/// Leaves kinds of regions out of a dump of all memory.
///
/// This applies to dumps with [`WITH_FULL_MEMORY`](crate::DumpType::WITH_FULL_MEMORY) or
/// [`WITH_MEMORY_COMPRESSED`](crate::DumpType::WITH_MEMORY_COMPRESSED) only; the callback is not
/// asked about regions in other dumps. The used parts of stacks are always kept.
///
/// ```
/// use dumpwright::policy::RegionFilter;
/// use dumpwright::target::RegionKind;
///
/// let mut no_shared_memory =
///     RegionFilter::matching(|region| region.kind != RegionKind::Mapped.value());
/// # let _ = &mut no_shared_memory;
/// ```
pub struct RegionFilter<'a> {
    wanted: Box<dyn FnMut(&MemoryInfo) -> bool + 'a>,
    stacks: Vec<AddressRange>,
    pages: Option<RangeSet>,
}

impl<'a> RegionFilter<'a> {
    /// Includes the regions for which `wanted` returns `true`. It is called more than once for each
    /// region, and must return the same each time.
    #[must_use]
    pub fn matching(wanted: impl FnMut(&MemoryInfo) -> bool + 'a) -> Self {
        Self {
            wanted: Box::new(wanted),
            stacks: Vec::new(),
            pages: None,
        }
    }
}

impl Callback for RegionFilter<'_> {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        match ask {
            Ask::IsProcessSnapshot { .. } => {
                self.stacks.clear();
                self.pages = None;
            }
            Ask::Thread { thread, keep } | Ask::ThreadEx { thread, keep }
                if keep.contains(ThreadWriteFlags::THREAD) =>
            {
                self.stacks
                    .extend(AddressRange::new(thread.stack_end, thread.stack_base));
            }
            Ask::IncludeVmRegion { answer } => {
                let Some(offered) = regions::range(&answer.region) else {
                    return true;
                };
                if (self.wanted)(&answer.region) {
                    regions::answer(answer, Some(offered));
                    return true;
                }
                let stacks = self.stacks.iter().copied().map(whole_pages);
                let stacks = self.pages.get_or_insert_with(|| RangeSet::union(stacks));
                let part = RangeSet::union([offered]).intersect(stacks);
                regions::answer(answer, part.iter().next());
            }
            _ => {}
        }
        true
    }

    fn process(&mut self, _: ProcessAsked) {}

    fn answers(&self) -> bool {
        true
    }
}

/// A kind of region
#[cfg(feature = "policy-file")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(super) enum RegionWord {
    /// Memory of the process alone, such as heaps and stacks
    Private,
    /// Views of files, and shared memory
    Mapped,
    /// Parts of modules
    Image,
    /// RegionFilter that can be written to
    Writable,
    /// RegionFilter that can only be read
    ReadOnly,
    /// RegionFilter with code
    Executable,
}

#[cfg(feature = "policy-file")]
impl RegionWord {
    /// Whether the word applies to a region.
    pub fn fits(self, region: &MemoryInfo) -> bool {
        use dumpwright_target::{RegionKind, protect};

        const WRITABLE: u32 =
            protect::READWRITE | protect::WRITECOPY | protect::EXECUTE_READWRITE | protect::EXECUTE_WRITECOPY;
        const EXECUTABLE: u32 = protect::EXECUTE
            | protect::EXECUTE_READ
            | protect::EXECUTE_READWRITE
            | protect::EXECUTE_WRITECOPY;
        match self {
            Self::Private => region.kind == RegionKind::Private.value(),
            Self::Mapped => region.kind == RegionKind::Mapped.value(),
            Self::Image => region.kind == RegionKind::Image.value(),
            Self::Writable => region.protect & WRITABLE != 0,
            Self::ReadOnly => region.protect & protect::READONLY != 0,
            Self::Executable => region.protect & EXECUTABLE != 0,
        }
    }

    /// Returns the word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Mapped => "mapped",
            Self::Image => "image",
            Self::Writable => "writable",
            Self::ReadOnly => "read-only",
            Self::Executable => "executable",
        }
    }
}
