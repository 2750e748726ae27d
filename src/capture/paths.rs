//! Module paths without folders (type 0x80): names of users and projects stand in them.

use dumpwright_target::{LinuxFacts, LinuxTextKind, Module, UnloadedModule};

use crate::Profile;

/// Takes the folders from a module's path and, unless DbgHelp is to be followed, from the path of its PDB.
pub(super) fn shorten_module(module: &mut Module, profile: Profile) {
    module.path = base_name(&module.path).to_owned();
    if profile.filters_all_paths() {
        shorten_pdb(&mut module.cv_record);
    }
}

/// Takes the folders from the paths that a Linux dump has besides: the map of the address space, the linker's list.
pub(super) fn shorten_linux(facts: &mut LinuxFacts) {
    for text in &mut facts.texts {
        if text.kind == LinuxTextKind::Maps {
            let lines = text.bytes.split_inclusive(|byte| *byte == b'\n');
            text.bytes = lines.flat_map(short_line).copied().collect();
        }
    }
    for link in facts.dso_debug.iter_mut().flat_map(|debug| &mut debug.links) {
        link.name = base_name(&link.name).to_owned();
    }
}

/// The same for modules that have been unloaded.
pub(super) fn shorten_unloaded(modules: &mut [UnloadedModule]) {
    for module in modules {
        module.name = base_name(&module.name).to_owned();
    }
}

/// The last part of a path of either system.
fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// A line of `/proc/PID/maps` without the folders of its path, which is the last field and the only one with a slash.
fn short_line(line: &[u8]) -> impl Iterator<Item = &u8> {
    let path = line.iter().position(|byte| *byte == b'/').unwrap_or(line.len());
    let name = line
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(path, |last| last + 1);
    line[..path].iter().chain(&line[name..])
}

/// `RSDS`, 20 bytes, path, NUL.
fn shorten_pdb(record: &mut Vec<u8>) {
    const PATH: usize = 24;
    if record.starts_with(b"RSDS")
        && let Some(path) = record.get(PATH..)
        && let Some(last) = path.iter().rposition(|byte| matches!(byte, b'/' | b'\\'))
    {
        record.drain(PATH..=PATH + last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_go() {
        let line = |text: &str| String::from_utf8(short_line(text.as_bytes()).copied().collect()).unwrap();
        assert_eq!(
            line("400000-401000 r-xp 00000000 08:01 42                 /home/jo doe/bin/tool (deleted)\n"),
            "400000-401000 r-xp 00000000 08:01 42                 tool (deleted)\n"
        );
        let heap = "555555-555556 rw-p 00000000 00:00 0                  [heap]\n";
        assert_eq!(line(heap), heap);

        let mut record = b"RSDS0123456789abcdef\x01\0\0\0C:\\users\\jo\\tool.pdb\0".to_vec();
        shorten_pdb(&mut record);
        assert_eq!(record, b"RSDS0123456789abcdef\x01\0\0\0tool.pdb\0");
        let build_id = b"LEpB/not/a/path but an id that has slashes".to_vec();
        let mut record = build_id.clone();
        shorten_pdb(&mut record);
        assert_eq!(record, build_id);
    }
}
