//! Reads the loader's list of modules from the target's memory.
//!
//! The process environment block (PEB) points to the loader's data, which contains the head of a
//! circular list of entries in the order of loading. A thread may have been suspended while it
//! changed the list, and a broken or hostile program may have changed it in any way. Therefore an
//! entry counts only if its backward link points to the entry before it, no entry counts twice, and
//! there are at most [`MOST`] entries.

use std::collections::HashSet;
use std::ffi::c_void;
use std::os::windows::io::AsRawHandle;

use dumpwright_target::{Diagnostic, Fault, FaultKind, Memory, MemoryExt, Subject};
use windows_sys::Wdk::System::Threading::ProcessBasicInformation;
use windows_sys::Win32::System::ProcessStatus::{
    K32EnumProcessModulesEx, K32GetMappedFileNameW, K32GetModuleFileNameExW, K32GetModuleInformation,
    LIST_MODULES_ALL, MODULEINFO,
};

use crate::access::Access;
use crate::error::nt_fault;
use crate::memory::{int_at, unicode_string, word_at};
use crate::query;

/// The maximum number of modules. No process has that many.
pub(super) const MOST: usize = 1 << 14;

/// The offsets in the PEB of x86-64: the main program's load address, and the pointer to the
/// loader's data.
const PEB_IMAGE_BASE: u64 = 0x10;
const PEB_LOADER: u64 = 0x18;
/// The offset in the loader's data of the list in the order of loading.
const LOADER_RING: u64 = 0x10;
/// The size in bytes of an entry (LDR_DATA_TABLE_ENTRY) up to the end of the last field that is
/// read.
const ENTRY: usize = 0x88;

/// A module of the loader's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loaded {
    pub(super) base: u64,
    pub(super) size: u32,
    pub(super) timestamp: u32,
    pub(super) path: String,
}

/// Returns the modules in the order of loading, with the main program first.
pub(super) fn modules(
    access: &Access<'_>,
    memory: &mut dyn Memory,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Vec<Loaded>, Fault> {
    let operation = || format!("list the modules of process {}", access.id);
    let basic = query::process::<48>(access.process(), ProcessBasicInformation)
        .map_err(|status| nt_fault(operation(), status))?;
    let peb = word_at(&basic, 8);
    let walk = walk(memory, peb);
    let mut found = walk.found;
    for module in &mut found {
        if module.path.is_empty() {
            module.path = mapped_name(access, module.base);
        }
    }
    if let Some(reason) = walk.broken {
        let known = found.iter().map(|module| module.base).collect();
        let more = enumerated(access, known);
        let reason = format!(
            "the loader's list of modules {reason}: {} were read from it, and the system's enumeration found {} more",
            found.len(),
            more.len()
        );
        diagnostics.push(Diagnostic::note(Subject::Stream("ModuleList"), reason));
        found.extend(more);
    }
    if found.is_empty() {
        // A process that has not run yet has a main program but no list.
        let base = memory.word(peb.wrapping_add(PEB_IMAGE_BASE), 8).ok();
        found.extend(base.and_then(|base| main_program(access, memory, base)));
    }
    if found.is_empty() {
        let reason = "its memory has no readable list of modules";
        return Err(Fault::new(FaultKind::Malformed, operation(), reason));
    }
    found.truncate(MOST);
    Ok(found)
}

/// The result of walking the list.
#[derive(Debug, Default)]
pub(super) struct LoaderWalk {
    pub(super) found: Vec<Loaded>,
    /// The reason, if the list is broken.
    pub(super) broken: Option<&'static str>,
}

/// Walks the list, and also walks it backward from its end if it is broken.
pub(super) fn walk(memory: &mut dyn Memory, peb: u64) -> LoaderWalk {
    let mut walk = LoaderWalk::default();
    let loader = memory.word(peb.wrapping_add(PEB_LOADER), 8);
    let Some(loader) = loader.ok().filter(|loader| *loader != 0) else {
        walk.broken = Some("does not exist");
        return walk;
    };
    let head = loader.wrapping_add(LOADER_RING);
    let mut seen = HashSet::from([head]);
    let mut bases = HashSet::new();
    walk.broken = follow(
        memory,
        head,
        Direction::Forward,
        &mut seen,
        &mut bases,
        &mut walk.found,
    );
    if walk.broken.is_some() {
        let mut last = Vec::new();
        follow(memory, head, Direction::Back, &mut seen, &mut bases, &mut last);
        walk.found.extend(last.into_iter().rev());
    }
    walk
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Back,
}

/// Walks the list from its head until the head is reached again. Returns the reason if the list is
/// broken.
fn follow(
    memory: &mut dyn Memory,
    head: u64,
    direction: Direction,
    seen: &mut HashSet<u64>,
    bases: &mut HashSet<u64>,
    found: &mut Vec<Loaded>,
) -> Option<&'static str> {
    // Each entry begins with its links, forward and backward.
    let (onward, backward) = match direction {
        Direction::Forward => (0, 8),
        Direction::Back => (8, 0),
    };
    let Ok(links) = memory.array::<16>(head) else {
        return Some("cannot be read");
    };
    let (mut from, mut at) = (head, word_at(&links, onward));
    while at != head {
        if bases.len() >= MOST {
            return Some("is too long");
        }
        if !seen.insert(at) {
            return Some("contains a cycle");
        }
        let Ok(entry) = memory.array::<ENTRY>(at) else {
            return Some("points to memory that cannot be read");
        };
        if word_at(&entry, backward) != from {
            return Some("has inconsistent links");
        }
        // An entry without a load address is still being created.
        let base = word_at(&entry, 0x30);
        if base != 0 && bases.insert(base) {
            found.push(Loaded {
                base,
                size: int_at(&entry, 0x40),
                timestamp: int_at(&entry, 0x80),
                path: name(memory, &entry),
            });
        }
        (from, at) = (at, word_at(&entry, onward));
    }
    None
}

/// Returns the full path of an entry's module, or its name if there is no path.
fn name(memory: &mut dyn Memory, entry: &[u8; ENTRY]) -> String {
    let full = unicode_string(memory, &entry[0x48..0x58]).filter(|path| !path.is_empty());
    full.or_else(|| unicode_string(memory, &entry[0x58..0x68]))
        .unwrap_or_default()
}

/// Returns the modules that the system's enumeration function finds and that are not in `known`.
/// The function walks the same list, but in a different way.
pub(super) fn enumerated(access: &Access<'_>, mut known: HashSet<u64>) -> Vec<Loaded> {
    let mut bases = enumerated_bases(access);
    bases.retain(|base| known.insert(*base));
    described(
        bases,
        |base| Loaded {
            base,
            size: size(access, base),
            timestamp: 0,
            path: file_name(access, base),
        },
        |base| Loaded {
            base,
            // The module's headers contain the size.
            size: 0,
            timestamp: 0,
            path: mapped_name(access, base),
        },
    )
}

/// Describes modules: the first ones by their entries in the loader's list, the rest by the files
/// mapped at their addresses.
///
/// The system finds an entry by walking the list. If every module of a long list were looked up in
/// this way, the time would grow with the square of the list's length, while the process is
/// suspended. A list that a suspended thread was changing lacks only a few modules, and these come
/// first.
pub(super) fn described(
    bases: Vec<u64>,
    mut by_entry: impl FnMut(u64) -> Loaded,
    mut by_mapping: impl FnMut(u64) -> Loaded,
) -> Vec<Loaded> {
    /// The maximum number of modules that are looked up by their entries.
    const MOST_BY_ENTRY: usize = 64;
    let describe = |(index, base)| match index < MOST_BY_ENTRY {
        true => by_entry(base),
        false => by_mapping(base),
    };
    bases.into_iter().enumerate().map(describe).collect()
}

/// Returns the load addresses that the system's enumeration function finds.
fn enumerated_bases(access: &Access<'_>) -> Vec<u64> {
    let mut handles = vec![std::ptr::null_mut::<c_void>(); 1024];
    loop {
        let len = u32::try_from(size_of_val(&handles[..])).expect("limited");
        let mut needed = 0;
        // SAFETY: the handle is open as long as it is borrowed. The system writes at most the
        // buffer's length to the buffer, and the required length to a local integer.
        let done = unsafe {
            K32EnumProcessModulesEx(
                access.memory().as_raw_handle(),
                handles.as_mut_ptr(),
                len,
                &raw mut needed,
                LIST_MODULES_ALL,
            )
        };
        let count = needed as usize / size_of::<*mut c_void>();
        if done == 0 {
            return Vec::new();
        }
        if count <= handles.len() || handles.len() >= MOST {
            handles.truncate(count);
            break;
        }
        handles.resize((count + 64).min(MOST), std::ptr::null_mut());
    }
    let bases = handles.into_iter().map(|handle| handle.addr() as u64);
    bases.filter(|base| *base != 0).collect()
}

/// Returns the main program of a process that has no list yet.
pub(super) fn main_program(access: &Access<'_>, memory: &mut dyn Memory, base: u64) -> Option<Loaded> {
    memory.array::<2>(base).ok()?;
    Some(Loaded {
        base,
        size: size(access, base),
        timestamp: 0,
        path: mapped_name(access, base),
    })
}

fn size(access: &Access<'_>, base: u64) -> u32 {
    let mut info = MODULEINFO::default();
    let len = u32::try_from(size_of::<MODULEINFO>()).expect("small");
    let module = std::ptr::without_provenance_mut(base as usize);
    let memory = access.memory().as_raw_handle();
    // SAFETY: the handle is open as long as it is borrowed. The module is looked up in the other
    // process. The system writes at most the structure's size to the local structure.
    let done = unsafe { K32GetModuleInformation(memory, module, &raw mut info, len) };
    if done == 0 { 0 } else { info.SizeOfImage }
}

/// The length of the longest path, in 16-bit units.
const LONGEST_PATH: usize = 0x8000;

fn file_name(access: &Access<'_>, base: u64) -> String {
    let mut units = vec![0_u16; LONGEST_PATH];
    let module = std::ptr::without_provenance_mut(base as usize);
    let memory = access.memory().as_raw_handle();
    // SAFETY: as in `size`. The system writes at most this number of units to the buffer.
    let len = unsafe { K32GetModuleFileNameExW(memory, module, units.as_mut_ptr(), LONGEST_PATH as u32) };
    let path = String::from_utf16_lossy(&units[..(len as usize).min(LONGEST_PATH)]);
    if path.is_empty() {
        mapped_name(access, base)
    } else {
        path
    }
}

/// Returns the path of the file that is mapped at `base`, which begins with its device; empty if
/// there is none.
fn mapped_name(access: &Access<'_>, base: u64) -> String {
    let mut units = vec![0_u16; LONGEST_PATH];
    let at = std::ptr::without_provenance_mut::<c_void>(base as usize);
    let memory = access.memory().as_raw_handle();
    // SAFETY: the handle is open as long as it is borrowed. The address belongs to the other
    // process. The system writes at most this number of units to the buffer.
    let len = unsafe { K32GetMappedFileNameW(memory, at, units.as_mut_ptr(), LONGEST_PATH as u32) };
    String::from_utf16_lossy(&units[..(len as usize).min(LONGEST_PATH)])
}
