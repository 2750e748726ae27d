//! What these tests would catch: modules lost, in another order or under another name than the system's own list has; versions, sizes and time
//! stamps other than those that Windows' functions and an independent parser find in the files; another debug record than the image has; a module's
//! unloading that costs more than that module; a walk without end, beyond the image or beyond all memory because of hostile bytes.

use std::os::windows::ffi::OsStrExt;
use std::path::Path;

use windows_sys::Win32::Foundation::{CloseHandle, FreeLibrary, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Storage::FileSystem::{
    GetFileVersionInfoSizeW, GetFileVersionInfoW, VS_FIXEDFILEINFO, VerQueryValueW,
};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, MODULEENTRY32W, Module32FirstW, Module32NextW, TH32CS_SNAPMODULE,
};
use windows_sys::Win32::System::LibraryLoader::LoadLibraryA;
use windows_sys::core::w;

use super::*;
use crate::memory::Pieces;
use crate::testing::{Victim, is_victim, tell, wait};

const LOADS: &str = "modules::tests::a_child_that_loads_a_library_and_frees_it";

#[test]
fn a_child_that_loads_a_library_and_frees_it() {
    if !is_victim(LOADS) {
        return;
    }
    // SAFETY: the name is a literal; loading this one runs nothing of interest, and it is freed once.
    unsafe {
        let library = LoadLibraryA(c"lz32.dll".as_ptr().cast());
        assert!(!library.is_null());
        tell("library", library.addr());
        wait();
        FreeLibrary(library);
    }
    wait();
}

/// What Toolhelp says: base, size, path.
fn toolhelp(id: u32) -> Vec<(u64, u32, String)> {
    let mut modules = Vec::new();
    // SAFETY: the structure is filled as far as its size says, and the handle closed once.
    unsafe {
        let snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPMODULE, id);
        assert_ne!(snapshot, INVALID_HANDLE_VALUE);
        let mut entry: MODULEENTRY32W = std::mem::zeroed();
        entry.dwSize = size_of::<MODULEENTRY32W>() as u32;
        let mut more = Module32FirstW(snapshot, &mut entry);
        while more != 0 {
            let len = entry.szExePath.iter().position(|unit| *unit == 0).expect("ends");
            let path = String::from_utf16_lossy(&entry.szExePath[..len]);
            modules.push((entry.modBaseAddr.addr() as u64, entry.modBaseSize, path));
            more = Module32NextW(snapshot, &mut entry);
        }
        CloseHandle(snapshot);
    }
    modules
}

/// What Windows finds in the file.
fn file_version(path: &str) -> Option<[u32; 4]> {
    let name: Vec<u16> = Path::new(path).as_os_str().encode_wide().chain([0]).collect();
    // SAFETY: the name ends with NUL; the buffer has the size that was told, and the value is inside it.
    unsafe {
        let len = GetFileVersionInfoSizeW(name.as_ptr(), std::ptr::null_mut());
        if len == 0 {
            return None;
        }
        let mut data = vec![0_u64; (len as usize).div_ceil(8)];
        assert_ne!(
            GetFileVersionInfoW(name.as_ptr(), 0, len, data.as_mut_ptr().cast()),
            0
        );
        let (mut value, mut len) = (std::ptr::null_mut(), 0);
        if VerQueryValueW(data.as_ptr().cast(), w!("\\"), &mut value, &mut len) == 0 {
            return None;
        }
        let info = value.cast::<VS_FIXEDFILEINFO>().read_unaligned();
        Some([
            info.dwFileVersionMS,
            info.dwFileVersionLS,
            info.dwProductVersionMS,
            info.dwProductVersionLS,
        ])
    }
}

#[test]
fn modules_are_those_of_toolhelp_and_say_what_their_files_do() {
    let mut victim = Victim::that(LOADS);
    let access = victim.access();
    let mut modules = Modules::find(&access).expect("readable");
    let expected = toolhelp(victim.id());
    let found: Vec<_> = modules
        .bases()
        .into_iter()
        .map(|base| modules.module(&access, base).expect("loaded"))
        .collect();
    let list: Vec<_> = found
        .iter()
        .map(|module| (module.base, module.size as u32, module.path.clone()))
        .collect();
    assert_eq!(list, expected);
    let library = victim.number("library");
    assert!(found.iter().any(|module| module.base == library));
    let mut with_version = 0;
    for module in &found {
        let bytes = std::fs::read(&module.path).expect("its file");
        let pe = goblin::pe::PE::parse(&bytes).expect("an image");
        let optional = pe.header.optional_header.expect("an image").windows_fields;
        assert_eq!(
            (module.size, module.checksum, module.timestamp),
            (
                optional.size_of_image.into(),
                optional.check_sum,
                pe.header.coff_header.time_date_stamp
            ),
            "{}",
            module.path
        );
        let version = module
            .version
            .map(|words| [words[2], words[3], words[4], words[5]]);
        assert_eq!(version, file_version(&module.path), "{}", module.path);
        with_version += usize::from(version.is_some());
    }
    assert!(with_version >= 2, "{found:#?}");
    assert_eq!(modules.take_remarks(), []);
    // What is unloaded meanwhile costs itself only.
    victim.go_on();
    let gone = modules.module(&access, library).expect_err("freed");
    assert_eq!(gone.kind, FaultKind::Gone, "{gone}");
    assert!(gone.to_string().contains("unloaded meanwhile"), "{gone}");
    let first = modules.bases()[0];
    assert_eq!(modules.module(&access, first).as_ref(), Ok(&found[0]));
    assert_eq!(
        modules.module(&access, 0x1000).map_err(|fault| fault.kind),
        Err(FaultKind::Gone)
    );
}

#[test]
fn a_process_without_a_list_is_its_main_program() {
    let victim = Victim::that(LOADS);
    let access = victim.access();
    let mut remarks = Vec::new();
    let listed = loader::modules(&access, &mut remarks).expect("readable");
    assert_eq!(remarks, []);
    let main = loader::main_program(&access, listed[0].base).expect("mapped");
    assert_eq!((main.base, main.size), (listed[0].base, listed[0].size));
    // A path from the device there, one from the drive here.
    let name = |path: &str| path.rsplit('\\').next().expect("a name").to_lowercase();
    assert_eq!(name(&main.path), name(&listed[0].path));
    // The system's own enumeration, which is asked when the list is broken, finds the same.
    let mut enumerated = loader::enumerated(&access);
    for (own, module) in listed.iter().zip(&mut enumerated) {
        module.timestamp = own.timestamp;
    }
    assert_eq!(enumerated, listed);
}

/// A ring of modules in made-up memory: PEB at 0x1000, loader's data at 0x2000, entries from 0x10000 on.
fn ring(count: u64) -> Pieces {
    let at = |index: u64| {
        if index == count {
            0x2010
        } else {
            0x10000 + index * 0x100
        }
    };
    let mut peb = vec![0; 0x20];
    peb[0x18..].copy_from_slice(&0x2000_u64.to_le_bytes());
    let mut data = vec![0; 0x20];
    data[0x10..0x18].copy_from_slice(&at(0).to_le_bytes());
    data[0x18..].copy_from_slice(&(if count == 0 { 0x2010 } else { at(count - 1) }).to_le_bytes());
    let mut pieces = vec![(0x1000, peb), (0x2000, data)];
    for index in 0..count {
        let mut entry = vec![0; 0x100];
        let before = if index == 0 { 0x2010 } else { at(index - 1) };
        entry[..8].copy_from_slice(&at(index + 1).to_le_bytes());
        entry[8..16].copy_from_slice(&before.to_le_bytes());
        entry[0x30..0x38].copy_from_slice(&(0x7000_0000 + index * 0x1_0000).to_le_bytes());
        entry[0x40..0x44].copy_from_slice(&0x5000_u32.to_le_bytes());
        // "m" and a letter, in the entry's own end.
        entry[0x48..0x4a].copy_from_slice(&4_u16.to_le_bytes());
        entry[0x50..0x58].copy_from_slice(&(at(index) + 0xf0).to_le_bytes());
        entry[0xf0..0xf4].copy_from_slice(&[b'm', 0, b'a' + (index % 26) as u8, 0]);
        pieces.push((at(index), entry));
    }
    Pieces(pieces)
}

fn set(pieces: &mut Pieces, piece: usize, at: usize, value: u64) {
    pieces.0[piece].1[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn names(walk: &loader::Walk) -> Vec<&str> {
    walk.found.iter().map(|module| &module.path[..]).collect()
}

#[test]
fn a_sound_ring_is_walked_in_order() {
    let walk = loader::walk(&ring(3), 0x1000);
    assert_eq!((names(&walk), walk.broken), (vec!["ma", "mb", "mc"], None));
    assert_eq!(walk.found[2].base, 0x7002_0000);
    assert_eq!(loader::walk(&ring(0), 0x1000).broken, None);
}

#[test]
fn of_a_torn_ring_both_ends_are_walked() {
    // The second entry's links lead to nowhere: what is behind it is found from the end.
    let mut memory = ring(5);
    set(&mut memory, 3, 0, 0xdead_0000);
    set(&mut memory, 3, 8, 0xdead_0000);
    let walk = loader::walk(&memory, 0x1000);
    assert_eq!(
        (names(&walk), walk.broken),
        (vec!["ma", "mc", "md", "me"], Some("is torn"))
    );
}

#[test]
fn hostile_rings_end() {
    // The third leads back to the second.
    let mut circle = ring(3);
    set(&mut circle, 4, 0, 0x10100);
    let walk = loader::walk(&circle, 0x1000);
    assert!(walk.broken.is_some());
    assert_eq!(names(&walk), ["ma", "mb", "mc"]);
    // The first leads to itself.
    let mut own = ring(1);
    set(&mut own, 2, 0, 0x10000);
    assert_eq!(names(&loader::walk(&own, 0x1000)), ["ma"]);
    // More than any process has.
    let walk = loader::walk(&ring(loader::MOST as u64 + 10), 0x1000);
    assert_eq!(
        (walk.found.len(), walk.broken),
        (loader::MOST, Some("is too long to be one"))
    );
    // No loader's data, and none that can be read.
    for loader in [0, 0x9999_0000, u64::MAX - 3] {
        let mut nothing = ring(1);
        set(&mut nothing, 0, 0x18, loader);
        let walk = loader::walk(&nothing, 0x1000);
        assert!(walk.found.is_empty() && walk.broken.is_some());
    }
    assert!(loader::walk(&ring(1), u64::MAX).broken.is_some());
    // The same module twice.
    let mut twice = ring(2);
    set(&mut twice, 3, 0x30, 0x7000_0000);
    assert_eq!(names(&loader::walk(&twice, 0x1000)), ["ma"]);
}

/// Where the made-up image is, and what is where in it.
const BASE: u64 = 0x4000_0000;
const OPTIONAL: usize = 0x80 + 24;
const DEBUG_AT: usize = 0x400;
const RSDS_AT: usize = 0x500;
const RESOURCES_AT: usize = 0x800;
const VERSION_AT: usize = 0xa00;

fn put(bytes: &mut [u8], at: usize, words: &[u32]) {
    for (index, word) in words.iter().enumerate() {
        bytes[at + index * 4..at + index * 4 + 4].copy_from_slice(&word.to_le_bytes());
    }
}

/// An image with a PDB, a miscellaneous record and a version.
fn image() -> Vec<u8> {
    let mut bytes = vec![0; 0x1000];
    bytes[..2].copy_from_slice(b"MZ");
    put(&mut bytes, 60, &[0x80]);
    bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
    put(&mut bytes, 0x88, &[0x1234_5678]);
    bytes[0x94..0x96].copy_from_slice(&240_u16.to_le_bytes());
    bytes[OPTIONAL..OPTIONAL + 2].copy_from_slice(&0x20b_u16.to_le_bytes());
    put(&mut bytes, OPTIONAL + 56, &[0x1000, 0x400, 0xabcd]);
    put(&mut bytes, OPTIONAL + 108, &[16]);
    put(&mut bytes, OPTIONAL + 112 + 6 * 8, &[DEBUG_AT as u32, 3 * 28]);
    put(&mut bytes, OPTIONAL + 112 + 2 * 8, &[RESOURCES_AT as u32, 0x300]);
    // A record of another kind, the PDB, and a miscellaneous record.
    put(&mut bytes, DEBUG_AT + 12, &[12, 4, 0x600, 0x600]);
    put(&mut bytes, DEBUG_AT + 28 + 12, &[2, 30, RSDS_AT as u32, 0x300]);
    put(&mut bytes, DEBUG_AT + 56 + 12, &[4, 16, 0x700, 0x400]);
    bytes[RSDS_AT..RSDS_AT + 4].copy_from_slice(b"RSDS");
    bytes[RSDS_AT + 24..RSDS_AT + 30].copy_from_slice(b"a.pdb\0");
    put(&mut bytes, 0x700, &[1, 16, 0, 0x6465_6362]);
    // Types 3 and 16; of 16 the names 2 (without anything) and 1; of that one language.
    put(
        &mut bytes,
        RESOURCES_AT + 12,
        &[2 << 16, 3, 0x8000_0200, 16, 0x8000_0020],
    );
    put(
        &mut bytes,
        RESOURCES_AT + 0x20 + 12,
        &[2 << 16, 1, 0x8000_0060, 2, 0x8000_0040],
    );
    put(&mut bytes, RESOURCES_AT + 0x60 + 12, &[1 << 16, 0x409, 0x80]);
    put(&mut bytes, RESOURCES_AT + 0x80, &[VERSION_AT as u32, 92]);
    bytes[VERSION_AT + 2..VERSION_AT + 4].copy_from_slice(&52_u16.to_le_bytes());
    for (index, unit) in "VS_VERSION_INFO".encode_utf16().enumerate() {
        bytes[VERSION_AT + 6 + index * 2..VERSION_AT + 8 + index * 2].copy_from_slice(&unit.to_le_bytes());
    }
    put(
        &mut bytes,
        VERSION_AT + 40,
        &[0xfeef_04bd, 0x1_0000, 0x1_0002, 0x3_0004],
    );
    bytes
}

fn described(bytes: Vec<u8>) -> (Module, Option<&'static str>) {
    let loaded = Loaded {
        base: BASE,
        size: 0x1000,
        timestamp: 99,
        path: "C:\\m.dll".to_owned(),
    };
    describe(&Pieces(vec![(BASE, bytes)]), &loaded)
}

#[test]
fn a_made_up_image_is_understood() {
    let (module, broken) = described(image());
    assert_eq!(broken, None);
    assert_eq!(
        (module.size, module.checksum, module.timestamp),
        (0x1000, 0xabcd, 0x1234_5678)
    );
    assert_eq!(module.cv_record, image()[RSDS_AT..RSDS_AT + 30]);
    assert_eq!(module.misc_record, image()[0x700..0x710]);
    let version = module.version.expect("has one");
    assert_eq!(version[..4], [0xfeef_04bd, 0x1_0000, 0x1_0002, 0x3_0004]);
    // The older kind of record.
    let mut older = image();
    older[RSDS_AT..RSDS_AT + 4].copy_from_slice(b"NB10");
    assert_eq!(&described(older).0.cv_record[..4], b"NB10");
}

#[test]
fn headers_that_make_no_sense_leave_what_the_loader_knows() {
    let broken = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = image();
        change(&mut bytes);
        let (module, broken) = described(bytes);
        assert_eq!(
            (module.size, module.timestamp, module.version),
            (0x1000, 99, None)
        );
        assert!(module.cv_record.is_empty() && module.misc_record.is_empty());
        broken.expect("is broken")
    };
    assert!(broken(&|bytes| bytes.truncate(0x20)).contains("cannot be read"));
    assert!(broken(&|bytes| bytes[0] = 0).contains("MZ"));
    assert!(broken(&|bytes| put(bytes, 60, &[u32::MAX])).contains("where nothing can be read"));
    assert!(broken(&|bytes| bytes[0x80] = 0).contains("no PE header"));
    assert!(broken(&|bytes| bytes[0x94] = 100).contains("too short"));
    assert!(broken(&|bytes| bytes.truncate(0xa0)).contains("optional header cannot be read"));
    assert!(broken(&|bytes| bytes[OPTIONAL] = 0).contains("no known kind"));
}

#[test]
fn tables_that_lie_cost_what_they_lie_about() {
    type Lie = (usize, &'static [u32]);
    let lies: &[Lie] = &[
        // Debug directory beyond the image, and one with an endless size.
        (OPTIONAL + 112 + 6 * 8, &[0xfff, 28]),
        (OPTIONAL + 112 + 6 * 8, &[u32::MAX, u32::MAX]),
        // Records that are in the file only, too long, beyond the image, or without a name.
        (DEBUG_AT + 28 + 16, &[30, 0]),
        (DEBUG_AT + 28 + 16, &[u32::MAX]),
        (DEBUG_AT + 28 + 16, &[0x1000]),
        (DEBUG_AT + 28 + 16, &[24]),
        (DEBUG_AT + 28 + 16, &[3]),
        (RSDS_AT, &[0]),
    ];
    for (at, words) in lies {
        let mut bytes = image();
        put(&mut bytes, *at, words);
        let (module, broken) = described(bytes);
        assert_eq!(broken, None);
        assert!(module.cv_record.is_empty(), "{at:#x} {words:x?}");
        assert!(module.version.is_some());
    }
    let version_lies: &[Lie] = &[
        // Resources beyond the image, at its very end, or a directory of more entries than there is room for.
        (OPTIONAL + 112 + 2 * 8, &[0xff8]),
        (OPTIONAL + 112 + 2 * 8, &[u32::MAX]),
        (RESOURCES_AT + 12, &[0xffff_ffff]),
        // A type without names, data where a directory is expected, and a directory where data is.
        (RESOURCES_AT + 28, &[0x80]),
        (RESOURCES_AT + 28, &[0xffff_ffff]),
        (RESOURCES_AT + 0x60 + 20, &[0x8000_0000]),
        (RESOURCES_AT + 0x60 + 20, &[0xffff_fff0]),
        // A version beyond the image, too short, or none.
        (RESOURCES_AT + 0x80, &[0xfc0, 92]),
        (RESOURCES_AT + 0x80, &[VERSION_AT as u32, 91]),
        (VERSION_AT + 40, &[0]),
        (VERSION_AT, &[0]),
        (VERSION_AT + 8, &[0]),
    ];
    for (at, words) in version_lies {
        let mut bytes = image();
        put(&mut bytes, *at, words);
        let (module, broken) = described(bytes);
        assert_eq!((module.version, broken), (None, None), "{at:#x} {words:x?}");
        assert!(!module.cv_record.is_empty());
    }
    // A directory that is its own child is followed three levels deep.
    let mut bytes = image();
    put(&mut bytes, RESOURCES_AT + 12, &[1 << 16, 16, 0x8000_0000]);
    assert_eq!(described(bytes).0.version, None);
}
