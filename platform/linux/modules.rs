//! The loaded modules: the main program, libraries, the vdso.
//!
//! A module is found by its ELF header in memory and by its segments standing where that header says. A file that
//! a program merely maps for reading does not become one, and a library inside another file (an application
//! package, say) does.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use dumpwright_target::{AddressRange, Fault, FaultKind, Module, Remark, Subject, build_id_record};

use crate::elf::{Image, page_of};
use crate::files;
use crate::proc_dir::ProcDir;
use crate::read::Memory;
use crate::regions::Mapping;

/// Words of `VS_FIXEDFILEINFO`: its signature and the version of its structure.
const VERSION_SIGNATURE: u32 = 0xfeef_04bd;
const VERSION_STRUCTURE: u32 = 0x0001_0000;

/// Breakpad's name of the vdso, which is in no file; its readers know it.
///
/// In 32-bit processes all threads that wait in the kernel stand in it. LLDB 19 unwinds such threads only if it is
/// given the image as a file of this name (`settings set target.exec-search-paths` before the core file is opened); the
/// readers that scan stacks get along, and with Breakpad symbols of the image they unwind properly.
const VDSO_NAME: &str = "linux-gate.so";

/// The end of a path in `maps` whose file has been deleted or replaced.
const DELETED: &[u8] = b" (deleted)";

/// The modules of a process.
#[derive(Debug)]
pub(crate) struct Modules {
    dir: ProcDir,
    /// Ascending.
    found: Vec<Found>,
    /// Which one is the main program.
    main: Option<usize>,
    remarks: Vec<Remark>,
}

#[derive(Debug)]
struct Found {
    range: AddressRange,
    /// The mapping that begins with the ELF header.
    mapping: Mapping,
    /// Its headers; `None` if they make no sense.
    image: Option<Image>,
}

impl Modules {
    /// Finds the modules among the mappings.
    pub(crate) fn find(dir: &ProcDir, mappings: &[Mapping], memory: &mut Memory) -> Self {
        let mut modules = Self {
            dir: dir.clone(),
            found: Vec::new(),
            main: None,
            remarks: Vec::new(),
        };
        let with_code: HashSet<_> = mappings
            .iter()
            .filter(|mapping| mapping.execute && mapping.inode != 0)
            .map(|mapping| (mapping.device, mapping.inode))
            .collect();
        for (index, mapping) in mappings.iter().enumerate() {
            let covered = modules.found.last().map_or(0, |last| last.range.end());
            let has_code = with_code.contains(&(mapping.device, mapping.inode));
            if mapping.range.start() >= covered
                && may_begin_module(mapping, mappings.get(index + 1), has_code)
            {
                modules.add(mappings, index, memory);
            }
        }
        modules.main = modules.main_program();
        tracing::debug!(pid = dir.pid, modules = modules.found.len(), main = ?modules.main, "modules found");
        modules
    }

    /// The load addresses, that of the main program first, else ascending.
    pub(crate) fn bases(&self) -> Vec<u64> {
        let base = |index: usize| self.found[index].range.start();
        let others = (0..self.found.len()).filter(|index| Some(*index) != self.main);
        self.main.into_iter().chain(others).map(base).collect()
    }

    /// What the modules cover, ascending and disjoint.
    pub(crate) fn ranges(&self) -> Vec<AddressRange> {
        self.found.iter().map(|found| found.range).collect()
    }

    /// Takes what was noted since the last call.
    pub(crate) fn take_remarks(&mut self) -> Vec<Remark> {
        std::mem::take(&mut self.remarks)
    }

    /// Everything about the module at `base`.
    ///
    /// # Errors
    /// There is no module.
    pub(crate) fn module(&mut self, base: u64, memory: &mut Memory) -> Result<Module, Fault> {
        let index = self
            .found
            .binary_search_by_key(&base, |found| found.range.start())
            .map_err(|_| {
                Fault::new(
                    FaultKind::Malformed,
                    format!("describe the module at {base:#x}"),
                    "there is none",
                )
            })?;
        let found = &self.found[index];
        let is_main = self.main == Some(index);
        Ok(Module {
            base,
            size: found.range.len(),
            checksum: 0,
            timestamp: 0,
            path: found.name(&self.dir, is_main, memory),
            version: found
                .mapping
                .file_path()
                .and_then(|path| version(path.as_bytes())),
            cv_record: build_id_record(&found.identity(memory).unwrap_or_default()),
            misc_record: Vec::new(),
        })
    }

    /// Adds the module that begins with the mapping of this index, if one does.
    fn add(&mut self, mappings: &[Mapping], index: usize, memory: &mut Memory) {
        let mapping = &mappings[index];
        let start = mapping.range.start();
        let subject = Subject::Module(start);
        let outcome = Image::parse(&mut |offset, into| at(memory, start.wrapping_add(offset), into));
        let (image, broken) = match outcome {
            Ok(None) => return,
            Ok(Some(image)) => (Some(image), None),
            // The file may still have what was overwritten in memory.
            Err(reason) => {
                let image = Image::parse(&mut |offset, into| in_file(memory, mapping, offset, into));
                (image.ok().flatten(), Some(reason))
            }
        };
        let found = match image {
            Some(image) if mapping.is_vdso() || is_loaded(&image, mappings, index) => {
                if let Some(reason) = broken {
                    let reason = format!(
                        "its ELF header in memory is of no use ({reason}): the one in its file was taken"
                    );
                    self.remarks.push(Remark::note(subject, reason));
                }
                let range = extent(mappings, index, image.span());
                Found {
                    range,
                    mapping: mapping.clone(),
                    image: Some(image),
                }
            }
            // A file that is only mapped as data.
            Some(_) => return,
            None => {
                let Some(range) = adjacent(mappings, index) else {
                    return;
                };
                let reason = broken.unwrap_or_default();
                let reason =
                    format!("its ELF header is of no use ({reason}): size from its mappings, no build id");
                self.remarks.push(Remark::missing(subject, reason));
                Found {
                    range,
                    mapping: mapping.clone(),
                    image: None,
                }
            }
        };
        self.found.push(found);
    }

    /// The module that holds the program's entry point, which for a program started by naming the dynamic linker
    /// is the linker; else the one with the path of `exe`.
    fn main_program(&self) -> Option<usize> {
        const AT_ENTRY: u64 = 9;
        let entry = self.dir.auxv_value(AT_ENTRY).filter(|entry| *entry != 0);
        let by_entry =
            entry.and_then(|entry| self.found.iter().position(|found| found.range.contains(entry)));
        by_entry.or_else(|| {
            let exe = std::fs::read_link(self.dir.path("exe")).ok()?;
            self.found
                .iter()
                .position(|found| found.mapping.file_path() == Some(exe.as_os_str()))
        })
    }
}

impl Found {
    /// The full path, of the file that this is, as the program's own root directory shows it.
    fn name(&self, dir: &ProcDir, is_main: bool, memory: &mut Memory) -> String {
        if self.mapping.is_vdso() {
            return VDSO_NAME.into();
        }
        let served = memory.files().is_served(self.mapping.device);
        let exists = |path: &[u8]| {
            !served && files::shows(dir, Path::new(std::ffi::OsStr::from_bytes(path)), &self.mapping)
        };
        let mut path = self.mapping.name();
        // The words at the end are the kernel's, unless the file itself is called so.
        if let Some(before) = path.strip_suffix(DELETED)
            && !exists(path)
        {
            path = before;
        }
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec()).to_string_lossy().into_owned();
        if is_main {
            return text(path);
        }
        let base = self.range.start();
        let soname = self
            .image
            .as_ref()
            .and_then(|image| image.soname(image.bias(base), &mut |address, into| at(memory, address, into)));
        let Some(soname) = soname else { return text(path) };
        if self.mapping.offset != 0 {
            // A library inside another file: the container's path alone would name all of them.
            return format!("{}/{soname}", text(path));
        }
        // Symbols are filed under the name that the library gives itself. It is taken where it is a name of this
        // very file, as for the usual `libx.so.1` that leads to `libx.so.1.2.3`.
        let folder = path
            .iter()
            .rposition(|byte| *byte == b'/')
            .map_or(0, |slash| slash + 1);
        let other = [&path[..folder], soname.as_bytes()].concat();
        if other != path && exists(&other) {
            text(&other)
        } else {
            text(path)
        }
    }

    /// What identifies the build: the build id in memory, in the file, or Breakpad's hash of the code.
    fn identity(&self, memory: &mut Memory) -> Option<Vec<u8>> {
        let image = self.image.as_ref()?;
        let bias = image.bias(self.range.start());
        let in_memory = image.build_id_in_memory(bias, &mut |address, into| at(memory, address, into));
        if in_memory.is_some() || self.mapping.is_vdso() {
            return in_memory;
        }
        let mut read = |offset: u64, into: &mut [u8]| in_file(memory, &self.mapping, offset, into);
        image
            .build_id_in_file(&mut read)
            .or_else(|| image.text_hash(&mut read))
    }
}

/// Reads memory, as much as there is.
fn at(memory: &mut Memory, address: u64, into: &mut [u8]) -> usize {
    memory.read(address, into).unwrap_or(0)
}

/// Reads from the file of a mapping, as much as there is; `offset` counts from where the mapping begins in it.
fn in_file(memory: &mut Memory, mapping: &Mapping, offset: u64, into: &mut [u8]) -> usize {
    let Some(offset) = mapping.offset.checked_add(offset) else {
        return 0;
    };
    let Ok(file) = memory.files().of(mapping) else {
        return 0;
    };
    file.read_at(offset, into).unwrap_or(0)
}

/// Whether it is worth looking for an ELF header where this mapping begins.
///
/// `has_code`: some mapping of the same file can be executed. Without any, a file counts when another piece of it, or code
/// that has been moved to large anonymous pages, follows: loaders map libraries in pieces, readers as a whole. (The
/// library of ICU's data has no code at all.)
fn may_begin_module(mapping: &Mapping, next: Option<&Mapping>, has_code: bool) -> bool {
    if mapping.is_vdso() {
        return true;
    }
    if mapping.file_path().is_none() || !mapping.read || mapping.is_device() {
        return false;
    }
    let in_pieces = next.is_some_and(|next| {
        next.range.start() == mapping.range.end()
            && (next.same_file(mapping) || next.is_private_anonymous() && next.execute)
    });
    has_code || mapping.offset == 0 && in_pieces
}

/// Whether the segments of `image` stand where it says, when its header is where the mapping of this index begins.
///
/// Code must be executable, in the same file or in anonymous memory (some programs move their code to large pages). An
/// image without code must have two segments at the start of mappings of their own.
fn is_loaded(image: &Image, mappings: &[Mapping], index: usize) -> bool {
    let first = &mappings[index];
    let bias = image.bias(first.range.start());
    let place = |vaddr: u64| {
        let address = page_of(vaddr.wrapping_add(bias));
        let at = mappings.partition_point(|mapping| mapping.range.end() <= address);
        mappings
            .get(at)
            .filter(|mapping| mapping.range.contains(address))
            .map(|mapping| (address, mapping))
    };
    let is_ours = |mapping: &Mapping| mapping.same_file(first) || mapping.is_private_anonymous();
    if image.loads().any(Image::is_code) {
        let mut code = image.loads().filter(|segment| Image::is_code(segment));
        return code.any(|segment| {
            place(segment.p_vaddr).is_some_and(|(_, mapping)| mapping.execute && is_ours(mapping))
        });
    }
    let placed = image.loads().filter(|segment| {
        place(segment.p_vaddr).is_some_and(|(address, mapping)| {
            let offset = page_of(segment.p_offset).wrapping_add(first.offset);
            mapping.same_file(first) && mapping.range.start() == address && mapping.offset == offset
        })
    });
    placed.count() >= 2
}

/// What a module covers: `span` bytes, but no further than its own mappings and anonymous ones between them reach.
fn extent(mappings: &[Mapping], index: usize, span: u64) -> AddressRange {
    let first = &mappings[index];
    let limit = first.range.start().saturating_add(span);
    let own = mappings[index + 1..].iter().take_while(|next| {
        next.range.start() < limit && (next.same_file(first) || next.is_private_anonymous())
    });
    let end = own.last().unwrap_or(first).range.end();
    AddressRange::new(first.range.start(), end.min(limit)).unwrap_or(first.range)
}

/// What a module with a broken header covers, by Breakpad's rule: the neighbouring mappings of the same file and an
/// inaccessible nameless one behind them. `None` if no code is among them.
fn adjacent(mappings: &[Mapping], index: usize) -> Option<AddressRange> {
    let first = &mappings[index];
    let mut end = first.range.end();
    let mut has_code = first.execute;
    for next in &mappings[index + 1..] {
        let inaccessible = next.is_private_anonymous() && !(next.read || next.write || next.execute);
        if next.range.start() != end || !(next.same_file(first) || inaccessible) {
            break;
        }
        end = next.range.end();
        has_code |= next.execute;
    }
    has_code
        .then(|| AddressRange::new(first.range.start(), end))
        .flatten()
}

/// The version that a library's file name tells: `libx.so.1.2.3`.
///
/// Unlike in a PE image, where each word holds two numbers, each holds one: that is how rust-minidump writes and prints
/// versions of Linux modules.
fn version(path: &[u8]) -> Option<[u32; 13]> {
    let path = path.strip_suffix(DELETED).unwrap_or(path);
    let name = std::str::from_utf8(path.rsplit(|byte| *byte == b'/').next()?).ok()?;
    let (_, numbers) = name.rsplit_once(".so.")?;
    let mut words = [0; 13];
    let mut count = 0;
    for (word, number) in words[2..6].iter_mut().zip(numbers.split('.')) {
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        let Ok(number) = number[..digits].parse() else {
            break;
        };
        *word = number;
        count += 1;
    }
    if count == 0 {
        return None;
    }
    words[0] = VERSION_SIGNATURE;
    words[1] = VERSION_STRUCTURE;
    Some(words)
}

#[cfg(test)]
mod tests;
