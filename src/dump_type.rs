use std::fmt;

use bitflags::bitflags;

use crate::Error;

#[cfg(test)]
mod table;

bitflags! {
    /// What a dump is to hold: Windows' `MINIDUMP_TYPE`, all 26 bits of it.
    ///
    /// Source of names and values: Microsoft's page `MINIDUMP_TYPE`; the last bit is in the current SDK
    /// header only.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct DumpType: u32 {
        /// Writable sections of modules.
        const WITH_DATA_SEGS = 0x1;
        /// All readable memory.
        const WITH_FULL_MEMORY = 0x2;
        /// Open handles.
        const WITH_HANDLE_DATA = 0x4;
        /// Stacks keep only what a stack walk needs.
        const FILTER_MEMORY = 0x8;
        /// Stacks are scanned for the modules they refer to.
        const SCAN_MEMORY = 0x10;
        /// Modules that have been unloaded.
        const WITH_UNLOADED_MODULES = 0x20;
        /// Memory that words on the stacks point to.
        const WITH_INDIRECTLY_REFERENCED_MEMORY = 0x40;
        /// Module names without folders.
        const FILTER_MODULE_PATHS = 0x80;
        /// The system's own data about process and threads; on Linux also environment and command line.
        const WITH_PROCESS_THREAD_DATA = 0x100;
        /// Private writable memory.
        const WITH_PRIVATE_READ_WRITE_MEMORY = 0x200;
        /// Nothing that is not essential.
        const WITHOUT_OPTIONAL_DATA = 0x400;
        /// The map of the address space.
        const WITH_FULL_MEMORY_INFO = 0x800;
        /// Times and start addresses of threads.
        const WITH_THREAD_INFO = 0x1000;
        /// Executable sections of modules.
        const WITH_CODE_SEGS = 0x2000;
        /// No data of auxiliary providers.
        const WITHOUT_AUXILIARY_STATE = 0x4000;
        /// All data of auxiliary providers.
        const WITH_FULL_AUXILIARY_STATE = 0x8000;
        /// Private copy-on-write memory.
        const WITH_PRIVATE_WRITE_COPY_MEMORY = 0x1_0000;
        /// Memory that cannot be read is no error.
        const IGNORE_INACCESSIBLE_MEMORY = 0x2_0000;
        /// Security tokens.
        const WITH_TOKEN_INFORMATION = 0x4_0000;
        /// Headers of modules.
        const WITH_MODULE_HEADERS = 0x8_0000;
        /// What triage needs, and as little as possible besides.
        const FILTER_TRIAGE = 0x10_0000;
        /// Extended registers.
        const WITH_AVX_X_STATE_CONTEXT = 0x20_0000;
        /// Traces of Intel PT.
        const WITH_IPT_TRACE = 0x40_0000;
        /// The readable part of ranges that hold unreadable pages.
        const SCAN_INACCESSIBLE_PARTIAL_PAGES = 0x80_0000;
        /// No write-combined memory.
        const FILTER_WRITE_COMBINED_MEMORY = 0x100_0000;
        /// The opposite of `IGNORE_INACCESSIBLE_MEMORY`, which it overrules.
        const NO_IGNORE_INACCESSIBLE_MEMORY = 0x200_0000;
    }
}

/// Names for combinations, and their bits. Microsoft publishes none; these are what well-known dump
/// tools use for the same purposes.
const PRESETS: &[(&str, u32)] = &[
    ("normal", 0),
    ("mini", 0x1005),
    ("heap", 0x4_1A25),
    ("triage", 0x12_05AC),
    ("full", 0x6_1826),
];

impl DumpType {
    /// Threads, modules, and what their stack traces need.
    pub const NORMAL: Self = Self::empty();

    /// Reads a comma list of preset names, flag names (as in `with-full-memory`) and `0xHEX`, OR-ed.
    ///
    /// # Errors
    /// A name that is none; the text lists those that are.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut bits = Self::empty();
        for word in list.split(',').map(str::trim) {
            bits |= Self::parse_word(word).ok_or_else(|| unknown_name(word))?;
        }
        Ok(bits)
    }

    fn parse_word(word: &str) -> Option<Self> {
        if let Some((_, bits)) = PRESETS.iter().find(|(name, _)| *name == word) {
            return Some(Self::from_bits_retain(*bits));
        }
        if let Some(digits) = word.strip_prefix("0x") {
            return u32::from_str_radix(digits, 16).ok().map(Self::from_bits_retain);
        }
        Self::all()
            .iter_names()
            .find(|(name, _)| kebab(name) == word)
            .map(|(_, flag)| flag)
    }

    /// All names that [`parse`](Self::parse) knows: presets first, then flags.
    pub fn names() -> impl Iterator<Item = String> {
        let presets = PRESETS.iter().map(|(name, _)| (*name).to_owned());
        presets.chain(Self::all().iter_names().map(|(name, _)| kebab(name)))
    }

    /// The bits that count after contradictions are settled, as Microsoft's writer settles them; they
    /// stand in the dump's header.
    ///
    /// The order of the rules matters and was observed on DbgHelp 6.3.9600: `0x402` becomes `0x400`.
    ///
    /// # Errors
    /// Bits that no Windows knows, and full memory together with code segments.
    pub fn normalised(self) -> Result<Self, Error> {
        let settled = self.settled(Self::all())?;
        settled.contradiction().map_or(Ok(settled), Err)
    }

    /// What cannot be dumped together, after [`settled`](Self::settled).
    pub(crate) fn contradiction(self) -> Option<Error> {
        let both = Self::WITH_FULL_MEMORY | Self::WITH_CODE_SEGS;
        self.contains(both).then(|| Error::InvalidType {
            bits: self.bits(),
            reason: "full memory and code segments exclude each other".to_owned(),
        })
    }

    /// The bits that count of those that are `known`.
    pub(crate) fn settled(self, known: Self) -> Result<Self, Error> {
        let unknown = self.difference(known);
        if !unknown.is_empty() {
            return Err(Error::InvalidType {
                bits: self.bits(),
                reason: format!("the bits {:#x} mean nothing", unknown.bits()),
            });
        }
        let mut bits = self;
        if bits.contains(Self::WITHOUT_OPTIONAL_DATA) {
            bits.remove(
                Self::WITH_FULL_MEMORY
                    | Self::WITH_INDIRECTLY_REFERENCED_MEMORY
                    | Self::WITH_PRIVATE_READ_WRITE_MEMORY
                    | Self::WITH_FULL_AUXILIARY_STATE
                    | Self::WITH_PRIVATE_WRITE_COPY_MEMORY,
            );
        }
        if bits.contains(Self::WITH_FULL_MEMORY) {
            bits.remove(
                Self::WITH_DATA_SEGS
                    | Self::FILTER_MEMORY
                    | Self::SCAN_MEMORY
                    | Self::WITH_INDIRECTLY_REFERENCED_MEMORY
                    | Self::WITH_PROCESS_THREAD_DATA
                    | Self::WITH_PRIVATE_READ_WRITE_MEMORY
                    | Self::WITH_FULL_AUXILIARY_STATE
                    | Self::WITH_PRIVATE_WRITE_COPY_MEMORY
                    | Self::WITH_MODULE_HEADERS
                    | Self::FILTER_TRIAGE,
            );
        }
        if bits.contains(Self::FILTER_TRIAGE) {
            bits.insert(Self::FILTER_MODULE_PATHS);
            bits.remove(Self::WITH_TOKEN_INFORMATION);
        }
        if bits.contains(Self::NO_IGNORE_INACCESSIBLE_MEMORY) {
            bits.remove(Self::IGNORE_INACCESSIBLE_MEMORY);
        }
        Ok(bits)
    }
}

/// The flags' names, as [`DumpType::parse`] reads them.
impl fmt::Display for DumpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("normal");
        }
        let names: Vec<_> = self.iter_names().map(|(name, _)| kebab(name)).collect();
        f.write_str(&names.join(","))
    }
}

fn kebab(constant: &str) -> String {
    constant.to_lowercase().replace('_', "-")
}

fn unknown_name(word: &str) -> String {
    let names: Vec<_> = DumpType::names().collect();
    format!(
        "\"{word}\" is no dump type; known are {}, and 0xHEX",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_or_ed() {
        assert_eq!(DumpType::parse("normal").unwrap(), DumpType::NORMAL);
        assert_eq!(
            DumpType::parse("mini,with-full-memory-info,0x4").unwrap().bits(),
            0x1805
        );
        assert_eq!(DumpType::parse("full").unwrap().bits(), 0x6_1826);
    }

    #[test]
    fn what_is_shown_can_be_read() {
        let full = DumpType::parse("full").unwrap();
        assert_eq!(DumpType::parse(&full.to_string()).unwrap(), full);
        assert_eq!(DumpType::NORMAL.to_string(), "normal");
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        let text = DumpType::parse("with-full-memmory").unwrap_err();
        for name in [
            "triage",
            "with-full-memory,",
            "no-ignore-inaccessible-memory",
            "0xHEX",
        ] {
            assert!(text.contains(name), "{text}");
        }
    }

    /// Observed on DbgHelp 6.3.9600, header flags of its dumps.
    #[test]
    fn contradictions_are_settled_as_windows_does() {
        let normalised = |bits| {
            DumpType::from_bits_retain(bits)
                .normalised()
                .map(|t| t.bits())
                .ok()
        };
        assert_eq!(normalised(0x402), Some(0x400));
        assert_eq!(normalised(0x2 | 0x1 | 0x40 | 0x800), Some(0x802));
        assert_eq!(normalised(0x10_0000 | 0x4_0000), Some(0x10_0080));
        assert_eq!(normalised(0x202_0002), Some(0x200_0002), "as documented");
        assert_eq!(normalised(0x2002), None);
        assert_eq!(normalised(0x400_0000), None);
    }
}
