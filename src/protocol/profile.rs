//! Profiles: whose behaviour the dialogue and the dump follow.
//!
//! Each difference between profiles is a method here. To add a difference, add a method, call it at
//! the place that differs, and add a row to `DEVIATIONS.md`, which lists the differences for users.

use std::str::FromStr;

use crate::DumpType;

/// Whose behaviour dumpwright follows where Microsoft's writer differs from its documentation, or
/// does something undesirable.
///
/// `DEVIATIONS.md` lists the differences.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// The behaviour that Microsoft's documentation describes and users expect.
    #[default]
    Documented,
    /// The observed behaviour of DbgHelp 6.3.9600 (Windows 8.1), including its mistakes. Use it to
    /// test what that version does with a callback.
    DbgHelp63,
    /// The behaviour of [`DbgHelp63`](Self::DbgHelp63), with the dump types and streams of later
    /// versions as documented. It has not been compared with a DbgHelp of version 10 yet.
    DbgHelp10,
}

/// The names of [`Profile`]s, as `--profile` and [`Profile::from_str`] read them.
const NAMES: [(&str, Profile); 3] = [
    ("documented", Profile::Documented),
    ("dbghelp63", Profile::DbgHelp63),
    ("dbghelp10", Profile::DbgHelp10),
];

impl Profile {
    /// Returns all profiles with their names.
    pub fn all() -> impl Iterator<Item = (&'static str, Self)> {
        NAMES.into_iter()
    }

    /// Returns the name, which [`from_str`](Self::from_str) accepts.
    #[must_use]
    pub fn name(self) -> &'static str {
        let (name, _) = NAMES
            .into_iter()
            .find(|(_, profile)| *profile == self)
            .expect("all are listed");
        name
    }

    /// Whether the profile follows the observed behaviour of a DbgHelp.
    fn is_observed(self) -> bool {
        self != Self::Documented
    }

    /// Returns the dump types that the profile accepts. DbgHelp 6.3.9600 refuses types that later
    /// versions introduced.
    pub(crate) fn known_types(self) -> DumpType {
        match self {
            Self::DbgHelp63 => DumpType::from_bits_truncate(0x1F_FFFF),
            Self::Documented | Self::DbgHelp10 => DumpType::all(),
        }
    }

    /// Whether full memory with code segments is refused late: DbgHelp first sends all callback
    /// types about modules and threads.
    pub(crate) fn refuses_contradictions_late(self) -> bool {
        self.is_observed()
    }

    /// Whether memory is selected as DbgHelp does: it reads single bytes to find readable memory,
    /// removes ranges before all ranges are added, and fails the dump if a read fails later. See
    /// `capture/dbghelp/selected.rs`.
    pub(crate) fn selects_by_probing(self) -> bool {
        self.is_observed()
    }

    /// Whether full memory is read during the second pass of IncludeVmRegion, as DbgHelp does. A
    /// failing read then ends the pass. See `capture/dbghelp/full.rs`.
    pub(crate) fn reads_in_second_pass(self) -> bool {
        self.is_observed()
    }

    /// Whether either of the dump types 0x200 and 0x10000 includes all private memory that is
    /// writable, copy-on-write, or readable and executable, as in DbgHelp.
    pub(crate) fn takes_all_private_memory(self) -> bool {
        self.is_observed()
    }

    /// Whether a dump misses something if a module's headers in memory are malformed. DbgHelp finds
    /// sections in the modules' files and misses nothing.
    pub(crate) fn misses_broken_headers(self) -> bool {
        !self.is_observed()
    }

    /// Whether FilterMemory (0x8) filters stacks and registers. DbgHelp 6.3.9600 only marks
    /// modules.
    pub(crate) fn filters_memory(self) -> bool {
        !self.is_observed()
    }

    /// Whether FilterTriage (0x100000) keeps whole thread blocks if it is combined with
    /// WithoutOptionalData (0x400), as in DbgHelp 6.3.9600. FilterTriage alone keeps one word of
    /// each.
    pub(crate) fn keeps_thread_blocks_in_triage(self) -> bool {
        self.is_observed()
    }

    /// Whether the registers of an exception, except the instruction and stack pointer, are left
    /// out if the callback leaves out the thread or its registers. DbgHelp writes all of them.
    pub(crate) fn withholds_registers_of_exceptions(self) -> bool {
        !self.is_observed()
    }

    /// Whether FilterModulePaths (0x80) changes all data that contains paths of modules. DbgHelp
    /// changes only the names of modules.
    pub(crate) fn filters_all_paths(self) -> bool {
        !self.is_observed()
    }

    /// Whether dumps may have a stream of this type. DbgHelp 6.3.9600 does not write thread names
    /// or memory counters. No DbgHelp writes a list of losses.
    pub(crate) fn writes_stream(self, stream_type: u32) -> bool {
        /// SystemMemoryInfo, ProcessVmCounters and ThreadNames.
        const LATER: [u32; 3] = [21, 22, 24];
        /// MozSoftErrors, which has dumpwright's diagnostics.
        const SOFT_ERRORS: u32 = 0x4D7A_0004;
        match self {
            Self::Documented => true,
            Self::DbgHelp63 => !LATER.contains(&stream_type) && stream_type != SOFT_ERRORS,
            Self::DbgHelp10 => stream_type != SOFT_ERRORS,
        }
    }

    /// Whether MiscInfo may be a MINIDUMP_MISC_INFO_5. DbgHelp 6.3.9600 writes version 4 of the
    /// structure and does not support later ones.
    pub(crate) fn knows_misc_info_5(self) -> bool {
        self != Self::DbgHelp63
    }

    /// Whether handle descriptors have a field for object information even if there is none, as in
    /// DbgHelp.
    pub(crate) fn always_has_object_information(self) -> bool {
        self.is_observed()
    }

    /// Whether user streams may have any type, including types that the writer uses itself, and
    /// several streams may have one type, as in DbgHelp.
    pub(crate) fn takes_any_user_stream(self) -> bool {
        self.is_observed()
    }

    /// Whether the size of a thread's registers is written even if the callback declines them, as
    /// in DbgHelp.
    pub(crate) fn keeps_sizes_of_declined_contexts(self) -> bool {
        self.is_observed()
    }

    /// Whether the directory has DbgHelp's order, which differs from the order of the streams in
    /// the file.
    pub(crate) fn lists_streams_as_dbghelp(self) -> bool {
        self.is_observed()
    }

    /// Returns the number of unused entries at the end of the directory. DbgHelp leaves two, and
    /// one for each stream that was requested and is absent (`absent` is their number).
    pub(crate) fn unused_directory_entries(self, absent: usize) -> usize {
        if self.is_observed() { 2 + absent } else { 0 }
    }

    /// Whether VmPreRead and VmPostRead are sent for the reads that find modules, thread blocks and
    /// other structures. DbgHelp does not send them: no recorded dialogue has a question about such
    /// a read.
    pub(crate) fn asks_about_reads_of_structures(self) -> bool {
        !self.is_observed()
    }

    /// Whether the address space is walked, and VmQuery sent, each time that the regions are
    /// needed, as DbgHelp does.
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
            format!("\"{name}\" is not a profile; use {}", names.join(", "))
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
