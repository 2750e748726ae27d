use std::fmt::Write as _;
use std::ops::Range;

use dumpwright_callback::Callback;
use dumpwright_target::AddressRange;

use super::{Rehearsal, Subject, rehearse, reproduce};
use crate::memory::set::RangeSet;
use crate::protocol::Ending;
use crate::{DumpType, Profile, Request};

/// A rehearsal to come, in every [`Profile`].
pub struct RehearseInAllProfiles<F> {
    callback: F,
    request: Request,
}

/// Rehearses a callback as every writer that is known would ask it: this one, and Microsoft's in its versions.
///
/// A callback is made anew for each, because it may keep count of something.
///
/// ```
/// use dumpwright::testing::{SimProcess, rehearse_in_all_profiles};
/// use dumpwright::Ask;
///
/// let callback = || |ask: Ask<'_>| !matches!(ask, Ask::IncludeThread { thread_id: 8, .. });
/// let rehearsal = rehearse_in_all_profiles(callback).on(|| SimProcess::new(1000).thread(7, 0, 0).thread(8, 0, 0));
/// assert_eq!(rehearsal.dump().threads(), [7]);
/// ```
pub fn rehearse_in_all_profiles<C: Callback, F: FnMut() -> C>(callback: F) -> RehearseInAllProfiles<F> {
    RehearseInAllProfiles {
        callback,
        request: Request::new(DumpType::NORMAL),
    }
}

impl<C: Callback, F: FnMut() -> C> RehearseInAllProfiles<F> {
    /// Dumps of this type.
    #[must_use]
    pub fn of_type(mut self, dump_type: DumpType) -> Self {
        self.request = Request::new(dump_type);
        self
    }

    /// The dumps that this request asks for, whatever its profile.
    #[must_use]
    pub fn for_request(mut self, request: Request) -> Self {
        self.request = request;
        self
    }

    /// Dumps the process in every profile, and returns the rehearsal in the default one.
    ///
    /// The dialogues may differ; the outcomes must not: whether there is a dump, with which code it fails, its
    /// threads, its modules, and the memory it holds.
    ///
    /// # Panics
    /// The outcomes differ; the text says in what.
    #[track_caller]
    pub fn on<S: Subject>(mut self, mut process: impl FnMut() -> S) -> Rehearsal {
        let mut rehearse_in = |profile| {
            rehearse((self.callback)())
                .for_request(self.request.clone().profile(profile))
                .on(process())
        };
        let documented = rehearse_in(Profile::default());
        let expected = Outcome::of(&documented);
        let mut differences = String::new();
        for (name, profile) in Profile::all().filter(|(_, profile)| *profile != Profile::default()) {
            let found = Outcome::of(&rehearse_in(profile));
            for difference in expected.differences(&found) {
                writeln!(differences, "{name}: {difference}").expect("a string takes everything");
            }
        }
        if !differences.is_empty() {
            let default = Profile::default().name();
            panic!(
                "the outcome depends on the writer; other than in profile {default}:\n{differences}{}",
                reproduce::how(false)
            );
        }
        documented
    }
}

/// What a user of the dump would notice.
struct Outcome {
    ending: Option<Ending>,
    threads: Vec<u32>,
    modules: Vec<String>,
    memory: RangeSet,
}

impl Outcome {
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
            differences.push(format!("ends \"{}\", not \"{}\"", text(other), text(self)));
            // All else follows from that.
            return differences;
        }
        if self.threads != other.threads {
            differences.push(format!("has threads {:?}, not {:?}", other.threads, self.threads));
        }
        if self.modules != other.modules {
            differences.push(format!("has modules {:?}, not {:?}", other.modules, self.modules));
        }
        for (verb, more, less) in [("has also", other, self), ("lacks", self, other)] {
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
