//! The rules of scripts.

use std::ops::Range as Span;

use dumpwright_callback::{Ask, AskKind, Hresult};

/// A rule: the questions that it applies to, and what it does with their answers.
#[derive(Debug)]
pub(super) struct Rule {
    /// The callback types; empty for all.
    pub asks: Vec<AskKind>,
    /// The first and the last question that the rule applies to, counted from 0 among the questions
    /// of the same callback type.
    pub index: (u64, u64),
    pub thread: Option<ThreadPattern>,
    /// A pattern for the name of the module.
    pub module: Option<String>,
    pub at: Option<Range>,
    pub minimum_size: Option<u64>,
    pub actions: Actions,
    /// The position of the rule in the text.
    pub span: Span<usize>,
    /// The number of questions that the rule has been applied to.
    pub used: u64,
}

/// A thread, by its id or by its number in the order of the questions.
#[derive(Debug)]
pub(super) enum ThreadPattern {
    Id(u32),
    Number(usize),
}

/// A name or an address with its position in the text. Names are resolved later, when the target is
/// known.
#[derive(Debug, Clone)]
pub(super) struct Located {
    pub text: String,
    pub span: Span<usize>,
}

/// A range of addresses.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub start: Located,
    pub extent: RangeExtent,
}

/// The extent of a range.
#[derive(Debug, Clone)]
pub(super) enum RangeExtent {
    /// The size of the named place, or one byte if the start is an address.
    Named,
    Size(u64),
    End(Located),
}

/// What a rule does with the answer. `None` leaves a field unchanged.
#[derive(Debug, Default)]
pub(super) struct Actions {
    pub ret: Option<bool>,
    pub flags: Option<Flags>,
    pub and: Option<Flags>,
    pub or: Option<Flags>,
    pub status: Option<Hresult>,
    /// The ranges, one for each question. After the last range, the rule does not apply any more.
    pub memory: Vec<MemoryRule>,
    pub check_cancel: Option<bool>,
    pub cancel: Option<bool>,
    pub cont: Option<bool>,
    pub region: RegionRule,
    pub handle: Option<HandleAnswer>,
    pub completed: Option<Completed>,
    /// Whether to read the target's own bytes into the buffer; if so, the position in the text.
    pub read: Option<Span<usize>>,
    pub fill: Option<u8>,
    pub xor: Option<u8>,
    pub xor_at: Option<(Range, u8)>,
    pub store: Option<bool>,
    pub query: Option<Query>,
    pub max_parallelism: Option<u32>,
    pub max_transfer_size: Option<u32>,
}

/// Bits of the flags that the callback type has.
#[derive(Debug)]
pub(super) struct Flags(pub u32);

#[derive(Debug)]
pub(super) struct MemoryRule {
    pub base: Located,
    /// The size, or `None` for the size of the place that `base` names.
    pub size: Option<u32>,
}

/// Changes to a region.
#[derive(Debug, Default)]
pub(super) struct RegionRule {
    pub base: Option<Shift>,
    pub size: Option<Shift>,
    pub allocation_base: Option<Shift>,
    pub allocation_protect: Option<u32>,
    pub state: Option<u32>,
    pub protect: Option<u32>,
    pub kind: Option<u32>,
}

impl RegionRule {
    pub fn is_empty(&self) -> bool {
        matches!(
            self,
            Self {
                base: None,
                size: None,
                allocation_base: None,
                allocation_protect: None,
                state: None,
                protect: None,
                kind: None
            }
        )
    }
}

/// A new value, or a change to the current value.
#[derive(Debug)]
pub(super) enum Shift {
    To(Located),
    Up(u64),
    Down(u64),
}

#[derive(Debug)]
pub(super) enum HandleAnswer {
    Number(u64),
    /// The handle that IoStart passed.
    Given,
}

/// The number of valid bytes of a read.
#[derive(Debug)]
pub(super) enum Completed {
    All,
    Half,
    /// 8 bytes more than the buffer has.
    Over,
    Bytes(u32),
}

/// The answer to VmQuery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    /// The target's own region.
    Own,
    /// No answer: the status is E_NOTIMPL, and the writer asks the system.
    None,
    /// There are no more regions.
    End,
}

impl Rule {
    /// Returns whether the rule applies to the `nth` question of this callback type, apart from its
    /// conditions about threads, modules, addresses and sizes.
    pub fn is_about(&self, kind: AskKind, nth: u64) -> bool {
        (self.asks.is_empty() || self.asks.contains(&kind))
            && (self.index.0..=self.index.1).contains(&nth)
            && (self.actions.memory.is_empty() || self.used < self.actions.memory.len() as u64)
    }
}

/// Returns the address and the size of what a question is about. For IoWriteAll, the address is an
/// offset in the file.
pub(super) fn place(ask: &Ask<'_>) -> Option<(u64, u64)> {
    let sized = |start: u64, size: usize| Some((start, size as u64));
    match ask {
        Ask::Module { module, .. } => Some((module.base_of_image, module.size_of_image.into())),
        Ask::IncludeModule { base, .. } => Some((*base, 1)),
        Ask::IncludeVmRegion { answer } => Some((answer.region.base_address, answer.region.region_size)),
        Ask::IoWriteAll { offset, bytes, .. } => sized(*offset, bytes.len()),
        Ask::ReadMemoryFailure { offset, bytes, .. } => Some((*offset, (*bytes).into())),
        Ask::VmQuery { offset, .. } => Some((*offset, 1)),
        Ask::VmPreRead { offset, buffer, .. } | Ask::VmPostRead { offset, buffer, .. } => {
            sized(*offset, buffer.len())
        }
        _ => None,
    }
}

/// Returns the id of the thread that a question is about.
pub(super) fn thread(ask: &Ask<'_>) -> Option<u32> {
    match ask {
        Ask::IncludeThread { thread_id, .. } => Some(*thread_id),
        Ask::Thread { thread, .. } | Ask::ThreadEx { thread, .. } => Some(thread.thread_id),
        _ => None,
    }
}
