//! The modules that it has unloaded.
//!
//! ntdll keeps a ring of the last ones (64 by default) in each process. It tells where its own is; ntdll has one address in all processes until the machine is
//! started anew, so the target's is in the same place.

use dumpwright_target::{Fault, FaultKind, UnloadedModule};

use crate::access::Access;
use crate::memory::{Memory, half_at, int_at, word_at};
use crate::nt::bound;

/// An entry up to the end of its name: 28 bytes and 32 units. Later systems have entries that are longer; what they add is not looked at.
const ENTRY: usize = 28 + 64;
/// An entry that says it is longer is none.
const LONGEST_ENTRY: u32 = 0x1000;
/// More entries than a ring is ever set to have.
const MOST: u32 = 0x4000;

/// Where ntdll has the size of an entry, the number of entries, and the address of the first.
#[derive(Debug, Clone, Copy)]
struct Places {
    size: u64,
    count: u64,
    entries: u64,
}

/// The last modules that the process has unloaded, in the order of the ring.
///
/// # Errors
/// What is in the ring's place makes no sense.
pub(crate) fn unloaded_modules(access: &Access) -> Result<Vec<UnloadedModule>, Fault> {
    let Some(places) = places() else {
        return Ok(Vec::new());
    };
    modules(access, places).ok_or_else(|| {
        Fault::new(
            FaultKind::Malformed,
            format!("list the unloaded modules of process {}", access.id),
            "where its list is kept there is none that makes sense",
        )
    })
}

fn places() -> Option<Places> {
    type RtlGetUnloadEventTraceEx = unsafe extern "system" fn(*mut *mut u32, *mut *mut u32, *mut *mut u8);
    let ask = bound!(
        c"ntdll.dll",
        c"RtlGetUnloadEventTraceEx",
        RtlGetUnloadEventTraceEx
    )?;
    let (mut size, mut count, mut entries) =
        (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: writes addresses to the variables.
    unsafe { ask(&mut size, &mut count, &mut entries) };
    Some(Places {
        size: size.addr() as u64,
        count: count.addr() as u64,
        entries: entries.addr() as u64,
    })
}

/// The entries that are in use; `None` if what should be a ring makes no sense.
fn modules(memory: &impl Memory, places: Places) -> Option<Vec<UnloadedModule>> {
    let [size, count] = [places.size, places.count].map(|at| memory.array(at).map(u32::from_le_bytes));
    let (size, count) = (size?, count?.min(MOST));
    let entries = memory.pointer(places.entries)?;
    if entries == 0 {
        // No module has been unloaded yet.
        return Some(Vec::new());
    }
    if (size as usize) < ENTRY || size > LONGEST_ENTRY {
        return None;
    }
    let places = (0..count).map_while(|index| entries.checked_add(u64::from(index) * u64::from(size)));
    let read: Vec<_> = places.map_while(|at| memory.array::<ENTRY>(at)).collect();
    if count > 0 && read.is_empty() {
        return None;
    }
    Some(read.iter().filter_map(module).collect())
}

/// The module of an entry, if the entry is in use.
fn module(entry: &[u8; ENTRY]) -> Option<UnloadedModule> {
    let units: Vec<u16> = entry[28..].chunks_exact(2).map(|unit| half_at(unit, 0)).collect();
    // A name of full length has no end.
    let len = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    (len > 0).then(|| UnloadedModule {
        base: word_at(entry, 0),
        size: word_at(entry, 8),
        timestamp: int_at(entry, 20),
        checksum: int_at(entry, 24),
        name: String::from_utf16_lossy(&units[..len]),
    })
}

/// What these tests would catch: a module that was unloaded and is not told of, or with other numbers than its headers had; our own list instead of the target's;
/// entries of another length than this one's; counts that are believed.
#[cfg(test)]
mod tests {
    use windows_sys::Win32::Foundation::FreeLibrary;
    use windows_sys::Win32::System::LibraryLoader::LoadLibraryA;

    use super::*;
    use crate::memory::Pieces;
    use crate::testing::{Victim, is_victim, tell, wait};

    const FREES: &str = "unloaded::tests::a_child_that_frees_a_library";

    #[test]
    fn a_child_that_frees_a_library() {
        if !is_victim(FREES) {
            return;
        }
        // SAFETY: the name is a literal; loading this one runs nothing of interest, and it is freed once. What is read are its headers.
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
        let modules = unloaded_modules(&victim.access()).expect("readable");
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

    const PLACES: Places = Places {
        size: 0x100,
        count: 0x104,
        entries: 0x108,
    };

    /// A ring of entries of this size, with these names.
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
        Pieces(vec![(0x100, variables), (0x1000, entries)])
    }

    #[test]
    fn entries_of_all_lengths_are_understood() {
        let long = "a-name-of-thirty-two-units-.dll!";
        for size in [92, 96, 100, 104] {
            let found = modules(&ring(size, 3, &["a.dll", "", long]), PLACES).expect("a ring");
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
        let names = |size, count| modules(&ring(size, count, &["a.dll"]), PLACES).map(|found| found.len());
        // More entries than can be read, and none.
        assert_eq!(names(104, u32::MAX), Some(1));
        assert_eq!(names(104, 0), Some(0));
        // Entries that are too short or too long to be any; the ring itself has those of 104 bytes.
        for size in [0_u32, 91, 0x1001, u32::MAX] {
            let mut memory = ring(104, 1, &["a.dll"]);
            memory.0[0].1[..4].copy_from_slice(&size.to_le_bytes());
            assert_eq!(modules(&memory, PLACES), None, "{size:#x}");
        }
        // No ring, and one at the end of the address space.
        for (at, expected) in [(0, Some(Vec::new())), (u64::MAX, None)] {
            let mut memory = ring(104, 2, &["a.dll"]);
            memory.0[0].1[8..].copy_from_slice(&at.to_le_bytes());
            assert_eq!(modules(&memory, PLACES), expected);
        }
    }
}
