//! The mappings of a process, from the program headers and the list of files in its core.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use dumpwright_image::Elf;
use dumpwright_target::{AddressRange, Memory};
use goblin::elf::program_header::{PF_R, PF_W, PF_X};

use super::{CoreFileRange, CoreHeaders, CoreSegment};
use crate::regions::Mapping;

/// Types of the auxiliary vector (`linux/auxvec.h`).
const AT_RANDOM: u64 = 25;
const AT_EXECFN: u64 = 31;
const AT_SYSINFO_EHDR: u64 = 33;

/// A mapping, and the place of its bytes in the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CoreMapping {
    pub(super) mapping: Mapping,
    /// The offset of its bytes in the core.
    pub(super) offset: u64,
    /// How many of its bytes, from its start, the core has.
    pub(super) stored: u64,
    /// Whether only the list of files has it, so that its protection is not known. gcore leaves out
    /// mappings of files that the program has not changed.
    pub(super) only_listed: bool,
}

/// Returns all mappings, ascending and disjoint. `auxv` is the auxiliary vector.
pub(super) fn of(headers: &CoreHeaders, auxv: &[(u64, u64)]) -> Vec<CoreMapping> {
    let mut mappings = combined(&headers.segments, &headers.notes.files);
    let value = |kind: u64| auxv.iter().find(|pair| pair.0 == kind).map(|pair| pair.1);
    if let Some(vdso) = value(AT_SYSINFO_EHDR) {
        name_vdso(&mut mappings, vdso);
    }
    // Without these, the first stack is where the first thread has its stack pointer.
    let first_thread = || {
        let id = headers.notes.process_id();
        let mut threads = headers.notes.threads.iter();
        threads
            .find(|thread| thread.tid == id)
            .map(|thread| thread.registers.amd64.rsp)
    };
    let in_stack = value(AT_RANDOM)
        .or_else(|| value(AT_EXECFN))
        .or_else(first_thread);
    if let Some(found) = in_stack.and_then(|address| find(&mut mappings, address))
        && found.mapping.is_private_anonymous()
    {
        found.mapping.path = Some("[stack]".into());
    }
    mappings
}

/// Returns the mapping that contains `address`.
fn find(mappings: &mut [CoreMapping], address: u64) -> Option<&mut CoreMapping> {
    let index = mappings.partition_point(|found| found.mapping.range.end() <= address);
    let found = mappings.get_mut(index)?;
    found.mapping.range.contains(address).then_some(found)
}

/// Names the vdso, and the pages of the kernel before it. The kernel maps them together.
fn name_vdso(mappings: &mut [CoreMapping], vdso: u64) {
    let is_nameless = |found: &CoreMapping| found.mapping.path.is_none() && !found.mapping.write;
    let index = mappings.partition_point(|found| found.mapping.range.start() < vdso);
    let Some(found) = mappings
        .get_mut(index)
        .filter(|found| found.mapping.range.start() == vdso)
    else {
        return;
    };
    if !is_nameless(found) {
        return;
    }
    found.mapping.path = Some("[vdso]".into());
    let mut start = vdso;
    for before in mappings[..index].iter_mut().rev() {
        let is_data = before.mapping.read && !before.mapping.execute;
        let of_kernel = before.mapping.range.end() == start && is_nameless(before) && is_data;
        if !of_kernel {
            break;
        }
        before.mapping.path = Some("[vvar]".into());
        start = before.mapping.range.start();
    }
}

/// Combines two lists of ranges, which are ascending. Where their boundaries differ, mappings are
/// split.
fn combined(segments: &[CoreSegment], files: &[CoreFileRange]) -> Vec<CoreMapping> {
    let mut combined = Vec::with_capacity(segments.len().max(files.len()));
    let mut numbers: HashMap<&[u8], u64> = HashMap::new();
    let (mut segments, mut files) = (segments.iter().peekable(), files.iter().peekable());
    let mut at = 0;
    loop {
        while segments.next_if(|segment| segment.range.end() <= at).is_some() {}
        while files.next_if(|file| file.range.end() <= at).is_some() {}
        let (segment, file) = (segments.peek().copied(), files.peek().copied());
        let ranges = [segment.map(|segment| segment.range), file.map(|file| file.range)];
        let begins = ranges.iter().flatten().map(|range| range.start().max(at));
        let Some(start) = begins.min() else {
            return combined;
        };
        let ends = ranges.iter().flatten().map(|range| match range.start() <= start {
            true => range.end(),
            false => range.start(),
        });
        let end = ends.min().unwrap_or(start);
        let Some(range) = AddressRange::new(start, end) else {
            return combined;
        };
        at = end;
        let segment = segment.filter(|segment| segment.range.covers(range));
        let file = file.filter(|file| file.range.covers(range));
        let count = numbers.len() as u64;
        let number = file.map(|file| *numbers.entry(&file.path).or_insert(count + 1));
        let into_segment = segment.map_or(0, |segment| start - segment.range.start());
        let into_file = file.map_or(0, |file| start - file.range.start());
        let left = segment.map_or(0, |segment| segment.stored.saturating_sub(into_segment));
        combined.push(CoreMapping {
            mapping: Mapping {
                range,
                read: segment.is_none_or(|segment| segment.read),
                write: segment.is_some_and(|segment| segment.write),
                execute: segment.is_some_and(|segment| segment.execute),
                // A core does not tell.
                shared: false,
                offset: file.map_or(0, |file| file.offset.saturating_add(into_file)),
                device: (0, 0),
                // A core has no numbers of files, so that each path has one of our own.
                inode: number.unwrap_or(0),
                path: file.map(|file| OsString::from_vec(file.path.clone())),
                flags: None,
                was_empty: false,
            },
            offset: segment.map_or(0, |segment| segment.offset.saturating_add(into_segment)),
            stored: left.min(range.len()),
            only_listed: segment.is_none(),
        });
    }
}

/// Finds out the protection of mappings that only the list of files has, from the headers of their
/// images in the core. Other files are mapped as data.
pub(super) fn protect(mappings: &mut [CoreMapping], core: &mut dyn Memory) {
    // The images of files that have such mappings, by the numbers of the files.
    let mut images: HashMap<u64, Option<Elf>> = HashMap::new();
    let wanted = mappings.iter().filter(|found| found.only_listed);
    images.extend(wanted.map(|found| (found.mapping.inode, None)));
    // A file that is mapped twice: the later image is used for what comes behind it.
    for found in mappings {
        let Mapping {
            range, inode, offset, ..
        } = found.mapping;
        let Some(image) = images.get_mut(&inode) else {
            continue;
        };
        if offset == 0 && found.stored > 0 {
            *image = Elf::read(core, range.start()).ok().flatten();
        }
        if !found.only_listed {
            continue;
        }
        let segment = image.as_ref().and_then(|image| {
            let mut loads = image.loads();
            loads.find(|load| {
                let start = dumpwright_image::elf::page_of(load.p_vaddr.wrapping_add(image.bias()));
                let end = load.p_vaddr.wrapping_add(image.bias()).wrapping_add(load.p_memsz);
                (start..end).contains(&range.start())
            })
        });
        let flags = segment.map_or(PF_R, |segment| segment.p_flags);
        found.mapping.read = flags & PF_R != 0;
        found.mapping.write = flags & PF_W != 0;
        found.mapping.execute = flags & PF_X != 0;
    }
}
