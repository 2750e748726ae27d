//! The mappings of the address space (`/proc/PID/maps`), and their translation to Windows regions.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use dumpwright_target::{AddressRange, Exclusion, Fault, Region, RegionKind, RegionState, protect};

use crate::pagemap::Pagemap;
use crate::proc_dir::{ProcDir, system_fault};

/// The first address that no x86-64 program can map. `[vsyscall]` is above it.
const USER_END: u64 = 0x7fff_ffff_f000;

/// The maximum size of a thread's guard. Larger inaccessible mappings below a stack or heap are
/// treated as reservations.
///
/// Observed guards: 1 page in glibc, 2 in musl, up to 12 in OpenJDK (its yellow and red zones).
const LARGEST_GUARD: u64 = 64 << 10;

/// The maximum length of a line of `maps` or `smaps`: a path has at most 4096 bytes, each escaped
/// to four.
const LINE_LIMIT: usize = 32 << 10;

/// One line of `maps`, or one entry of `smaps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// The addresses.
    pub(crate) range: AddressRange,
    /// Whether the program may read it.
    pub(crate) read: bool,
    /// Whether the program may write it.
    pub(crate) write: bool,
    /// Whether the program may execute it.
    pub(crate) execute: bool,
    /// Whether writes change the file or are visible to other processes.
    pub(crate) shared: bool,
    /// The offset of its start in the file.
    pub(crate) offset: u64,
    /// The device of the file (major, minor), as the kernel's maps show it. On btrfs and overlay
    /// file systems it may differ from the one that `stat` reports for the same file.
    pub(crate) device: (u32, u32),
    /// The inode of the file; 0 if there is none.
    pub(crate) inode: u64,
    /// The path of the file, possibly with the suffix ` (deleted)`, or the kernel's name in
    /// brackets.
    pub(crate) path: Option<OsString>,
    /// The flags from `smaps`, if it was read.
    pub(crate) flags: Option<VmFlags>,
    /// Whether it had no page, neither in memory nor swapped out, when `smaps` was read. `false` if
    /// that is not known.
    pub(crate) was_empty: bool,
}

/// The flags of a mapping that matter for a dump (`VmFlags` in `smaps`, proc_pid_smaps(5)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct VmFlags {
    /// `dd`: the program asked to leave it out of dumps.
    pub(crate) dont_dump: bool,
    /// `io`: device registers.
    pub(crate) device: bool,
    /// `pf`: raw page frames, which the kernel does not manage as memory.
    pub(crate) raw_pages: bool,
    /// `um`, `uw`, `ui`: another program handles its page faults (userfaultfd).
    pub(crate) user_faults: bool,
    /// `ht`: huge pages of hugetlbfs.
    pub(crate) huge: bool,
    /// `dc`: child processes do not get it (`MADV_DONTFORK`).
    pub(crate) dont_fork: bool,
    /// `wf`: child processes get it empty (`MADV_WIPEONFORK`).
    pub(crate) wipe_on_fork: bool,
}

impl Mapping {
    /// The path or name as bytes; empty if it has none.
    pub(crate) fn name(&self) -> &[u8] {
        self.path.as_deref().map_or(&[], OsStr::as_bytes)
    }

    /// The path, if the mapping belongs to a file. The file may have been deleted, or may never
    /// have had a place in a directory, such as `/memfd:name`.
    pub(crate) fn file_path(&self) -> Option<&OsStr> {
        self.path
            .as_deref()
            .filter(|path| path.as_bytes().starts_with(b"/") && self.inode != 0)
    }

    /// Whether its pages that do not exist yet are zero and private to this process.
    ///
    /// This is true for private mappings without a file, private mappings of `/dev/zero`, and
    /// private huge pages, which the kernel shows as a file named `/anon_hugepage (deleted)`.
    pub(crate) fn is_private_anonymous(&self) -> bool {
        let name = self.name();
        let nameless = self.inode == 0
            && (name.is_empty()
                || [&b"[heap]"[..], b"[stack", b"[anon:"]
                    .iter()
                    .any(|start| name.starts_with(start)));
        !self.shared && (nameless || matches!(name, b"/dev/zero" | b"/anon_hugepage (deleted)"))
    }

    /// Whether it is the vdso, the code that the kernel maps into every program.
    pub(crate) fn is_vdso(&self) -> bool {
        self.name() == b"[vdso]"
    }

    /// Whether the kernel itself provides its pages on demand, as for `[vdso]`.
    pub(crate) fn is_special(&self) -> bool {
        self.inode == 0 && !self.name().is_empty() && !self.is_private_anonymous()
    }

    /// Whether it has pages of the kernel: `[vvar]`, `[vvar_vclock]` (which only the program itself
    /// can read) and `[vsyscall]`.
    pub(crate) fn is_kernel_page(&self) -> bool {
        let name = self.name();
        name.starts_with(b"[vvar") || name == b"[vsyscall]" || self.range.start() >= USER_END
    }

    /// Whether it has device registers or raw memory, which must not be read.
    ///
    /// `smaps` marks them with `io` and `pf`. Without `smaps`, the name decides: device nodes,
    /// files in `/sys` and `/proc` that expose registers of PCI devices, and anonymous files of
    /// drivers (`anon_inode:…`, `/dmabuf:…`). Below `/dev`, only `/dev/zero`, `/dev/shm` and mounts
    /// of hugetlbfs are memory.
    pub(crate) fn is_device(&self) -> bool {
        let name = self.name();
        if let Some(flags) = self.flags {
            if self.is_kernel_page() {
                return false;
            }
            if flags.device || flags.raw_pages {
                return true;
            }
            if name.starts_with(b"/dev/") && flags.huge {
                return false;
            }
        } else if [&b"anon_inode:"[..], b"/dmabuf:"]
            .iter()
            .any(|start| name.starts_with(start))
        {
            return true;
        }
        let memory_under_dev = name == b"/dev/zero"
            || name == b"/dev/zero (deleted)"
            || name.starts_with(b"/dev/shm/")
            || name.starts_with(b"/dev/hugepages/");
        name.starts_with(b"/sys/")
            || name.starts_with(b"/proc/")
            || name.starts_with(b"/dev/") && !memory_under_dev
    }

    /// Whether both mappings belong to the same file.
    pub(crate) fn same_file(&self, other: &Self) -> bool {
        self.inode != 0 && (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether both are the same mapping, read at two different times. The flags are not compared.
    fn same_but_flags(&self, other: &Self) -> bool {
        self.range == other.range
            && (self.read, self.write, self.execute, self.shared)
                == (other.read, other.write, other.execute, other.shared)
            && (self.offset, self.device, self.inode) == (other.offset, other.device, other.inode)
            && self.path == other.path
    }

    /// Parses one line of `maps`, or the first line of an entry of `smaps`.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut rest = line;
        let mut word = || {
            rest = rest.trim_ascii_start();
            let end = rest.iter().position(|b| *b == b' ').unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after;
            std::str::from_utf8(word).ok().filter(|word| !word.is_empty())
        };
        let hex = |word: &str| u64::from_str_radix(word, 16).ok();
        let (start, end) = word()?.split_once('-')?;
        let range = AddressRange::new(hex(start)?, hex(end)?)?;
        let access: [u8; 4] = word()?.as_bytes().try_into().ok()?;
        let offset = hex(word()?)?;
        let (major, minor) = word()?.split_once(':')?;
        let device = (
            u32::from_str_radix(major, 16).ok()?,
            u32::from_str_radix(minor, 16).ok()?,
        );
        let inode = word()?.parse().ok()?;
        let path = rest.trim_ascii_start();
        Some(Self {
            range,
            read: access[0] == b'r',
            write: access[1] == b'w',
            execute: access[2] == b'x',
            shared: access[3] == b's',
            offset,
            device,
            inode,
            path: (!path.is_empty()).then(|| OsString::from_vec(unescaped(path))),
            flags: None,
            was_empty: false,
        })
    }
}

/// Reverts the escape sequence in a path in `maps`.
///
/// The kernel writes a line feed as `\012` and escapes nothing else, not even a backslash. So a
/// file whose name contains the four characters `\012` cannot be distinguished from one with a line
/// feed.
fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\\012") {
            out.push(b'\n');
            rest = after;
        } else {
            out.push(*first);
            rest = after;
        }
    }
    out
}

impl VmFlags {
    fn parse(words: &[u8]) -> Self {
        let mut flags = Self::default();
        for word in words.split(|b| b.is_ascii_whitespace()) {
            match word {
                b"dd" => flags.dont_dump = true,
                b"io" => flags.device = true,
                b"pf" => flags.raw_pages = true,
                b"um" | b"uw" | b"ui" => flags.user_faults = true,
                b"ht" => flags.huge = true,
                b"dc" => flags.dont_fork = true,
                b"wf" => flags.wipe_on_fork = true,
                _ => {}
            }
        }
        flags
    }
}

/// Reads the current mappings, ascending and disjoint. Also returns the text of `maps`.
pub(crate) fn mappings_and_text(dir: &ProcDir) -> Result<(Vec<Mapping>, Vec<u8>), Fault> {
    let failed = |error| system_fault(operation(dir, "maps"), &error);
    let text = dir.read("maps").map_err(failed)?;
    let table = parse(&text[..]).map_err(failed)?;
    tracing::debug!(pid = dir.pid, mappings = table.len(), "mappings read");
    Ok((table, text))
}

/// Reads the current mappings, without the text.
#[cfg(test)]
pub(crate) fn mappings(dir: &ProcDir) -> Result<Vec<Mapping>, Fault> {
    mappings_and_text(dir).map(|(table, _)| table)
}

/// Reads the current mappings with their flags, from `smaps`.
///
/// It should be called before the process is stopped, because the kernel walks all page tables for
/// this text. For 4 GiB of small pages it took 94 ms, where `maps` took 0.14 ms (Linux 6.18).
pub(crate) fn mappings_with_flags(dir: &ProcDir) -> Result<Vec<Mapping>, Fault> {
    // The text is about ten times as long as `maps` and little of it is kept, so it is not read as
    // a whole.
    let failed = |error| system_fault(operation(dir, "smaps"), &error);
    let file = File::open(dir.path("smaps")).map_err(failed)?;
    parse(BufReader::with_capacity(64 << 10, file)).map_err(failed)
}

fn operation(dir: &ProcDir, name: &str) -> String {
    format!("read the mappings of process {} ({name})", dir.pid)
}

/// Reads the parts of `smaps` that are needed, before the process is stopped.
///
/// A full dump needs all of it. Other dumps need only to know which reservations are empty, and
/// only if `pagemap` cannot find that out in limited time. Returns `None` if nothing is needed.
pub(crate) fn before_stop(dir: &ProcDir, full: bool) -> Option<Result<Vec<Mapping>, Fault>> {
    let is_needed = full || {
        let pagemap = Pagemap::open(dir);
        !pagemap.scans()
            && mappings_and_text(dir)
                .is_ok_and(|(mappings, _)| pagemap.is_too_slow_for(reservations(&mappings)))
    };
    let taken = is_needed.then(|| mappings_with_flags(dir));
    // For other dumps a failure is not reported. Its only effect is that reservations cannot be
    // distinguished from other inaccessible memory.
    taken.filter(|taken| full || taken.is_ok())
}

/// Copies the flags in `before`, which was read before the process was stopped, to `mappings`,
/// which was read while it is stopped. If any mapping is new or has changed since, `smaps` is read
/// again.
pub(crate) fn adopt_flags(dir: &ProcDir, mappings: &mut [Mapping], before: &[Mapping]) -> Result<(), Fault> {
    if adopt(mappings, before) {
        return Ok(());
    }
    tracing::debug!(
        pid = dir.pid,
        "mappings have changed since smaps was read, reading it again"
    );
    adopt(mappings, &mappings_with_flags(dir)?);
    Ok(())
}

/// Copies flags and emptiness to `mappings`. Returns whether all of them have flags now.
fn adopt(mappings: &mut [Mapping], known: &[Mapping]) -> bool {
    let mut complete = true;
    each_known(mappings, known, |mapping, other| {
        if mapping.flags.is_none() {
            mapping.flags = other.and_then(|other| other.flags);
            mapping.was_empty = other.is_some_and(|other| other.was_empty);
        }
        complete &= mapping.flags.is_some();
    });
    complete
}

/// Copies only the emptiness in `before` to `mappings`.
pub(crate) fn adopt_emptiness(mappings: &mut [Mapping], before: &[Mapping]) {
    each_known(mappings, before, |mapping, other| {
        mapping.was_empty = other.is_some_and(|other| other.was_empty);
    });
}

/// Calls `each` with every mapping, and with the same mapping in `known` if there is one.
fn each_known(
    mappings: &mut [Mapping],
    known: &[Mapping],
    mut each: impl FnMut(&mut Mapping, Option<&Mapping>),
) {
    let mut known = known.iter().peekable();
    for mapping in mappings {
        while known
            .next_if(|other| other.range.start() < mapping.range.start())
            .is_some()
        {}
        let other = known.peek().filter(|other| mapping.same_but_flags(other));
        each(mapping, other.copied());
    }
}

/// Parses `maps` or `smaps`. Malformed lines are skipped.
pub(crate) fn parse(mut text: impl BufRead) -> io::Result<Vec<Mapping>> {
    let mut table: Vec<Mapping> = Vec::new();
    let mut line = Vec::new();
    // The state of the current entry of `smaps`: whether its mapping is the last one in the table,
    // and how much memory it has.
    let mut is_taken = false;
    let mut pages = None;
    while read_line(&mut text, &mut line)? {
        if let Some(words) = line.strip_prefix(b"VmFlags:") {
            // This is the last line of an entry.
            if let Some(last) = table.last_mut().filter(|_| is_taken) {
                last.flags = Some(VmFlags::parse(words));
                last.was_empty = pages == Some(0);
            }
        } else if let Some(more) = held(&line) {
            pages = Some(pages.unwrap_or(0_u64).saturating_add(more));
        } else if line.first().is_some_and(u8::is_ascii_uppercase) {
            // One of the more than 20 other fields of an entry of `smaps`. A mapping begins with a
            // lower-case digit.
        } else if let Some(mut mapping) = Mapping::parse(&line) {
            is_taken = false;
            pages = None;
            // While a process runs, its text is not from a single moment, and a mapping that moved
            // may appear twice. Keep the part of the later line that the earlier ones do not cover.
            let covered = table.last().map_or(0, |last| last.range.end());
            if mapping.range.start() < covered {
                let Some(rest) = AddressRange::new(covered, mapping.range.end()) else {
                    continue;
                };
                mapping.offset = mapping.offset.wrapping_add(covered - mapping.range.start());
                mapping.range = rest;
            }
            is_taken = true;
            table.push(mapping);
        }
    }
    Ok(table)
}

/// Returns how much memory a mapping has according to a line of `smaps`, in kB, or `None` if the
/// line is about something else. `Rss` does not include huge pages of hugetlbfs
/// (proc_pid_smaps(5)).
fn held(line: &[u8]) -> Option<u64> {
    const NAMES: [&[u8]; 4] = [b"Rss:", b"Swap:", b"Private_Hugetlb:", b"Shared_Hugetlb:"];
    let rest = NAMES.iter().find_map(|name| line.strip_prefix(*name))?;
    let number = rest.trim_ascii_start().split(|byte| *byte == b' ').next();
    // A number that cannot be parsed must not count as empty.
    let number = number.and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
    Some(number.unwrap_or(u64::MAX))
}

/// Finds the mapping that contains `address` in the text of `maps`.
pub(crate) fn mapping_at(mut text: impl BufRead, address: u64) -> io::Result<Option<Mapping>> {
    let mut line = Vec::new();
    while read_line(&mut text, &mut line)? {
        let found = Mapping::parse(&line).filter(|mapping| mapping.range.contains(address));
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Reads the next line without its line feed. Returns `false` at the end of the text.
///
/// The part of a line beyond [`LINE_LIMIT`] is discarded.
fn read_line(text: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let buffer = text.fill_buf()?;
        if buffer.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = memchr::memchr(b'\n', buffer);
        let part = &buffer[..end.unwrap_or(buffer.len())];
        line.extend_from_slice(&part[..part.len().min(LINE_LIMIT - line.len())]);
        let used = end.map_or(buffer.len(), |end| end + 1);
        text.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// Translates the mappings to Windows regions.
///
/// `modules` are the address ranges of the modules, ascending. `dont_dump` includes memory that the
/// program marked "do not dump". `untouched` returns whether a mapping has no page at all.
///
/// * All mappings are committed, with one exception: an inaccessible, private, anonymous mapping
///   without pages is reserved, unless it is the guard directly below writable memory.
/// * Private file mappings are `PAGE_READWRITE`, not `PAGE_WRITECOPY`, because tools test for the
///   former.
/// * Linux does not record the protection with which a mapping was created, so `AllocationProtect`
///   is the same as `Protect`. Writable private file mappings are the exception: they must have
///   been created as copy-on-write. So their `AllocationProtect` is `PAGE_WRITECOPY`, as on Windows
///   for views whose pages have been copied.
pub(crate) fn regions(
    mappings: &[Mapping],
    modules: &[AddressRange],
    dont_dump: bool,
    mut untouched: impl FnMut(&Mapping) -> bool,
) -> Vec<Region> {
    let mut regions: Vec<Region> = Vec::with_capacity(mappings.len());
    let mut before: Option<&Mapping> = None;
    for (index, mapping) in mappings.iter().enumerate() {
        if mapping.range.start() >= USER_END {
            continue;
        }
        let start = mapping.range.start();
        let module = modules
            .partition_point(|module| module.start() <= start)
            .checked_sub(1)
            .map(|at| modules[at])
            .filter(|module| module.contains(start));
        let protection = protection(mapping);
        let reserved =
            module.is_none() && may_be_reserved(mapping, mappings.get(index + 1)) && untouched(mapping);
        let (kind, allocation_base) = match module {
            Some(module) => (RegionKind::Image, module.start()),
            None => {
                let mapped =
                    mapping.shared || mapping.file_path().is_some() && !mapping.is_private_anonymous();
                let kind = if mapped {
                    RegionKind::Mapped
                } else {
                    RegionKind::Private
                };
                // Adjacent mappings of the same file are one allocation.
                let base = match (before, regions.last()) {
                    (Some(before), Some(last))
                        if before.range.end() == start
                            && before.same_file(mapping)
                            && last.kind == Some(kind) =>
                    {
                        last.allocation_base
                    }
                    _ => start,
                };
                (kind, base)
            }
        };
        regions.push(Region {
            range: mapping.range,
            allocation_base,
            allocation_protect: match protection {
                protect::READWRITE
                    if !mapping.shared
                        && mapping.file_path().is_some()
                        && !mapping.is_private_anonymous() =>
                {
                    protect::WRITECOPY
                }
                other => other,
            },
            protect: if reserved { 0 } else { protection },
            state: if reserved {
                RegionState::Reserve
            } else {
                RegionState::Commit
            },
            kind: Some(kind),
            exclusion: exclusion(mapping, dont_dump),
        });
        before = Some(mapping);
    }
    regions
}

/// Whether `mapping` is reserved in the sense of Windows, if it has no page.
fn may_be_reserved(mapping: &Mapping, next: Option<&Mapping>) -> bool {
    protection(mapping) == protect::NOACCESS && mapping.is_private_anonymous() && !is_guard(mapping, next)
}

/// Returns the ranges of all mappings that may be reserved.
pub(crate) fn reservations(mappings: &[Mapping]) -> impl Iterator<Item = AddressRange> {
    let reserved = |(index, mapping): &(usize, &Mapping)| may_be_reserved(mapping, mappings.get(index + 1));
    let mappings = mappings.iter().enumerate();
    mappings.filter(reserved).map(|(_, mapping)| mapping.range)
}

/// Whether `mapping` is a guard of the memory that starts at its end.
fn is_guard(mapping: &Mapping, next: Option<&Mapping>) -> bool {
    mapping.range.len() <= LARGEST_GUARD
        && next.is_some_and(|next| {
            next.range.start() == mapping.range.end() && next.write && next.is_private_anonymous()
        })
}

fn protection(mapping: &Mapping) -> u32 {
    // x86 cannot grant write access without read access. So the program can read a mapping that is
    // only writable.
    let access = match (mapping.read, mapping.write, mapping.execute) {
        (false, false, false) => return protect::NOACCESS,
        (true, false, false) => protect::READONLY,
        (_, true, false) => protect::READWRITE,
        (false, false, true) => protect::EXECUTE,
        (true, false, true) => protect::EXECUTE_READ,
        (_, true, true) => protect::EXECUTE_READWRITE,
    };
    if mapping.flags.is_some_and(|flags| flags.device) && !mapping.is_kernel_page() {
        access | protect::NOCACHE
    } else {
        access
    }
}

fn exclusion(mapping: &Mapping, dont_dump: bool) -> Option<Exclusion> {
    if mapping.is_kernel_page() {
        Some(Exclusion::Kernel)
    } else if mapping.is_device() {
        Some(Exclusion::Device)
    } else if mapping.flags.is_some_and(|flags| flags.dont_dump) && !dont_dump {
        Some(Exclusion::DontDump)
    } else {
        None
    }
}

/// What these tests would catch: a parser that unusual paths, torn texts or hostile lines mislead;
/// devices mistaken for memory; regions whose state, protection or kind a Windows tool would
/// misinterpret.
#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Vec<Mapping> {
        parse(text.as_bytes()).expect("reading from memory does not fail")
    }

    fn classified(text: &str, modules: &[AddressRange]) -> Vec<Region> {
        regions(&table(text), modules, false, |_| true)
    }

    #[test]
    fn paths_keep_blanks_backslashes_and_line_feeds() {
        let table = table(
            "1000-2000 r-xp 00003000 fd:01 42                         /opt/a b/x\\012y\\134z (deleted)\n\
             2000-3000 rw-s 00000000 00:05 7 \n\
             3000-4000 ---p 00000000 00:00 0\n",
        );
        assert_eq!(table.len(), 3);
        assert_eq!(table[0].name(), b"/opt/a b/x\ny\\134z (deleted)");
        assert_eq!(
            (table[0].offset, table[0].device, table[0].inode),
            (0x3000, (0xfd, 1), 42)
        );
        assert!(table[0].read && !table[0].write && table[0].execute && !table[0].shared);
        assert!(table[1].shared && table[1].path.is_none());
        assert!(table[2].path.is_none() && !table[2].read);
    }

    #[test]
    fn hostile_lines_are_skipped_and_overlaps_cut() {
        let table = table(
            "\nzz\n10-5 r--p 0 0:0 0\n1000-3000 rw-p 0 0:0 0\n2000-4000 rw-p 0 0:0 0\n1000-4000 r--p 0 0:0 0\n\
             fffffffffffffffff-1 rwxp 0 0:0 0\n5000-6000 rw 0 0:0 0\n5000-6000 rw-p 0 00 0\n7000-8000 r--p 0 0:0 99999999999999999999\n\
             ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]",
        );
        let ranges: Vec<_> = table.iter().map(|m| (m.range.start(), m.range.end())).collect();
        assert_eq!(
            ranges,
            [
                (0x1000, 0x3000),
                (0x3000, 0x4000),
                (0xffff_ffff_ff60_0000, 0xffff_ffff_ff60_1000)
            ]
        );
    }

    #[test]
    fn an_endless_line_takes_bounded_memory() {
        let long = b"1000-2000 r--p 0 0:0 0 /"
            .iter()
            .copied()
            .chain(std::iter::repeat_n(b'x', 1 << 20));
        let text: Vec<u8> = long.chain(*b"\n2000-3000 r--p 0 0:0 0\n").collect();
        let table = parse(&text[..]).expect("reads");
        assert_eq!(table.len(), 2);
        assert!(table[0].name().len() <= LINE_LIMIT);
    }

    #[test]
    fn flags_come_from_smaps_and_follow_their_mapping() {
        let before = table(
            "1000-2000 rw-p 00000000 00:00 0 \nSize: 4 kB\nAnonHugePages: 0 kB\nVmFlags: rd wr mr dd sd \n\
             2000-3000 rw-s 00000000 00:05 9 /dev/fb0\nVmFlags: rd wr sh io pf de dd\n\
             5000-6000 rw-p 00000000 00:00 0 \nVmFlags: rd wr um\n",
        );
        let mut now = table(
            "1000-2000 rw-p 00000000 00:00 0 \n2000-3000 rw-s 00000000 00:05 9 /dev/fb0\n5000-6000 rw-p 00000000 00:00 0 \n",
        );
        assert!(adopt(&mut now, &before));
        assert!(now[0].flags.is_some_and(|flags| flags.dont_dump && !flags.device));
        assert!(now[1].flags.is_some_and(|flags| flags.device && flags.raw_pages));
        assert!(now[2].flags.is_some_and(|flags| flags.user_faults));
        let mut grown = table("1000-3000 rw-p 00000000 00:00 0 \n5000-6000 rw-p 00000000 00:00 0 \n");
        assert!(
            !adopt(&mut grown, &before),
            "a mapping that grew has unknown flags"
        );
        assert!(grown[0].flags.is_none() && grown[1].flags.is_some());

        let map = regions(&now, &[], false, |_| true);
        let exclusions: Vec<_> = map.iter().map(|region| region.exclusion).collect();
        assert_eq!(
            exclusions,
            [Some(Exclusion::DontDump), Some(Exclusion::Device), None]
        );
        assert_eq!(map[1].protect, protect::READWRITE | protect::NOCACHE);
        assert_eq!(regions(&now, &[], true, |_| true)[0].exclusion, None);
    }

    #[test]
    fn a_mapping_is_empty_where_smaps_counts_no_page_of_any_kind() {
        let entry = |range: &str, counts: &str| {
            format!("{range} ---p 00000000 00:00 0\nSize: 4 kB\n{counts}VmFlags: mr mw me\n")
        };
        let empty = "Rss:                   0 kB\nSwap:                  0 kB\n";
        let text = [
            entry("1000-2000", empty),
            entry("2000-3000", "Rss: 4 kB\nSwap: 0 kB\n"),
            entry("3000-4000", "Rss: 0 kB\nSwap: 8 kB\n"),
            entry("4000-5000", &format!("{empty}Private_Hugetlb: 2048 kB\n")),
            entry("5000-6000", "Rss: what kB\n"),
            entry("6000-7000", ""),
            entry("7000-8000", &format!("{empty}SwapPss: 3 kB\n")),
            // A second entry for the same range, because the mapping moved while the text was
            // made. It must not change the entry before it.
            entry("6000-7000", "Rss: 4 kB\nVmFlags: dd\n"),
        ];
        let before = table(&text.concat());
        let is_empty = |table: &[Mapping]| table.iter().map(|mapping| mapping.was_empty).collect::<Vec<_>>();
        let expected = [true, false, false, false, false, false, true];
        assert_eq!(is_empty(&before), expected);
        assert!(!before[6].flags.is_some_and(|flags| flags.dont_dump));
        let mut now: Vec<_> = before
            .iter()
            .map(|mapping| Mapping {
                flags: None,
                was_empty: false,
                ..mapping.clone()
            })
            .collect();
        now[0].read = true;
        adopt_emptiness(&mut now, &before);
        assert_eq!(is_empty(&now)[..2], [false, false], "it is another mapping now");
        assert!(now[6].was_empty && now[6].flags.is_none());
    }

    #[test]
    fn devices_are_known_by_name_when_nothing_else_is_known() {
        for (name, device) in [
            ("/dev/mem", true),
            ("/dev/dri/renderD128", true),
            ("/sys/devices/pci0000:00/0000:00:02.0/resource0", true),
            ("anon_inode:[vfio-device]", true),
            ("/dmabuf:", true),
            ("/dev/zero", false),
            ("/dev/zero (deleted)", false),
            ("/dev/shm/x", false),
            ("/devices", false),
            ("/memfd:x (deleted)", false),
            ("[heap]", false),
        ] {
            let table = table(&format!("1000-2000 rw-s 00000000 00:05 9 {name}\n"));
            assert_eq!(table[0].is_device(), device, "{name}");
        }
    }

    #[test]
    fn protections_and_kinds_are_those_of_windows() {
        use RegionKind::{Image, Mapped, Private};
        use RegionState::{Commit, Reserve};
        let module = AddressRange::new(0x10000, 0x14000).expect("not empty");
        let map = classified(
            "10000-11000 r--p 00000000 fe:00 5 /bin/x\n\
             11000-12000 r-xp 00001000 fe:00 5 /bin/x\n\
             12000-13000 ---p 00002000 fe:00 5 /bin/x\n\
             13000-14000 rw-p 00000000 00:00 0 \n\
             20000-21000 rw-p 00000000 00:00 0 [heap]\n\
             30000-31000 r--s 00000000 fe:00 6 /data\n\
             31000-32000 r--s 00001000 fe:00 6 /data\n\
             40000-41000 ---p 00000000 00:00 0 \n\
             41000-49000 rw-p 00000000 00:00 0 \n\
             49000-90000 ---p 00000000 00:00 0 \n\
             a0000-a1000 --xp 00000000 00:00 0 \n\
             a1000-a2000 rwxp 00000000 00:00 0 \n\
             b0000-b1000 rw-p 00000000 fe:00 6 /data\n\
             c0000-c1000 r--p 00000000 00:00 0 [vvar]\n\
             ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n",
            &[module],
        );
        let facts: Vec<_> = map
            .iter()
            .map(|r| {
                (
                    r.range.start(),
                    r.allocation_base,
                    r.protect,
                    r.state,
                    r.kind.expect("not free"),
                )
            })
            .collect();
        assert_eq!(
            facts,
            [
                (0x10000, 0x10000, 0x02, Commit, Image),
                (0x11000, 0x10000, 0x20, Commit, Image),
                (0x12000, 0x10000, 0x01, Commit, Image),
                (0x13000, 0x10000, 0x04, Commit, Image),
                (0x20000, 0x20000, 0x04, Commit, Private),
                (0x30000, 0x30000, 0x02, Commit, Mapped),
                (0x31000, 0x30000, 0x02, Commit, Mapped),
                (0x40000, 0x40000, 0x01, Commit, Private),
                (0x41000, 0x41000, 0x04, Commit, Private),
                (0x49000, 0x49000, 0x00, Reserve, Private),
                (0xa0000, 0xa0000, 0x10, Commit, Private),
                (0xa1000, 0xa1000, 0x40, Commit, Private),
                (0xb0000, 0xb0000, 0x04, Commit, Mapped),
                (0xc0000, 0xc0000, 0x02, Commit, Private),
            ]
        );
        assert_eq!(
            map.last().and_then(|region| region.exclusion),
            Some(Exclusion::Kernel)
        );
        let touched = regions(&table("1000-80000 ---p 00000000 00:00 0\n"), &[], false, |_| {
            false
        });
        assert_eq!(
            (touched[0].state, touched[0].protect),
            (Commit, protect::NOACCESS)
        );
    }

    #[test]
    fn own_mappings_hold_what_the_program_knows_of_itself() {
        let dir = ProcDir::new(std::process::id()).expect("own process");
        let table = mappings_with_flags(&dir).expect("readable");
        assert!(
            table
                .windows(2)
                .all(|pair| pair[0].range.end() <= pair[1].range.start())
        );
        let of = |at: usize| {
            table
                .iter()
                .find(|m| m.range.contains(at as u64))
                .expect("mapped")
        };
        let local = 0u8;
        let stack = of((&raw const local).addr());
        assert!(stack.read && stack.write && stack.is_private_anonymous());
        let code = of((own_mappings_hold_what_the_program_knows_of_itself as fn()) as usize);
        let exe = std::env::current_exe().expect("has a path");
        assert!(code.execute && code.file_path() == Some(exe.as_os_str()));
        assert!(table.iter().all(|mapping| mapping.flags.is_some()));
        let vvar = table
            .iter()
            .find(|mapping| mapping.name() == b"[vvar]")
            .expect("x86-64 has one");
        assert_eq!(exclusion(vvar, false), Some(Exclusion::Kernel));
    }
}
