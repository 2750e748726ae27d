//! These tests would catch: modules that are lost, or have another order or name than in the
//! system's list; versions, sizes and time stamps that differ from those that Windows' functions
//! and an independent parser find in the files; another debug record than the image has; an
//! unloaded module that costs more than itself; a walk of hostile memory that does not end, leaves
//! the image or wraps around.

use std::collections::HashSet;
use std::os::windows::ffi::OsStrExt;
use std::path::Path;

use dumpwright_target::Pieces;
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
use crate::testing::{Victim, is_victim, tell, wait};

const LOADS: &str = "modules::tests::a_child_that_loads_a_library_and_frees_it";

#[test]
fn a_child_that_loads_a_library_and_frees_it() {
    if !is_victim(LOADS) {
        return;
    }
    // SAFETY: the name is a literal. Loading this library runs no relevant code, and it is freed
    // once.
    unsafe {
        let library = LoadLibraryA(c"lz32.dll".as_ptr().cast());
        assert!(!library.is_null());
        tell("library", library.addr());
        wait();
        FreeLibrary(library);
    }
    wait();
}

/// Returns the base, size and path of each module according to Toolhelp.
fn toolhelp(id: u32) -> Vec<(u64, u32, String)> {
    let mut modules = Vec::new();
    // SAFETY: the structure is filled up to its declared size, and the handle is closed once.
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

/// Returns the versions that Windows finds in the file.
fn file_version(path: &str) -> Option<[u32; 4]> {
    let name: Vec<u16> = Path::new(path).as_os_str().encode_wide().chain([0]).collect();
    // SAFETY: the name ends with NUL. The buffer has the declared size, and the value is inside it.
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
    let mut modules = LoadedModules::find(&access, &mut &access).expect("readable");
    let expected = toolhelp(victim.id());
    let found: Vec<_> = modules
        .bases()
        .into_iter()
        .map(|base| modules.module(&access, &mut &access, base).expect("loaded"))
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
            (
                module.size,
                module.checksum,
                module.timestamp,
                module.dll_characteristics
            ),
            (
                optional.size_of_image.into(),
                optional.check_sum,
                pe.header.coff_header.time_date_stamp,
                optional.dll_characteristics
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
    assert_eq!(modules.take_diagnostics(), []);
    // A module that is unloaded in the meantime costs only itself.
    victim.go_on();
    let gone = modules.module(&access, &mut &access, library).expect_err("freed");
    assert_eq!(gone.kind, FaultKind::Gone, "{gone}");
    assert!(gone.to_string().contains("has been unloaded"), "{gone}");
    let first = modules.bases()[0];
    assert_eq!(
        modules.module(&access, &mut &access, first).as_ref(),
        Ok(&found[0])
    );
    assert_eq!(
        modules
            .module(&access, &mut &access, 0x1000)
            .map_err(|fault| fault.kind),
        Err(FaultKind::Gone)
    );
}

#[test]
fn a_process_without_a_list_is_its_main_program() {
    let victim = Victim::that(LOADS);
    let access = victim.access();
    let mut diagnostics = Vec::new();
    let listed = loader::modules(&access, &mut &access, &mut diagnostics).expect("readable");
    assert_eq!(diagnostics, []);
    let main = loader::main_program(&access, &mut &access, listed[0].base).expect("mapped");
    assert_eq!((main.base, main.size), (listed[0].base, listed[0].size));
    // The one path begins with a device, the other with a drive letter.
    let name = |path: &str| path.rsplit('\\').next().expect("a name").to_lowercase();
    assert_eq!(name(&main.path), name(&listed[0].path));
    // The system's enumeration, which is used when the list is broken, finds the same modules.
    let mut enumerated = loader::enumerated(&access, HashSet::new());
    for (own, module) in listed.iter().zip(&mut enumerated) {
        module.timestamp = own.timestamp;
    }
    assert_eq!(enumerated, listed);
}

#[test]
fn modules_of_a_list_that_is_given_up_are_looked_up_in_it_up_to_a_limit() {
    let loaded = |path: &str, base| Loaded {
        base,
        size: 0,
        timestamp: 0,
        path: path.to_owned(),
    };
    for count in [0, 1, 64, 10_000] {
        let (mut walks, mut maps) = (0, 0);
        let modules = loader::described(
            (0..count).collect(),
            |base| {
                walks += 1;
                loaded("walk", base)
            },
            |base| {
                maps += 1;
                loaded("map", base)
            },
        );
        assert!(modules.iter().map(|module| module.base).eq(0..count));
        assert_eq!((walks, walks + maps), (count.min(64), count));
    }
}

/// Builds a list of modules in synthetic memory: the PEB at 0x1000, the loader's data at 0x2000,
/// entries from 0x10000 on.
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
        // The name is "m" and a letter, and is stored at the end of the entry.
        entry[0x48..0x4a].copy_from_slice(&4_u16.to_le_bytes());
        entry[0x50..0x58].copy_from_slice(&(at(index) + 0xf0).to_le_bytes());
        entry[0xf0..0xf4].copy_from_slice(&[b'm', 0, b'a' + (index % 26) as u8, 0]);
        pieces.push((at(index), entry));
    }
    pieces.into_iter().collect()
}

fn set(pieces: &mut Pieces, piece: u64, at: usize, value: u64) {
    pieces.piece_mut(piece).expect("a piece")[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn names(walk: &loader::LoaderWalk) -> Vec<&str> {
    walk.found.iter().map(|module| &module.path[..]).collect()
}

#[test]
fn a_sound_ring_is_walked_in_order() {
    let walk = loader::walk(&mut ring(3), 0x1000);
    assert_eq!((names(&walk), walk.broken), (vec!["ma", "mb", "mc"], None));
    assert_eq!(walk.found[2].base, 0x7002_0000);
    assert_eq!(loader::walk(&mut ring(0), 0x1000).broken, None);
}

#[test]
fn of_a_torn_ring_both_ends_are_walked() {
    // The links of the second entry are invalid. The entries after it are found from the end.
    let mut memory = ring(5);
    set(&mut memory, 0x10100, 0, 0xdead_0000);
    set(&mut memory, 0x10100, 8, 0xdead_0000);
    let walk = loader::walk(&mut memory, 0x1000);
    assert_eq!(
        (names(&walk), walk.broken),
        (vec!["ma", "mc", "md", "me"], Some("has inconsistent links"))
    );
}

#[test]
fn hostile_rings_end() {
    // The third entry points back to the second.
    let mut circle = ring(3);
    set(&mut circle, 0x10200, 0, 0x10100);
    let walk = loader::walk(&mut circle, 0x1000);
    assert!(walk.broken.is_some());
    assert_eq!(names(&walk), ["ma", "mb", "mc"]);
    // The first entry points to itself.
    let mut own = ring(1);
    set(&mut own, 0x10000, 0, 0x10000);
    assert_eq!(names(&loader::walk(&mut own, 0x1000)), ["ma"]);
    // More entries than any process has.
    let walk = loader::walk(&mut ring(loader::MOST as u64 + 10), 0x1000);
    assert_eq!(
        (walk.found.len(), walk.broken),
        (loader::MOST, Some("is too long"))
    );
    // The loader's data is missing or cannot be read.
    for loader in [0, 0x9999_0000, u64::MAX - 3] {
        let mut nothing = ring(1);
        set(&mut nothing, 0x1000, 0x18, loader);
        let walk = loader::walk(&mut nothing, 0x1000);
        assert!(walk.found.is_empty() && walk.broken.is_some());
    }
    assert!(loader::walk(&mut ring(1), u64::MAX).broken.is_some());
    // The same module twice.
    let mut twice = ring(2);
    set(&mut twice, 0x10100, 0x30, 0x7000_0000);
    assert_eq!(names(&loader::walk(&mut twice, 0x1000)), ["ma"]);
}

#[test]
fn the_version_of_the_systems_own_dlls_is_that_of_their_files() {
    let [high, low, _, _] = file_version("kernel32.dll").expect("has one");
    let expected = [high >> 16, high & 0xffff, low >> 16, low & 0xffff];
    let found = system_version(c"kernel32.dll").expect("is loaded");
    assert_eq!(found.map(u32::from), expected);
    assert_eq!(system_version(c"no.such.dll"), None);
}

#[test]
fn headers_that_are_malformed_leave_what_the_loader_knows() {
    let loaded = Loaded {
        base: 0x4000_0000,
        size: 0x1000,
        timestamp: 99,
        path: "C:\\m.dll".to_owned(),
    };
    for (bytes, what) in [
        (&b""[..], "cannot be read"),
        (b"no image", "MZ"),
        (b"MZ, and no more", "DOS header"),
    ] {
        let mut memory = Pieces::one(loaded.base, bytes.to_vec());
        let (module, broken) = describe(&mut memory, &loaded);
        let found = (module.base, module.size, module.timestamp, &*module.path);
        assert_eq!(found, (0x4000_0000, 0x1000, 99, "C:\\m.dll"));
        assert!(module.version.is_none() && module.cv_record.is_empty() && module.misc_record.is_empty());
        assert!(broken.expect("is broken").contains(what));
    }
}
