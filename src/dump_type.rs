use std::fmt;

use bitflags::bitflags;

use crate::{Error, Profile};

#[cfg(test)]
mod table;

bitflags! {
    /// What a dump contains: the 27 flags of Windows' `MINIDUMP_TYPE`.
    ///
    /// Names and values are those of Microsoft's page `MINIDUMP_TYPE`. The last two flags are only
    /// in the header of the Windows SDK 10.0.28000. `docs/flags.md` describes the effect of each
    /// flag in detail.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct DumpType: u32 {
        /// Writable sections of modules.
        const WITH_DATA_SEGS = 0x1;
        /// All readable memory.
        const WITH_FULL_MEMORY = 0x2;
        /// Open handles.
        const WITH_HANDLE_DATA = 0x4;
        /// On stacks and in registers, only what a stack walk needs; everything else becomes 0.
        const FILTER_MEMORY = 0x8;
        /// In the Module callback, a mark for modules that words on the stacks point into.
        const SCAN_MEMORY = 0x10;
        /// Modules that have been unloaded.
        const WITH_UNLOADED_MODULES = 0x20;
        /// Memory around the addresses that words on the stacks point to.
        const WITH_INDIRECTLY_REFERENCED_MEMORY = 0x40;
        /// Module names without their folders.
        const FILTER_MODULE_PATHS = 0x80;
        /// The system's data about the process and its threads (Windows: PEB and TEBs; Linux: the
        /// memory around each thread pointer), environment and command line.
        const WITH_PROCESS_THREAD_DATA = 0x100;
        /// Private writable memory.
        const WITH_PRIVATE_READ_WRITE_MEMORY = 0x200;
        /// Only essential data; clears other flags, see `DumpType::normalised`.
        const WITHOUT_OPTIONAL_DATA = 0x400;
        /// The map of the address space.
        const WITH_FULL_MEMORY_INFO = 0x800;
        /// Times, start addresses and affinities of threads.
        const WITH_THREAD_INFO = 0x1000;
        /// Executable sections of modules.
        const WITH_CODE_SEGS = 0x2000;
        /// No data from auxiliary data providers.
        const WITHOUT_AUXILIARY_STATE = 0x4000;
        /// All data from auxiliary data providers.
        const WITH_FULL_AUXILIARY_STATE = 0x8000;
        /// Private copy-on-write memory.
        const WITH_PRIVATE_WRITE_COPY_MEMORY = 0x1_0000;
        /// Unreadable memory does not fail a full dump. Full memory sets this flag, except in the
        /// profile `dbghelp63`.
        const IGNORE_INACCESSIBLE_MEMORY = 0x2_0000;
        /// Security tokens.
        const WITH_TOKEN_INFORMATION = 0x4_0000;
        /// Headers of modules.
        const WITH_MODULE_HEADERS = 0x8_0000;
        /// Only what a first analysis (triage) needs: other words on stacks and in registers are
        /// overwritten with 0xAA. Sets `FILTER_MODULE_PATHS`.
        const FILTER_TRIAGE = 0x10_0000;
        /// Extended registers (AVX and later) of threads.
        const WITH_AVX_X_STATE_CONTEXT = 0x20_0000;
        /// Traces of Intel Processor Trace.
        const WITH_IPT_TRACE = 0x40_0000;
        /// The readable parts of ranges that have unreadable pages.
        const SCAN_INACCESSIBLE_PARTIAL_PAGES = 0x80_0000;
        /// No write-combined memory.
        const FILTER_WRITE_COMBINED_MEMORY = 0x100_0000;
        /// Unreadable memory fails the dump. Clears `IGNORE_INACCESSIBLE_MEMORY`.
        const NO_IGNORE_INACCESSIBLE_MEMORY = 0x200_0000;
        /// All readable memory, compressed. Clears `WITH_FULL_MEMORY`, and what that one clears.
        ///
        /// Such a dump needs an output whose beginning can be written last, such as a file.
        const WITH_MEMORY_COMPRESSED = 0x400_0000;
    }
}

/// Names for combinations of flags, and their bits.
///
/// Microsoft publishes no such names. The combinations are those that well-known dump tools use for
/// the same purposes.
const PRESETS: &[(&str, u32)] = &[
    ("normal", 0),
    ("mini", 0x1005),
    ("heap", 0x4_1A25),
    ("triage", 0x12_05AC),
    ("full", 0x6_1826),
];

impl DumpType {
    /// Threads, modules, and the memory that stack traces need.
    pub const NORMAL: Self = Self::empty();

    /// Windows' `MiniDumpValidTypeFlags`: every flag except `NO_IGNORE_INACCESSIBLE_MEMORY`.
    pub const VALID_TYPE_FLAGS: Self = Self::all().difference(Self::NO_IGNORE_INACCESSIBLE_MEMORY);

    /// Windows' `MiniDumpValidTypeFlagsEx`: every flag.
    pub const VALID_TYPE_FLAGS_EX: Self = Self::all();

    /// Parses a comma-separated list of preset names, flag names and numbers. Returns all of them
    /// combined.
    ///
    /// The presets are `normal` (0), `mini` (0x1005), `heap` (0x41A25), `triage` (0x1205AC) and
    /// `full` (0x61826).
    ///
    /// A flag may be written as in this crate (`WITH_FULL_MEMORY`), as in Windows' header
    /// (`MiniDumpWithFullMemory`), without its prefix (`WithFullMemory`), or in lower case with
    /// hyphens (`with-full-memory`). Letters may be upper or lower case. A number is hexadecimal if
    /// it begins with `0x`, as in `0x1005`, and decimal otherwise.
    ///
    /// ```
    /// use dumpwright::DumpType;
    ///
    /// for text in ["MiniDumpWithFullMemory", "with-full-memory", "full_memory", "2"] {
    ///     assert_eq!(DumpType::parse(text), Ok(DumpType::WITH_FULL_MEMORY));
    /// }
    /// ```
    ///
    /// # Errors
    /// Fails if a name is unknown. The text of the error has the nearest known name, or if none is
    /// near, the presets.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut bits = Self::empty();
        for word in list.split(',').map(str::trim) {
            bits |= Self::parse_word(word).ok_or_else(|| unknown_name(word))?;
        }
        Ok(bits)
    }

    fn parse_word(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        let number = match word.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => word.parse().ok(),
        };
        if let Some(bits) = number {
            return Some(Self::from_bits_retain(bits));
        }
        if let Some(flags) = Self::of_preset(&word) {
            return Some(flags);
        }
        let plain = plain(&word);
        let mut names = Self::all().iter_names();
        names
            // "with" is in most names, and people leave it out. No two names differ only by it.
            .find(|(name, _)| {
                let known = self::plain(name);
                known == plain || known.strip_prefix("with") == Some(plain.as_str())
            })
            .map(|(_, flag)| flag)
    }

    /// Returns the flags of the preset with this name.
    pub(crate) fn of_preset(name: &str) -> Option<Self> {
        let preset = PRESETS.iter().find(|(known, _)| *known == name);
        preset.map(|(_, bits)| Self::from_bits_retain(*bits))
    }

    /// Returns the name of the preset with exactly these flags, or `None` if there is none.
    #[must_use]
    pub fn preset(self) -> Option<&'static str> {
        let preset = PRESETS.iter().find(|(_, bits)| *bits == self.bits());
        preset.map(|(name, _)| *name)
    }

    /// Returns the names of the flags. Bits without a name are one number.
    fn flags(self) -> Vec<String> {
        let mut names: Vec<_> = self.iter_names().map(|(name, _)| kebab(name)).collect();
        let unknown = self.difference(Self::all());
        if !unknown.is_empty() {
            names.push(format!("{:#x}", unknown.bits()));
        }
        names
    }

    /// Returns the names that [`parse`](Self::parse) accepts, in the form in which they are
    /// displayed: presets first, then flags.
    pub fn names() -> impl Iterator<Item = String> {
        let presets = PRESETS.iter().map(|(name, _)| (*name).to_owned());
        presets.chain(Self::all().iter_names().map(|(name, _)| kebab(name)))
    }

    /// Returns the flags that are effective after conflicts between flags are resolved, with the
    /// profile `documented`. The dump's header has these flags.
    ///
    /// The rules and their order are those of the DbgHelp of January 2026, as observed. For
    /// example, `0x2002` becomes `0x20002`: full memory includes code, and unreadable memory does
    /// not fail such a dump. `WITHOUT_OPTIONAL_DATA` clears `WITH_FULL_MEMORY`. One rule is not
    /// Microsoft's: `NO_IGNORE_INACCESSIBLE_MEMORY` clears `IGNORE_INACCESSIBLE_MEMORY`, where the
    /// DbgHelp of 2026 refuses the two together.
    ///
    /// # Errors
    /// Fails for bits that no version of Windows defines.
    pub fn normalised(self) -> Result<Self, Error> {
        self.settled(Profile::Documented)
    }

    /// Returns an error for full memory together with code segments. Only DbgHelp 6.3.9600 refuses
    /// that; other profiles leave out the code segments ([`settled`](Self::settled)).
    pub(crate) fn contradiction(self) -> Option<Error> {
        let both = Self::WITH_FULL_MEMORY | Self::WITH_CODE_SEGS;
        self.contains(both).then(|| Error::InvalidType {
            bits: self.bits(),
            reason: "full memory (0x2) cannot be combined with code segments (0x2000), which it includes"
                .to_owned(),
        })
    }

    /// Whether the dump has all readable memory, compressed or not.
    pub(crate) fn has_all_memory(self) -> bool {
        self.intersects(Self::WITH_FULL_MEMORY | Self::WITH_MEMORY_COMPRESSED)
    }

    /// Returns the effective flags, or an error if the profile does not know a flag or refuses the
    /// combination.
    pub(crate) fn settled(self, profile: Profile) -> Result<Self, Error> {
        let known = profile.known_types();
        let unknown = self.difference(known);
        if !unknown.is_empty() {
            // The profiles of DbgHelp do not know the dump types of later versions.
            let whose = if Self::all().contains(unknown) {
                " to this profile"
            } else {
                ""
            };
            return Err(Error::InvalidType {
                bits: self.bits(),
                reason: format!("the bits {:#x} are unknown{whose}", unknown.bits()),
            });
        }
        let refused = profile.refused_pairs().iter();
        if let Some(pair) = refused.copied().find(|pair| self.contains(*pair)) {
            return Err(Error::InvalidType {
                bits: self.bits(),
                reason: format!("this profile refuses {pair} together, as DbgHelp does"),
            });
        }
        let mut bits = self;
        if profile.full_memory_ignores_inaccessible()
            && bits.contains(Self::WITH_FULL_MEMORY)
            && !bits.contains(Self::NO_IGNORE_INACCESSIBLE_MEMORY)
        {
            bits.insert(Self::IGNORE_INACCESSIBLE_MEMORY);
        }
        if bits.contains(Self::WITHOUT_OPTIONAL_DATA) {
            bits.remove(
                Self::WITH_FULL_MEMORY
                    | Self::WITH_INDIRECTLY_REFERENCED_MEMORY
                    | Self::WITH_PRIVATE_READ_WRITE_MEMORY
                    | Self::WITH_FULL_AUXILIARY_STATE
                    | Self::WITH_PRIVATE_WRITE_COPY_MEMORY
                    | Self::WITH_MEMORY_COMPRESSED,
            );
        }
        if bits.contains(Self::WITH_MEMORY_COMPRESSED) {
            // As the DbgHelp of 2026. With 0x2, Microsoft's debugger engine would look for a
            // Memory64List, and refuse the file.
            if bits.contains(Self::WITH_FULL_MEMORY) && !bits.contains(Self::NO_IGNORE_INACCESSIBLE_MEMORY) {
                bits.insert(Self::IGNORE_INACCESSIBLE_MEMORY);
            }
            bits.remove(Self::WITH_FULL_MEMORY | Self::WITH_CODE_SEGS);
        }
        if bits.has_all_memory() {
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
            bits.set(
                Self::WITH_CODE_SEGS,
                bits.contains(Self::WITH_CODE_SEGS) && profile.refuses_contradictions_late(),
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

/// Writes the name of the preset with these flags or, if there is none, the names of the flags
/// separated by commas. [`DumpType::parse`] accepts this form.
impl fmt::Display for DumpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(preset) = self.preset() {
            return f.write_str(preset);
        }
        f.write_str(&self.flags().join(","))
    }
}

fn kebab(constant: &str) -> String {
    constant.to_lowercase().replace('_', "-")
}

/// Returns a name without what its spellings differ in: upper and lower case, `-` and `_`, and the
/// prefix `MiniDump`.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(|letter| !matches!(letter, '-' | '_'));
    let plain = letters.collect::<String>().to_ascii_lowercase();
    plain
        .strip_prefix("minidump")
        .map_or(plain.clone(), str::to_owned)
}

fn unknown_name(word: &str) -> String {
    let names: Vec<_> = DumpType::names().collect();
    // A name of Microsoft's is nearest to one with the same words.
    let kebab = match word.strip_prefix("MiniDump").unwrap_or(word) {
        camel if camel.starts_with(|letter: char| letter.is_ascii_uppercase()) && !camel.contains('_') => {
            let with_hyphens = camel.chars().flat_map(|letter| {
                let hyphen = letter.is_ascii_uppercase().then_some('-');
                hyphen.into_iter().chain([letter.to_ascii_lowercase()])
            });
            with_hyphens
                .collect::<String>()
                .trim_start_matches('-')
                .to_owned()
        }
        other => self::kebab(other),
    };
    if crate::policy::Preset::NAMES.contains(&word) {
        return format!(
            "\"{word}\" is a preset with policies, not a dump type; write preset = \"{word}\" in a policy file"
        );
    }
    let word = dumpwright_target::printable(word);
    let known = names.iter().map(String::as_str);
    match dumpwright_text::nearest(&kebab, known) {
        Some(nearest) => format!("\"{word}\" is not a dump type; did you mean \"{nearest}\"?"),
        None => {
            let presets: Vec<_> = PRESETS.iter().map(|(name, _)| *name).collect();
            format!(
                "\"{word}\" is not a dump type; use {}, the name of a flag (docs/flags.md lists them), or a number 0xHEX",
                presets.join(", ")
            )
        }
    }
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
        for bits in [0, 0x2, 0x1005, 0x6_1826, 0x6_1827, 0x7ff_ffff, 0x4000_0001] {
            let flags = DumpType::from_bits_retain(bits);
            assert_eq!(DumpType::parse(&flags.to_string()), Ok(flags), "{flags}");
        }
        assert_eq!(DumpType::NORMAL.to_string(), "normal");
        assert_eq!(DumpType::from_bits_retain(0x6_1826).to_string(), "full");
        assert_eq!(DumpType::WITH_FULL_MEMORY.to_string(), "with-full-memory");
    }

    /// The spellings that people find in Microsoft's documentation, in Rust, and in outputs.
    #[test]
    fn a_flag_may_be_spelt_as_anywhere() {
        for (name, flag) in DumpType::all().iter_names() {
            let words = name
                .split('_')
                .map(|word| word[..1].to_owned() + &word[1..].to_lowercase());
            let camel: String = words.collect();
            let kebab = kebab(name);
            let short = kebab.strip_prefix("with-").unwrap_or(&kebab).to_owned();
            for text in [
                name.to_owned(),
                name.to_lowercase(),
                format!("MiniDump{camel}"),
                camel,
                kebab,
                short.replace('-', "_"),
                flag.bits().to_string(),
                format!("{:#X}", flag.bits()),
            ] {
                assert_eq!(DumpType::parse(&text), Ok(flag), "{text}");
            }
        }
        assert_eq!(DumpType::parse("Full").map(DumpType::preset), Ok(Some("full")));
    }

    #[test]
    fn an_unknown_name_has_the_nearest_known_one() {
        for (wrong, nearest) in [
            ("with-full-memmory", "with-full-memory"),
            ("WithFullMemroy", "with-full-memory"),
            ("MiniDumpWithFullMemroy", "with-full-memory"),
            ("ful", "full"),
        ] {
            let text = DumpType::parse(wrong).unwrap_err();
            assert!(text.contains(&format!("did you mean \"{nearest}\"?")), "{text}");
        }
        let text = DumpType::parse("everything\x1b[31m").unwrap_err();
        assert!(
            text.contains("normal, mini, heap, triage, full") && text.len() < 150,
            "{text}"
        );
        assert!(!text.contains('\x1b'), "{text}");
        assert!(DumpType::parse("").is_err());
        assert!(DumpType::parse("with").is_err());
    }

    /// The values are the header flags of dumps by DbgHelp 6.3.9600 and by the DbgHelp of January
    /// 2026, which the recordings show (`01-norm-…`, `21-noignore-…`).
    #[test]
    fn contradictions_are_settled_as_windows_does() {
        let settled = |profile, bits| {
            let settled = DumpType::from_bits_retain(bits).settled(profile);
            settled.map(|settled| settled.bits()).ok()
        };
        for (bits, first, later) in [
            (0x402, Some(0x400), Some(0x2_0400)),
            (0x2 | 0x1 | 0x40 | 0x800, Some(0x802), Some(0x2_0802)),
            (0x10_0000 | 0x4_0000, Some(0x10_0080), Some(0x10_0080)),
            (0x2042, Some(0x2002), Some(0x2_0002)),
            (0x1F_FBFF, Some(0x6_78A6), Some(0x6_58A6)),
            (0x200_0002, None, Some(0x200_0002)),
            (0x400_0400, None, Some(0x400)),
        ] {
            assert_eq!(settled(Profile::DbgHelp63, bits), first, "{bits:#x}");
            for profile in [Profile::DbgHelp10, Profile::Documented] {
                assert_eq!(settled(profile, bits), later, "{profile:?} {bits:#x}");
            }
        }
        assert!(DumpType::from_bits_retain(0x2002).contradiction().is_some());
        for (bits, documented) in [(0x202_0002, 0x200_0002), (0x30_0000, 0x30_0080)] {
            assert_eq!(settled(Profile::DbgHelp10, bits), None, "{bits:#x}");
            let normalised = DumpType::from_bits_retain(bits).normalised();
            assert_eq!(normalised.map(|bits| bits.bits()).ok(), Some(documented));
        }
        let unknown = DumpType::from_bits_retain(0x800_0000).normalised();
        assert!(unknown.is_err(), "{unknown:?}");
    }

    /// The values are the header flags of dumps by the DbgHelp of 2026 (`20-cmem-*`).
    #[test]
    fn compressed_memory_takes_the_place_of_full_memory() {
        for (bits, effective) in [
            (0x400_0000, 0x400_0000),
            (0x400_0002, 0x402_0000),
            (0x600_0002, 0x600_0000),
            (0x400_2000, 0x400_0000),
            (0x410_0000, 0x400_0000),
            (0x404_9B5D, 0x404_1804),
            (0x4E0_4020, 0x4E0_4020),
        ] {
            let normalised = DumpType::from_bits_retain(bits).normalised().unwrap();
            assert_eq!(normalised.bits(), effective, "{bits:#x}");
        }
        for bits in [0x400_0000, 0x400_0400] {
            assert!(
                DumpType::from_bits_retain(bits)
                    .settled(Profile::DbgHelp63)
                    .is_err(),
                "{bits:#x}"
            );
        }
    }
}
