//! Lists the modules that a process has unloaded.
//!
//! ntdll keeps the last ones (64 by default) in a ring buffer in each process, and reports the
//! address of the buffer in the calling process. ntdll has the same address in all processes until
//! the machine restarts, so the target's buffer is described at the same address.

use dumpwright_target::{Fault, FaultKind, Memory, MemoryExt, UnloadedModule};

use crate::access::Access;
use crate::memory::{half_at, int_at, word_at};
use crate::nt::bound;

/// The size in bytes of an entry up to the end of its name: 28 bytes and 32 16-bit units. Entries
/// of later systems are longer; the additional members are not read.
const ENTRY: usize = 28 + 64;
/// The maximum size of an entry in bytes. A larger size is malformed.
const LONGEST_ENTRY: u32 = 0x1000;
/// The maximum number of entries. No ring buffer is configured to have more.
const MOST: u32 = 0x4000;

/// The addresses of ntdll's variables that describe the ring buffer: the size of an entry, the
/// number of entries, and the address of the first one.
#[derive(Debug, Clone, Copy)]
struct TraceVariables {
    size: u64,
    count: u64,
    entries: u64,
}

/// Returns the last modules that the process has unloaded, in the order of the ring buffer.
///
/// # Errors
/// The ring buffer is malformed.
pub(crate) fn unloaded_modules(
    access: &Access<'_>,
    memory: &mut dyn Memory,
) -> Result<Vec<UnloadedModule>, Fault> {
    let Some(variables) = trace_variables() else {
        return Ok(Vec::new());
    };
    modules(memory, variables).ok_or_else(|| {
        Fault::new(
            FaultKind::Malformed,
            format!("list the unloaded modules of process {}", access.id),
            "its list is malformed",
        )
    })
}

fn trace_variables() -> Option<TraceVariables> {
    let ask = bound!(
        Ntdll,
        c"RtlGetUnloadEventTraceEx",
        fn(*mut *mut u32, *mut *mut u32, *mut *mut u8)
    )?;
    let (mut size, mut count, mut entries) =
        (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the signature is the documented one (devnotes). Three addresses are written to local
    // variables, and are not dereferenced in this process.
    unsafe { ask(&mut size, &mut count, &mut entries) };
    Some(TraceVariables {
        size: size.addr() as u64,
        count: count.addr() as u64,
        entries: entries.addr() as u64,
    })
}

/// Returns the entries that are in use, or `None` if the ring buffer is malformed.
fn modules(memory: &mut dyn Memory, variables: TraceVariables) -> Option<Vec<UnloadedModule>> {
    let mut number = |at| memory.array(at).ok().map(u32::from_le_bytes);
    let (size, count) = (number(variables.size)?, number(variables.count)?.min(MOST));
    let entries = memory.word(variables.entries, 8).ok()?;
    if entries == 0 {
        // No module has been unloaded yet.
        return Some(Vec::new());
    }
    if (size as usize) < ENTRY || size > LONGEST_ENTRY {
        return None;
    }
    let addresses = (0..count).map_while(|index| entries.checked_add(u64::from(index) * u64::from(size)));
    let read: Vec<_> = addresses.map_while(|at| memory.array::<ENTRY>(at).ok()).collect();
    if count > 0 && read.is_empty() {
        return None;
    }
    Some(read.iter().filter_map(module).collect())
}

/// Returns the module of an entry, if the entry is in use.
fn module(entry: &[u8; ENTRY]) -> Option<UnloadedModule> {
    let units: Vec<u16> = entry[28..].chunks_exact(2).map(|unit| half_at(unit, 0)).collect();
    // A name of the maximum length has no terminator.
    let len = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    (len > 0).then(|| UnloadedModule {
        base: word_at(entry, 0),
        size: word_at(entry, 8),
        timestamp: int_at(entry, 20),
        checksum: int_at(entry, 24),
        name: String::from_utf16_lossy(&units[..len]),
    })
}

/// These tests would catch: an unloaded module that is not reported, or with other numbers than its
/// headers had; the list of the test program instead of the target's; an assumption about the
/// length of entries; counts that are not checked.
#[cfg(test)]
mod tests {
    use dumpwright_target::Pieces;
    use windows_sys::Win32::Foundation::FreeLibrary;
    use windows_sys::Win32::System::LibraryLoader::LoadLibraryA;

    use super::*;
    use crate::testing::{Victim, is_victim, tell, wait};

    const FREES: &str = "unloaded::tests::a_child_that_frees_a_library";

    #[test]
    fn a_child_that_frees_a_library() {
        if !is_victim(FREES) {
            return;
        }
        // SAFETY: the name is a literal. Loading this library runs no relevant code, and it is
        // freed once. The headers of the library are read.
        unsafe {
            let library = LoadLibraryA(c"lz32.dll".as_ptr().cast());
            assert!(!library.is_null());
            let base: *const u8 = library.cast();
            let header = base.add(base.add(60).cast::<u32>().read_unaligned() as usize);
            let word = |at: usize| header.add(at).cast::<u32>().read_unaligned();
            tell("base", library.addr());
            tell("timestamp", word(8));
            tell("size", word(24 + 56));
            tell("checksum", word(24 + 64));
            FreeLibrary(library);
        }
        wait();
    }

    #[test]
    fn a_library_that_was_freed_is_remembered() {
        let victim = Victim::that(FREES);
        let access = victim.access();
        let modules = unloaded_modules(&access, &mut &access).expect("readable");
        let freed: Vec<_> = modules
            .iter()
            .filter(|module| module.name.eq_ignore_ascii_case("lz32.dll"))
            .collect();
        let [freed] = freed[..] else {
            panic!("one: {modules:?}")
        };
        assert_eq!(
            (
                freed.base,
                freed.size,
                u64::from(freed.timestamp),
                u64::from(freed.checksum)
            ),
            (
                victim.number("base"),
                victim.number("size"),
                victim.number("timestamp"),
                victim.number("checksum")
            )
        );
    }

    const VARIABLES: TraceVariables = TraceVariables {
        size: 0x100,
        count: 0x104,
        entries: 0x108,
    };

    /// Builds a ring buffer with entries of this size and these names.
    fn ring(size: u32, count: u32, names: &[&str]) -> Pieces {
        let mut variables = size.to_le_bytes().to_vec();
        variables.extend(count.to_le_bytes());
        variables.extend(0x1000_u64.to_le_bytes());
        let mut entries = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let mut entry = vec![0; size as usize];
            entry[..8].copy_from_slice(&(0x1_0000 * index as u64).to_le_bytes());
            entry[8..16].copy_from_slice(&0x5000_u64.to_le_bytes());
            entry[20..24].copy_from_slice(&7_u32.to_le_bytes());
            entry[24..28].copy_from_slice(&9_u32.to_le_bytes());
            for (unit, place) in name.encode_utf16().zip(entry[28..92].chunks_exact_mut(2)) {
                place.copy_from_slice(&unit.to_le_bytes());
            }
            entries.extend(entry);
        }
        Pieces::from([(0x100, variables), (0x1000, entries)])
    }

    #[test]
    fn entries_of_all_lengths_are_understood() {
        let long = "a-name-of-thirty-two-units-.dll!";
        for size in [92, 96, 100, 104] {
            let found = modules(&mut ring(size, 3, &["a.dll", "", long]), VARIABLES).expect("a ring");
            let names: Vec<_> = found.iter().map(|module| &module.name[..]).collect();
            assert_eq!(names, ["a.dll", long]);
            let last = &found[1];
            assert_eq!(
                (last.base, last.size, last.timestamp, last.checksum),
                (0x2_0000, 0x5000, 7, 9)
            );
        }
    }

    #[test]
    fn rings_that_lie_end() {
        let names =
            |size, count| modules(&mut ring(size, count, &["a.dll"]), VARIABLES).map(|found| found.len());
        // More entries than can be read, and no entries.
        assert_eq!(names(104, u32::MAX), Some(1));
        assert_eq!(names(104, 0), Some(0));
        // Entries that are too short or too long. The ring buffer itself has entries of 104 bytes.
        for size in [0_u32, 91, 0x1001, u32::MAX] {
            let mut memory = ring(104, 1, &["a.dll"]);
            memory.piece_mut(0x100).expect("there")[..4].copy_from_slice(&size.to_le_bytes());
            assert_eq!(modules(&mut memory, VARIABLES), None, "{size:#x}");
        }
        // No ring buffer, and one at the end of the address space.
        for (at, expected) in [(0, Some(Vec::new())), (u64::MAX, None)] {
            let mut memory = ring(104, 2, &["a.dll"]);
            memory.piece_mut(0x100).expect("there")[8..].copy_from_slice(&at.to_le_bytes());
            assert_eq!(modules(&mut memory, VARIABLES), expected);
        }
    }
}
