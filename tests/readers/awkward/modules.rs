//! Very many modules, very long names, names without files, and files that were deleted or
//! replaced.

use std::fs;
use std::path::{Path, PathBuf};

use super::judges::binaries;
use super::libraries::{Expected, Loaded, assert_modules, build_id, compile, load, loader, many};
use crate::support::copy_program;
use crate::support::dumper::{self, Dump};
use crate::support::readers::rust_minidump::Symbols;
use crate::support::readers::{breakpad, python, rust_minidump, symbols};
use crate::support::victim;

/// More than Breakpad reads.
const MANY: usize = 2100;

fn notes(dump: &Dump) -> String {
    dump.result["notes"].to_string()
}

#[test]
fn two_thousand_one_hundred_modules() {
    let folder = tempfile::tempdir().unwrap();
    let libraries = many(folder.path(), "many", MANY);
    let paths: Vec<PathBuf> = libraries.iter().map(|(path, _)| path.clone()).collect();
    let mut victim = load(&loader(), 2, &paths);
    let truth: Loaded = victim.truth();
    let dump = Dump::of(&victim, "normal");

    let expected = truth.libraries.iter().zip(&libraries);
    let expected: Vec<_> = expected
        .map(|(base, (path, id))| Expected {
            base: *base,
            path,
            build_id: id,
        })
        .collect();
    assert_eq!(expected.len(), MANY);
    let lldb = assert_modules(&dump.path, &expected);
    let walked = [rust_minidump::read(&dump.path, Symbols::Local), lldb];
    truth.assert_walked(&walked, &["many", "many"]);

    // The dump exceeds the limit of one reader, whose user sees a message.
    let complaints = breakpad::read(&dump.path, folder.path()).complaints;
    assert!(
        complaints.concat().contains("exceeds maximum 2048"),
        "{complaints:#?}"
    );
    let notes = notes(&dump);
    assert!(notes.contains("Breakpad") && notes.contains("2048"), "{notes}");
    dumper::check(&dump.path).unwrap();
    victim.ping();
}

/// A path with this many characters. The names of its folders are as long as possible.
fn long_path(folder: &Path, length: usize, name: &str) -> PathBuf {
    let mut path = folder.to_owned();
    loop {
        let have = path.as_os_str().len();
        // After this, two slashes and the file's name follow.
        let left = length - have - name.len() - 2;
        path.push("x".repeat(left.min(200)));
        if left <= 200 {
            break;
        }
    }
    fs::create_dir_all(&path).unwrap();
    path.push(name);
    assert_eq!(path.as_os_str().len(), length);
    path
}

#[test]
fn paths_of_1100_characters() {
    let folder = tempfile::tempdir().unwrap();
    let program = long_path(folder.path(), 1100, "program");
    copy_program(&loader(), &program);
    let library = long_path(folder.path(), 1100, "library.so");
    compile(&library, "far", None);
    let mut victim = load(&program, 1, std::slice::from_ref(&library));
    let truth: Loaded = victim.truth();
    let dump = Dump::of(&victim, "normal");

    let skelsec = python::skelsec(&dump.path, &[]).expect("skelsec's minidump reads it");
    let expected = [
        (&program, skelsec.modules[0].base),
        (&library, truth.libraries[0]),
    ];
    let ids = expected.map(|(path, _)| build_id(path));
    let expected: Vec<_> = expected
        .iter()
        .zip(&ids)
        .map(|((path, base), id)| Expected {
            base: *base,
            path,
            build_id: id,
        })
        .collect();
    let lldb = assert_modules(&dump.path, &expected);
    let walked = [rust_minidump::read(&dump.path, Symbols::Local), lldb];
    truth.assert_walked(&walked, &["far"]);

    let (_, complaints) = breakpad::raw(&dump.path);
    assert!(complaints.concat().contains("1100"), "{complaints:#?}");
    let notes = notes(&dump);
    assert!(notes.contains("Breakpad") && notes.contains("1100"), "{notes}");
    dumper::check(&dump.path).unwrap();
    victim.ping();
}

/// The module is named after the mapped file, unless the library's own name leads to that very
/// file.
#[test]
fn a_soname_that_names_no_file_or_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    compile(&at("libreal.so"), "nowhere", Some("libnowhere.so.9"));
    compile(&at("libwrong.so"), "wrong", Some("libother.so"));
    compile(&at("libother.so"), "other", None);
    compile(&at("liblinked.so.1.2.3"), "linked", Some("liblinked.so.1"));
    std::os::unix::fs::symlink("liblinked.so.1.2.3", at("liblinked.so.1")).unwrap();
    let files = ["libreal.so", "libwrong.so", "liblinked.so.1.2.3"].map(at);
    let mut victim = load(&loader(), files.len(), &files);
    let truth: Loaded = victim.truth();
    let dump = Dump::of(&victim, "normal");

    let ids = files.each_ref().map(|file| build_id(file));
    let names = ["libreal.so", "libwrong.so", "liblinked.so.1"].map(at);
    let expected: Vec<_> = (0..files.len())
        .map(|index| Expected {
            base: truth.libraries[index],
            path: &names[index],
            build_id: &ids[index],
        })
        .collect();
    let lldb = assert_modules(&dump.path, &expected);
    let walked = [rust_minidump::read(&dump.path, Symbols::Local), lldb];
    truth.assert_walked(&walked, &["nowhere", "wrong", "linked"]);
    // Breakpad's symbols are stored under the library's own name. They are found if the module has
    // that name.
    let by_symbols = breakpad::read(&dump.path, &symbols::of(&names));
    let through = &by_symbols.thread(truth.through[2]).functions;
    assert!(through.contains(&"linked_inner".to_owned()), "{through:?}");
    dumper::check(&dump.path).unwrap();
    victim.ping();
}

/// Names and build ids are those of the mapped files. With the symbols of the mapped files, readers
/// name the functions. Without them, they must not use those of the wrong files.
#[test]
fn deleted_and_replaced_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let [program, deleted, replaced] = ["program", "libdeleted.so", "libreplaced.so"].map(at);
    copy_program(&loader(), &program);
    compile(&deleted, "deleted", None);
    compile(&replaced, "replaced", None);
    let mut victim = load(&program, 2, &[deleted.clone(), replaced.clone()]);
    let truth: Loaded = victim.truth();
    let files = [&program, &deleted, &replaced];
    let ids = files.map(|file| build_id(file));
    let mapped = symbols::of(&files.map(Clone::clone));

    fs::remove_file(&deleted).unwrap();
    compile(&at("new.so"), "impostor", None);
    fs::rename(at("new.so"), &replaced).unwrap();
    copy_program(&victim::live("plain"), &at("new"));
    fs::rename(at("new"), &program).unwrap();
    let dump = Dump::of(&victim, "normal");

    let skelsec = python::skelsec(&dump.path, &[]).expect("skelsec's minidump reads it");
    let bases = [skelsec.modules[0].base, truth.libraries[0], truth.libraries[1]];
    let expected: Vec<_> = (0..files.len())
        .map(|index| Expected {
            base: bases[index],
            path: files[index],
            build_id: &ids[index],
        })
        .collect();
    let lldb = assert_modules(&dump.path, &expected);
    // The symbols of the other modules, whose files are unchanged.
    let others: Vec<PathBuf> = binaries(&skelsec)
        .into_iter()
        .filter(|path| !files.contains(&path))
        .collect();
    symbols::of(&others);
    let walked = [
        rust_minidump::read(&dump.path, Symbols::Folder(&mapped)),
        breakpad::read(&dump.path, &mapped),
    ];
    truth.assert_walked(&walked, &["deleted", "replaced"]);
    // LLDB reads the files and their ids.
    for thread in lldb.threads {
        let wrong = |name: &&String| name.starts_with("impostor") || *name == "main";
        assert_eq!(thread.functions.iter().find(wrong), None, "{thread:?}");
    }
    dumper::check(&dump.path).unwrap();
    victim.ping();
}
