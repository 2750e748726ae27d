//! The dynamic linker's own list of what it has loaded (`r_debug`, `link.h`), which debuggers go by.

use std::collections::HashSet;

use byteorder::{ByteOrder, LittleEndian};
use dumpwright_target::{Cpu, DsoDebug, LinkMap, Remark, Subject};
use goblin::container::{Container, Ctx, Endian};
use goblin::elf::dynamic::{DT_DEBUG, DT_NULL};
use goblin::elf::program_header::{PT_DYNAMIC, PT_PHDR, ProgramHeader};

use crate::proc_dir::ProcDir;
use crate::read::Memory;

/// Name of the stream that this goes into.
const STREAM: &str = "LinuxDsoDebug";

/// What the kernel tells a new program about its headers (`linux/auxvec.h`).
const AT_PHDR: u64 = 3;
const AT_PHNUM: u64 = 5;

/// No linker makes more segments.
const MOST_SEGMENTS: u64 = 1024;

/// A main program's dynamic section has some dozen entries of 16 bytes.
const LONGEST_DYNAMIC: u64 = 64 << 10;

/// No process has more objects loaded. The list is in memory that the program may have damaged, and may lead anywhere.
const MOST_LINKS: usize = 1 << 16;

/// Longest path (`PATH_MAX`).
const LONGEST_PATH: usize = 4096;

/// The list, and what is to be said of what it lacks. `None` for a program without dynamic linker, or before that has
/// begun.
pub(crate) fn dso_debug(dir: &ProcDir, memory: &mut Memory) -> (Option<DsoDebug>, Vec<Remark>) {
    let mut remarks = Vec::new();
    let debug = match main_dynamic(dir, memory) {
        Some((dynamic, section)) => debug_address(&section, dir.cpu)
            .and_then(|address| from_memory(memory, address, dir.cpu, &mut remarks))
            .map(|debug| DsoDebug {
                dynamic,
                dynamic_section: section,
                ..debug
            }),
        None => None,
    };
    if debug.is_none() && remarks.is_empty() {
        let reason = "the program has no list of loaded objects: it is static, or has only just been started";
        remarks.push(Remark::left_out(Subject::Stream(STREAM), reason));
    }
    (debug, remarks)
}

/// Address and bytes of the main program's dynamic section, up to and with its end mark.
fn main_dynamic(dir: &ProcDir, memory: &mut Memory) -> Option<(u64, Vec<u8>)> {
    let (headers, count) = (
        dir.auxv_value(AT_PHDR)?,
        dir.auxv_value(AT_PHNUM)?.min(MOST_SEGMENTS),
    );
    let container = match dir.cpu.pointer_size() {
        4 => Container::Little,
        _ => Container::Big,
    };
    let ctx = Ctx::new(container, Endian::Little);
    let count = usize::try_from(count).ok()?;
    let mut bytes = vec![0; count * ProgramHeader::size(ctx)];
    memory.read_exact(headers, &mut bytes).ok()?;
    let segments = ProgramHeader::parse(&bytes, 0, count, ctx).ok()?;
    let segment = |kind| segments.iter().find(|segment| segment.p_type == kind);
    // A program at a fixed address may do without the segment that tells where the table itself should be.
    let bias = segment(PT_PHDR).map_or(0, |table| headers.wrapping_sub(table.p_vaddr));
    let size = entry_size(dir.cpu);
    let dynamic = segment(PT_DYNAMIC)?;
    let address = dynamic.p_vaddr.wrapping_add(bias);
    let mut section = vec![0; usize::try_from(dynamic.p_memsz.min(LONGEST_DYNAMIC)).ok()?];
    memory.read_exact(address, &mut section).ok()?;
    let entries = section
        .chunks_exact(size)
        .take_while(|entry| word(entry, 0, dir.cpu) != DT_NULL)
        .count();
    section.truncate((entries + 1) * size);
    Some((address, section))
}

/// Where the linker has put its description; it writes that into the dynamic section when it starts.
fn debug_address(section: &[u8], cpu: Cpu) -> Option<u64> {
    let entry = section
        .chunks_exact(entry_size(cpu))
        .find(|entry| word(entry, 0, cpu) == DT_DEBUG)?;
    Some(word(entry, 1, cpu)).filter(|address| *address != 0)
}

/// Bytes of an entry of a dynamic section: tag and value.
fn entry_size(cpu: Cpu) -> usize {
    2 * cpu.pointer_size() as usize
}

/// Reads `struct r_debug` at `address` and follows its list.
fn from_memory(memory: &mut Memory, address: u64, cpu: Cpu, remarks: &mut Vec<Remark>) -> Option<DsoDebug> {
    let subject = Subject::Stream(STREAM);
    let size = cpu.pointer_size() as usize;
    let mut bytes = vec![0; 5 * size];
    if let Err(fault) = memory.read_exact(address, &mut bytes) {
        remarks.push(Remark::missing(
            subject,
            format!("the linker's description is unreadable: {}", fault.reason),
        ));
        return None;
    }
    // r_version, r_map, r_brk, r_state, r_ldbase, a word each. Two are numbers of four bytes, which in a word of eight are
    // followed by unused ones.
    if word(&bytes, 3, cpu) as u32 != 0 {
        let reason = "the dynamic linker was changing its list when the process was stopped";
        remarks.push(Remark::note(subject.clone(), reason));
    }
    let mut debug = DsoDebug {
        version: word(&bytes, 0, cpu) as u32,
        brk: word(&bytes, 2, cpu),
        ldbase: word(&bytes, 4, cpu),
        ..DsoDebug::default()
    };
    let mut seen = HashSet::new();
    let mut next = word(&bytes, 1, cpu);
    while next != 0 {
        if debug.links.len() == MOST_LINKS || !seen.insert(next) {
            remarks.push(Remark::missing(subject, "the linker's list leads in a circle"));
            break;
        }
        // l_addr, l_name, l_ld, l_next
        let mut link = vec![0; 4 * size];
        if let Err(fault) = memory.read_exact(next, &mut link) {
            let reason = format!("the linker's list breaks off at {next:#x}: {}", fault.reason);
            remarks.push(Remark::missing(subject, reason));
            break;
        }
        let name = memory
            .read_string(word(&link, 1, cpu), LONGEST_PATH)
            .unwrap_or_default();
        debug.links.push(LinkMap {
            addr: word(&link, 0, cpu),
            name: String::from_utf8_lossy(&name).into_owned(),
            ld: word(&link, 2, cpu),
        });
        next = word(&link, 3, cpu);
    }
    Some(debug)
}

/// The word with this number, of a pointer's size; 0 behind the end.
fn word(bytes: &[u8], number: usize, cpu: Cpu) -> u64 {
    let size = cpu.pointer_size() as usize;
    bytes
        .get(number * size..(number + 1) * size)
        .map_or(0, |word| LittleEndian::read_uint(word, size))
}

/// What these tests would catch: a list other than the linker's, and one that a damaged program makes endless.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::regions;
    use crate::testing::{Victim, map, poke};
    use dumpwright_target::Gravity;

    fn memory(dir: &ProcDir) -> Memory {
        Memory::new(dir, regions::mappings(dir).expect("readable"))
    }

    #[test]
    fn the_linker_tells_the_same_itself() {
        unsafe extern "C" fn note(info: *mut libc::dl_phdr_info, _: usize, data: *mut libc::c_void) -> i32 {
            // SAFETY: the linker hands over a valid description and what was given to it below; the name ends.
            unsafe {
                let name = std::ffi::CStr::from_ptr((*info).dlpi_name)
                    .to_string_lossy()
                    .into_owned();
                (*data.cast::<Vec<(u64, String)>>()).push(((*info).dlpi_addr, name));
            }
            0
        }
        let mut expected: Vec<(u64, String)> = Vec::new();
        // SAFETY: `note` matches the type of the vector behind the pointer, which lives during the call.
        unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut expected).cast()) };
        let dir = ProcDir::new(std::process::id()).expect("own process");
        let (debug, remarks) = dso_debug(&dir, &mut memory(&dir));
        let debug = debug.expect("tests are linked dynamically");
        assert_eq!(remarks, []);
        let links: Vec<_> = debug
            .links
            .iter()
            .map(|link| (link.addr, link.name.clone()))
            .collect();
        assert_eq!(links, expected);
        assert!(debug.version >= 1 && debug.brk != 0);
        assert_eq!(Some(debug.ldbase), dir.auxv_value(7 /* AT_BASE */));
        assert_eq!(debug.links[0].ld, debug.dynamic);
        assert_eq!(debug.dynamic_section.last_chunk::<16>(), Some(&[0; 16]));
    }

    /// A page with an `r_debug` and links at every hundredth byte, each leading to the one that `next` says.
    fn damaged(links: &[u64]) -> Victim {
        Victim::that::<1>(|words| {
            words[0] = map(8192, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE);
            let put = |offset: u64, value: u64| {
                for (i, byte) in value.to_le_bytes().into_iter().enumerate() {
                    poke(words[0] + offset + i as u64, byte);
                }
            };
            put(0, 1);
            put(8, words[0] + 100);
            for (i, next) in links.iter().enumerate() {
                let at = 100 * (i as u64 + 1);
                put(at, i as u64);
                put(at + 8, words[0] + 8190);
                put(at + 24, if *next < 100 { words[0] + 100 * next } else { *next });
            }
            // A name that runs into the end of its mapping.
            poke(words[0] + 8190, b'x');
            poke(words[0] + 8191, b'y');
        })
    }

    #[test]
    fn damaged_lists_end_and_are_told() {
        for (links, count, words) in [
            (&[2, 3, 1][..], 3, "leads in a circle"),
            (&[1], 1, "leads in a circle"),
            (&[2, 0xdead_beef_0000], 2, "breaks off at 0xdeadbeef0000"),
        ] {
            let victim = damaged(links);
            let mut remarks = Vec::new();
            let debug = from_memory(
                &mut memory(&victim.dir()),
                victim.words[0],
                Cpu::Amd64,
                &mut remarks,
            )
            .expect("begins well");
            assert_eq!(debug.links.len(), count);
            assert_eq!(debug.links[0].name, "xy");
            assert_eq!(remarks.len(), 1);
            assert!(
                remarks[0].gravity == Gravity::Missing && remarks[0].reason.contains(words),
                "{remarks:?}"
            );
        }
        let mut remarks = Vec::new();
        let dir = ProcDir::new(std::process::id()).expect("own process");
        assert_eq!(from_memory(&mut memory(&dir), 8, Cpu::Amd64, &mut remarks), None);
        assert_eq!(remarks.len(), 1);
    }
}
