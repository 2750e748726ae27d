//! Callbacks in the style of published programs, called by this library and by Microsoft's DLL:
//! both make the same calls and get the same answers.

use std::fs;
use std::path::{Path, PathBuf};

use minidump::{MinidumpException, MinidumpModule, MinidumpModuleList};

use crate::machine;
use crate::scratch::{Told, beside, bytes_at, name, open, private_byte, program};

/// Returns Microsoft's DLL, under a name that Wine has no DLL of its own for, and this library.
fn libraries(folder: &Path) -> [PathBuf; 2] {
    let copy = folder.join("msdbghelp.dll");
    let microsofts = machine::cache().join("dbgeng-6.3/dbghelp.dll");
    fs::copy(&microsofts, &copy)
        .unwrap_or_else(|error| panic!("{}: {error}; cargo xtask windows brings it", microsofts.display()));
    [copy, machine::library().to_owned()]
}

/// The profiles. With all of them, these callbacks are called as by Microsoft's DLL. "" is the
/// default.
const PROFILES: [&str; 3] = ["", "dbghelp63", "dbghelp10"];

/// Runs a program with both libraries and fails unless its output is the same. `judge` checks the
/// output and the dump of each run.
fn compare(program: &Path, arguments: &[&str], folder: &Path, judge: impl Fn(&Told, &Path)) {
    let [microsofts, ours] = libraries(folder);
    let run = |library: &Path, profile| {
        let library = name(library).replace('/', "\\");
        let variables = [("FIELD_DLL", &*library), ("DUMPWRIGHT_PROFILE", profile)];
        let dump = folder.join("field.dmp");
        let told = beside(program, arguments, folder, &variables);
        judge(&told, &dump);
        fs::remove_file(dump).expect("it was judged");
        told.stdout
    };
    let expected = run(&microsofts, "");
    for profile in PROFILES {
        assert_eq!(run(&ours, profile), expected, "{profile}");
    }
}

#[test]
fn a_module_filter_has_the_same_dialogue() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = program("tests/programs/field_filter.c", &["-DFIELD_DLL"]);
    compare(
        &program,
        &["@pid", "field.dmp", "capi-target"],
        folder.path(),
        |told, file| {
            // The types before the selection come first.
            let questions: Vec<&str> = told
                .stdout
                .lines()
                .filter(|line| line.starts_with("question"))
                .collect();
            assert_eq!(
                &questions[..5],
                [
                    "question 16: 0",
                    "question 17: 0",
                    "question 11: 0",
                    "question 15: 0",
                    "question 6: 0"
                ]
            );
            assert_eq!(
                questions.iter().filter(|line| **line == "question 3: 1").count(),
                4
            );
            assert!(
                told.stdout.contains("module capi-target: 1f 1f\n"),
                "{}",
                told.stdout
            );
            assert!(told.stdout.contains("module ntdll: 1f 1d\n"), "{}", told.stdout);
            assert!(told.stdout.contains("module capi-idle: f c\n"), "{}", told.stdout);
            assert!(
                told.stdout
                    .ends_with("question 5: 0\nquestion 9: 0\nquestion 7: 0\nresult 1\n")
            );
            let dump = open(file);
            let modules: MinidumpModuleList = dump.get_stream().expect("modules");
            let has = |name: &str| {
                modules
                    .iter()
                    .any(|module: &MinidumpModule| module.name.ends_with(name))
            };
            assert!(has("capi-target.exe") && has("ntdll.dll") && !has("capi-idle.dll"));
            let global = bytes_at(&dump, told.number("GLOB"), 2).expect("the data of the named module");
            assert_eq!(global, [1, 0]);
        },
    );
}

#[test]
fn a_memory_callback_has_the_same_dialogue() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = program("tests/programs/field_memory.cpp", &["-DFIELD_DLL"]);
    let arguments = ["@pid", "field.dmp", "@thread2", "@PRIV+0x123", "0x20"];
    compare(&program, &arguments, folder.path(), |told, file| {
        let tail = "question 5: 1\nquestion 5: 1\nquestion 5: 0\nquestion 9: 0\nquestion 7: 0\nresult 1\n";
        assert!(told.stdout.ends_with(tail), "{}", told.stdout);
        let dump = open(file);
        let start = told.number("PRIV") + 0x123;
        let expected: Vec<u8> = (0x123..0x143).map(private_byte).collect();
        assert_eq!(bytes_at(&dump, start, 0x20), Some(expected));
        assert_eq!(bytes_at(&dump, start + 0x20, 1), None);
        let exception: MinidumpException<'_> = dump.get_stream().expect("the exception");
        assert_eq!(u64::from(exception.thread_id), told.number("thread2"));
        assert_eq!(exception.raw.exception_record.exception_code, 0xc000_0005);
        assert_eq!(exception.raw.exception_record.exception_information[1], 0x1234);
        assert_eq!(
            dump.get_raw_stream(10).expect("the comment"),
            b"reported by hand\0"
        );
    });
}
