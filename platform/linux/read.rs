//! The target's memory: what there is of it, and its bytes.
//!
//! Reading leaves no trace in the target. A page that does not exist is never asked for, because the kernel would make
//! it: page tables, and for shared memory the page itself (64 MiB of untouched memory read in the plain way added 124 kB
//! of page tables, seen on Linux 6.18). What such a page would hold is known without it: zeros, or a piece of a file.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use dumpwright_target::{AddressRange, Content, Extent, Fault, FaultKind, Remark, Subject};
use nix::errno::Errno;
use nix::sys::uio::RemoteIoVec;
use nix::unistd::Pid;

use crate::files::MappedFiles;
use crate::pagemap::{Pagemap, Run};
use crate::proc_dir::{ProcDir, page_size};
use crate::regions::{self, Mapping};

/// How many runs of memory one `process_vm_readv` gathers (`IOV_MAX`, `limits.h`).
const RUNS_A_CALL: usize = 1024;

/// A read asks which pages exist for this much at once, so that the next reads need not.
const READ_AHEAD: u64 = 1 << 20;

/// What is surveyed at once. More would only make the list of runs longer.
const SURVEY_WINDOW: u64 = 256 << 20;

const UNMAPPED: &str = "nothing is mapped there";
const BEHIND_FILE: &str = "behind the end of the mapped file";
const GUARD: &str = "guard page inside a mapping";
const KERNEL_PAGE: &str = "kernel page that no other process can read";
const DEVICE: &str = "device memory is never read";
const NO_ACCESS: &str = "inaccessible to the program itself";
const SECRET: &str = "secret memory (memfd_secret), which the kernel shows to nobody else";
const USER_FAULT: &str = "not present, and another program answers page faults there (userfaultfd)";

/// Reads the memory of one process, as its mappings were when it was stopped.
#[derive(Debug)]
pub(crate) struct Memory {
    dir: ProcDir,
    mappings: Rc<[Mapping]>,
    pagemap: Pagemap,
    files: MappedFiles,
    /// The part of the address space of which it was last asked what exists.
    window: Option<Window>,
    /// `/proc/PID/mem`; opened when first needed.
    mem: Option<File>,
    /// `process_vm_readv` is refused altogether (a sandbox, an old kernel).
    refused: bool,
    /// Our own vdso, once it was needed.
    vdso: Option<Vec<u8>>,
    /// It has been said that nobody knows which pages exist.
    told: bool,
    page: u64,
}

#[derive(Debug)]
struct Window {
    range: AddressRange,
    runs: Vec<Run>,
}

/// A run of addresses with one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    range: AddressRange,
    source: Source,
}

/// Where bytes are fetched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Existing pages of the target.
    Memory,
    /// Existing pages that the program may write or execute, but not read by the letter of their protection.
    /// `process_vm_readv` refuses them; `/proc/PID/mem` does not, unless the kernel was told to.
    Protected,
    /// The file of the mapping with this index.
    File(usize),
    /// Our own vdso, which is the same; the index is that of the target's mapping.
    Vdso(usize),
    /// Nowhere: they are zeros.
    Zero,
    /// Nowhere: they cannot be had.
    Not(Content),
}

impl Source {
    fn content(self) -> Content {
        match self {
            Self::Memory | Self::Protected | Self::File(_) | Self::Vdso(_) => Content::Readable,
            Self::Zero => Content::Zero,
            Self::Not(content) => content,
        }
    }
}

impl Memory {
    /// The memory of the process, with these mappings.
    pub(crate) fn new(dir: &ProcDir, mappings: impl Into<Rc<[Mapping]>>) -> Self {
        Self {
            dir: dir.clone(),
            mappings: mappings.into(),
            pagemap: Pagemap::open(dir),
            files: MappedFiles::new(dir),
            window: None,
            mem: None,
            refused: false,
            vdso: None,
            told: false,
            page: page_size(),
        }
    }

    /// Where the bytes of `range` would come from: extents that are ascending and cover all of it.
    pub(crate) fn survey(&mut self, range: AddressRange) -> Vec<Extent> {
        let mut extents: Vec<Extent> = Vec::new();
        for window in range.chunks(SURVEY_WINDOW) {
            for piece in self.pieces(window, 0) {
                let content = piece.source.content();
                match extents.last_mut() {
                    Some(last) if last.content == content => {
                        if let Some(joined) = AddressRange::new(last.range.start(), piece.range.end()) {
                            last.range = joined;
                        }
                    }
                    _ => extents.push(Extent {
                        range: piece.range,
                        content,
                    }),
                }
            }
        }
        extents
    }

    /// Reads the bytes at `at`: all of `into`, or fewer when something behind the first byte cannot be read.
    ///
    /// # Errors
    /// The very first byte cannot be read.
    pub(crate) fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        let Some(range) = AddressRange::new(at, at.saturating_add(into.len() as u64)) else {
            return if into.is_empty() {
                Ok(0)
            } else {
                Err(self.unreadable(at, UNMAPPED))
            };
        };
        let mut done = 0;
        let pieces = self.pieces(range, READ_AHEAD);
        let mut pieces = &pieces[..];
        while let Some(piece) = pieces.first() {
            let taken = match piece.source {
                Source::Vdso(index) => {
                    let from = offset(self.mappings[index].range.start(), piece.range.start());
                    let into = slice(into, at, piece.range);
                    into.copy_from_slice(&self.same_vdso(index).unwrap_or_default()[from..from + into.len()]);
                    Ok(1)
                }
                Source::Memory => {
                    // Zeros between runs of memory cost nothing and interrupt nothing.
                    let together = pieces
                        .iter()
                        .take_while(|piece| matches!(piece.source, Source::Memory | Source::Zero))
                        .take(RUNS_A_CALL)
                        .count();
                    let (group, _) = pieces.split_at(together);
                    self.gather(at + done as u64, group, &mut into[done..])
                        .map(|()| together)
                }
                Source::Zero => {
                    slice(into, at, piece.range).fill(0);
                    Ok(1)
                }
                Source::Protected => self
                    .read_mem(piece.range, slice(into, at, piece.range))
                    .map(|()| 1),
                Source::File(index) => self
                    .read_file(index, piece.range, slice(into, at, piece.range))
                    .map(|()| 1),
                Source::Not(content) => Err(Stop::at(
                    piece.range.start(),
                    self.unreadable(piece.range.start(), reason(content)),
                )),
            };
            match taken {
                Ok(count) => {
                    pieces = &pieces[count..];
                    done = offset(at, pieces.first().map_or(range.end(), |next| next.range.start()));
                }
                Err(stop) => {
                    let done = offset(at, stop.at);
                    return if done == 0 { Err(stop.fault) } else { Ok(done) };
                }
            }
        }
        Ok(done)
    }

    /// Reads exactly `into.len()` bytes at `at`.
    pub(crate) fn read_exact(&mut self, at: u64, into: &mut [u8]) -> Result<(), Fault> {
        let wanted = into.len();
        match self.read(at, into)? {
            done if done == wanted => Ok(()),
            done => Err(self.unreadable(at.saturating_add(done as u64), UNMAPPED)),
        }
    }

    /// Reads a string that a zero byte ends; at most `limit` bytes of it.
    pub(crate) fn read_string(&mut self, at: u64, limit: usize) -> Result<Vec<u8>, Fault> {
        let mut bytes = vec![0; limit];
        let done = self.read(at, &mut bytes)?;
        bytes.truncate(done);
        if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            bytes.truncate(end);
        }
        Ok(bytes)
    }

    /// Whether `range` certainly holds no page at all.
    pub(crate) fn is_untouched(&mut self, range: AddressRange) -> bool {
        self.pagemap.is_untouched(range)
    }

    /// What is to be said of the way the memory was read, once.
    pub(crate) fn take_remark(&mut self) -> Option<Remark> {
        if self.pagemap.is_known() || std::mem::replace(&mut self.told, true) {
            return None;
        }
        let reason =
            "the kernel does not tell which pages exist (no pagemap): reading may have made some exist";
        Some(Remark::note(Subject::Process, reason))
    }

    /// The files that the target has mapped.
    pub(crate) fn files(&mut self) -> &mut MappedFiles {
        &mut self.files
    }

    /// The sources of `range`, ascending, covering it completely. Asks what exists for `ahead` bytes at least.
    fn pieces(&mut self, range: AddressRange, ahead: u64) -> Vec<Piece> {
        self.look_at(range, ahead);
        let mut pieces = Vec::new();
        let mut at = range.start();
        let first = self
            .mappings
            .partition_point(|mapping| mapping.range.end() <= range.start());
        for index in first..self.mappings.len() {
            let Some(part) = self.mappings[index].range.intersect(range) else {
                break;
            };
            if let Some(gap) = AddressRange::new(at, part.start()) {
                pieces.push(Piece {
                    range: gap,
                    source: Source::Not(Content::Nothing(UNMAPPED)),
                });
            }
            self.sources(index, part, &mut pieces);
            at = part.end();
        }
        if let Some(gap) = AddressRange::new(at, range.end()) {
            pieces.push(Piece {
                range: gap,
                source: Source::Not(Content::Nothing(UNMAPPED)),
            });
        }
        pieces
    }

    /// Makes the window cover the pages of `range`, as far as they are mapped at all.
    fn look_at(&mut self, range: AddressRange, ahead: u64) {
        let is_covered = |window: &Window| window.range.covers(range);
        if self.window.as_ref().is_some_and(is_covered) {
            return;
        }
        let page = self.page;
        let start = range.start() & !(page - 1);
        let end = range.end().max(start.saturating_add(ahead));
        let end = end.checked_next_multiple_of(page).unwrap_or(!(page - 1));
        let Some(window) = AddressRange::new(start, end) else {
            return;
        };
        // The kernel refuses addresses above the user's half, where `[vsyscall]` is; nothing else is mapped there.
        let last = self
            .mappings
            .iter()
            .rev()
            .find(|mapping| !mapping.is_kernel_page());
        let user = last.and_then(|last| AddressRange::new(0, last.range.end()));
        let asked = user.and_then(|user| user.intersect(window));
        let runs = asked.map_or_else(Vec::new, |asked| self.pagemap.runs(asked));
        self.window = Some(Window { range: window, runs });
    }

    /// The sources of `part`, which lies inside the mapping with this index and inside the window.
    fn sources(&mut self, index: usize, part: AddressRange, pieces: &mut Vec<Piece>) {
        let mapping = &self.mappings[index];
        if let Some(content) = never(mapping) {
            pieces.push(Piece {
                range: part,
                source: Source::Not(content),
            });
            return;
        }
        let present = if mapping.read {
            Source::Memory
        } else {
            Source::Protected
        };
        if mapping.is_special() && self.same_vdso(index).is_none() {
            pieces.push(Piece {
                range: part,
                source: present,
            });
            return;
        }
        let mapping = &self.mappings[index];
        let mut at = part.start();
        let mut absent = Vec::new();
        if let Some(window) = &self.window {
            let first = window.runs.partition_point(|run| run.range.end() <= part.start());
            for run in &window.runs[first..] {
                let Some(here) = run.range.intersect(part) else {
                    break;
                };
                if let Some(gap) = AddressRange::new(at, here.start()) {
                    absent.push((pieces.len(), gap));
                    pieces.push(Piece {
                        range: gap,
                        source: Source::Zero,
                    });
                }
                let source = if run.guard {
                    Source::Not(Content::Nothing(GUARD))
                } else {
                    present
                };
                pieces.push(Piece { range: here, source });
                at = here.end();
            }
        }
        if let Some(gap) = AddressRange::new(at, part.end()) {
            absent.push((pieces.len(), gap));
            pieces.push(Piece {
                range: gap,
                source: Source::Zero,
            });
        }
        if mapping.is_special() {
            for (at, _) in absent {
                pieces[at].source = Source::Vdso(index);
            }
            return;
        }
        let zeros = mapping.is_private_anonymous() && !mapping.flags.is_some_and(|flags| flags.user_faults);
        if !zeros {
            self.sources_of_absent(index, &absent, pieces);
        }
    }

    /// Our own vdso, if the mapping with this index is a vdso like it.
    ///
    /// A page of it that the target never used is not zero: the kernel lends its code on first use, to all 64-bit processes
    /// the same. Asking the target for it would make it use the page (4 kB more resident, seen on Linux 6.18). What a
    /// program has changed there for itself exists, and is read as all else.
    fn same_vdso(&mut self, index: usize) -> Option<&[u8]> {
        let mapping = &self.mappings[index];
        if !mapping.is_vdso() {
            return None;
        }
        let own = self.vdso.get_or_insert_with(|| own_vdso().unwrap_or_default());
        (own.len() as u64 == mapping.range.len()).then_some(own)
    }

    /// Replaces the placeholders of pages that do not exist: they lie in a file, or nobody can tell.
    fn sources_of_absent(&mut self, index: usize, absent: &[(usize, AddressRange)], pieces: &mut Vec<Piece>) {
        if absent.is_empty() {
            return;
        }
        let mappings = Rc::clone(&self.mappings);
        let mapping = &mappings[index];
        let file = if mapping.flags.is_some_and(|flags| flags.user_faults) {
            Err(USER_FAULT)
        } else {
            self.files.of(mapping).map(|file| file.len)
        };
        // From the last to the first, so that a piece that becomes two does not move the ones to come.
        for (at, gap) in absent.iter().rev() {
            let len = match file {
                Ok(len) => len,
                Err(reason) => {
                    pieces[*at].source = Source::Not(Content::Unreadable(reason));
                    continue;
                }
            };
            // The last page of a file is filled up with zeros; behind it there is nothing.
            let backed = len
                .checked_next_multiple_of(self.page)
                .unwrap_or(u64::MAX)
                .saturating_sub(mapping.offset);
            let end = mapping
                .range
                .start()
                .saturating_add(backed)
                .clamp(gap.start(), gap.end());
            let inside = AddressRange::new(gap.start(), end)
                .map_or_else(Vec::new, |range| self.pieces_of_file(index, range));
            let source = Source::Not(Content::Nothing(BEHIND_FILE));
            let behind = AddressRange::new(end, gap.end()).map(|range| Piece { range, source });
            pieces.splice(*at..=*at, inside.into_iter().chain(behind));
        }
    }

    /// The parts of `range`, whose bytes are those of the file of the mapping with this index: data and holes.
    fn pieces_of_file(&mut self, index: usize, range: AddressRange) -> Vec<Piece> {
        let mapping = &self.mappings[index];
        let (start, offset) = (mapping.range.start(), mapping.offset);
        let source = Source::File(index);
        let Ok(file) = self.files.of(mapping) else {
            return vec![Piece { range, source }];
        };
        let in_file = |address: u64| (address - start).saturating_add(offset);
        // Of a page that is partly hole the file has the rest.
        let in_memory = |at: u64| at.saturating_sub(offset).saturating_add(start);
        let page = self.page;
        let mut pieces = Vec::new();
        let mut at = range.start();
        while at < range.end() {
            let data = file.data_behind(in_file(at)).and_then(|data| {
                let from = in_memory(data.start) & !(page - 1);
                let to = in_memory(data.end)
                    .checked_next_multiple_of(page)
                    .unwrap_or(u64::MAX);
                AddressRange::new(from, to)?.intersect(AddressRange::new(at, range.end())?)
            });
            let hole = AddressRange::new(at, data.map_or(range.end(), |data| data.start()));
            pieces.extend(hole.map(|range| Piece {
                range,
                source: Source::Zero,
            }));
            pieces.extend(data.map(|range| Piece { range, source }));
            at = data.map_or(range.end(), |data| data.end());
        }
        pieces
    }

    /// Reads neighbouring pieces that are memory or zeros; `at` is where `into` begins.
    fn gather(&mut self, at: u64, pieces: &[Piece], into: &mut [u8]) -> Result<(), Stop> {
        let mut runs = Vec::with_capacity(pieces.len());
        for piece in pieces {
            if piece.source == Source::Zero {
                slice(into, at, piece.range).fill(0);
            } else {
                runs.push(piece.range);
            }
        }
        let mut runs = &mut runs[..];
        while let Some(first) = runs.first().copied() {
            if self.refused {
                self.read_mem(first, slice(into, at, first))?;
                runs = &mut runs[1..];
                continue;
            }
            let mut done = match self.read_remote(at, runs, into) {
                Ok(done) => done,
                Err(Errno::EPERM | Errno::ENOSYS | Errno::EACCES) => {
                    tracing::debug!(
                        pid = self.dir.pid,
                        "process_vm_readv is refused, reading /proc/PID/mem"
                    );
                    self.refused = true;
                    continue;
                }
                Err(Errno::EFAULT) => 0,
                Err(errno) => return Err(Stop::at(first.start(), self.failed(first.start(), errno.into()))),
            };
            while let Some(run) = runs.first().filter(|run| run.len() <= done) {
                done -= run.len();
                runs = &mut runs[1..];
            }
            let Some(run) = runs.first_mut() else { break };
            // Something failed here. Try its page alone: only if that fails too it is the page's fault.
            let here = run.start() + done;
            let page =
                AddressRange::new(here, run.end().min((here & !(self.page - 1)) + self.page)).unwrap_or(*run);
            match self.read_remote(at, &[page], into) {
                Ok(done) if done == page.len() => match AddressRange::new(page.end(), run.end()) {
                    Some(rest) => *run = rest,
                    None => runs = &mut runs[1..],
                },
                Ok(_) => return Err(Stop::at(here, self.failed(here, Errno::EFAULT.into()))),
                Err(errno) => return Err(Stop::at(here, self.failed(here, errno.into()))),
            }
        }
        Ok(())
    }

    /// One `process_vm_readv` of `runs` to their places in `into`, which begins at `at`; the number of bytes read.
    fn read_remote(&self, at: u64, runs: &[AddressRange], into: &mut [u8]) -> nix::Result<u64> {
        let mut local = Vec::with_capacity(runs.len());
        let mut remote = Vec::with_capacity(runs.len());
        let mut rest = into;
        let mut position = at;
        for run in runs {
            let (_, tail) = rest.split_at_mut(offset(position, run.start()));
            let (target, tail) = tail.split_at_mut(offset(run.start(), run.end()));
            local.push(IoSliceMut::new(target));
            remote.push(RemoteIoVec {
                base: offset(0, run.start()),
                len: offset(run.start(), run.end()),
            });
            rest = tail;
            position = run.end();
        }
        let task = Pid::from_raw(self.dir.task.cast_signed());
        nix::sys::uio::process_vm_readv(task, &mut local, &remote).map(|done| done as u64)
    }

    /// Reads through `/proc/PID/mem`.
    fn read_mem(&mut self, range: AddressRange, into: &mut [u8]) -> Result<(), Stop> {
        if self.mem.is_none() {
            let opened = File::open(self.dir.path("mem"));
            self.mem =
                Some(opened.map_err(|error| Stop::at(range.start(), self.failed(range.start(), error)))?);
        }
        let mut done = 0;
        while done < into.len() {
            let at = range.start() + done as u64;
            let read = self
                .mem
                .as_ref()
                .map_or(Ok(0), |mem| mem.read_at(&mut into[done..], at));
            match read {
                Ok(0) => return Err(Stop::at(at, self.failed(at, io::ErrorKind::UnexpectedEof.into()))),
                Ok(more) => done += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Stop::at(at, self.failed(at, error))),
            }
        }
        Ok(())
    }

    /// Reads pages that only exist in the file of a mapping.
    fn read_file(&mut self, index: usize, range: AddressRange, into: &mut [u8]) -> Result<(), Stop> {
        let mapping = &self.mappings[index];
        let at = mapping
            .offset
            .saturating_add(range.start() - mapping.range.start());
        let read = match self.files.of(mapping) {
            Ok(file) => file.read_at(at, into),
            Err(reason) => Err(io::Error::other(reason)),
        };
        match read {
            Ok(done) => {
                into[done..].fill(0);
                Ok(())
            }
            Err(error) => Err(Stop::at(range.start(), self.failed(range.start(), error))),
        }
    }

    fn unreadable(&self, at: u64, reason: &str) -> Fault {
        Fault::new(FaultKind::Unreadable, self.operation(at), reason)
    }

    fn failed(&self, at: u64, error: io::Error) -> Fault {
        let kind = match error.raw_os_error() {
            Some(libc::ESRCH) => FaultKind::Gone,
            Some(libc::EPERM | libc::EACCES) => FaultKind::NotPermitted,
            _ => FaultKind::Unreadable,
        };
        let fault = Fault::new(kind, self.operation(at), error.to_string());
        match error.raw_os_error() {
            Some(code) => fault.with_os_code(code),
            None => fault,
        }
    }

    fn operation(&self, at: u64) -> String {
        format!("read memory of process {} at {at:#x}", self.dir.pid)
    }
}

/// Where reading stopped, and why.
struct Stop {
    at: u64,
    fault: Fault,
}

impl Stop {
    fn at(at: u64, fault: Fault) -> Self {
        Self { at, fault }
    }
}

/// Our own vdso.
fn own_vdso() -> Option<Vec<u8>> {
    let maps = std::fs::read("/proc/self/maps").ok()?;
    let range = regions::parse(&maps[..])
        .ok()?
        .into_iter()
        .find(Mapping::is_vdso)?
        .range;
    let mut bytes = vec![0; offset(range.start(), range.end())];
    File::open("/proc/self/mem")
        .ok()?
        .read_exact_at(&mut bytes, range.start())
        .ok()?;
    Some(bytes)
}

/// Why nothing of a mapping is ever read, if so.
fn never(mapping: &Mapping) -> Option<Content> {
    if mapping.is_kernel_page() {
        Some(Content::Unreadable(KERNEL_PAGE))
    } else if mapping.is_device() {
        Some(Content::Unreadable(DEVICE))
    } else if !(mapping.read || mapping.write || mapping.execute) {
        Some(Content::Unreadable(NO_ACCESS))
    } else if mapping.name().starts_with(b"/secretmem") && mapping.shared {
        Some(Content::Unreadable(SECRET))
    } else {
        None
    }
}

fn reason(content: Content) -> &'static str {
    match content {
        Content::Unreadable(reason) | Content::Nothing(reason) => reason,
        Content::Readable | Content::Zero => UNMAPPED,
    }
}

/// The part of `into`, which begins at address `at`, that `range` fills.
fn slice(into: &mut [u8], at: u64, range: AddressRange) -> &mut [u8] {
    &mut into[offset(at, range.start())..offset(at, range.end())]
}

/// The distance of two addresses of one buffer, which is at most `usize::MAX` because the buffer is.
fn offset(from: u64, to: u64) -> usize {
    usize::try_from(to - from).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
