//! What `MiniDumpReadDumpStream` must find, on every system. `read_streams.c` calls it.

use std::fs;
use std::path::{Path, PathBuf};

use dumpwright_fixtures::repository;

/// Checks all streams of every `one_in`-th golden dump, and of damaged dumps. The directory is read
/// here by hand.
///
/// `read` runs `read_streams` with a dump and stream types, and returns its output.
pub fn are_found(one_in: usize, read: impl Fn(&Path, &[String]) -> String) {
    let u32_at =
        |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let cases = fs::read_dir(repository().join("testdata/cases")).expect("the golden cases");
    let mut cases: Vec<PathBuf> = cases.map(|case| case.expect("a case").path()).collect();
    cases.sort();
    let mut dumps = 0;
    for case in cases.iter().step_by(one_in) {
        let path = case.join("dump.dmp");
        let Ok(bytes) = fs::read(&path) else { continue };
        let (count, directory) = (u32_at(&bytes, 8) as usize, u32_at(&bytes, 12) as usize);
        let entries = (0..count).map(|index| directory + 12 * index);
        let mut types = Vec::new();
        let mut expected = String::new();
        for at in entries {
            let entry = [0, 4, 8].map(|field| u32_at(&bytes, at + field));
            // If there are several entries of one type (the unused ones), the first is found.
            if !types.contains(&entry[0].to_string()) {
                types.push(entry[0].to_string());
                expected += &format!("{at} {} {}\n", entry[2], entry[1]);
            }
        }
        types.push("0x12345".to_owned());
        expected += "error 1168\n";
        assert_eq!(read(&path, &types), expected, "{}", path.display());
        dumps += 1;
    }
    assert!(dumps > 10, "{dumps}");

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("damaged.dmp");
    let golden = fs::read(repository().join("testdata/cases/plain/dump.dmp")).expect("a golden dump");
    let directory = u32_at(&golden, 12) as usize;
    let stream = u32_at(&golden, directory).to_string();
    let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = golden.clone();
        change(&mut bytes);
        fs::write(&file, bytes).expect("a file in it");
        read(&file, std::slice::from_ref(&stream))
    };
    let set = |at: usize, value: u32| {
        move |bytes: &mut Vec<u8>| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes())
    };
    assert_eq!(damaged(&set(0, 0x504d_444e)), "error 13\n", "signature");
    assert_eq!(damaged(&set(4, 0xa794)), "error 13\n", "version");
    assert!(
        !damaged(&set(4, 0xffff_a793)).starts_with("error"),
        "the high word is implementation-specific"
    );
    assert_eq!(damaged(&set(8, 0)), "error 1168\n", "no streams");
    assert_eq!(
        damaged(&set(12, 0xffff_fff0)),
        "error 13\n",
        "a directory outside"
    );
    assert_eq!(
        damaged(&set(directory + 4, 0xffff_fff0)),
        "error 13\n",
        "a stream that is too long"
    );
    assert_eq!(
        damaged(&set(directory + 8, 0xffff_fff0)),
        "error 13\n",
        "a stream outside"
    );
    // There is no stream of the type, and the count reaches beyond the file.
    assert_eq!(
        damaged(&|bytes: &mut Vec<u8>| {
            set(8, u32::MAX)(bytes);
            set(directory, 0x7777)(bytes);
        }),
        "error 13\n"
    );
    // Cut off in the middle of a page, so the rest of the page is zero.
    assert_eq!(damaged(&|bytes: &mut Vec<u8>| bytes.truncate(31)), "error 1168\n");
}
