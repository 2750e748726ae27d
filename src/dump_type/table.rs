//! What each type does, for people: `docs/flags.md`. What code knows is asked from the code: normalisation, first
//! values of the questions' flags. The rest is told here and held against the cases.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::{DumpType, kebab};
use crate::Profile;
use crate::protocol::{initial_module_flags, initial_thread_flags};

/// A row of the table.
struct Row {
    flag: DumpType,
    /// Streams that it adds, by their names in listings.
    streams: &'static [&'static str],
    /// What it adds to the memory of a normal dump, or takes from it.
    memory: &'static str,
    /// What there is of it on live Linux processes.
    linux: &'static str,
    /// What there is of it on simulated processes.
    simulated: &'static str,
    /// The folder in `testdata/cases`; `None` where there is no case yet.
    case: Option<&'static str>,
}

const YES: &str = "yes";
const NOTHING: &str = "–";

macro_rules! row {
    ($flag:ident, $streams:expr, $memory:expr, $linux:expr, $simulated:expr, $case:expr) => {
        Row {
            flag: DumpType::$flag,
            streams: &$streams,
            memory: $memory,
            linux: $linux,
            simulated: $simulated,
            case: $case,
        }
    };
}

const TABLE: [Row; 26] = [
    row!(
        WITH_DATA_SEGS,
        [],
        "writable parts of modules, to the byte, `.bss` included: PE sections that may be written, ELF segments (PT_LOAD) that may; by regions where the headers make no sense",
        YES,
        YES,
        Some("flag-data-segs")
    ),
    row!(
        WITH_FULL_MEMORY,
        ["Memory64ListStream"],
        "every readable region but devices, the kernel's own pages and what the program marked \"do not dump\"; stacks first",
        YES,
        YES,
        Some("flag-full-memory")
    ),
    row!(
        WITH_HANDLE_DATA,
        ["HandleDataStream"],
        NOTHING,
        "file descriptors",
        YES,
        Some("flag-handle-data")
    ),
    row!(
        FILTER_MEMORY,
        [],
        "stack words that point neither into a module, nor into code made at run time, nor into a stack become 0; so do registers, and all vectors; no environment, whatever else is asked for. `dbghelp63` changes nothing",
        YES,
        YES,
        Some("flag-filter-memory")
    ),
    row!(
        SCAN_MEMORY,
        [],
        "the same; modules that stack words point into are marked in the Module question",
        YES,
        YES,
        Some("flag-scan-memory")
    ),
    row!(
        WITH_UNLOADED_MODULES,
        ["UnloadedModuleListStream"],
        NOTHING,
        "nothing: Linux does not remember them",
        YES,
        Some("flag-unloaded-modules")
    ),
    row!(
        WITH_INDIRECTLY_REFERENCED_MEMORY,
        [],
        "256 bytes before and 768 behind each address outside modules that an aligned stack word holds, unused parts of stacks included; with a filter not those",
        YES,
        YES,
        Some("flag-indirectly-referenced")
    ),
    row!(
        FILTER_MODULE_PATHS,
        [],
        "the same; module names lose their folders, and so do PDB paths, miscellaneous debug records, LinuxMaps, LinuxDsoDebug and unloaded modules",
        YES,
        YES,
        Some("flag-module-paths")
    ),
    row!(
        WITH_PROCESS_THREAD_DATA,
        ["LinuxCmdLine", "LinuxEnviron"],
        "Linux: the strings behind the main stack, two pages around each thread pointer; Windows: TEBs with TLS and FLS, PEB, process parameters and their strings, 8 KiB of the environment",
        YES,
        YES,
        Some("flag-process-thread-data")
    ),
    row!(
        WITH_PRIVATE_READ_WRITE_MEMORY,
        [],
        "private regions that may be written; environment and arguments are in one of them",
        YES,
        YES,
        Some("flag-private-read-write")
    ),
    row!(
        WITHOUT_OPTIONAL_DATA,
        [],
        "with 0x100 only the threads' blocks (and the PEB): neither environment nor arguments",
        YES,
        YES,
        Some("flag-without-optional-data")
    ),
    row!(
        WITH_FULL_MEMORY_INFO,
        ["MemoryInfoListStream"],
        NOTHING,
        YES,
        YES,
        Some("flag-full-memory-info")
    ),
    row!(
        WITH_THREAD_INFO,
        ["ThreadInfoListStream"],
        NOTHING,
        YES,
        YES,
        Some("flag-thread-info")
    ),
    row!(
        WITH_CODE_SEGS,
        [],
        "executable parts of modules, to the byte",
        YES,
        YES,
        Some("flag-code-segs")
    ),
    row!(
        WITHOUT_AUXILIARY_STATE,
        [],
        "the same: there is no auxiliary provider",
        YES,
        YES,
        Some("flag-without-auxiliary-state")
    ),
    row!(
        WITH_FULL_AUXILIARY_STATE,
        [],
        "the same: there is no auxiliary provider, and the dump says so",
        "nothing to add",
        "nothing to add",
        Some("flag-full-auxiliary-state")
    ),
    row!(
        WITH_PRIVATE_WRITE_COPY_MEMORY,
        [],
        "regions that are copied when they are written to; Linux: private file mappings that may be written",
        YES,
        YES,
        Some("flag-private-write-copy")
    ),
    row!(
        IGNORE_INACCESSIBLE_MEMORY,
        [],
        "the same in `documented`, where a page that cannot be read is always left out or filled, and reported; with the other profiles a full dump goes on, which it otherwise does not",
        YES,
        YES,
        Some("flag-ignore-inaccessible")
    ),
    row!(
        WITH_TOKEN_INFORMATION,
        ["TokenStream"],
        NOTHING,
        "user and groups, as security identifiers",
        YES,
        Some("flag-token-information")
    ),
    row!(
        WITH_MODULE_HEADERS,
        [],
        "ELF: first page, program headers, notes, dynamic section and its strings, unwind tables; PE: headers and the data directories of DbgHelp",
        YES,
        YES,
        Some("flag-module-headers")
    ),
    row!(
        FILTER_TRIAGE,
        [],
        "stack words other than 0 that point neither into a module, nor into the thread's stack, nor into captured memory become 0xAA.., registers and vectors too; added are the first words of objects whose first word points into a module or a stack. No environment, whatever else is asked for",
        YES,
        YES,
        Some("flag-filter-triage")
    ),
    row!(
        WITH_AVX_X_STATE_CONTEXT,
        [],
        "the same; contexts of threads have AVX and later registers; MiscInfo tells where",
        YES,
        YES,
        Some("flag-avx-x-state-context")
    ),
    row!(
        WITH_IPT_TRACE,
        [],
        "the same: no trace is recorded, and the dump says so",
        "nothing to add",
        "nothing to add",
        Some("flag-ipt-trace")
    ),
    row!(
        SCAN_INACCESSIBLE_PARTIAL_PAGES,
        [],
        "the same in `documented`, where what lies behind an unreadable page is always kept; `dbghelp10` otherwise loses it",
        YES,
        YES,
        Some("flag-partial-pages")
    ),
    row!(
        FILTER_WRITE_COMBINED_MEMORY,
        [],
        "no write-combined regions",
        "yes; such memory is a device's there, and never read",
        YES,
        Some("flag-write-combined")
    ),
    row!(
        NO_IGNORE_INACCESSIBLE_MEMORY,
        [],
        "the same; a page that cannot be read fails the dump",
        YES,
        YES,
        Some("flag-no-ignore-inaccessible")
    ),
];

/// How the type settles against others: what it sets and clears.
fn settles(flag: DumpType) -> String {
    let all = DumpType::all() - DumpType::WITHOUT_OPTIONAL_DATA - DumpType::WITH_FULL_MEMORY;
    let settle = |bits: DumpType| bits.settled(DumpType::all()).expect("known bits");
    // Full memory goes first where it is cleared, so it is tried by itself.
    let with = settle(all | flag) | (settle(flag | DumpType::WITH_FULL_MEMORY) & DumpType::WITH_FULL_MEMORY);
    let without =
        settle((all | DumpType::WITH_FULL_MEMORY) - flag) & DumpType::WITH_FULL_MEMORY | settle(all - flag);
    let others = (all | DumpType::WITH_FULL_MEMORY) - flag;
    let cleared = (without - with) & others;
    let set = settle(flag) - flag;
    let mut words = Vec::new();
    if flag == DumpType::WITH_FULL_MEMORY {
        words.push("excludes 0x2000".to_owned());
    }
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

/// The table as the documentation shows it.
fn document() -> String {
    let normal = DumpType::NORMAL;
    let mut text = format!(
        "# Dump types\n\n\
         Generated from the table in `src/dump_type/table.rs` and from the code; renewed by `cargo xtask bless`.\n\n\
         Types are combined; each row is one alone, beside a normal dump: threads with stacks and instruction windows, modules, the \
         system. What wins against what is settled first, in the order 0x400, 0x2, 0x100000, 0x2000000. \"Thread\" and \"Module\" are \
         the flags that IncludeThread and IncludeModule are prefilled with ({:#x} and {:#x} in a normal dump). \"The same\" is a normal dump. The cases \
         are folders of `testdata/cases`; each says what it adds to a normal dump, and a test holds it to that. On Windows there is no backend \
         yet; types above 0x100000 are unknown to the profile `dbghelp63`.\n\n\
         | type | name | settles | streams | memory | Thread | Module | live Linux | simulated | Windows | case |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
        initial_thread_flags(normal).bits(),
        initial_module_flags(normal).bits(),
    );
    for row in TABLE {
        let name = row
            .flag
            .iter_names()
            .next()
            .map_or_else(String::new, |(name, _)| kebab(name));
        let streams: Vec<_> = row
            .streams
            .iter()
            .map(|stream| stream.trim_end_matches("Stream"))
            .collect();
        writeln!(
            text,
            "| {:#x} | {name} | {} | {} | {} | {} | {} | {} | {} | not yet | {} |",
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
            row.linux,
            row.simulated,
            row.case.unwrap_or("none yet"),
        )
        .expect("writing into a string");
    }
    text
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
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, document()).unwrap();
    }
    let documented = fs::read_to_string(path).unwrap_or_default();
    assert!(
        documented == document(),
        "docs/flags.md is out of date: cargo xtask bless"
    );
}

#[test]
fn every_type_has_its_row_in_order() {
    let rows: Vec<_> = TABLE.iter().map(|row| row.flag).collect();
    assert_eq!(rows, DumpType::all().iter().collect::<Vec<_>>());
    let named = Profile::DbgHelp63.known_types();
    assert!(
        TABLE[..21].iter().all(|row| named.contains(row.flag)),
        "the document says so"
    );
}

/// The streams that a case adds are those of its row; the case is of that type; and no case is without its row.
#[test]
fn cases_are_about_their_rows() {
    /// Where the writer says what was asked for in vain or filtered, and the list that all memory makes another.
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
        assert!(types.contains(row.flag), "{case} is not about {name}");
        if types == row.flag {
            let added = text.split("lacks").next().unwrap_or_default();
            let streams: Vec<_> = added
                .lines()
                .filter_map(|line| line.split_once("Streams: ")?.1.split('"').next())
                .filter(|stream| !BESIDES.contains(stream))
                .collect();
            assert_eq!(streams, row.streams, "{case}");
        }
    }
}
