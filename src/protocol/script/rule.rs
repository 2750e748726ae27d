//! What a rule of a script says.

use dumpwright_callback::{Ask, AskKind, Hresult};

/// A rule: to which questions it applies, and what it does with their answers.
#[derive(Debug)]
pub(super) struct Rule {
    /// The kinds of questions; empty for all.
    pub asks: Vec<AskKind>,
    /// The first and the last question of its kind that is meant, counted from 0.
    pub index: (u64, u64),
    pub thread: Option<ThreadName>,
    /// A pattern for a module's name.
    pub module: Option<String>,
    pub at: Option<Range>,
    pub minimum_size: Option<u64>,
    pub actions: Actions,
    /// Where it stands in the text.
    pub line: usize,
    /// How often it has applied.
    pub used: u64,
}

/// A thread by its id, or by its place in the order of the questions.
#[derive(Debug)]
pub(super) enum ThreadName {
    Id(u32),
    Number(usize),
}

/// Text with its place, for what can only be found out when names are known.
#[derive(Debug, Clone)]
pub(super) struct Located {
    pub text: String,
    pub line: usize,
    pub column: usize,
}

/// A range of addresses, by names.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub start: Located,
    pub extent: Extent,
}

/// How far a range reaches.
#[derive(Debug, Clone)]
pub(super) enum Extent {
    /// As far as the thing of that name; one byte if it is an address.
    Named,
    Size(u64),
    End(Located),
}

/// What a rule does with the answer. What is `None` stays as it is.
#[derive(Debug, Default)]
pub(super) struct Actions {
    pub ret: Option<bool>,
    pub flags: Option<Flags>,
    pub and: Option<Flags>,
    pub or: Option<Flags>,
    pub status: Option<Hresult>,
    /// Given one after the other; after the last one the rule does not apply any more.
    pub memory: Vec<Memory>,
    pub check_cancel: Option<bool>,
    pub cancel: Option<bool>,
    pub cont: Option<bool>,
    pub region: Region,
    pub handle: Option<Handle>,
    pub completed: Option<Completed>,
    /// The target's own bytes go into the buffer.
    pub read: bool,
    pub fill: Option<u8>,
    pub xor: Option<u8>,
    pub xor_at: Option<(Range, u8)>,
    pub store: Option<bool>,
    pub query: Option<Query>,
}

/// Bits of whatever flags the question has.
#[derive(Debug)]
pub(super) struct Flags(pub u32);

#[derive(Debug)]
pub(super) struct Memory {
    pub base: Located,
    /// `None`: the size of the thing that `base` names.
    pub size: Option<u32>,
}

/// Changes to a region.
#[derive(Debug, Default)]
pub(super) struct Region {
    pub base: Option<Shift>,
    pub size: Option<Shift>,
    pub allocation_base: Option<Shift>,
    pub allocation_protect: Option<u32>,
    pub state: Option<u32>,
    pub protect: Option<u32>,
    pub kind: Option<u32>,
}

impl Region {
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

/// A new value, or a change to the one that is there.
#[derive(Debug)]
pub(super) enum Shift {
    To(Located),
    Up(u64),
    Down(u64),
}

#[derive(Debug)]
pub(super) enum Handle {
    Number(u64),
    /// The one that IoStart showed.
    Given,
}

/// How many bytes a read has, measured by its buffer.
#[derive(Debug)]
pub(super) enum Completed {
    All,
    Half,
    Over,
    Bytes(u32),
}

/// Who answers VmQuery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    /// The target's own region.
    Own,
    /// Nobody: the answer stays as it was prefilled.
    None,
    /// There are no more regions.
    End,
}

impl Rule {
    /// Whether it is about this question, the `nth` of its kind; addresses aside.
    pub fn is_about(&self, kind: AskKind, nth: u64) -> bool {
        (self.asks.is_empty() || self.asks.contains(&kind))
            && (self.index.0..=self.index.1).contains(&nth)
            && (self.actions.memory.is_empty() || self.used < self.actions.memory.len() as u64)
    }
}

/// The place that a question is about, and its size.
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

/// The thread that a question is about.
pub(super) fn thread(ask: &Ask<'_>) -> Option<u32> {
    match ask {
        Ask::IncludeThread { thread_id, .. } => Some(*thread_id),
        Ask::Thread { thread, .. } | Ask::ThreadEx { thread, .. } => Some(thread.thread_id),
        _ => None,
    }
}
