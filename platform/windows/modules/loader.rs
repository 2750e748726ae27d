//! The loader's list of modules, in the target's memory.
//!
//! The process environment block (PEB) leads to the loader's data, and that to a ring of entries in the order of loading. A thread may have been
//! stopped while it changes the ring, and a broken or hostile program may have made anything of it: an entry counts when its link back leads to where it
//! was reached from, none counts twice, and there are at most [`MOST`].

use std::collections::HashSet;
use std::ffi::c_void;

use dumpwright_target::{Fault, FaultKind, Remark, Subject};
use windows_sys::Wdk::System::Threading::ProcessBasicInformation;
use windows_sys::Win32::System::ProcessStatus::{
    K32EnumProcessModulesEx, K32GetMappedFileNameW, K32GetModuleFileNameExW, K32GetModuleInformation,
    LIST_MODULES_ALL, MODULEINFO,
};

use crate::access::Access;
use crate::memory::{Memory, int_at, word_at};
use crate::query::{self, nt_fault};

/// More modules than any process has.
pub(super) const MOST: usize = 1 << 14;

/// Where the PEB of x86-64 has the main program's load address, and the loader's data.
const PEB_IMAGE_BASE: u64 = 0x10;
const PEB_LOADER: u64 = 0x18;
/// Where the loader's data has the ring in the order of loading.
const LOADER_RING: u64 = 0x10;
/// Bytes of an entry (LDR_DATA_TABLE_ENTRY) up to the last field that is read.
const ENTRY: usize = 0x88;

/// What the loader knows of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loaded {
    pub(super) base: u64,
    pub(super) size: u32,
    pub(super) timestamp: u32,
    pub(super) path: String,
}

/// The modules in the order of loading, the main program first.
pub(super) fn modules(access: &Access, remarks: &mut Vec<Remark>) -> Result<Vec<Loaded>, Fault> {
    let operation = || format!("list the modules of process {}", access.id);
    let basic = query::process::<48>(access.process, ProcessBasicInformation)
        .map_err(|status| nt_fault(operation(), status))?;
    let peb = word_at(&basic, 8);
    let walk = walk(access, peb);
    let mut found = walk.found;
    for module in &mut found {
        if module.path.is_empty() {
            module.path = mapped_name(access, module.base);
        }
    }
    if let Some(reason) = walk.broken {
        let known: HashSet<_> = found.iter().map(|module| module.base).collect();
        let more = enumerated(access)
            .into_iter()
            .filter(|module| !known.contains(&module.base));
        let more: Vec<_> = more.collect();
        let reason = format!(
            "the loader's list of modules {reason}: it gave {}, and the system's enumeration {} more",
            found.len(),
            more.len()
        );
        remarks.push(Remark::note(Subject::Stream("ModuleList"), reason));
        found.extend(more);
    }
    if found.is_empty() {
        // A process that has not run yet has no list, but a main program.
        found.extend(
            access
                .pointer(peb.wrapping_add(PEB_IMAGE_BASE))
                .and_then(|base| main_program(access, base)),
        );
    }
    if found.is_empty() {
        let reason = "its memory holds no list of modules that could be read";
        return Err(Fault::new(FaultKind::Malformed, operation(), reason));
    }
    found.truncate(MOST);
    Ok(found)
}

/// What a walk has found.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) found: Vec<Loaded>,
    /// What is wrong with the list, if something is.
    pub(super) broken: Option<&'static str>,
}

/// Follows the ring, and from its end backwards if it is torn.
pub(super) fn walk(memory: &impl Memory, peb: u64) -> Walk {
    let mut walk = Walk::default();
    let Some(loader) = memory
        .pointer(peb.wrapping_add(PEB_LOADER))
        .filter(|loader| *loader != 0)
    else {
        walk.broken = Some("is not there");
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

/// Follows the ring from its head until it comes back there; otherwise says what is wrong with it.
fn follow(
    memory: &impl Memory,
    head: u64,
    direction: Direction,
    seen: &mut HashSet<u64>,
    bases: &mut HashSet<u64>,
    found: &mut Vec<Loaded>,
) -> Option<&'static str> {
    // Each entry begins with the links, forward and back.
    let (onward, backward) = match direction {
        Direction::Forward => (0, 8),
        Direction::Back => (8, 0),
    };
    let Some(links) = memory.array::<16>(head) else {
        return Some("cannot be read");
    };
    let (mut from, mut at) = (head, word_at(&links, onward));
    while at != head {
        if bases.len() >= MOST {
            return Some("is too long to be one");
        }
        if !seen.insert(at) {
            return Some("runs in a circle");
        }
        let Some(entry) = memory.array::<ENTRY>(at) else {
            return Some("leads to memory that cannot be read");
        };
        if word_at(&entry, backward) != from {
            return Some("is torn");
        }
        // An entry without an address is one that is being made.
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

/// The full path of an entry's module, or at least its name.
fn name(memory: &impl Memory, entry: &[u8; ENTRY]) -> String {
    let full = memory
        .unicode_string(&entry[0x48..0x58])
        .filter(|path| !path.is_empty());
    full.or_else(|| memory.unicode_string(&entry[0x58..0x68]))
        .unwrap_or_default()
}

/// What the system's own function finds. It walks the same list, but not in the same way.
pub(super) fn enumerated(access: &Access) -> Vec<Loaded> {
    let mut handles = vec![std::ptr::null_mut::<c_void>(); 1024];
    loop {
        let len = u32::try_from(size_of_val(&handles[..])).expect("limited");
        let mut needed = 0;
        // SAFETY: writes at most the buffer's length to the buffer, and the length to the variable.
        let done = unsafe {
            K32EnumProcessModulesEx(
                access.memory,
                handles.as_mut_ptr(),
                len,
                &mut needed,
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
    let modules = bases.filter(|base| *base != 0).map(|base| Loaded {
        base,
        size: size(access, base),
        timestamp: 0,
        path: file_name(access, base),
    });
    modules.collect()
}

/// The main program of a process that has no list yet.
pub(super) fn main_program(access: &Access, base: u64) -> Option<Loaded> {
    access.array::<2>(base)?;
    Some(Loaded {
        base,
        size: size(access, base),
        timestamp: 0,
        path: mapped_name(access, base),
    })
}

fn size(access: &Access, base: u64) -> u32 {
    let mut info = MODULEINFO::default();
    let len = u32::try_from(size_of::<MODULEINFO>()).expect("small");
    let module = std::ptr::without_provenance_mut(base as usize);
    // SAFETY: fills the structure of that size.
    let done = unsafe { K32GetModuleInformation(access.memory, module, &mut info, len) };
    if done == 0 { 0 } else { info.SizeOfImage }
}

/// Room for the longest path.
const LONGEST_PATH: usize = 0x8000;

fn file_name(access: &Access, base: u64) -> String {
    let mut units = vec![0_u16; LONGEST_PATH];
    let module = std::ptr::without_provenance_mut(base as usize);
    // SAFETY: writes at most so many units to the buffer.
    let len =
        unsafe { K32GetModuleFileNameExW(access.memory, module, units.as_mut_ptr(), LONGEST_PATH as u32) };
    let path = String::from_utf16_lossy(&units[..(len as usize).min(LONGEST_PATH)]);
    if path.is_empty() {
        mapped_name(access, base)
    } else {
        path
    }
}

/// The file that is mapped there, as a path from its device; empty if there is none.
fn mapped_name(access: &Access, base: u64) -> String {
    let mut units = vec![0_u16; LONGEST_PATH];
    let at = std::ptr::without_provenance_mut::<c_void>(base as usize);
    // SAFETY: writes at most so many units to the buffer; the address is one of the other process.
    let len = unsafe { K32GetMappedFileNameW(access.memory, at, units.as_mut_ptr(), LONGEST_PATH as u32) };
    String::from_utf16_lossy(&units[..(len as usize).min(LONGEST_PATH)])
}
