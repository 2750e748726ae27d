//! The dynamic linker's list of loaded objects (`struct r_debug`, `link.h`), which debuggers use.

use std::collections::HashSet;
use std::fmt;

use dumpwright_target::{DsoDebug, Fault, LinkMap, Memory, MemoryExt};
use goblin::container::{Container, Ctx, Endian};
use goblin::elf::dynamic::DT_DEBUG;
use goblin::elf::program_header::PT_PHDR;

use super::{PT_DYNAMIC, ProgramHeader, dynamic};
use crate::limits::{LONGEST_DYNAMIC, LONGEST_PATH, LONGEST_PATHS, MOST_LINKS, MOST_SEGMENTS};

/// The dynamic linker's description of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Linker {
    /// The `r_debug` structure and its list. `None` if the program has no dynamic linker, if the
    /// linker has not started yet, or if the structure cannot be read.
    pub debug: Option<DsoDebug>,
    /// What is wrong with the structure or the list.
    pub problems: Vec<ListProblem>,
}

/// What is wrong with the dynamic linker's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListProblem {
    /// The dynamic linker was changing it.
    Changing,
    /// The program headers or the dynamic section of the main program cannot be read.
    Program(Fault),
    /// The `r_debug` structure cannot be read.
    Unreadable(Fault),
    /// The path of the entry at this address cannot be read.
    Nameless(u64, Fault),
    /// The entry at this address cannot be read. The entries after it are unknown.
    BreaksOff(u64, Fault),
    /// The entry at this address follows itself, directly or after others. Each entry is listed
    /// once.
    Cycle(u64),
    /// The list has more entries than any process has objects.
    TooMany,
    /// The paths are longer than those of any process.
    Paths,
}

impl ListProblem {
    /// Returns whether information is missing because of the problem.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        *self != Self::Changing
    }
}

impl fmt::Display for ListProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changing => {
                f.write_str("the dynamic linker was changing its list when the process was stopped")
            }
            Self::Program(fault) => write!(
                f,
                "the program's headers, which lead to the dynamic linker's list, cannot be read: {}",
                fault.reason
            ),
            Self::Nameless(at, fault) => write!(
                f,
                "the path in the dynamic linker's list at {at:#x} cannot be read: {}",
                fault.reason
            ),
            Self::Unreadable(fault) => write!(
                f,
                "the dynamic linker's r_debug structure cannot be read: {}",
                fault.reason
            ),
            Self::BreaksOff(at, fault) => {
                write!(
                    f,
                    "the dynamic linker's list breaks off at {at:#x}: {}",
                    fault.reason
                )
            }
            Self::Cycle(at) => write!(f, "the dynamic linker's list contains a cycle at {at:#x}"),
            Self::TooMany => write!(
                f,
                "the dynamic linker's list has more than {MOST_LINKS} entries; the rest is left out"
            ),
            Self::Paths => write!(
                f,
                "the paths in the dynamic linker's list have more than {} MiB; the rest of the list is left out",
                LONGEST_PATHS >> 20
            ),
        }
    }
}

/// Returns the dynamic linker's list of the objects in a process. The process must be
/// little-endian.
///
/// `headers` is the address of the main program's program headers, and `count` is their number. The
/// kernel passes both to a new program (`AT_PHDR`, `AT_PHNUM`). `pointer` is the size of a pointer,
/// 4 or 8.
pub fn loaded_objects(memory: &mut dyn Memory, headers: u64, count: u64, pointer: u64) -> Linker {
    let container = match pointer {
        4 => Container::Little,
        _ => Container::Big,
    };
    let ctx = Ctx::new(container, Endian::Little);
    let (address, section) = match main_dynamic(memory, headers, count, ctx) {
        Ok(Some(found)) => found,
        Ok(None) => return Linker::default(),
        Err(fault) => {
            return Linker {
                debug: None,
                problems: vec![ListProblem::Program(fault)],
            };
        }
    };
    let mut linker = match debug_address(&section, ctx) {
        Some(debug) => description(memory, debug, pointer),
        None => Linker::default(),
    };
    if let Some(debug) = &mut linker.debug {
        (debug.dynamic, debug.dynamic_section) = (address, section);
    }
    linker
}

/// Returns the address and the bytes of the main program's dynamic section, up to and including its
/// end mark. `None` if the program has no such section.
fn main_dynamic(
    memory: &mut dyn Memory,
    headers: u64,
    count: u64,
    ctx: Ctx,
) -> Result<Option<(u64, Vec<u8>)>, Fault> {
    let count = usize::try_from(count).map_or(MOST_SEGMENTS, |count| count.min(MOST_SEGMENTS));
    let table = memory.bytes(headers, count * ProgramHeader::size(ctx))?;
    let Ok(segments) = ProgramHeader::parse(&table, 0, count, ctx) else {
        return Ok(None);
    };
    let segment = |kind| segments.iter().find(|segment| segment.p_type == kind);
    // A program at a fixed address may lack the segment that gives the address of the table itself.
    let bias = segment(PT_PHDR).map_or(0, |table| headers.wrapping_sub(table.p_vaddr));
    let Some(dynamic) = segment(PT_DYNAMIC) else {
        return Ok(None);
    };
    let address = dynamic.p_vaddr.wrapping_add(bias);
    let len = usize::try_from(dynamic.p_memsz.min(LONGEST_DYNAMIC)).unwrap_or(usize::MAX);
    let mut section = memory.bytes(address, len)?;
    let entries = dynamic::entries(&section, ctx).count();
    section.truncate((entries + 1) * dynamic::entry_size(ctx));
    Ok(Some((address, section)))
}

/// Returns the address of the `r_debug` structure. The dynamic linker writes it into the dynamic
/// section when it starts.
fn debug_address(section: &[u8], ctx: Ctx) -> Option<u64> {
    let entry = dynamic::entries(section, ctx).find(|entry| entry.d_tag == DT_DEBUG)?;
    Some(entry.d_val).filter(|address| *address != 0)
}

/// Reads the `r_debug` structure at `address` and follows its list.
fn description(memory: &mut dyn Memory, address: u64, pointer: u64) -> Linker {
    let mut problems = Vec::new();
    // The fields are r_version, r_map, r_brk, r_state, r_ldbase. The first and the fourth have four
    // bytes. With pointers of eight bytes, four unused bytes follow them.
    let [version, first, brk, state, ldbase] = match words(memory, address, pointer) {
        Ok(words) => words,
        Err(fault) => {
            problems.push(ListProblem::Unreadable(fault));
            let debug = None;
            return Linker { debug, problems };
        }
    };
    let number = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or(0);
    if number(state) != 0 {
        problems.push(ListProblem::Changing);
    }
    let mut debug = DsoDebug {
        version: number(version),
        brk,
        ldbase,
        ..DsoDebug::default()
    };
    let broken = follow(memory, first, pointer, &mut debug.links);
    problems.extend(broken);
    let debug = Some(debug);
    Linker { debug, problems }
}

/// Follows the list from its first entry. Returns the problem if the end is not reached.
fn follow(
    memory: &mut dyn Memory,
    first: u64,
    pointer: u64,
    links: &mut Vec<LinkMap>,
) -> Option<ListProblem> {
    let mut nameless = None;
    let mut seen = HashSet::new();
    let mut path_bytes = 0;
    let mut at = first;
    while at != 0 {
        if !seen.insert(at) {
            return Some(ListProblem::Cycle(at));
        }
        if links.len() == MOST_LINKS {
            return Some(ListProblem::TooMany);
        }
        // l_addr, l_name, l_ld, l_next
        let [addr, name, ld, next] = match words(memory, at, pointer) {
            Ok(words) => words,
            Err(fault) => return Some(ListProblem::BreaksOff(at, fault)),
        };
        let name = match name {
            0 => Vec::new(),
            name => memory.string(name, LONGEST_PATH).unwrap_or_else(|fault| {
                nameless = Some(ListProblem::Nameless(at, fault));
                Vec::new()
            }),
        };
        path_bytes += name.len();
        if path_bytes > LONGEST_PATHS {
            return Some(ListProblem::Paths);
        }
        links.push(LinkMap {
            addr,
            name: String::from_utf8_lossy(&name).into_owned(),
            ld,
        });
        at = next;
    }
    nameless
}

/// Reads `N` words of the size of a pointer.
fn words<const N: usize>(memory: &mut dyn Memory, at: u64, pointer: u64) -> Result<[u64; N], Fault> {
    let size = if pointer == 4 { 4 } else { 8 };
    let bytes = memory.bytes(at, N * size)?;
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(size)) {
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(bytes);
        *word = u64::from_le_bytes(wide);
    }
    Ok(words)
}
