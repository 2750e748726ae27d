//! The C header: made from its template and from what this repository's Rust code says about names, numbers and layouts.
//!
//! Would catch: a header that is not what the Rust side says (a changed number, a changed structure), a function that the library
//! exports and the header does not declare, or the other way round, and a header that some compiler does not take.
//!
//! `cargo xtask bless` writes the header anew.

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
use dumpwright_callback::abi::{ALIGNED, ANONYMOUS, STRUCTURES, Structure, UNIONS, arm64, x64, x86};

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `WITH_DATA_SEGS` is `WithDataSegs` in Microsoft's header.
fn camel(constant: &str) -> String {
    let words = constant.split('_').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_owned() + &rest.to_lowercase()
    });
    words.collect()
}

/// An enumeration with a name in Microsoft's header.
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
    types.push(("MiniDumpValidTypeFlags".to_owned(), DumpType::all().bits()));
    let streams = (0..=0xffff_u32)
        .chain(0x4350_0000..0x4350_0010)
        .chain(0x4767_0000..0x4767_0010)
        .chain(0x4d7a_0000..0x4d7a_0010);
    let (microsofts, others): (Vec<_>, Vec<_>) = streams
        .filter_map(|number| Some((stream_name(number)?.to_owned(), number)))
        .partition(|(_, number)| *number <= 0xffff);
    let mut microsofts = microsofts;
    microsofts.push(("LastReservedStream".to_owned(), 0xffff));
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
                // A status, not something to be written; its name says so.
                "REFERENCED_BY_MEMORY" => ("ModuleReferencedByMemory".to_owned(), bits),
                _ => (format!("ModuleWrite{}", camel(name)), bits),
            }),
        ),
        enumeration(
            "MINIDUMP_SECONDARY_FLAGS",
            named(
                "MiniSecondary",
                known(
                    SecondaryFlags::all()
                        .iter_names()
                        .map(|(name, flag)| (name, flag.bits())),
                ),
            ),
        ),
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

/// Named flags of one bit.
fn known(flags: impl Iterator<Item = (&'static str, u32)>) -> Vec<(&'static str, u32)> {
    flags.filter(|(_, bits)| bits.is_power_of_two()).collect()
}

fn find<'s>(table: &'s [Structure], name: &str) -> Option<&'s Structure> {
    table.iter().find(|structure| structure.name == name)
}

/// Members as C declares them; those of Microsoft's anonymous unions and structures one level deeper.
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
            // Of a union, each arm stands for all; of the output's anonymous structures, each member.
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

/// What a C program calls a member, and its offset in what is anonymous in C.
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
        // The same in all families: they hold no pointers.
        return fields.zip(x64::OFFSETS[index].offsets.iter().copied()).collect();
    }
    if matches!(c_type, "PAD" | "TAIL") {
        return Vec::new();
    }
    vec![(name, 0)]
}

fn header() -> String {
    let template = fs::read_to_string(package().join("header/dumpwright.h.in")).expect("the template");
    template
        .replace("@CONSTANTS@", &constants())
        .replace("@STRUCTURES@", &structures())
        .replace("@ASSERTIONS@", &assertions())
}

#[test]
fn the_header_is_what_its_source_says() {
    let path = package().join("include/dumpwright.h");
    let header = header();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &header).expect("the header can be written");
        return;
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == header,
        "include/dumpwright.h is not what header/dumpwright.h.in and the Rust code make; run cargo xtask bless"
    );
}

/// Functions that only the library of Windows has.
const ON_WINDOWS: [&str; 1] = ["dumpwright_request_handle"];

/// Names of functions, as the header declares them and as the library exports them.
#[test]
fn the_library_exports_what_the_header_declares() {
    let header = header();
    let declared: BTreeSet<&str> = header
        .lines()
        // Declarations begin in the first column; what is defined in the header is static.
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

/// Compiles a program that uses every part of the header.
fn compiles(compiler: &str, arguments: &[&str], cpp: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join(if cpp { "use.cpp" } else { "use.c" });
    fs::write(
        &source,
        r#"
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
"#,
    )
    .expect("the source can be written");
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
    }
    for compiler in ["g++", "clang++"] {
        compiles(compiler, &["-std=c++17"], true);
        compiles(compiler, &["-std=c++20", "-fshort-wchar"], true);
    }
}

/// The assertions hold with every compiler's idea of alignment, in the three CPU families, for GNU's and Microsoft's. No system
/// headers are needed: what the header includes is the compiler's own, or stands in for them here.
#[test]
fn layouts_hold_for_all_cpu_families() {
    let folder = tempfile::tempdir().expect("a folder");
    // Of all headers only these two are not the compiler's own.
    fs::write(
        folder.path().join("uchar.h"),
        "typedef __CHAR16_TYPE__ char16_t;\n",
    )
    .expect("written");
    fs::write(folder.path().join("wchar.h"), "#include <stddef.h>\n").expect("written");
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
