//! Stacks of a Windows program in WinDbg, with names of functions. The process is simulated; its
//! module is a real DLL, in the middle of calls whose stack the test builds. Microsoft's debugger
//! engine unwinds it by the DLL's unwind information.
//!
//! Would catch: a module list by which the engine does not find the binary, or does not accept it
//! as the right one; images in full dumps whose headers, exports or unwind information are missing
//! or misplaced; wrong registers and stacks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::readers::dbgeng::{self, ENGINES, Report};
use crate::support::{dumper, victim};
use tempfile::TempDir;

/// The load address in the DLL.
const BASE: u64 = 0x1_8000_0000;

/// The size of each function's prologue, and of a call; see the source of the DLL.
const PROLOGUE: u64 = 4;
const CALL: u64 = 5;

/// The base of the stack, and the thread's stack pointer.
const STACK: u64 = 0x10_0000;
const POINTER: u64 = STACK + 0x800;

/// `tests/reader_programs/frames.c`, compiled.
fn dll() -> PathBuf {
    let source = crate::support::repository().join("tests/reader_programs/frames.c");
    let flags = ["-shared", "-nostdlib", "-Wl,--image-base=0x180000000,--entry=0"];
    victim::build("frames.dll", std::slice::from_ref(&source), &flags, |into| {
        let mut compiler = Command::new("x86_64-w64-mingw32-gcc");
        crate::support::run_well(compiler.args(flags).arg("-o").arg(into).arg(&source));
    })
}

/// The addresses of the functions, from the symbol table.
fn functions(dll: &Path) -> BTreeMap<String, u64> {
    let listed = crate::support::run_well(Command::new("x86_64-w64-mingw32-nm").arg(dll));
    let lines = listed.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    lines
        .filter_map(|words| match words[..] {
            [address, "T", name] => Some((name.to_owned(), u64::from_str_radix(address, 16).ok()?)),
            _ => None,
        })
        .collect()
}

/// A process with this DLL. Its thread is in `innermost`, which was called by `middle`, which was
/// called by `outermost`, which has no caller.
fn scenario(dll: &Path, path: &str) -> String {
    let file = std::fs::read(dll).unwrap();
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let half = |at: usize| usize::from(u16::from_le_bytes([file[at], file[at + 1]]));
    // Offsets from Microsoft's "PE Format": the signature, 20 bytes of COFF header, the optional
    // header, the section table.
    let header = number(0x3c);
    let optional = header + 24;
    let (size, size_of_headers, checksum) = (
        number(optional + 56),
        number(optional + 60),
        number(optional + 64),
    );
    let part = |at: usize, bytes: &[u8], protect: &str| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "{{ offset = {at}, size = 0x1000, protect = \"{protect}\", content = {{ hex = \"{hex}\" }} }},\n"
        )
    };
    let mut sections = part(0, &file[..size_of_headers], "r--");
    for index in 0..half(header + 6) {
        let row = optional + half(header + 20) + 40 * index;
        let (length, at, raw) = (number(row + 8), number(row + 12), number(row + 20));
        let protect = if file[row..].starts_with(b".text") {
            "r-x"
        } else {
            "r--"
        };
        sections.push_str(&part(at, &file[raw..raw + length], protect));
    }
    let functions = functions(dll);
    let here = functions["innermost"] + PROLOGUE;
    let after_call = |name: &str| functions[name] + PROLOGUE + CALL;
    // The local data of a function is full of addresses that no call has put there.
    let words = [
        vec![here; 0x18 / 8],
        vec![after_call("middle")],
        vec![here; 0x48 / 8],
        vec![after_call("outermost")],
        vec![here; 0x28 / 8],
        vec![0; 8],
    ];
    let words: Vec<_> = words.concat().iter().map(u64::to_string).collect();
    format!(
        r#"
        [process]
        id = 1000
        clock = 1_700_000_000

        [system]
        platform = "windows"
        version = "10.0.19045"

        [[module]]
        name = "frames"
        path = '{path}'
        base = {BASE:#x}
        size = {size}
        timestamp = {timestamp}
        checksum = {checksum}
        sections = [
        {sections}]

        [[memory]]
        name = "stack"
        base = {STACK:#x}
        size = 0x1000
        put = [{{ offset = 0x800, words = [{words}] }}]

        [[memory]]
        name = "teb"
        base = 0x7ffd_0000
        size = 0x2000
        content = {{ words = [0, "stack+0x1000", "stack", 0, 0, 0, "teb"] }}

        [[thread]]
        id = 1001
        teb = "teb"
        registers = {{ rip = {here:#x}, rsp = {POINTER:#x} }}
        "#,
        timestamp = number(header + 8),
        words = words.join(", "),
    )
}

/// The reports of both engines about a dump of that process.
fn reports(types: &str, scenario: &str) -> [Report; 2] {
    let folder = TempDir::new().unwrap();
    let [text, dump] = ["scenario.toml", "dump.dmp"].map(|name| folder.path().join(name));
    std::fs::write(&text, scenario).unwrap();
    let mut command = dumper::dumpwright();
    command.args(["dump", "--type", types, "--scenario"]).arg(&text);
    crate::support::run_well(command.arg("--output").arg(&dump));
    ENGINES.map(|engine| dbgeng::report(engine, &dump, &[]))
}

fn sites(report: &Report) -> Vec<&str> {
    let frames = report.threads[0].frames.iter();
    frames.map(|frame| frame.site.as_str()).collect()
}

fn judge(types: &str, path: &str) {
    let reports = reports(types, &scenario(&dll(), path));
    for (engine, report) in ENGINES.iter().zip(&reports) {
        let what = format!("{}, {types}", engine.name);
        assert_eq!(report.complaints, [""; 0], "{what}");
        let expected = [
            "frames!innermost+0x4",
            "frames!middle+0x9",
            "frames!outermost+0x9",
        ];
        assert_eq!(sites(report), expected, "{what}");
        assert_eq!(report.threads[0].frames[2].return_address, 0, "{what}");
    }
}

/// The path of the DLL in Wine.
fn path() -> String {
    format!("Z:{}", dll().display().to_string().replace('/', "\\"))
}

/// The engine opens the binary that the module list names.
#[test]
fn small_dump_is_walked_by_the_binary() {
    judge("normal", &path());
}

/// There is no such file. The engine has only the image in the dump.
#[test]
fn full_dump_is_walked_by_the_image_in_it() {
    judge("full", r"C:\nowhere\frames.dll");
}

/// The engine compares the binary with the module list. The names in the tests above are therefore
/// due to the dump.
#[test]
fn binary_of_another_time_is_not_used() {
    let right = scenario(&dll(), &path());
    let (before, after) = right.split_once("timestamp = ").expect("it has one");
    let (_, after) = after.split_once('\n').expect("more lines");
    for report in reports("normal", &format!("{before}timestamp = 0x1234_5678\n{after}")) {
        let shown = sites(&report);
        assert!(!shown.iter().any(|site| site.contains("innermost")), "{shown:?}");
    }
}
