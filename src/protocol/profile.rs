//! Whose writer the dialogue and the dump are modelled on: every difference by name, each in one place.
//!
//! `DEVIATIONS.md` tells the same differences to users. To add one, add a method here, ask it where
//! the difference is made, and add a row there.

use std::str::FromStr;

use crate::DumpType;

/// Whose behaviour a dump follows where Microsoft's writer does not do what its documentation says, or
/// does something nobody would want.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// What the documentation says and users expect.
    #[default]
    Documented,
    /// As DbgHelp 6.3.9600 was observed to behave, mistakes included: for rehearsing what that version
    /// does with a callback.
    DbgHelp63,
    /// As [`DbgHelp63`](Self::DbgHelp63), with the dump types and streams of later versions as documented.
    /// Not yet tried against a real one.
    DbgHelp10,
}

/// The names of [`Profile`]s, as `--profile` and [`Profile::from_str`] read them.
const NAMES: [(&str, Profile); 3] = [
    ("documented", Profile::Documented),
    ("dbghelp63", Profile::DbgHelp63),
    ("dbghelp10", Profile::DbgHelp10),
];

impl Profile {
    /// All profiles with their names.
    pub fn all() -> impl Iterator<Item = (&'static str, Self)> {
        NAMES.into_iter()
    }

    /// Its name, as [`from_str`](Self::from_str) reads it.
    #[must_use]
    pub fn name(self) -> &'static str {
        let (name, _) = NAMES
            .into_iter()
            .find(|(_, profile)| *profile == self)
            .expect("all are listed");
        name
    }

    fn is_observed(self) -> bool {
        self != Self::Documented
    }

    /// The bits of the dump type that mean something. 6.3.9600 refuses what came after it.
    pub(crate) fn known_types(self) -> DumpType {
        match self {
            Self::DbgHelp63 => DumpType::from_bits_truncate(0x1F_FFFF),
            Self::Documented | Self::DbgHelp10 => DumpType::all(),
        }
    }

    /// DbgHelp asks all about modules and threads before it refuses full memory with code segments.
    pub(crate) fn refuses_contradictions_late(self) -> bool {
        self.is_observed()
    }

    /// DbgHelp finds out what is readable by reading single bytes, removes before it has added everything, and
    /// does not forgive reads that fail later. What that means is in `capture/dbghelp/selected.rs`.
    pub(crate) fn selects_by_probing(self) -> bool {
        self.is_observed()
    }

    /// DbgHelp reads full memory during the second pass of IncludeVmRegion, so a read that fails ends it there.
    /// See `capture/dbghelp/full.rs`.
    pub(crate) fn reads_in_second_pass(self) -> bool {
        self.is_observed()
    }

    /// DbgHelp takes private memory of both kinds, and executable one besides, for either of 0x200 and 0x10000.
    pub(crate) fn takes_all_private_memory(self) -> bool {
        self.is_observed()
    }

    /// DbgHelp finds sections in the modules' files; so it loses nothing when headers in memory make no sense.
    pub(crate) fn misses_broken_headers(self) -> bool {
        !self.is_observed()
    }

    /// DbgHelp 6.3.9600 changes no byte of a stack for FilterMemory (0x8); it only marks modules.
    pub(crate) fn filters_memory(self) -> bool {
        !self.is_observed()
    }

    /// With WithoutOptionalData (0x400) beside FilterTriage (0x100000), DbgHelp 6.3.9600 keeps thread blocks whole, of which FilterTriage alone
    /// keeps one word.
    pub(crate) fn keeps_thread_blocks_in_triage(self) -> bool {
        self.is_observed()
    }

    /// DbgHelp writes the registers of an exception whatever was answered about the thread.
    pub(crate) fn withholds_registers_of_exceptions(self) -> bool {
        !self.is_observed()
    }

    /// DbgHelp filters the names of modules and nothing else that has paths.
    pub(crate) fn filters_all_paths(self) -> bool {
        !self.is_observed()
    }

    /// 6.3.9600 knows neither names of threads nor counters of memory, and no DbgHelp tells what a dump lacks.
    pub(crate) fn writes_stream(self, stream_type: u32) -> bool {
        /// SystemMemoryInfo, ProcessVmCounters and ThreadNames.
        const LATER: [u32; 3] = [21, 22, 24];
        /// MozSoftErrors, where this writer tells its losses.
        const SOFT_ERRORS: u32 = 0x4D7A_0004;
        match self {
            Self::Documented => true,
            Self::DbgHelp63 => !LATER.contains(&stream_type) && stream_type != SOFT_ERRORS,
            Self::DbgHelp10 => stream_type != SOFT_ERRORS,
        }
    }

    /// 6.3.9600 writes MiscInfo's fourth generation and knows no later one.
    pub(crate) fn knows_misc_info_5(self) -> bool {
        self != Self::DbgHelp63
    }

    /// DbgHelp's descriptors of handles have room for information about the object whether there is any or not.
    pub(crate) fn always_has_object_information(self) -> bool {
        self.is_observed()
    }

    /// DbgHelp takes user streams of any type, also those that it writes itself, and one type twice.
    pub(crate) fn takes_any_user_stream(self) -> bool {
        self.is_observed()
    }

    /// DbgHelp tells how long the registers of a thread would be that a callback has declined.
    pub(crate) fn keeps_sizes_of_declined_contexts(self) -> bool {
        self.is_observed()
    }

    /// DbgHelp lists its streams in another order than that in which they stand in the file.
    pub(crate) fn lists_streams_as_dbghelp(self) -> bool {
        self.is_observed()
    }

    /// How many entries of the directory DbgHelp leaves unused behind its streams: two, and one for each stream that was asked for and is
    /// `absent`.
    pub(crate) fn unused_directory_entries(self, absent: usize) -> usize {
        if self.is_observed() { 2 + absent } else { 0 }
    }

    /// DbgHelp walks the address space anew wherever it needs it, asking VmQuery each time.
    pub(crate) fn queries_for_each_use(self) -> bool {
        self.is_observed()
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = NAMES.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, profile)| profile).ok_or_else(|| {
            let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
            format!("\"{name}\" is no profile; there are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_read_back() {
        for (name, profile) in Profile::all() {
            assert_eq!((name.parse(), profile.name()), (Ok(profile), name));
        }
        let text = "dbghelp64".parse::<Profile>().unwrap_err();
        assert!(text.contains("documented, dbghelp63, dbghelp10"), "{text}");
    }
}
