use std::collections::BTreeSet;

use dumpwright_callback::{Ask, Callback, ThreadAsked, ThreadWriteFlags};

/// Keeps some threads only, or less of some.
///
/// A thread can be left out by its id before anything is gathered of it, or by its facts (registers, stack) once they
/// are known. Whoever is left out has neither an entry nor a stack.
///
/// ```
/// use dumpwright::callback::ThreadWriteFlags;
/// use dumpwright::policy::{Chain, Threads};
///
/// let not_the_sampler = Threads::except([4711]);
/// let small_stacks_only = Threads::matching(|thread| thread.stack_base - thread.stack_end < 1 << 20);
/// let registers_of_all_stack_of_one =
///     Threads::parts(|id| if id == 7 { ThreadWriteFlags::all() } else { ThreadWriteFlags::all() - ThreadWriteFlags::STACK });
/// let policies = Chain::new().then(not_the_sampler).then(small_stacks_only).then(registers_of_all_stack_of_one);
/// # let _ = policies;
/// ```
pub struct Threads<'a>(Choice<'a>);

enum Choice<'a> {
    ById(Box<dyn FnMut(u32) -> ThreadWriteFlags + 'a>),
    ByFacts(Box<dyn FnMut(&ThreadAsked<'_>) -> bool + 'a>),
}

impl<'a> Threads<'a> {
    /// These threads only.
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

    /// All threads but these.
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

    /// Of each thread what its id deserves: bits that are not in the returned flags are cleared, and without
    /// [`THREAD`](ThreadWriteFlags::THREAD) the thread is left out.
    #[must_use]
    pub fn parts(parts: impl FnMut(u32) -> ThreadWriteFlags + 'a) -> Self {
        Self(Choice::ById(Box::new(parts)))
    }

    /// The threads whose facts please.
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
                    // FALSE would abort the dump here.
                    *keep = ThreadWriteFlags::empty();
                }
                true
            }
            _ => true,
        }
    }
}
