use std::fmt::Write as _;
use std::ops::Range;

use dumpwright_callback::Callback;
use dumpwright_target::AddressRange;

use super::{Rehearsal, TestTarget, rehearse, reproduce};
use crate::memory::set::RangeSet;
use crate::protocol::Ending;
use crate::{DumpType, Profile, Request};

/// The settings of a rehearsal in every [`Profile`].
pub struct RehearseInAllProfiles<F> {
    callback: F,
    request: Request,
}

/// Prepares a rehearsal in every [`Profile`]: the callback is called as dumpwright does by default,
/// and as the known versions of Microsoft's writer do.
///
/// The function `callback` creates one callback for each profile, because a callback may have
/// state. [`RehearseInAllProfiles::on`] makes the dumps.
///
/// ```
/// use dumpwright::testing::{SimProcess, rehearse_in_all_profiles};
/// use dumpwright::Ask;
///
/// let callback = || |ask: Ask<'_>| !matches!(ask, Ask::IncludeThread { thread_id: 8, .. });
/// let two_threads = || SimProcess::new(1000).thread(7, 0, 0).thread(8, 0, 0);
/// let rehearsal = rehearse_in_all_profiles(callback).on(two_threads);
/// assert_eq!(rehearsal.dump().threads(), [7]);
/// ```
pub fn rehearse_in_all_profiles<C: Callback, F: FnMut() -> C>(callback: F) -> RehearseInAllProfiles<F> {
    RehearseInAllProfiles {
        callback,
        request: Request::new(DumpType::NORMAL),
    }
}

impl<C: Callback, F: FnMut() -> C> RehearseInAllProfiles<F> {
    /// Sets the dump type, and resets all other settings of the request.
    #[must_use]
    pub fn of_type(mut self, dump_type: DumpType) -> Self {
        self.request = Request::new(dump_type);
        self
    }

    /// Sets the request. Its profile is ignored.
    #[must_use]
    pub fn for_request(mut self, request: Request) -> Self {
        self.request = request;
        self
    }

    /// Dumps the process in every profile, and returns the rehearsal in the default one.
    ///
    /// The dialogues may differ, but these parts of the outcomes must not: whether there is a dump,
    /// the code with which it fails, its threads, its modules, and its memory.
    ///
    /// # Panics
    /// If the outcomes differ. The message lists the differences.
    #[track_caller]
    pub fn on<S: TestTarget>(mut self, mut process: impl FnMut() -> S) -> Rehearsal {
        let mut rehearse_in = |profile| {
            rehearse((self.callback)())
                .for_request(self.request.clone().profile(profile))
                .on(process())
        };
        let documented = rehearse_in(Profile::default());
        let expected = ProfileOutcome::of(&documented);
        let mut differences = String::new();
        for (name, profile) in Profile::all().filter(|(_, profile)| *profile != Profile::default()) {
            let found = ProfileOutcome::of(&rehearse_in(profile));
            for difference in expected.differences(&found) {
                writeln!(differences, "{name}: {difference}").expect("a string takes everything");
            }
        }
        if !differences.is_empty() {
            let default = Profile::default().name();
            panic!(
                "the outcome depends on the writer; differences from profile {default}:\n{differences}{}",
                reproduce::how(false)
            );
        }
        documented
    }
}

/// The parts of an outcome that a user of the dump would notice.
struct ProfileOutcome {
    ending: Option<Ending>,
    threads: Vec<u32>,
    modules: Vec<String>,
    memory: RangeSet,
}

impl ProfileOutcome {
    #[track_caller]
    fn of(rehearsal: &Rehearsal) -> Self {
        let ending = rehearsal.dialogue().result.clone();
        if rehearsal.outcome().is_err() {
            return Self {
                ending,
                threads: Vec::new(),
                modules: Vec::new(),
                memory: RangeSet::default(),
            };
        }
        let dump = rehearsal.dump();
        let memory = dump
            .ranges()
            .into_iter()
            .filter_map(|Range { start, end }| AddressRange::new(start, end));
        Self {
            ending,
            threads: dump.threads(),
            modules: dump.modules(),
            memory: RangeSet::union(memory),
        }
    }

    fn differences(&self, other: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        if self.ending != other.ending {
            let text = |outcome: &Self| {
                outcome
                    .ending
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default()
            };
            differences.push(format!("ends with \"{}\", not \"{}\"", text(other), text(self)));
            // All other differences follow from this one.
            return differences;
        }
        if self.threads != other.threads {
            differences.push(format!("has threads {:?}, not {:?}", other.threads, self.threads));
        }
        if self.modules != other.modules {
            differences.push(format!("has modules {:?}, not {:?}", other.modules, self.modules));
        }
        for (verb, more, less) in [("also has", other, self), ("lacks", self, other)] {
            let ranges: Vec<_> = more
                .memory
                .subtract(&less.memory)
                .iter()
                .map(|range| range.to_string())
                .collect();
            if !ranges.is_empty() {
                differences.push(format!("{verb} memory {}", ranges.join(", ")));
            }
        }
        differences
    }
}
