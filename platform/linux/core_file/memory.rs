//! The memory of a process in its core, and in the files that it had mapped.
//!
//! The kernel leaves out of a core what it can find in files, by default all private mappings that
//! the program has not written to, except the first page of each image (core(5),
//! `coredump_filter`). Such bytes are read from a file on this machine only if the file is an image
//! with the same build id as the one in the core.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use dumpwright_image::Elf;
use dumpwright_target::{AddressRange, Content, Diagnostic, Extent, Fault, FaultKind, Memory, Subject};

use super::mappings::CoreMapping;
use crate::files::{self, MappedFile};
use crate::modules::ModuleMemory;
use crate::mounts::{Access, FileSystems};
use crate::proc_dir::ProcDir;
use crate::regions::Mapping;

/// How many files are kept open.
const KEPT_OPEN: usize = 8;

/// The size of the pages of a mapped file.
const PAGE: u64 = 4096;

const NOT_LISTED: &str = "the core lists no memory there";
const CUT_OFF: &str = "the core is cut off before it";
const NO_ACCESS: &str = "inaccessible to the program itself";
const NOT_STORED: &str = "not in the core: the program has not written to it or marked it \"do not dump\", or the \
                          coredump_filter of the process leaves it out";
const NO_IMAGE: &str = "not in the core, and neither is a build id by which its file could be compared";
const NOT_OPENED: &str = "not in the core, and its file cannot be opened, is no regular file, or is on a file system that \
                          another program or machine serves, or may serve";
const OTHER_BUILD: &str = "not in the core, and its file is another build now";
const BEHIND_FILE: &str = "behind the end of the mapped file";

/// The memory of the process.
#[derive(Debug)]
pub(super) struct CoreMemory {
    core: Rc<MappedFile>,
    mappings: Rc<[CoreMapping]>,
    /// Whether the core has private memory that the program has written to. If so, what it lacks of
    /// private mappings of files is as in the files.
    has_private: bool,
    files: LocalFiles,
    /// The mappings of each file, by its number.
    of_files: HashMap<u64, FileMappings>,
    entry_point: Option<u64>,
    /// The numbers of files from which memory was read.
    read_from: HashSet<u64>,
    /// The numbers of files from which facts were read without a comparison.
    trusted: HashSet<u64>,
    diagnostics: Vec<Diagnostic>,
}

/// The mappings of a file.
#[derive(Debug)]
struct FileMappings {
    /// The address of the lowest one.
    base: u64,
    /// The addresses of those that may start with an ELF header, as far as the core has them. Few
    /// programs map an image more than once.
    starts: Vec<u64>,
}

impl FileMappings {
    /// The maximum number of addresses that are kept.
    const STARTS: usize = 4;

    /// Collects them.
    fn of(mappings: &[CoreMapping]) -> HashMap<u64, Self> {
        let mut all: HashMap<u64, Self> = HashMap::new();
        for found in mappings.iter().filter(|found| found.mapping.inode != 0) {
            let start = found.mapping.range.start();
            let of_file = all.entry(found.mapping.inode).or_insert(Self {
                base: start,
                starts: Vec::new(),
            });
            if found.mapping.offset == 0 && found.stored > 0 && of_file.starts.len() < Self::STARTS {
                of_file.starts.push(start);
            }
        }
        all
    }
}

/// Files of this machine with the paths in the core.
#[derive(Debug, Default)]
struct LocalFiles {
    /// What is mounted here, found out when first needed. `None` if `/proc` cannot be read.
    here: Option<Option<(ProcDir, FileSystems)>>,
    /// The most recently used files, the latest first.
    kept: VecDeque<LocalFile>,
}

/// A file that was looked for.
#[derive(Debug)]
struct LocalFile {
    /// The number of the file in the mappings.
    number: u64,
    /// The file. `None` if it cannot be opened.
    file: Option<Rc<MappedFile>>,
    /// Why its bytes are not those of the process, or are not known to be. `None` if they are.
    refusal: Option<&'static str>,
}

/// Where a byte is.
enum CorePlace {
    /// In the core, at this offset. The number of bytes from there is at most this.
    Core(u64, u64),
    /// In a file of this machine, at this offset.
    File(Rc<MappedFile>, u64, u64),
    Nowhere(&'static str),
}

/// The stored bytes alone, to read the headers of images before files are looked at.
pub(super) struct StoredMemory<'m> {
    pub(super) core: &'m MappedFile,
    pub(super) mappings: &'m [CoreMapping],
}

/// Returns the index of the mapping that contains `address`.
fn index_of(mappings: &[CoreMapping], address: u64) -> Option<usize> {
    let index = mappings.partition_point(|found| found.mapping.range.end() <= address);
    let found = mappings.get(index)?;
    found.mapping.range.contains(address).then_some(index)
}

/// Returns the offset in the core of the byte at `address` in this mapping, and how many bytes of
/// the mapping follow in the core. `None` if the core should not have it.
fn stored_at(found: &CoreMapping, address: u64) -> Option<(u64, u64)> {
    let into = address - found.mapping.range.start();
    let left = found.stored.checked_sub(into).filter(|left| *left > 0)?;
    Some((found.offset.checked_add(into)?, left))
}

fn unreadable(at: u64, reason: &str) -> Fault {
    Fault::new(
        FaultKind::Unreadable,
        format!("read memory at {at:#x}"),
        reason.to_owned(),
    )
}

/// Reads from a file, up to `left` bytes.
fn read_file(file: &MappedFile, offset: u64, left: u64, into: &mut [u8]) -> io::Result<usize> {
    let len = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    file.read_at(offset, &mut into[..len])
}

impl Memory for StoredMemory<'_> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        let found = index_of(self.mappings, at).and_then(|index| stored_at(&self.mappings[index], at));
        let (offset, left) = found.ok_or_else(|| unreadable(at, NOT_STORED))?;
        match read_file(self.core, offset, left, into) {
            Ok(0) if !into.is_empty() => Err(unreadable(at, CUT_OFF)),
            Ok(count) => Ok(count),
            Err(error) => Err(unreadable(at, &error.to_string())),
        }
    }
}

impl CoreMemory {
    pub(super) fn new(core: Rc<MappedFile>, mappings: Rc<[CoreMapping]>, entry_point: Option<u64>) -> Self {
        let has_private = mappings.iter().any(|found| {
            let mapping = &found.mapping;
            mapping.write && mapping.inode == 0 && found.stored > 0
        });
        Self {
            core,
            of_files: FileMappings::of(&mappings),
            mappings,
            has_private,
            files: LocalFiles::default(),
            entry_point,
            read_from: HashSet::new(),
            trusted: HashSet::new(),
            diagnostics: Vec::new(),
        }
    }

    /// Returns the diagnostics since the last call.
    pub(super) fn take_diagnostics(&mut self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.diagnostics)
    }

    /// Returns whether the core has no byte of a mapping. Private memory without a file that the
    /// kernel did not store was never written to, or may be left out.
    pub(super) fn is_untouched(&self, mapping: &Mapping) -> bool {
        let index = index_of(&self.mappings, mapping.range.start());
        index.is_some_and(|index| self.mappings[index].stored == 0)
    }

    /// Returns the sources of the bytes in `range`, as ascending extents that cover all of it.
    pub(super) fn survey(&mut self, range: AddressRange) -> Vec<Extent> {
        let mappings = Rc::clone(&self.mappings);
        let mut extents = ExtentList(Vec::new());
        let mut at = range.start();
        let first = mappings.partition_point(|found| found.mapping.range.end() <= at);
        for found in &mappings[first..] {
            let Some(part) = found.mapping.range.intersect(range) else {
                break;
            };
            extents.add(at, part.start(), Content::Nothing(NOT_LISTED));
            let stored_end = found.mapping.range.start() + found.stored;
            let behind = stored_end.clamp(part.start(), part.end());
            if let Some(stored) = AddressRange::new(part.start(), behind) {
                self.survey_stored(found, stored, &mut extents);
            }
            if let Some(rest) = AddressRange::new(behind, part.end()) {
                self.survey_file(found, rest, &mut extents);
            }
            at = part.end();
        }
        extents.add(at, range.end(), Content::Nothing(NOT_LISTED));
        extents.0
    }

    /// Adds the extents of bytes that the core should have. The kernel writes no pages that do not
    /// exist, so that a core is a file with holes, and holes are zeros.
    fn survey_stored(&self, found: &CoreMapping, part: AddressRange, extents: &mut ExtentList) {
        let Some((first, _)) = stored_at(found, part.start()) else {
            return;
        };
        let address = |offset: u64| part.start() + (offset - first);
        let cut = self.core.len.clamp(first, first.saturating_add(part.len()));
        let mut offset = first;
        while offset < cut {
            let data = self.core.data_behind(offset);
            let (start, end) = data.map_or((cut, cut), |data| {
                (data.start.clamp(offset, cut), data.end.clamp(offset, cut))
            });
            extents.add(address(offset), address(start), Content::Zero);
            extents.add(address(start), address(end), Content::Readable);
            offset = end;
        }
        extents.add(address(cut), part.end(), Content::Unreadable(CUT_OFF));
    }

    /// Adds the extents of bytes that may be in a file.
    fn survey_file(&mut self, found: &CoreMapping, part: AddressRange, extents: &mut ExtentList) {
        match self.in_file(found, part.start()) {
            CorePlace::File(_, _, left) => {
                let end = part.end().min(part.start().saturating_add(left));
                extents.add(part.start(), end, Content::Readable);
                extents.add(end, part.end(), Content::Nothing(BEHIND_FILE));
            }
            CorePlace::Nowhere(BEHIND_FILE) => {
                extents.add(part.start(), part.end(), Content::Nothing(BEHIND_FILE));
            }
            CorePlace::Nowhere(reason) => extents.add(part.start(), part.end(), Content::Unreadable(reason)),
            CorePlace::Core(..) => {}
        }
    }

    fn place_of(&mut self, at: u64) -> CorePlace {
        let mappings = Rc::clone(&self.mappings);
        let Some(index) = index_of(&mappings, at) else {
            return CorePlace::Nowhere(NOT_LISTED);
        };
        match stored_at(&mappings[index], at) {
            Some((offset, _)) if offset >= self.core.len => CorePlace::Nowhere(CUT_OFF),
            Some((offset, left)) => CorePlace::Core(offset, left),
            None => self.in_file(&mappings[index], at),
        }
    }

    /// Finds the byte at an address of which the core has nothing in the file of the mapping.
    fn in_file(&mut self, found: &CoreMapping, at: u64) -> CorePlace {
        let mapping = &found.mapping;
        if !(mapping.read || mapping.write || mapping.execute) {
            return CorePlace::Nowhere(NO_ACCESS);
        }
        let Some(path) = mapping.file_path() else {
            return CorePlace::Nowhere(NOT_STORED);
        };
        // Else the program may have changed it, and the core lacks the changed pages.
        if !(self.has_private || mapping.execute && !mapping.write) {
            return CorePlace::Nowhere(NOT_STORED);
        }
        let file = match self.local_file(mapping.inode, path) {
            LocalFile {
                refusal: Some(reason),
                ..
            } => return CorePlace::Nowhere(reason),
            LocalFile { file: Some(file), .. } => Rc::clone(file),
            LocalFile { .. } => return CorePlace::Nowhere(NOT_OPENED),
        };
        let into = at - mapping.range.start();
        let offset = mapping.offset.saturating_add(into);
        // The rest of the last page is zero.
        let end = file.len.next_multiple_of(PAGE);
        match end.checked_sub(offset).filter(|left| *left > 0) {
            Some(left) => CorePlace::File(file, offset, left.min(mapping.range.end() - at)),
            None => CorePlace::Nowhere(BEHIND_FILE),
        }
    }

    /// Opens the file with this number, unless it is open, and compares it with the image in the
    /// core.
    fn local_file(&mut self, number: u64, path: &OsStr) -> &LocalFile {
        let kept = &mut self.files.kept;
        let known = kept.iter().position(|kept| kept.number == number);
        let local = match known.and_then(|at| kept.remove(at)) {
            Some(local) => local,
            None => {
                let file = self.files.open(path);
                let refusal = match &file {
                    None => Some(NOT_OPENED),
                    Some(file) => self.compared(number, file),
                };
                LocalFile {
                    number,
                    file,
                    refusal,
                }
            }
        };
        let kept = &mut self.files.kept;
        kept.truncate(KEPT_OPEN - 1);
        kept.push_front(local);
        &kept[0]
    }

    /// Compares the build id of a file with the one in the core. Returns why the file is not used,
    /// if it is not.
    fn compared(&self, number: u64, file: &MappedFile) -> Option<&'static str> {
        let mut stored = StoredMemory {
            core: &self.core,
            mappings: &self.mappings,
        };
        let starts = self.of_files.get(&number).map(|of_file| &of_file.starts[..]);
        let in_core = starts.unwrap_or_default().iter().find_map(|start| {
            let image = Elf::read(&mut stored, *start).ok()??;
            image.build_id(&mut stored)
        });
        let Some(in_core) = in_core else {
            return Some(NO_IMAGE);
        };
        let mut bytes = FileBytes(file);
        let image = Elf::read(&mut bytes, 0).ok().flatten();
        match image.and_then(|image| image.build_id_in_file(&mut bytes)) {
            Some(in_file) if in_file == in_core => None,
            _ => Some(OTHER_BUILD),
        }
    }

    /// Notes that memory of a module comes from its file.
    fn note_file(&mut self, number: u64) {
        if self.read_from.insert(number) {
            let reason = "what the core lacks of it was read from its file, which has the same build id";
            self.note(number, reason);
        }
    }

    /// Adds a note about the module whose file has this number.
    fn note(&mut self, number: u64, reason: &str) {
        let base = self.of_files.get(&number).map_or(0, |of_file| of_file.base);
        self.diagnostics
            .push(Diagnostic::note(Subject::Module(base), reason));
    }
}

impl Memory for CoreMemory {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        if into.is_empty() {
            return Ok(0);
        }
        let place = self.place_of(at);
        let read = match &place {
            CorePlace::Core(offset, left) => read_file(&self.core, *offset, *left, into),
            CorePlace::File(file, offset, left) => {
                let len = into.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let into = &mut into[..len];
                file.read_at(*offset, into).map(|count| {
                    into[count..].fill(0);
                    len
                })
            }
            CorePlace::Nowhere(reason) => return Err(unreadable(at, reason)),
        };
        if let (CorePlace::File(..), Some(index)) = (&place, index_of(&self.mappings, at)) {
            self.note_file(self.mappings[index].mapping.inode);
        }
        match read {
            Ok(0) => Err(unreadable(at, CUT_OFF)),
            Ok(count) => Ok(count),
            Err(error) => Err(unreadable(at, &error.to_string())),
        }
    }
}

impl ModuleMemory for CoreMemory {
    fn entry_point(&mut self) -> Option<u64> {
        self.entry_point
    }

    fn program_path(&mut self) -> Option<OsString> {
        None
    }

    fn read_file(&mut self, mapping: &Mapping, offset: u64, into: &mut [u8]) -> Result<usize, String> {
        let path = mapping.file_path().ok_or("it has no file")?.to_owned();
        let number = mapping.inode;
        let local = self.local_file(number, &path);
        // The file of a build that is known to be another one says nothing about the process.
        let is_compared = local.refusal.is_none();
        let file = match (&local.file, local.refusal) {
            (_, Some(OTHER_BUILD)) => return Err("its file is another build now".to_owned()),
            (Some(file), _) => Rc::clone(file),
            (None, _) => {
                return Err(
                    "its file cannot be opened, is no regular file, or is on a file system that another program or \
                     machine serves, or may serve"
                        .to_owned(),
                );
            }
        };
        match file.read_at(offset, into) {
            Ok(0) if !into.is_empty() => Err("the file ends before this offset".to_owned()),
            Err(error) => Err(error.to_string()),
            Ok(count) => {
                if !is_compared && self.trusted.insert(number) {
                    let reason = "the core lacks a part of it that identifies its build: this was read from its file, \
                                  which may have been replaced since";
                    self.note(number, reason);
                }
                Ok(count)
            }
        }
    }

    fn leads_to(&mut self, path: &[u8], mapping: &Mapping) -> bool {
        let Some(own) = mapping.file_path().map(OsStr::to_owned) else {
            return false;
        };
        let file = self.local_file(mapping.inode, &own).file.clone();
        let other = self.files.open(OsStr::from_bytes(path));
        let numbers = |file: Option<Rc<MappedFile>>| file.and_then(|file| file.numbers().ok());
        let numbers = [numbers(file), numbers(other)];
        numbers[0].is_some() && numbers[0] == numbers[1]
    }
}

impl LocalFiles {
    /// Opens a regular file on a file system that answers by itself. Files of the kernel, which are
    /// no images, are not opened.
    fn open(&mut self, path: &OsStr) -> Option<Rc<MappedFile>> {
        const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];
        if KERNEL.iter().any(|folder| Path::new(path).starts_with(folder)) {
            return None;
        }
        let here = self.here.get_or_insert_with(|| {
            let dir = ProcDir::new(std::process::id()).ok()?;
            let systems = FileSystems::of(&dir);
            Some((dir, systems))
        });
        let (dir, systems) = here.as_ref()?;
        let file = files::open_in_root(dir, systems, Path::new(path), Access::BeforeStop);
        let file = file.and_then(MappedFile::new);
        if let Err(error) = &file {
            tracing::debug!(?path, %error, "a file in a core cannot be opened");
        }
        file.ok().map(Rc::new)
    }
}

/// A file as a memory.
struct FileBytes<'f>(&'f MappedFile);

impl Memory for FileBytes<'_> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        match self.0.read_at(at, into) {
            Ok(0) if !into.is_empty() => Err(unreadable(at, "the file ends before this offset")),
            Ok(count) => Ok(count),
            Err(error) => Err(unreadable(at, &error.to_string())),
        }
    }
}

/// Extents in ascending order.
struct ExtentList(Vec<Extent>);

impl ExtentList {
    /// Adds an extent, unless it is empty. Equal neighbours become one.
    fn add(&mut self, start: u64, end: u64, content: Content) {
        let Some(range) = AddressRange::new(start, end) else {
            return;
        };
        if let Some(last) = self.0.last_mut()
            && last.content == content
            && let Some(joined) = AddressRange::new(last.range.start(), end)
        {
            last.range = joined;
        } else {
            self.0.push(Extent { range, content });
        }
    }
}
