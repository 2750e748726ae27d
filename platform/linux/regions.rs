//! The map of the address space: `/proc/PID/maps`, and what it is in Windows' words.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use dumpwright_target::{AddressRange, Exclusion, Fault, Region, RegionKind, RegionState, protect};

use crate::proc_dir::{ProcDir, system_fault};

/// The first address that no x86-64 program can map; `[vsyscall]` lies above it.
const USER_END: u64 = 0x7fff_ffff_f000;

/// A thread's guard is at most this large; larger inaccessible ranges below a stack or heap are taken
/// for reservations. (Guards seen: glibc 1 page, musl 2, OpenJDK up to 12 for its yellow and red zones.)
const LARGEST_GUARD: u64 = 64 << 10;

/// No line of `maps` or `smaps` is longer: a path has at most 4096 bytes, each escaped to four.
const LINE_LIMIT: usize = 32 << 10;

/// One line of `maps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// Where it is.
    pub(crate) range: AddressRange,
    /// The program may read it.
    pub(crate) read: bool,
    /// The program may write it.
    pub(crate) write: bool,
    /// The program may execute it.
    pub(crate) execute: bool,
    /// Writes reach the file or other processes.
    pub(crate) shared: bool,
    /// Where in the file it begins.
    pub(crate) offset: u64,
    /// Device of the file (major, minor), as the kernel's maps show it: on btrfs and overlay file systems it may
    /// differ from what `stat` says of the same file.
    pub(crate) device: (u32, u32),
    /// Inode of the file; 0 if there is none.
    pub(crate) inode: u64,
    /// Path of the file with a possible ` (deleted)`, or the kernel's name in brackets.
    pub(crate) path: Option<OsString>,
    /// What `smaps` adds, if it was asked.
    pub(crate) flags: Option<VmFlags>,
}

/// The flags of a mapping that matter to a dump (`VmFlags` of `smaps`, proc_pid_smaps(5)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct VmFlags {
    /// `dd`: the program asked for it to be left out of dumps.
    pub(crate) dont_dump: bool,
    /// `io`: device registers.
    pub(crate) device: bool,
    /// `pf`: raw page frames, not managed as memory.
    pub(crate) raw_pages: bool,
    /// `um`, `uw`, `ui`: another program answers its page faults (userfaultfd).
    pub(crate) user_faults: bool,
    /// `ht`: huge pages of hugetlbfs.
    pub(crate) huge: bool,
}

impl Mapping {
    /// The name as bytes, empty if it has none.
    pub(crate) fn name(&self) -> &[u8] {
        self.path.as_deref().map_or(&[], OsStr::as_bytes)
    }

    /// The path, if the mapping shows a file (which may have been deleted since, or never have had a place in
    /// any folder, such as `/memfd:name`).
    pub(crate) fn file_path(&self) -> Option<&OsStr> {
        self.path
            .as_deref()
            .filter(|path| path.as_bytes().starts_with(b"/") && self.inode != 0)
    }

    /// Whether pages that do not exist yet will be zeros, belonging to this process alone.
    ///
    /// Besides the ones without a file these are private mappings of `/dev/zero`, and private huge pages, which the
    /// kernel shows as a file of its own, `/anon_hugepage (deleted)`.
    pub(crate) fn is_private_anonymous(&self) -> bool {
        let name = self.name();
        let nameless = self.inode == 0
            && (name.is_empty()
                || [&b"[heap]"[..], b"[stack", b"[anon:"]
                    .iter()
                    .any(|start| name.starts_with(start)));
        !self.shared && (nameless || matches!(name, b"/dev/zero" | b"/anon_hugepage (deleted)"))
    }

    /// The code that the kernel lends to every program.
    pub(crate) fn is_vdso(&self) -> bool {
        self.name() == b"[vdso]"
    }

    /// Pages that the kernel itself puts there when they are needed, `[vdso]` above all.
    pub(crate) fn is_special(&self) -> bool {
        self.inode == 0 && !self.name().is_empty() && !self.is_private_anonymous()
    }

    /// Pages the kernel lends: `[vvar]`, `[vvar_vclock]` (readable by the program alone) and `[vsyscall]`.
    pub(crate) fn is_kernel_page(&self) -> bool {
        let name = self.name();
        name.starts_with(b"[vvar") || name == b"[vsyscall]" || self.range.start() >= USER_END
    }

    /// Device registers or raw memory, which must not be read.
    ///
    /// `smaps` says so with `io` and `pf`. Without it the name has to do: device nodes, the files by which `/sys`
    /// and `/proc` offer the registers of PCI devices, and the nameless files of drivers (`anon_inode:…`,
    /// `/dmabuf:…`). Under `/dev` only `/dev/zero`, `/dev/shm` and mounts of hugetlbfs are memory.
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

    /// Whether both show the same file.
    pub(crate) fn same_file(&self, other: &Self) -> bool {
        self.inode != 0 && (self.device, self.inode) == (other.device, other.inode)
    }

    /// Everything but the flags: whether both are the same mapping, seen at two moments.
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
        })
    }
}

/// Undoes the escape of a path in `maps`.
///
/// The kernel writes a line feed as `\012` and nothing else so: a backslash stands for itself. A file whose name
/// really contains the four characters `\012` therefore cannot be told from one with a line feed.
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
                _ => {}
            }
        }
        flags
    }
}

/// The mappings now, by ascending address, disjoint, and the text that they were taken from.
pub(crate) fn mappings_and_text(dir: &ProcDir) -> Result<(Vec<Mapping>, Vec<u8>), Fault> {
    let failed = |error| system_fault(operation(dir, "maps"), &error);
    let text = dir.read("maps").map_err(failed)?;
    let table = parse(&text[..]).map_err(failed)?;
    tracing::debug!(pid = dir.pid, mappings = table.len(), "mappings read");
    Ok((table, text))
}

/// The mappings now, without their text.
#[cfg(test)]
pub(crate) fn mappings(dir: &ProcDir) -> Result<Vec<Mapping>, Fault> {
    mappings_and_text(dir).map(|(table, _)| table)
}

/// The same with their flags, from `smaps`.
///
/// The kernel walks all page tables for this text (94 ms for 4 GiB of small pages where `maps` took 0.14 ms, on
/// Linux 6.18): to be called before the process is stopped.
pub(crate) fn mappings_with_flags(dir: &ProcDir) -> Result<Vec<Mapping>, Fault> {
    // Some ten times as long as `maps`, of which little is kept: not taken whole.
    let failed = |error| system_fault(operation(dir, "smaps"), &error);
    let file = File::open(dir.path("smaps")).map_err(failed)?;
    parse(BufReader::with_capacity(64 << 10, file)).map_err(failed)
}

fn operation(dir: &ProcDir, name: &str) -> String {
    format!("read the mappings of process {} ({name})", dir.pid)
}

/// Gives `mappings`, taken while the process holds still, the flags known from `before`, taken before
/// it was stopped. Whatever is new or changed since makes a second reading of `smaps` necessary.
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

/// Whether all of them have flags now.
fn adopt(mappings: &mut [Mapping], known: &[Mapping]) -> bool {
    let mut known = known.iter().peekable();
    let mut complete = true;
    for mapping in mappings.iter_mut().filter(|mapping| mapping.flags.is_none()) {
        while known
            .next_if(|other| other.range.start() < mapping.range.start())
            .is_some()
        {}
        mapping.flags = known
            .peek()
            .filter(|other| mapping.same_but_flags(other))
            .and_then(|other| other.flags);
        complete &= mapping.flags.is_some();
    }
    complete
}

/// Parses `maps` or `smaps`. Lines that make no sense are skipped.
pub(crate) fn parse(mut text: impl BufRead) -> io::Result<Vec<Mapping>> {
    let mut table: Vec<Mapping> = Vec::new();
    let mut line = Vec::new();
    while read_line(&mut text, &mut line)? {
        if let Some(words) = line.strip_prefix(b"VmFlags:") {
            if let Some(last) = table.last_mut() {
                last.flags = Some(VmFlags::parse(words));
            }
        } else if let Some(mut mapping) = Mapping::parse(&line) {
            // The text of a running process is not of one moment: what moved while it was read may
            // show twice. The later line keeps what the earlier one does not cover.
            let covered = table.last().map_or(0, |last| last.range.end());
            if mapping.range.start() < covered {
                let Some(rest) = AddressRange::new(covered, mapping.range.end()) else {
                    continue;
                };
                mapping.offset = mapping.offset.wrapping_add(covered - mapping.range.start());
                mapping.range = rest;
            }
            table.push(mapping);
        }
    }
    Ok(table)
}

/// The next line without its end; `false` at the end of the text. What exceeds the limit of a line is
/// cut off and does not count as a line of its own.
fn read_line(text: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let buffer = text.fill_buf()?;
        if buffer.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = buffer.iter().position(|b| *b == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        line.extend_from_slice(&part[..part.len().min(LINE_LIMIT - line.len())]);
        let used = end.map_or(buffer.len(), |end| end + 1);
        text.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// The map in Windows' words.
///
/// `modules` are the address ranges of the modules, ascending; `dont_dump` lifts the exclusion of what the
/// program marked "do not dump"; `untouched` tells whether a range holds no page at all.
///
/// * A mapping is all committed, except an inaccessible one of the process' own that holds no page: that is
///   what Windows calls reserved, unless it is the guard right below writable memory of the process.
/// * Private file mappings show `PAGE_READWRITE`, not `PAGE_WRITECOPY`: tools test for the former.
/// * What a mapping was when it was made is not recorded by Linux: `AllocationProtect` repeats `Protect`. But a
///   private file mapping that may be written to was surely made to be copied on write: there it says so, as
///   Windows does for views whose pages have been copied.
pub(crate) fn regions(
    mappings: &[Mapping],
    modules: &[AddressRange],
    dont_dump: bool,
    mut untouched: impl FnMut(AddressRange) -> bool,
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
        let inaccessible = protection == protect::NOACCESS;
        let reserved = inaccessible
            && module.is_none()
            && mapping.is_private_anonymous()
            && !is_guard(mapping, mappings.get(index + 1))
            && untouched(mapping.range);
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
                // Neighbours of one file are one allocation.
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

/// Whether `mapping` guards the memory that begins where it ends.
fn is_guard(mapping: &Mapping, next: Option<&Mapping>) -> bool {
    mapping.range.len() <= LARGEST_GUARD
        && next.is_some_and(|next| {
            next.range.start() == mapping.range.end() && next.write && next.is_private_anonymous()
        })
}

fn protection(mapping: &Mapping) -> u32 {
    // x86 cannot grant writing without reading; a mapping that is only writable is readable to the program.
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

/// What these tests would catch: a parser that a strange path, a torn text or a hostile line leads astray; devices
/// taken for memory; regions whose state, protection or kind a Windows tool would misread.
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
            "a mapping that grew has flags nobody has read"
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
