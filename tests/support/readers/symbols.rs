//! Breakpad symbols, which Breakpad's `dump_syms` extracts from the binaries of a dump.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns a directory that has the symbols of the given binaries, in files
/// FOLDER/NAME/ID/NAME.sym.
///
/// The id is different for each build. So all tests share one directory, and its files remain
/// valid.
pub fn of(binaries: &[PathBuf]) -> PathBuf {
    let folder = crate::scratch().join("symbols");
    for binary in binaries.iter().filter(|binary| binary.is_file()) {
        add(&folder, binary, None);
    }
    folder
}

/// Adds the symbols of a binary whose name in the dump differs from its own.
pub fn add_as(folder: &Path, binary: &Path, name: &str) {
    add(folder, binary, Some(name));
}

fn add(folder: &Path, binary: &Path, name: Option<&str>) {
    let dump_syms = super::cache().join("breakpad/dump_syms");
    let header = crate::run_well(Command::new(&dump_syms).arg("-i").arg(binary));
    // MODULE Linux x86_64 ID NAME
    let fields: Vec<&str> = header.lines().next().unwrap_or_default().splitn(5, ' ').collect();
    let &[_, _, _, id, own_name] = fields.as_slice() else {
        panic!("dump_syms -i {}: {header}", binary.display())
    };
    let name = name.unwrap_or(own_name);
    let place = folder.join(name).join(id);
    let file = place.join(format!("{name}.sym"));
    if file.exists() {
        return;
    }
    fs::create_dir_all(&place).unwrap();
    let symbols = crate::run_well(Command::new(&dump_syms).arg(binary));
    let temporary = tempfile::NamedTempFile::new_in(&place).unwrap();
    fs::write(temporary.path(), symbols).unwrap();
    temporary.persist(&file).unwrap();
}
