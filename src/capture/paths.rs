//! Removes folders from module paths (type 0x80), because they contain names of users and projects.

use dumpwright_target::{LinuxFacts, LinuxTextKind, Module, UnloadedModule};

use crate::Profile;

/// Removes the folders from a module's path. Unless the profile follows DbgHelp, also removes them
/// from the paths in its debug records.
pub(super) fn shorten_module(module: &mut Module, profile: Profile) {
    module.path = base_name(&module.path).to_owned();
    if profile.filters_all_paths() {
        shorten_pdb(&mut module.cv_record);
        shorten_misc(&mut module.misc_record);
    }
}

/// Removes the folders from the other paths in a Linux dump: the map of the address space and the
/// dynamic linker's list of modules.
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

/// Removes the folders from the names of unloaded modules.
pub(super) fn shorten_unloaded(modules: &mut [UnloadedModule]) {
    for module in modules {
        module.name = base_name(&module.name).to_owned();
    }
}

/// Returns the last part of a Linux or Windows path.
fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// Returns a line of `/proc/PID/maps` without the folders of its path. The path is the last field,
/// and the only one that can contain a slash.
fn short_line(line: &[u8]) -> impl Iterator<Item = &u8> {
    let path = line.iter().position(|byte| *byte == b'/').unwrap_or(line.len());
    let name = line
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(path, |last| last + 1);
    line[..path].iter().chain(&line[name..])
}

/// Removes the folders from the path in a CodeView record. `RSDS` (current PDB files) is followed
/// by 20 bytes before the path. `NB10` (PDB files before Visual C++ 7) is followed by 12: offset,
/// time, age. Other records contain no path.
fn shorten_pdb(record: &mut Vec<u8>) {
    let at = match record.first_chunk() {
        Some(b"RSDS") => 24,
        Some(b"NB10") => 16,
        _ => return,
    };
    if let Some(path) = record.get(at..)
        && let Some(last) = path.iter().rposition(|byte| matches!(byte, b'/' | b'\\'))
    {
        record.drain(at..=at + last);
    }
}

/// Removes the folders from the path in an `IMAGE_DEBUG_MISC` record (winnt.h), which images with a
/// `.dbg` file have. Its fields are the type, the length of the record, whether the path is UTF-16,
/// 3 unused bytes, the path, and a NUL. Whatever follows the NUL is removed too. The length stays a
/// multiple of 4.
fn shorten_misc(record: &mut Vec<u8>) {
    const EXENAME: [u8; 4] = 1_u32.to_le_bytes();
    const PATH: usize = 12;
    let Some((head, path)) = record.split_first_chunk::<PATH>() else {
        return;
    };
    if head[..4] != EXENAME {
        return;
    }
    let unit = if head[8] == 0 { 1 } else { 2 };
    let name = path
        .chunks_exact(unit)
        .take_while(|unit| unit.iter().any(|byte| *byte != 0));
    let is_separator = |unit: &[u8]| matches!(unit, [b'/' | b'\\'] | [b'/' | b'\\', 0]);
    let units: Vec<_> = name.collect();
    let Some(last) = units.iter().rposition(|unit| is_separator(unit)) else {
        return;
    };
    let name = units[last + 1..].concat();
    record.truncate(PATH);
    record.extend(name);
    record.resize((record.len() + unit).next_multiple_of(4), 0);
    let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
    record[4..8].copy_from_slice(&length.to_le_bytes());
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
        let mut record = b"NB10\0\0\0\0timeage!C:\\users\\jo\\tool.pdb\0".to_vec();
        shorten_pdb(&mut record);
        assert_eq!(record, b"NB10\0\0\0\0timeage!tool.pdb\0");
        let build_id = b"LEpB/not/a/path but an id that has slashes".to_vec();
        let mut record = build_id.clone();
        shorten_pdb(&mut record);
        assert_eq!(record, build_id);
    }

    #[test]
    fn debug_records_of_old_images_lose_their_folders_too() {
        let record = |kind: u8, unicode: u8, path: &[u8]| {
            let length = u8::try_from(12 + path.len()).unwrap();
            let mut record = vec![kind, 0, 0, 0, length, 0, 0, 0, unicode, 0, 0, 0];
            record.extend(path);
            record
        };
        let short = |mut record: Vec<u8>| {
            shorten_misc(&mut record);
            record
        };
        let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        assert_eq!(
            short(record(1, 0, b"C:\\users\\jo\\tool.dbg\0\\jo\0\0\0\0")),
            record(1, 0, b"tool.dbg\0\0\0\0")
        );
        // U+2F5C and U+5C2F contain the byte of a separator, but are not separators.
        assert_eq!(
            short(record(1, 1, &wide("C:\\jo/\u{2f5c}\u{5c2f}.dbg\0\0\0"))),
            record(1, 1, &wide("\u{2f5c}\u{5c2f}.dbg\0\0"))
        );
        for kept in [
            record(1, 0, b"tool.dbg\0\0\0\0"),
            record(2, 0, b"a/b\0"),
            vec![1, 0, 0, 0],
            Vec::new(),
        ] {
            assert_eq!(short(kept.clone()), kept);
        }
    }
}
