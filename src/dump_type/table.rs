//! The table of dump types in `docs/flags.md`, and tests of it.
//!
//! Facts that the code has are computed: which flags a type sets and clears, the flags that
//! IncludeThread and IncludeModule are prefilled with, and the streams that a type adds. The other
//! columns are written here, and tests compare them with the cases in `testdata/cases`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::{DumpType, PRESETS, kebab};
use crate::Profile;
use crate::protocol::{initial_module_flags, initial_thread_flags};
use crate::streams::{AskedBy, asked_by};

/// A row of the table.
struct FlagRow {
    flag: DumpType,
    /// What it adds to the memory of a normal dump, or removes from it.
    memory: &'static str,
    /// What is supported on live processes.
    live: Live,
    /// What is supported on simulated processes.
    simulated: &'static str,
    /// The folder in `testdata/cases`; `None` if there is no case yet.
    case: Option<&'static str>,
}

/// What is supported of a dump type on live processes.
#[derive(Clone, Copy)]
enum Live {
    /// What the table in `src/streams/mod.rs` says about the streams that the type adds.
    Streams,
    /// A text for Linux and a text for Windows.
    On(&'static str, &'static str),
}

const YES: &str = "yes";
const NOTHING: &str = "–";
const BOTH: Live = Live::On(YES, YES);

macro_rules! row {
    ($flag:ident, $memory:expr, $live:expr, $simulated:expr, $case:expr) => {
        FlagRow {
            flag: DumpType::$flag,
            memory: $memory,
            live: $live,
            simulated: $simulated,
            case: $case,
        }
    };
}

const TABLE: [FlagRow; 27] = [
    row!(
        WITH_DATA_SEGS,
        "writable parts of modules, to the byte, `.bss` included: writable PE sections, writable ELF segments (PT_LOAD); if a module's headers are malformed, its writable regions",
        BOTH,
        YES,
        Some("flag-data-segs")
    ),
    row!(
        WITH_FULL_MEMORY,
        "every readable region except devices, pages of the kernel, and memory that the program marked \"do not dump\"; stacks come first",
        Live::Streams,
        YES,
        Some("flag-full-memory")
    ),
    row!(
        WITH_HANDLE_DATA,
        NOTHING,
        Live::Streams,
        YES,
        Some("flag-handle-data")
    ),
    row!(
        FILTER_MEMORY,
        "stack words and registers become 0 unless they point into a module, into code generated at run time, or into a stack; all vector registers become 0. No environment, even if another type adds it. Modules are marked as with 0x10. `dbghelp63` and `dbghelp10` do not change stacks and registers",
        BOTH,
        YES,
        Some("flag-filter-memory")
    ),
    row!(
        SCAN_MEMORY,
        "unchanged; modules that stack words point into are marked in the Module callback",
        BOTH,
        YES,
        Some("flag-scan-memory")
    ),
    row!(
        WITH_UNLOADED_MODULES,
        NOTHING,
        Live::Streams,
        YES,
        Some("flag-unloaded-modules")
    ),
    row!(
        WITH_INDIRECTLY_REFERENCED_MEMORY,
        "256 bytes before and 768 bytes after each address outside modules that an aligned stack word contains. This includes unused parts of stacks, except with 0x8 or 0x100000",
        BOTH,
        YES,
        Some("flag-indirectly-referenced")
    ),
    row!(
        FILTER_MODULE_PATHS,
        "unchanged; folders are removed from module names, PDB paths, miscellaneous debug records, LinuxMaps, LinuxDsoDebug and unloaded modules",
        BOTH,
        YES,
        Some("flag-module-paths")
    ),
    row!(
        WITH_PROCESS_THREAD_DATA,
        "Linux: the strings above the main stack, two pages around each thread pointer; Windows: TEBs with TLS and FLS, PEB, process parameters and their strings, 8 KiB of the environment",
        Live::Streams,
        YES,
        Some("flag-process-thread-data")
    ),
    row!(
        WITH_PRIVATE_READ_WRITE_MEMORY,
        "private writable regions; environment and arguments are in one of them",
        BOTH,
        YES,
        Some("flag-private-read-write")
    ),
    row!(
        WITHOUT_OPTIONAL_DATA,
        "with 0x100, only the thread blocks (and the PEB), neither environment nor arguments",
        BOTH,
        YES,
        Some("flag-without-optional-data")
    ),
    row!(
        WITH_FULL_MEMORY_INFO,
        NOTHING,
        Live::Streams,
        YES,
        Some("flag-full-memory-info")
    ),
    row!(
        WITH_THREAD_INFO,
        NOTHING,
        Live::Streams,
        YES,
        Some("flag-thread-info")
    ),
    row!(
        WITH_CODE_SEGS,
        "executable parts of modules, exact to the byte",
        BOTH,
        YES,
        Some("flag-code-segs")
    ),
    row!(
        WITHOUT_AUXILIARY_STATE,
        "unchanged: there are no auxiliary data providers",
        BOTH,
        YES,
        Some("flag-without-auxiliary-state")
    ),
    row!(
        WITH_FULL_AUXILIARY_STATE,
        "unchanged: there are no auxiliary data providers, and a diagnostic in the dump reports it",
        Live::On("nothing to add", "nothing to add"),
        "nothing to add",
        Some("flag-full-auxiliary-state")
    ),
    row!(
        WITH_PRIVATE_WRITE_COPY_MEMORY,
        "copy-on-write regions; Linux: private writable file mappings",
        BOTH,
        YES,
        Some("flag-private-write-copy")
    ),
    row!(
        IGNORE_INACCESSIBLE_MEMORY,
        "unchanged in `documented`, where an unreadable page is always left out or filled, and reported; in `dbghelp63`, an unreadable page fails a full dump unless this type is set",
        BOTH,
        YES,
        Some("flag-ignore-inaccessible")
    ),
    row!(
        WITH_TOKEN_INFORMATION,
        NOTHING,
        Live::Streams,
        YES,
        Some("flag-token-information")
    ),
    row!(
        WITH_MODULE_HEADERS,
        "ELF: first page, program headers, notes, dynamic section and its strings, unwind tables; PE: headers, and the data directories that DbgHelp includes",
        BOTH,
        YES,
        Some("flag-module-headers")
    ),
    row!(
        FILTER_TRIAGE,
        "stack words and registers other than 0 become 0xAA… unless they point into a module, into the thread's stack, or into captured memory; all vector registers become 0xAA…. The first word of an object is added if it points into a module or a stack. No environment, even if another type adds it",
        BOTH,
        YES,
        Some("flag-filter-triage")
    ),
    row!(
        WITH_AVX_X_STATE_CONTEXT,
        "unchanged; thread contexts have AVX and later registers, and MiscInfo describes their layout",
        Live::On(YES, "yes, except AMX"),
        YES,
        Some("flag-avx-x-state-context")
    ),
    row!(
        WITH_IPT_TRACE,
        "unchanged: no trace is recorded, and a diagnostic in the dump reports it",
        Live::On("nothing to add", "nothing to add"),
        "nothing to add",
        Some("flag-ipt-trace")
    ),
    row!(
        SCAN_INACCESSIBLE_PARTIAL_PAGES,
        "unchanged in `documented`, which always keeps what follows an unreadable page; without this type, `dbghelp10` drops it",
        BOTH,
        YES,
        Some("flag-partial-pages")
    ),
    row!(
        FILTER_WRITE_COMBINED_MEMORY,
        "no write-combined regions",
        Live::On(
            "yes; on Linux, such memory belongs to devices and is never read",
            YES
        ),
        YES,
        Some("flag-write-combined")
    ),
    row!(
        NO_IGNORE_INACCESSIBLE_MEMORY,
        "unchanged; an unreadable page fails the dump",
        BOTH,
        YES,
        Some("flag-no-ignore-inaccessible")
    ),
    row!(
        WITH_MEMORY_COMPRESSED,
        "the same as with 0x2, compressed with LZ4 and ascending; the stacks are in a MemoryList as well (not in `dbghelp10`). The output must be a file. Unknown in `dbghelp63`",
        Live::Streams,
        YES,
        Some("flag-memory-compressed")
    ),
];

/// Returns how the type affects other types: which ones it sets, clears and excludes.
fn settles(flag: DumpType) -> String {
    let all = DumpType::all()
        - DumpType::WITHOUT_OPTIONAL_DATA
        - DumpType::WITH_FULL_MEMORY
        - DumpType::WITH_MEMORY_COMPRESSED;
    let settle = |bits: DumpType| bits.settled(Profile::Documented).expect("known bits");
    // Full memory clears other flags itself, so it is tested separately.
    let with = settle(all | flag) | (settle(flag | DumpType::WITH_FULL_MEMORY) & DumpType::WITH_FULL_MEMORY);
    let without =
        settle((all | DumpType::WITH_FULL_MEMORY) - flag) & DumpType::WITH_FULL_MEMORY | settle(all - flag);
    let others = (all | DumpType::WITH_FULL_MEMORY) - flag;
    let cleared = (without - with) & others;
    let set = settle(flag) - flag;
    let mut words = Vec::new();
    if !set.is_empty() {
        words.push(format!("sets {:#x}", set.bits()));
    }
    let cleared: Vec<_> = cleared.iter().map(|bit| format!("{:#x}", bit.bits())).collect();
    if !cleared.is_empty() {
        words.push(format!("clears {}", cleared.join(" ")));
    }
    or_dash(words.join("; "))
}

fn or_dash(text: String) -> String {
    if text.is_empty() { NOTHING.to_owned() } else { text }
}

/// Returns the text of `docs/flags.md`.
fn document() -> String {
    let normal = DumpType::NORMAL;
    let mut text = format!(
        "\
# Dump types

A dump type selects what a dump contains. It is a combination of flags: those of Microsoft's
`MINIDUMP_TYPE`. The option `--type` takes names and numbers of flags, separated by commas:
`--type with-handle-data,with-thread-info` is `--type 0x1004`. Other spellings, such as
`MiniDumpWithHandleData`, `WithHandleData` and `handle_data`, are accepted too. In Rust, the flags
are constants of `DumpType`, such as `DumpType::WITH_HANDLE_DATA`. [Presets](#presets) are names for
useful combinations.

Each row of this table describes what one flag alone adds to a normal dump, which has threads
with stacks and instruction windows, modules, and facts about the system.

* \"other types\": the flags that it sets or clears. 0x2 sets 0x20000 first of all. Then conflicts
  between flags are settled, in the order 0x400, 0x2, 0x100000, 0x2000000.
* \"streams\": the streams that the flag adds; [streams.md](streams.md) describes them.
* \"memory\": the memory that the flag adds or removes. \"Unchanged\" means the memory of
  a normal dump.
* \"Thread\" and \"Module\": the flags with which the callback types IncludeThread and
  IncludeModule are prefilled ({:#x} and {:#x} in a normal dump).
* \"live Windows\": processes dumped with `--backend dumpwright`. This has been tested under Wine
  only, see [windows.md](windows.md).
* \"case\": a folder in `testdata/cases`. The case states what the flag adds to a normal dump, and
  a test checks it.

The [profile](glossary.md#the-callback) `dbghelp63` does not know the flags above 0x100000.

`cargo xtask bless` generates this page from the table in `src/dump_type/table.rs` and from the
code.

| type | name | other types | streams | memory | Thread | Module | live Linux | live Windows | simulated | case |
|---|---|---|---|---|---|---|---|---|---|---|
",
        initial_thread_flags(normal).bits(),
        initial_module_flags(normal).bits(),
    );
    for row in TABLE {
        let name = row
            .flag
            .iter_names()
            .next()
            .map_or_else(String::new, |(name, _)| kebab(name));
        let streams: Vec<_> = asked_by(row.flag)
            .into_iter()
            .map(|(name, _)| name.trim_end_matches("Stream"))
            .collect();
        let (linux, windows) = live(&row);
        writeln!(
            text,
            "| {:#x} | {name} | {} | {} | {} | {} | {} | {linux} | {windows} | {} | {} |",
            row.flag.bits(),
            settles(row.flag),
            or_dash(streams.join(", ")),
            row.memory,
            flags_or_dash(
                initial_thread_flags(row.flag).bits(),
                initial_thread_flags(normal).bits()
            ),
            flags_or_dash(
                initial_module_flags(row.flag).bits(),
                initial_module_flags(normal).bits()
            ),
            row.simulated,
            row.case.unwrap_or("none yet"),
        )
        .expect("writing into a string");
    }
    text.push_str(
        "
## Presets

Presets can be combined with each other and with flags: `--type mini,with-full-memory-info`. The
combinations are those that well-known dump tools use for the same purposes.

| preset | type | flags |
|---|---|---|
",
    );
    for (name, bits) in PRESETS {
        let flags = match *bits {
            0 => NOTHING.to_owned(),
            bits => DumpType::from_bits_retain(bits).flags().join(", "),
        };
        writeln!(text, "| {name} | {bits:#x} | {flags} |").expect("writing into a string");
    }
    text
}

/// Returns what is supported on live processes of Linux and of Windows.
fn live(row: &FlagRow) -> (String, String) {
    match row.live {
        Live::On(linux, windows) => (linux.to_owned(), windows.to_owned()),
        Live::Streams => {
            let asked = asked_by(row.flag);
            let all = |has: fn(&AskedBy) -> &'static str| {
                let mut words: Vec<_> = asked.iter().map(|(_, asked_by)| has(asked_by)).collect();
                words.retain(|words| !words.is_empty());
                words.dedup();
                words.join("; ")
            };
            (all(|asked_by| asked_by.linux), all(|asked_by| asked_by.windows))
        }
    }
}

fn flags_or_dash(flags: u32, normal: u32) -> String {
    if flags == normal {
        NOTHING.to_owned()
    } else {
        format!("{flags:#x}")
    }
}

fn cases() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/cases")
}

#[test]
fn the_documented_table_is_this_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/flags.md");
    if std::env::var_os("DUMPWRIGHT_BLESS").is_some_and(|value| value == "1") {
        fs::write(path, document()).unwrap();
    }
    let documented = fs::read_to_string(path).unwrap_or_default();
    assert!(
        documented == document(),
        "docs/flags.md is out of date; run `cargo xtask bless`"
    );
}

#[test]
fn every_type_has_its_row_in_order() {
    let rows: Vec<_> = TABLE.iter().map(|row| row.flag).collect();
    assert_eq!(rows, DumpType::all().iter().collect::<Vec<_>>());
    let named = Profile::DbgHelp63.known_types();
    assert!(
        TABLE[..21].iter().all(|row| named.contains(row.flag)),
        "docs/flags.md says that dbghelp63 knows the types up to 0x100000"
    );
}

/// Checks each row against its case: the case has the type of the row, it adds only streams that
/// the type adds, and it adds at least one if the type adds any. A row without a case has no case
/// folder.
#[test]
fn cases_are_about_their_rows() {
    /// Streams that a case may add besides those of its type. The writer lists its diagnostics in
    /// MozSoftErrors.
    const BESIDES: [&str; 1] = ["MozSoftErrors"];
    for row in TABLE {
        let name = row
            .flag
            .iter_names()
            .next()
            .map_or_else(String::new, |(name, _)| kebab(name));
        let Some(case) = row.case else {
            let words = name.trim_start_matches("with-");
            assert!(
                !cases().join(format!("flag-{words}")).exists(),
                "{name} has a case now"
            );
            continue;
        };
        let text = fs::read_to_string(cases().join(case).join("case.toml")).unwrap();
        let types = text.lines().find_map(|line| line.strip_prefix("type = \""));
        let types = DumpType::parse(types.unwrap().trim_end_matches('"')).unwrap();
        assert!(types.contains(row.flag), "{case} does not have the type {name}");
        if types == row.flag {
            let added = text.split("lacks").next().unwrap_or_default();
            let asked: Vec<_> = asked_by(row.flag).into_iter().map(|(name, _)| name).collect();
            let streams: Vec<_> = added
                .lines()
                .filter_map(|line| line.split_once("Streams: ")?.1.split('"').next())
                .filter(|stream| !BESIDES.contains(stream))
                .collect();
            let unasked: Vec<_> = streams.iter().filter(|stream| !asked.contains(stream)).collect();
            assert!(unasked.is_empty(), "{case}: {unasked:?}");
            assert_eq!(streams.is_empty(), asked.is_empty(), "{case}: {streams:?}");
        }
    }
}
