//! The C header, which is generated from its template and from the names, numbers and layouts in
//! the Rust code.
//!
//! Would catch: a header that differs from the Rust code (a changed number, a changed structure); a
//! declaration of Microsoft's that it lacks or has in another form; a function that the library
//! exports and the header does not declare, or the other way round; a header that some compiler
//! rejects.
//!
//! `cargo xtask bless` renews the header.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use dumpwright::DumpType;
use dumpwright::callback::{AskKind, ModuleWriteFlags, SecondaryFlags, ThreadWriteFlags};
use dumpwright::read::stream_name;
use dumpwright_abi::{ALIGNED, ANONYMOUS, STRUCTURES, Structure, UNIONS, arm64, x64, x86};

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Converts the name of a Rust constant to that in Microsoft's header: `WITH_DATA_SEGS` becomes
/// `WithDataSegs`.
fn camel(constant: &str) -> String {
    let words = constant.split('_').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_owned() + &rest.to_lowercase()
    });
    words.collect()
}

/// Returns the declaration of an enumeration.
fn enumeration(name: &str, values: impl IntoIterator<Item = (String, u32)>) -> String {
    let mut text = format!("typedef enum _{name} {{\n");
    for (value_name, value) in values {
        writeln!(text, "    {value_name} = {value:#x},").expect("memory");
    }
    write!(text, "}} {name};").expect("memory");
    text
}

fn constants() -> String {
    let named = |prefix: &str, flags: Vec<(&'static str, u32)>| -> Vec<(String, u32)> {
        let names = flags
            .into_iter()
            .map(|(name, bits)| (format!("{prefix}{}", camel(name)), bits));
        names.collect()
    };
    let mut types = vec![("MiniDumpNormal".to_owned(), 0)];
    types.extend(named(
        "MiniDump",
        DumpType::all()
            .iter_names()
            .map(|(name, flag)| (name, flag.bits()))
            .collect(),
    ));
    types.extend(
        [
            ("MiniDumpValidTypeFlags", DumpType::VALID_TYPE_FLAGS),
            ("MiniDumpValidTypeFlagsEx", DumpType::VALID_TYPE_FLAGS_EX),
        ]
        .map(|(name, flags)| (name.to_owned(), flags.bits())),
    );
    let streams = (0..=0xffff_u32)
        .chain(0x4350_0000..0x4350_0010)
        .chain(0x4767_0000..0x4767_0010)
        .chain(0x4d7a_0000..0x4d7a_0010);
    let (microsofts, others): (Vec<_>, Vec<_>) = streams
        .filter_map(|number| Some((stream_name(number)?.to_owned(), number)))
        .partition(|(_, number)| *number <= 0xffff);
    let mut microsofts = microsofts;
    microsofts.push(("LastReservedStream".to_owned(), 0xffff));
    let mut secondary = named(
        "MiniSecondary",
        known(
            SecondaryFlags::all()
                .iter_names()
                .map(|(name, flag)| (name, flag.bits())),
        ),
    );
    let valid = secondary.iter().map(|(_, bits)| bits).sum();
    secondary.push(("MiniSecondaryValidFlags".to_owned(), valid));
    let mut text = [
        enumeration("MINIDUMP_TYPE", types),
        enumeration(
            "MINIDUMP_CALLBACK_TYPE",
            AskKind::ALL.map(|kind| (format!("{}Callback", kind.name()), kind as u32)),
        ),
        enumeration(
            "THREAD_WRITE_FLAGS",
            named(
                "ThreadWrite",
                known(
                    ThreadWriteFlags::all()
                        .iter_names()
                        .map(|(name, flag)| (name, flag.bits())),
                ),
            ),
        ),
        enumeration(
            "MODULE_WRITE_FLAGS",
            known(
                ModuleWriteFlags::all()
                    .iter_names()
                    .map(|(name, flag)| (name, flag.bits())),
            )
            .into_iter()
            .map(|(name, bits)| match name {
                // Its name has no "Write", because it is a status and not a part to be written.
                "REFERENCED_BY_MEMORY" => ("ModuleReferencedByMemory".to_owned(), bits),
                _ => (format!("ModuleWrite{}", camel(name)), bits),
            }),
        ),
        enumeration("MINIDUMP_SECONDARY_FLAGS", secondary),
        enumeration("MINIDUMP_STREAM_TYPE", microsofts),
    ]
    .join("\n\n");
    text += "\n\n/* Streams that Breakpad, Crashpad and Mozilla have defined. */\n";
    let others = others
        .into_iter()
        .map(|(name, number)| (format!("dumpwright_{name}Stream"), number));
    text += &enumeration("dumpwright_stream_type", others);
    text
}

/// Returns the flags that have exactly one bit.
fn known(flags: impl Iterator<Item = (&'static str, u32)>) -> Vec<(&'static str, u32)> {
    flags.filter(|(_, bits)| bits.is_power_of_two()).collect()
}

fn find<'s>(table: &'s [Structure], name: &str) -> Option<&'s Structure> {
    table.iter().find(|structure| structure.name == name)
}

/// Returns the declarations of the members in C. Members of anonymous unions and structures are one
/// level deeper.
fn members(structure: &Structure, indent: &str) -> String {
    let mut text = String::new();
    for field in structure.fields {
        let deeper = format!("{indent}    ");
        let line = match field.c_type {
            "PAD" => "DUMPWRIGHT_PAD".to_owned(),
            "TAIL" => continue,
            anonymous if ANONYMOUS.contains(&anonymous) => {
                let arm = find(STRUCTURES, anonymous).expect("in the table");
                format!("struct {{\n{}{indent}}};", members(arm, &deeper))
            }
            union if find(UNIONS, union).is_some() => {
                let arms = find(UNIONS, union).expect("just found");
                format!("union {{\n{}{indent}}};", members(arms, &deeper))
            }
            c_type => format!("{c_type} {};", field.name),
        };
        writeln!(text, "{indent}{line}").expect("memory");
    }
    text
}

fn structures() -> String {
    let mut text = String::new();
    for structure in STRUCTURES
        .iter()
        .filter(|structure| !ANONYMOUS.contains(&structure.name))
    {
        let name = structure.name;
        let align = if ALIGNED.contains(&name) {
            " DUMPWRIGHT_ALIGN16"
        } else {
            ""
        };
        if name == "MINIDUMP_CALLBACK_INFORMATION" {
            text += "typedef BOOL(WINAPI *MINIDUMP_CALLBACK_ROUTINE)(PVOID CallbackParam, PMINIDUMP_CALLBACK_INPUT CallbackInput,\n";
            text += "                                               PMINIDUMP_CALLBACK_OUTPUT CallbackOutput);\n\n";
        }
        let body = members(structure, "    ");
        writeln!(
            text,
            "/*{} */\ntypedef struct{align} _{name} {{\n{body}}} {name}, *P{name};\n",
            structure.doc
        )
        .expect("memory");
    }
    text.trim_end().to_owned()
}

fn assertions() -> String {
    let mut text = String::new();
    let families = x64::OFFSETS.iter().zip(x86::OFFSETS).zip(arm64::OFFSETS);
    for (structure, ((x64, x86), arm64)) in STRUCTURES.iter().zip(families) {
        let name = structure.name;
        assert_eq!([name; 3], [x64.name, x86.name, arm64.name]);
        if ANONYMOUS.contains(&name) {
            continue;
        }
        writeln!(
            text,
            "DUMPWRIGHT_SIZE({name}, {}, {}, {});",
            x64.size, x86.size, arm64.size
        )
        .expect("memory");
        for (index, field) in structure.fields.iter().enumerate() {
            let at = [x64, x86, arm64].map(|family| family.offsets[index]);
            // For a union, the offset of each arm is asserted. For an anonymous structure in the
            // output, that of each member.
            for (member, more) in named_members(field.name, field.c_type) {
                let [x64, x86, arm64] = at.map(|at| at + more);
                writeln!(
                    text,
                    "DUMPWRIGHT_OFFSET({name}, {member}, {x64}, {x86}, {arm64});"
                )
                .expect("memory");
            }
        }
    }
    text.trim_end().to_owned()
}

/// Returns the names that C programs use for a member, each with its offset in the anonymous
/// structure that contains it.
fn named_members(name: &'static str, c_type: &str) -> Vec<(&'static str, usize)> {
    if let Some(union) = find(UNIONS, c_type) {
        let arms = union
            .fields
            .iter()
            .flat_map(|arm| named_members(arm.name, arm.c_type));
        return arms.collect();
    }
    if ANONYMOUS.contains(&c_type) {
        let index = STRUCTURES
            .iter()
            .position(|structure| structure.name == c_type)
            .expect("in the table");
        let fields = STRUCTURES[index].fields.iter().map(|field| field.name);
        // These structures contain no pointers, so the offsets are the same in all families.
        return fields.zip(x64::OFFSETS[index].offsets.iter().copied()).collect();
    }
    if matches!(c_type, "PAD" | "TAIL") {
        return Vec::new();
    }
    vec![(name, 0)]
}

/// A row of `testdata/sdk`: the kind and the name of an item, and its value in Microsoft's header
/// for x64, x86 and arm64.
struct Row {
    kind: String,
    name: String,
    values: [Option<u64>; 3],
}

/// Returns the table of the newest SDK. Panics if a row is malformed.
fn sdk() -> Vec<Row> {
    let path = package().join("../../testdata/sdk/sdk-10.0.28000.tsv");
    let text = fs::read_to_string(path).expect("the table");
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.next(), Some("kind\tname\tx64\tx86\tarm64"));
    let number = |text: &str| match text.strip_prefix("0x") {
        _ if text == "-" => None,
        Some(digits) => Some(u64::from_str_radix(digits, 16).expect("a number")),
        None => Some(text.parse().expect("a number")),
    };
    let row = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [kind, name, x64, x86, arm64] = fields[..] else {
            panic!("{line}: five fields are expected");
        };
        Row {
            kind: kind.to_owned(),
            name: name.to_owned(),
            values: [x64, x86, arm64].map(number),
        }
    };
    lines.map(row).collect()
}

/// Returns assertions about the sizes of the structures that are not in `STRUCTURES`.
fn file_assertions() -> String {
    let mut text = String::new();
    for row in sdk()
        .iter()
        .filter(|row| row.kind == "size" && find(STRUCTURES, &row.name).is_none())
    {
        let [x64, x86, arm64] = row.values.map(|size| size.expect("all have sizes"));
        writeln!(text, "DUMPWRIGHT_SIZE({}, {x64}, {x86}, {arm64});", row.name).expect("memory");
    }
    text.trim_end().to_owned()
}

fn header() -> String {
    let template = fs::read_to_string(package().join("header/dumpwright.h.in")).expect("the template");
    template
        .replace("@CONSTANTS@", &constants())
        .replace("@STRUCTURES@", &structures())
        .replace("@ASSERTIONS@", &assertions())
        .replace("@FILE_ASSERTIONS@", &file_assertions())
}

#[test]
fn the_header_is_what_its_source_says() {
    let path = package().join("include/dumpwright.h");
    let header = header();
    if dumpwright_fixtures::blessing() {
        fs::write(&path, &header).expect("the header can be written");
        return;
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == header,
        "include/dumpwright.h differs from what header/dumpwright.h.in and the Rust code produce; run cargo xtask bless"
    );
}

/// Functions that the library exports only on Windows.
const ON_WINDOWS: [&str; 1] = ["dumpwright_request_handle"];

/// The header declares the functions that the library exports.
#[test]
fn the_library_exports_what_the_header_declares() {
    let header = header();
    let declared: BTreeSet<&str> = header
        .lines()
        // Declarations begin in the first column. Functions that the header defines are static.
        .filter(|line| {
            !line.starts_with([' ', '#', '/']) && !line.starts_with("static") && !line.starts_with("typedef")
        })
        .filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("MiniDump") || name.starts_with("dumpwright_"))
        .collect();
    let output = Command::new("nm")
        .args(["--dynamic", "--defined-only", "--format=just-symbols"])
        .arg(support::library().join("libdumpwright.so"))
        .output()
        .expect("nm is part of binutils");
    assert!(output.status.success());
    let symbols = String::from_utf8(output.stdout).expect("plain names");
    let exported: BTreeSet<&str> = symbols
        .lines()
        .filter(|name| *name != "rust_eh_personality")
        .collect();
    let there: BTreeSet<&str> = declared
        .iter()
        .copied()
        .filter(|name| !ON_WINDOWS.contains(name))
        .collect();
    assert_eq!(exported, there);
    assert!(declared.is_superset(&ON_WINDOWS.into()));
    assert!(declared.len() > 15);
}

/// A program that uses each part of the header.
const USE: &str = r#"
        #include "dumpwright.h"
        static BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
        {
            (void)parameter;
            if (input->CallbackType == ModuleCallback && dumpwright_wcslen(input->Module.FullPath) > 3)
                output->ModuleWriteFlags &= (ULONG)~ModuleWriteDataSeg;
            if (input->CallbackType == IncludeVmRegionCallback)
                output->Continue = output->VmRegion.RegionSize > 0x1000;
            return TRUE;
        }
        MINIDUMP_CALLBACK_INFORMATION information = {callback, 0};
        int dump(HANDLE process, DWORD id, HANDLE file)
        {
            return MiniDumpWriteDump(process, id, file, MiniDumpNormal, 0, 0, &information);
        }
        /* 64-bit numbers have the type of %llu and `unsigned long long *`, on all systems. */
        unsigned long long *number(PMINIDUMP_CALLBACK_OUTPUT output)
        {
            ULONG64 base = 1;
            unsigned long long *bases[] = {&base, &output->VmRegion.BaseAddress};
            return bases[*bases[0]];
        }
        int is_dump(PVOID dump)
        {
            return ((PMINIDUMP_HEADER)RVA_TO_ADDR(dump, 0))->Signature == MINIDUMP_SIGNATURE;
        }
"#;

/// Compiles [`USE`].
fn compiles(compiler: &str, arguments: &[&str], cpp: bool) {
    compiles_source(USE, compiler, arguments, cpp);
}

/// Compiles a program.
fn compiles_source(text: &str, compiler: &str, arguments: &[&str], cpp: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join(if cpp { "use.cpp" } else { "use.c" });
    fs::write(&source, text).expect("the source can be written");
    let output = Command::new(compiler)
        .args(arguments)
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c", "-I"])
        .arg(package().join("include"))
        .arg(&source)
        .arg("-o")
        .arg(folder.path().join("use.o"))
        .output()
        .unwrap_or_else(|error| panic!("{compiler}: {error}; cargo xtask test installs it"));
    assert!(
        output.status.success(),
        "{compiler} {arguments:?}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn compilers_take_the_header() {
    for compiler in ["gcc", "clang"] {
        compiles(compiler, &["-std=c11"], false);
        compiles(compiler, &["-std=gnu17", "-fshort-wchar"], false);
        compiles(compiler, &["-std=c11", "-DDUMPWRIGHT_WCS"], false);
        // The guard of the SDK's <minidumpapiset.h>, which many programs use for their own header.
        compiles(compiler, &["-std=c99", "-D_MINIDUMP_H"], false);
    }
    for compiler in ["g++", "clang++"] {
        compiles(compiler, &["-std=c++17"], true);
        compiles(compiler, &["-std=c++20", "-fshort-wchar"], true);
    }
}

/// Writes replacements for the two headers that dumpwright.h includes and that do not come with the
/// compiler.
fn stand_ins(folder: &Path) {
    fs::write(folder.join("uchar.h"), "typedef __CHAR16_TYPE__ char16_t;\n").expect("written");
    fs::write(folder.join("wchar.h"), "#include <stddef.h>\n").expect("written");
}

/// The header's assertions hold in the three CPU families, with the alignment rules of GNU and of
/// Microsoft. No system headers are needed: the headers that it includes come with the compiler or
/// are replaced by `stand_ins`.
#[test]
fn layouts_hold_for_all_cpu_families() {
    let folder = tempfile::tempdir().expect("a folder");
    stand_ins(folder.path());
    let stand_ins = folder.path().to_str().expect("a plain path");
    for cpu in ["x86_64", "i686", "aarch64"] {
        for system in ["pc-windows-msvc", "w64-windows-gnu", "unknown-linux-gnu"] {
            let target = format!("--target={cpu}-{system}");
            let more = ["-ffreestanding", "-isystem", stand_ins, &target];
            compiles("clang", &[&["-std=c11"], &more[..]].concat(), false);
            compiles("clang++", &[&["-std=c++17"], &more[..]].concat(), true);
        }
    }
}

/// Items that are not in [`sdk`]: macros, whose values are documented with the structures that use
/// them, and names for the newest version of a structure.
const MACROS: &[(&str, u64)] = &[
    ("MINIDUMP_SIGNATURE", 0x504d_444d),
    ("MINIDUMP_VERSION", 42899),
    ("MINIDUMP_MISC1_PROCESS_ID", 1),
    ("MINIDUMP_MISC1_PROCESS_TIMES", 2),
    ("MINIDUMP_MISC1_PROCESSOR_POWER_INFO", 4),
    ("MINIDUMP_MISC3_PROCESS_INTEGRITY", 0x10),
    ("MINIDUMP_MISC3_PROCESS_EXECUTE_FLAGS", 0x20),
    ("MINIDUMP_MISC3_TIMEZONE", 0x40),
    ("MINIDUMP_MISC3_PROTECTED_PROCESS", 0x80),
    ("MINIDUMP_MISC4_BUILDSTRING", 0x100),
    ("MINIDUMP_MISC5_PROCESS_COOKIE", 0x200),
    ("MINIDUMP_THREAD_INFO_ERROR_THREAD", 1),
    ("MINIDUMP_THREAD_INFO_WRITING_THREAD", 2),
    ("MINIDUMP_THREAD_INFO_EXITED_THREAD", 4),
    ("MINIDUMP_THREAD_INFO_INVALID_INFO", 8),
    ("MINIDUMP_THREAD_INFO_INVALID_CONTEXT", 0x10),
    ("MINIDUMP_THREAD_INFO_INVALID_TEB", 0x20),
    ("MINIDUMP_SYSMEMINFO1_FILECACHE_TRANSITIONREPURPOSECOUNT_FLAGS", 1),
    ("MINIDUMP_SYSMEMINFO1_BASICPERF", 2),
    (
        "MINIDUMP_SYSMEMINFO1_PERF_CCTOTALDIRTYPAGES_CCDIRTYPAGETHRESHOLD",
        4,
    ),
    (
        "MINIDUMP_SYSMEMINFO1_PERF_RESIDENTAVAILABLEPAGES_SHAREDCOMMITPAGES",
        8,
    ),
    (
        "MINIDUMP_SYSMEMINFO1_PERF_MDLPAGESALLOCATED_PFNDATABASECOMMITTEDPAGES",
        0x10,
    ),
    (
        "MINIDUMP_SYSMEMINFO1_PERF_SYSTEMPAGETABLECOMMITTEDPAGES_CONTIGUOUSPAGESALLOCATED",
        0x20,
    ),
    ("MINIDUMP_PROCESS_VM_COUNTERS", 1),
    ("MINIDUMP_PROCESS_VM_COUNTERS_VIRTUALSIZE", 2),
    ("MINIDUMP_PROCESS_VM_COUNTERS_EX", 4),
    ("MINIDUMP_PROCESS_VM_COUNTERS_EX2", 8),
    ("MINIDUMP_PROCESS_VM_COUNTERS_JOB", 0x10),
    ("sizeof(MINIDUMP_HANDLE_DESCRIPTOR_N)", 40),
    ("sizeof(MINIDUMP_MISC_INFO_N)", 1364),
    ("sizeof(MINIDUMP_SYSTEM_MEMORY_INFO_N)", 524),
    ("sizeof(MINIDUMP_PROCESS_VM_COUNTERS_N)", 152),
    ("sizeof(MINIDUMP_EXCEPTION_STREAM)", 168),
];

/// Structures without a pointer type (`P` and the name) in Microsoft's header.
const WITHOUT_POINTER: [&str; 3] = [
    "MINIDUMP_LOCATION_DESCRIPTOR",
    "MINIDUMP_LOCATION_DESCRIPTOR64",
    "MINIDUMP_HANDLE_OBJECT_INFORMATION",
];

/// Returns a C program with one assertion for each row of the SDK's table, for one CPU family. It
/// does not compile if the header lacks a row.
fn probes(family: usize) -> String {
    let mut text = "#include \"dumpwright.h\"\n".to_owned();
    let mut assert = |what: &str, value: u64| {
        writeln!(text, "_Static_assert({what} == {value:#x}, \"{what}\");").expect("memory");
    };
    let rows = sdk();
    assert_eq!(rows.len(), 753);
    let mut pointers = String::new();
    for row in &rows {
        let Some(value) = row.values[family] else {
            continue;
        };
        match (&*row.kind, row.name.split_once('.')) {
            ("size", None) => {
                assert(&format!("sizeof({})", row.name), value);
                if !WITHOUT_POINTER.contains(&&*row.name) {
                    writeln!(
                        pointers,
                        "extern {0} probe_{0}; extern P{0} pointer_{0};",
                        row.name
                    )
                    .expect("memory");
                    writeln!(
                        pointers,
                        "_Static_assert(sizeof *pointer_{0} == sizeof probe_{0}, \"P{0}\");",
                        row.name
                    )
                    .expect("memory");
                }
            }
            ("offset", Some((structure, member))) => {
                let member = member.replace('.', "__");
                assert(&format!("offsetof({structure}, {member})"), value);
            }
            ("value", None) => assert(&format!("(unsigned){}", row.name), value),
            _ => panic!("{} {}: a row of unknown kind", row.kind, row.name),
        }
    }
    for (name, value) in MACROS {
        assert(name, *value);
    }
    text + &pointers
}

/// The header has every size, offset, enumerator, macro and name of the newest SDK, for the three
/// CPU families and with several compilers.
#[test]
fn the_newest_sdk_is_all_there() {
    let folder = tempfile::tempdir().expect("a folder");
    stand_ins(folder.path());
    let stand_ins = folder.path().to_str().expect("a plain path");
    for (family, cpu) in ["x86_64", "i686", "aarch64"].into_iter().enumerate() {
        let probes = probes(family);
        for system in ["pc-windows-msvc", "w64-windows-gnu", "unknown-linux-gnu"] {
            let target = format!("--target={cpu}-{system}");
            let arguments = [
                "-std=c11",
                "-ferror-limit=0",
                "-ffreestanding",
                "-isystem",
                stand_ins,
                &target,
            ];
            compiles_source(&probes, "clang", &arguments, false);
        }
        if cpu == "x86_64" {
            compiles_source(&probes, "gcc", &["-std=c11"], false);
            compiles_source(&probes, "gcc", &["-std=c11", "-fshort-wchar"], false);
        }
        if cpu != "aarch64" {
            let width = if cpu == "i686" { "-m32" } else { "-m64" };
            let arguments = ["-std=c11", "-ffreestanding", "-isystem", stand_ins, width];
            compiles_source(&probes, "gcc", &arguments, false);
        }
    }
}
