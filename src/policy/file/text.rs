//! The keys of a policy file. The documentation of the fields is the one in
//! `docs/policy.schema.json`.

use serde::Deserialize;

use super::values::{Addresses, Bytes, LossName, PresetName, ThreadName, Time, Types};
use crate::policy::Priority;
use crate::policy::region_filter::RegionWord;

/// What a dump contains, and what it may cost
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(title = "A policy of dumpwright")
)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PolicyText {
    /// The preset to begin with
    ///
    /// The presets normal, mini, heap, triage and full are dump types. The others, first-look,
    /// for-upload, discreet, stack-traces and everything, are combined with policies.
    pub preset: Option<PresetName>,
    /// Dump types that are added to those of the preset: presets, flag names or 0xHEX, separated by
    /// commas
    #[serde(rename = "type")]
    pub dump_type: Option<Types>,
    /// The most bytes of memory in the dump, such as "64MiB"
    ///
    /// Stacks are kept first, from their innermost frames on. Tables are not counted.
    pub max_size: Option<Bytes>,
    /// Which regions are kept first if max-size is too small for a dump of all memory
    ///
    /// Stacks, and memory that was added, always come first. The default is private, data, rest.
    pub keep_first: Vec<RegionPriority>,
    /// The longest time for which the process may be suspended, such as "500ms"
    pub max_pause: Option<Time>,
    /// The dump is cancelled after this time, such as "30s"
    pub deadline: Option<Time>,
    /// What happens when selected memory cannot be read
    pub read_failures: ReadFailures,
    /// The size of a cache, such as "64MiB", because of which pages are read only once
    pub read_cache: Option<Bytes>,
    /// Whether memory that the program marked "do not dump" is dumped
    pub include_dontdump: bool,
    /// What may be missing without making the dump partial
    ///
    /// Each item is memory, threads, modules, streams, or the name of a stream. A dump without
    /// threads or without modules is partial in any case.
    pub acceptable_losses: Vec<LossName>,
    /// Which threads are in the dump, and how much of their stacks
    pub threads: ThreadsText,
    /// Which modules are in the dump
    pub modules: ModulesText,
    /// Memory that is added or left out
    pub memory: MemoryText,
    /// What is overwritten
    pub redact: RedactText,
}

/// Threads are selected by their id (a number) or by a pattern for their name, such as "worker-*"
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ThreadsText {
    /// Only these threads are in the dump
    pub only: Option<Vec<ThreadName>>,
    /// These threads are not in the dump
    pub except: Vec<ThreadName>,
    /// These threads are in the dump without their stacks
    pub without_stack: Vec<ThreadName>,
    /// The most bytes of each stack, counted from the innermost frame, such as "64KiB"
    pub stack: Option<Bytes>,
    /// Threads whose whole stack is kept, whatever the limit is
    pub whole_stack: Vec<ThreadName>,
}

/// Modules are selected by patterns for their names, such as "libfoo*.so"
///
/// A pattern without a folder is compared with the file name, a pattern with a folder with the
/// whole path.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ModulesText {
    /// Only these modules are in the dump
    pub only: Option<Vec<String>>,
    /// These modules are not in the dump
    pub except: Vec<String>,
    /// Modules whose global variables are dumped. This adds the dump type with-data-segs
    pub variables: Option<Vec<String>>,
}

/// Memory that is added or left out
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct MemoryText {
    /// Ranges of addresses to add, such as "0x7f0000000000/16KiB"
    pub add: Vec<Addresses>,
    /// Ranges of addresses to leave out
    pub remove: Vec<Addresses>,
    /// Memory around the addresses in registers
    pub around_registers: Option<AroundText>,
    /// Only these kinds of regions are in a dump of all memory
    pub only_regions: Option<Vec<RegionWord>>,
    /// These kinds of regions are not in a dump of all memory
    pub except_regions: Vec<RegionWord>,
}

/// Memory around the addresses in registers
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct AroundText {
    /// The bytes before each address, such as 256
    pub before: Bytes,
    /// The bytes from each address on, such as "1KiB"
    pub after: Bytes,
    /// The threads whose registers are used. The default is all threads in the dump
    pub threads: Option<Vec<ThreadName>>,
}

/// What is overwritten wherever it is in the memory of the dump
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RedactText {
    /// A file with one secret on each line: a text, or hex: followed by bytes
    ///
    /// The path is relative to the folder of the policy. Only the owner may have access to the
    /// file.
    pub secrets: Option<String>,
    /// Ranges of addresses whose bytes are overwritten
    pub ranges: Vec<Addresses>,
    /// Folders whose paths are overwritten, such as "/home/alice"
    pub folders: Vec<String>,
    /// Whether the values of the environment variables of the process are overwritten
    pub environment: bool,
    /// Whether the arguments of the process are overwritten
    pub command_line: bool,
}

/// What happens when selected memory cannot be read
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(super) enum ReadFailures {
    /// The memory is left out and reported
    #[default]
    LeaveOut,
    /// There is no dump
    Fail,
}

/// Regions of a dump of all memory
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(super) enum RegionPriority {
    /// Private writable regions, such as the heap
    Private,
    /// Other writable regions
    Data,
    /// All others
    Rest,
}

impl RegionPriority {
    pub fn priority(self) -> Priority {
        match self {
            Self::Private => Priority::Private,
            Self::Data => Priority::Data,
            Self::Rest => Priority::Rest,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Data => "data",
            Self::Rest => "rest",
        }
    }
}
