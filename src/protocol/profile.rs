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
    /// The observed behaviour of the DbgHelp of January 2026 (10.0.29507), including its mistakes.
    /// It was observed under Wine.
    DbgHelp10,
}

/// The offset and size of the head of a 64-bit thread block: exception handlers, the bounds of the
/// stack, the addresses of the block itself and of the process's block.
const BOUNDS_OF_STACK: (u64, u64) = (0, 0x60);

/// The offset and size of `ChpeV2CpuAreaInfo` in a 64-bit thread block.
const CPU_AREA: (u64, u64) = (0x1788, 8);

/// The sizes of blocks in a 64-bit Windows process, in bytes.
pub(crate) struct ProcessBlocks {
    /// The process environment block.
    pub peb: u64,
    /// The process parameters.
    pub parameters: u64,
    /// The data of a thread that fibers share (fiber-local storage).
    pub fiber_data: u64,
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

    /// Returns pairs of dump types that are refused together.
    pub(crate) fn refused_pairs(self) -> &'static [DumpType] {
        const OF_DBGHELP_10: [DumpType; 2] = [
            DumpType::IGNORE_INACCESSIBLE_MEMORY.union(DumpType::NO_IGNORE_INACCESSIBLE_MEMORY),
            DumpType::FILTER_TRIAGE.union(DumpType::WITH_AVX_X_STATE_CONTEXT),
        ];
        match self {
            Self::DbgHelp10 => &OF_DBGHELP_10,
            Self::Documented | Self::DbgHelp63 => &[],
        }
    }

    /// Whether full memory (0x2) sets 0x20000, unless 0x2000000 forbids that.
    pub(crate) fn full_memory_ignores_inaccessible(self) -> bool {
        self != Self::DbgHelp63
    }

    /// Whether full memory with code segments is refused, and late: DbgHelp 6.3.9600 first sends
    /// all callback types about modules and threads. Otherwise, full memory clears the other flag.
    pub(crate) fn refuses_contradictions_late(self) -> bool {
        self == Self::DbgHelp63
    }

    /// Returns how often Cancel is polled between the first time and the first IncludeThread, and
    /// again after the last RemoveMemory. DbgHelp does not poll there in full dumps.
    pub(crate) fn polls_around_shared_data(self) -> usize {
        match self {
            Self::DbgHelp10 => 2,
            Self::Documented | Self::DbgHelp63 => 0,
        }
    }

    /// Whether Cancel is polled once more after the stacks have been gathered, before the first
    /// Module, as DbgHelp 6.3.9600 does.
    pub(crate) fn polls_after_stacks(self) -> bool {
        self != Self::DbgHelp10
    }

    /// Whether dumps of selected memory of Windows processes include the page that the kernel
    /// shares with all processes (`KUSER_SHARED_DATA`).
    pub(crate) fn includes_shared_data(self) -> bool {
        self != Self::DbgHelp63
    }

    /// Whether this data is chosen before the threads are, as the DbgHelp of 2026 does.
    pub(crate) fn chooses_shared_data_first(self) -> bool {
        self == Self::DbgHelp10
    }

    /// Returns the parts of a 64-bit thread block that DbgHelp reads when it has suspended the
    /// thread, as offset and size, and asks the callback about. Empty if it reads none.
    pub(crate) fn parts_of_thread_blocks(self) -> &'static [(u64, u64)] {
        match self {
            Self::Documented => &[],
            Self::DbgHelp63 => &[BOUNDS_OF_STACK],
            Self::DbgHelp10 => &[BOUNDS_OF_STACK, CPU_AREA],
        }
    }

    /// Returns the part of a 64-bit thread block without which a thread has no stack and no thread
    /// data, as offset and size. The DbgHelp of 2026 looks for an area of emulators there.
    pub(crate) fn required_part_of_thread_blocks(self) -> Option<(u64, u64)> {
        (self == Self::DbgHelp10).then_some(CPU_AREA)
    }

    /// Returns the sizes of the blocks that the system keeps in a 64-bit process.
    pub(crate) fn process_blocks(self) -> ProcessBlocks {
        match self {
            Self::DbgHelp63 => ProcessBlocks {
                peb: 0x388,
                parameters: 0x410,
                fiber_data: 0x410,
            },
            Self::DbgHelp10 => ProcessBlocks {
                peb: 0x7D0,
                parameters: 0x448,
                fiber_data: 0x7F90,
            },
            Self::Documented => ProcessBlocks {
                peb: 0x7D0,
                parameters: 0x410,
                fiber_data: 0x410,
            },
        }
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

    /// Whether MiscInfo is a MINIDUMP_MISC_INFO_5. DbgHelp 6.3.9600 writes version 4 of the
    /// structure and does not support later ones.
    pub(crate) fn writes_misc_info_5(self) -> bool {
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

    /// Returns the number of unused entries at the end of the directory. DbgHelp 6.3.9600 leaves
    /// two, that of 2026 four, and both leave one for each stream that was requested and is absent
    /// (`absent` is their number).
    pub(crate) fn unused_directory_entries(self, absent: usize) -> usize {
        match self {
            Self::Documented => 0,
            Self::DbgHelp63 => 2 + absent,
            Self::DbgHelp10 => 4 + absent,
        }
    }

    /// Whether user streams follow one another without padding, as in the DbgHelp of 2026.
    pub(crate) fn packs_user_streams(self) -> bool {
        self == Self::DbgHelp10
    }

    /// Whether a user stream without bytes becomes an unused entry of the directory. This was seen
    /// in the DbgHelp of 2026; 6.3.9600 was not tried.
    pub(crate) fn drops_empty_user_streams(self) -> bool {
        self == Self::DbgHelp10
    }

    /// Whether VmPreRead and VmPostRead are sent for the reads that find modules, thread blocks and
    /// other structures. The DbgHelp profiles send them only for the
    /// [parts](Self::parts_of_thread_blocks) of thread blocks that the recordings show.
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
