use std::collections::BTreeSet;

use dumpwright_callback::{Ask, Callback, ProcessAsked, ThreadAsked, ThreadWriteFlags};

use super::glob;

/// Includes only some threads, or only parts of them.
///
/// A thread can be left out by its id, before anything is read about it, or by its name and its
/// other facts (registers, stack) after they have been read. A thread that is left out has neither
/// an entry nor a stack in the dump.
///
/// ```
/// use dumpwright::callback::{ThreadAsked, ThreadWriteFlags};
/// use dumpwright::policy::{Chain, Threads};
///
/// let not_the_sampler = Threads::except([4711]);
/// let workers_only = Threads::named(["worker-*"]);
/// let is_small = |thread: &ThreadAsked| thread.stack_base - thread.stack_end < 1 << 20;
/// let small_stacks_only = Threads::matching(is_small);
/// let registers_of_all_stack_of_one = Threads::parts(|id| match id {
///     7 => ThreadWriteFlags::all(),
///     _ => ThreadWriteFlags::all() - ThreadWriteFlags::STACK,
/// });
/// let policies = Chain::new()
///     .then(not_the_sampler)
///     .then(small_stacks_only)
///     .then(registers_of_all_stack_of_one);
/// # let _ = policies;
/// ```
pub struct Threads<'a>(Choice<'a>);

enum Choice<'a> {
    ById(Box<dyn FnMut(u32) -> ThreadWriteFlags + 'a>),
    ByFacts(Box<dyn FnMut(&ThreadAsked<'_>) -> bool + 'a>),
}

impl<'a> Threads<'a> {
    /// Includes only these threads.
    #[must_use]
    pub fn only(ids: impl IntoIterator<Item = u32>) -> Self {
        let ids: BTreeSet<u32> = ids.into_iter().collect();
        Self::parts(move |id| {
            if ids.contains(&id) {
                ThreadWriteFlags::all()
            } else {
                ThreadWriteFlags::empty()
            }
        })
    }

    /// Includes all threads except these.
    #[must_use]
    pub fn except(ids: impl IntoIterator<Item = u32>) -> Self {
        let ids: BTreeSet<u32> = ids.into_iter().collect();
        Self::parts(move |id| {
            if ids.contains(&id) {
                ThreadWriteFlags::empty()
            } else {
                ThreadWriteFlags::all()
            }
        })
    }

    /// Includes only those parts of each thread that `parts` returns for its id. Without
    /// [`THREAD`](ThreadWriteFlags::THREAD), the whole thread is left out.
    #[must_use]
    pub fn parts(parts: impl FnMut(u32) -> ThreadWriteFlags + 'a) -> Self {
        Self(Choice::ById(Box::new(parts)))
    }

    /// Includes only threads whose name matches one of these patterns. In patterns, `*` matches any
    /// number of characters and `?` exactly one. A thread without a name is left out.
    ///
    /// The writers of dumpwright provide the names. DbgHelp does not: with it, no thread matches.
    #[must_use]
    pub fn named<P: Into<String>>(patterns: impl IntoIterator<Item = P>) -> Self {
        let wanted: ThreadList = patterns.into_iter().map(ThreadSelector::name).collect();
        Self::matching(move |thread| wanted.has(thread))
    }

    /// Includes all threads except those whose name matches one of these patterns, see
    /// [`named`](Self::named).
    #[must_use]
    pub fn except_named<P: Into<String>>(patterns: impl IntoIterator<Item = P>) -> Self {
        let unwanted: ThreadList = patterns.into_iter().map(ThreadSelector::name).collect();
        Self::matching(move |thread| !unwanted.has(thread))
    }

    /// Includes the threads for which `wanted` returns `true`.
    #[must_use]
    pub fn matching(wanted: impl FnMut(&ThreadAsked<'_>) -> bool + 'a) -> Self {
        Self(Choice::ByFacts(Box::new(wanted)))
    }
}

impl Callback for Threads<'_> {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        match (&mut self.0, ask) {
            (Choice::ById(parts), Ask::IncludeThread { thread_id, keep }) => {
                *keep &= parts(thread_id);
                keep.contains(ThreadWriteFlags::THREAD)
            }
            (Choice::ByFacts(wanted), Ask::Thread { thread, keep } | Ask::ThreadEx { thread, keep }) => {
                if !wanted(&thread) {
                    // Returning FALSE would abort the dump.
                    *keep = ThreadWriteFlags::empty();
                }
                true
            }
            _ => true,
        }
    }

    fn process(&mut self, _: ProcessAsked) {}

    fn answers(&self) -> bool {
        true
    }
}

/// A thread in a list: its id, or a pattern for its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ThreadSelector {
    Id(u32),
    Name(String),
}

impl ThreadSelector {
    fn name(pattern: impl Into<String>) -> Self {
        Self::Name(pattern.into())
    }

    fn selects(&self, thread: &ThreadAsked<'_>) -> bool {
        match self {
            Self::Id(id) => *id == thread.thread_id,
            Self::Name(pattern) => thread.name.is_some_and(|name| glob::matches_text(pattern, name)),
        }
    }
}

/// A list of threads by id or name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ThreadList(Vec<ThreadSelector>);

impl ThreadList {
    /// Whether the list selects this thread.
    pub fn has(&self, thread: &ThreadAsked<'_>) -> bool {
        self.0.iter().any(|selector| selector.selects(thread))
    }
}

impl FromIterator<ThreadSelector> for ThreadList {
    fn from_iter<I: IntoIterator<Item = ThreadSelector>>(selectors: I) -> Self {
        Self(selectors.into_iter().collect())
    }
}
