//! The loaded modules: the main program, the libraries and the vdso.
//!
//! A module is recognised by an ELF header in memory whose segments are mapped where the header
//! says. So a file that a program maps only to read it is not a module, and a library inside
//! another file, such as an application package, is one.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use dumpwright_image::Elf;
use dumpwright_image::elf::page_of;
use dumpwright_target::{
    AddressRange, Diagnostic, Fault, FaultKind, Hooked, Memory, Module, ReadHook, Subject, Window,
    build_id_record,
};

use crate::files;
use crate::mounts::Server;
use crate::read::ProcessMemory;
use crate::regions::Mapping;

/// The first words of `VS_FIXEDFILEINFO`: its signature and the version of the structure.
const VERSION_SIGNATURE: u32 = 0xfeef_04bd;
const VERSION_STRUCTURE: u32 = 0x0001_0000;

/// Breakpad's name for the vdso, which has no file. Readers of its dumps know this name.
///
/// In 32-bit processes, the instruction pointer of every thread that waits in the kernel is in the
/// vdso. LLDB 19 unwinds such threads only if it has the image as a file of this name
/// (`settings set target.exec-search-paths` before the core file is opened). Readers that scan
/// stacks find the callers anyway, and with Breakpad symbols of the image they unwind properly.
const VDSO_NAME: &str = "linux-gate.so";

/// The suffix of a path in `maps` whose file has been deleted or replaced.
const DELETED: &[u8] = b" (deleted)";

/// Where modules are found: the memory of a process, and the files that it has mapped.
pub(crate) trait ModuleMemory: Memory {
    /// The address at which the program started (`AT_ENTRY`), if it is known.
    fn entry_point(&mut self) -> Option<u64>;

    /// The path of the program's file, if it is known.
    fn program_path(&mut self) -> Option<OsString>;

    /// Reads the file of a mapping, by the contract of [`Memory::read`].
    ///
    /// # Errors
    /// The file cannot be opened, or its first byte at this offset cannot be read. The text is the
    /// reason.
    fn read_file(&mut self, mapping: &Mapping, offset: u64, into: &mut [u8]) -> Result<usize, String>;

    /// Whether this path leads to the file of a mapping.
    fn leads_to(&mut self, path: &[u8], mapping: &Mapping) -> bool;
}

impl ModuleMemory for ProcessMemory {
    fn entry_point(&mut self) -> Option<u64> {
        const AT_ENTRY: u64 = 9;
        self.dir().auxv_value(AT_ENTRY)
    }

    fn program_path(&mut self) -> Option<OsString> {
        Some(std::fs::read_link(self.dir().path("exe")).ok()?.into_os_string())
    }

    fn read_file(&mut self, mapping: &Mapping, offset: u64, into: &mut [u8]) -> Result<usize, String> {
        let watch = self.files().watch();
        let file = self.files().of(mapping).map_err(str::to_owned)?;
        match watch.over(|| file.read_at(offset, into)) {
            Ok(0) if !into.is_empty() => Err("the file ends before this offset".to_owned()),
            Ok(count) => Ok(count),
            Err(error) => Err(error.to_string()),
        }
    }

    fn leads_to(&mut self, path: &[u8], mapping: &Mapping) -> bool {
        let systems = self.files().systems();
        let devices = self.files().devices();
        let watch = self.files().watch();
        let path = Path::new(OsStr::from_bytes(path));
        systems.of_device(mapping.device) != Server::Other
            && watch.over(|| files::shows(self.dir(), &systems, &devices, path, mapping))
    }
}

/// The modules of a process.
#[derive(Debug)]
pub(crate) struct LoadedModules {
    /// By ascending address.
    found: Vec<FoundModule>,
    /// The index of the main program.
    main: Option<usize>,
    diagnostics: Vec<Diagnostic>,
}

#[derive(Debug)]
struct FoundModule {
    range: AddressRange,
    /// The mapping that starts with the ELF header.
    mapping: Mapping,
    /// The ELF headers. `None` if they are malformed.
    image: Option<Elf>,
}

impl LoadedModules {
    /// Searches the mappings for modules.
    pub(crate) fn find(
        mappings: &[Mapping],
        memory: &mut impl ModuleMemory,
        reads: &mut dyn ReadHook,
    ) -> Self {
        let mut modules = Self {
            found: Vec::new(),
            main: None,
            diagnostics: Vec::new(),
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
                modules.add(mappings, index, memory, reads);
            }
        }
        modules.main = modules.main_program(memory);
        tracing::debug!(modules = modules.found.len(), main = ?modules.main, "modules found");
        modules
    }

    /// The load addresses: the main program first, then the others in ascending order.
    pub(crate) fn bases(&self) -> Vec<u64> {
        let base = |index: usize| self.found[index].range.start();
        let others = (0..self.found.len()).filter(|index| Some(*index) != self.main);
        self.main.into_iter().chain(others).map(base).collect()
    }

    /// The address ranges of the modules, ascending and disjoint.
    pub(crate) fn ranges(&self) -> Vec<AddressRange> {
        self.found.iter().map(|found| found.range).collect()
    }

    /// Returns the diagnostics since the last call.
    pub(crate) fn take_diagnostics(&mut self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.diagnostics)
    }

    /// Returns the facts about the module at `base`.
    ///
    /// # Errors
    /// There is no module at that address.
    pub(crate) fn module(
        &mut self,
        base: u64,
        memory: &mut impl ModuleMemory,
        reads: &mut dyn ReadHook,
    ) -> Result<Module, Fault> {
        let index = self
            .found
            .binary_search_by_key(&base, |found| found.range.start())
            .map_err(|_| {
                Fault::new(
                    FaultKind::Malformed,
                    format!("describe the module at {base:#x}"),
                    "no module was found at this address",
                )
            })?;
        let found = &self.found[index];
        let is_main = self.main == Some(index);
        let identity = found.identity(memory, reads).unwrap_or_else(|reason| {
            let reason = format!("nothing identifies its build: {reason}");
            self.diagnostics
                .push(Diagnostic::missing(Subject::Module(base), reason));
            Vec::new()
        });
        Ok(Module {
            base,
            size: found.range.len(),
            checksum: 0,
            timestamp: 0,
            dll_characteristics: 0,
            path: found.name(is_main, memory, reads),
            version: found
                .mapping
                .file_path()
                .and_then(|path| version(path.as_bytes())),
            cv_record: build_id_record(&identity),
            misc_record: Vec::new(),
        })
    }

    /// Adds the module that starts with the mapping of this index, if there is one.
    fn add(
        &mut self,
        mappings: &[Mapping],
        index: usize,
        memory: &mut impl ModuleMemory,
        reads: &mut dyn ReadHook,
    ) {
        let mapping = &mappings[index];
        let start = mapping.range.start();
        let subject = Subject::Module(start);
        let (image, broken) = match Elf::read(&mut Hooked::new(memory, reads), start) {
            Ok(None) => return,
            Ok(Some(image)) => (Some(image), None),
            // The header in memory may have been overwritten. Try the one in the file.
            Err(malformed) => {
                let image = Elf::read(&mut ImageFile { memory, mapping }, 0);
                let image = image.ok().flatten().map(|image| image.loaded_at(start));
                (image, Some(malformed))
            }
        };
        let found = match image {
            Some(image) if mapping.is_vdso() || is_loaded(&image, mappings, index) => {
                if let Some(malformed) = broken {
                    let reason = format!(
                        "its ELF header in memory is not usable ({malformed}): the one in its file was used"
                    );
                    self.diagnostics.push(Diagnostic::note(subject, reason));
                }
                let range = extent(mappings, index, image.size());
                FoundModule {
                    range,
                    mapping: mapping.clone(),
                    image: Some(image),
                }
            }
            // The file is only mapped as data.
            Some(_) => return,
            None => {
                let Some(range) = adjacent(mappings, index) else {
                    return;
                };
                let reason = broken.map_or_else(String::new, |malformed| format!(" ({malformed})"));
                let reason =
                    format!("its ELF header is not usable{reason}: size from its mappings, no build id");
                self.diagnostics.push(Diagnostic::missing(subject, reason));
                FoundModule {
                    range,
                    mapping: mapping.clone(),
                    image: None,
                }
            }
        };
        self.found.push(found);
    }

    /// Returns the index of the module that contains the program's entry point, or else of the
    /// module with the path of `exe`. If the program was started through the dynamic linker as a
    /// command, it is the linker.
    fn main_program(&self, memory: &mut impl ModuleMemory) -> Option<usize> {
        let entry = memory.entry_point().filter(|entry| *entry != 0);
        let by_entry =
            entry.and_then(|entry| self.found.iter().position(|found| found.range.contains(entry)));
        by_entry.or_else(|| {
            let exe = memory.program_path()?;
            self.found
                .iter()
                .position(|found| found.mapping.file_path() == Some(exe.as_os_str()))
        })
    }
}

impl FoundModule {
    /// Returns the full path of the module's file, as seen from the program's root directory.
    fn name(&self, is_main: bool, memory: &mut impl ModuleMemory, reads: &mut dyn ReadHook) -> String {
        if self.mapping.is_vdso() {
            return VDSO_NAME.into();
        }
        let mut path = self.mapping.name();
        // The kernel added the suffix, unless a file of that very name exists.
        if let Some(before) = path.strip_suffix(DELETED)
            && !memory.leads_to(path, &self.mapping)
        {
            path = before;
        }
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec()).to_string_lossy().into_owned();
        if is_main {
            return text(path);
        }
        let hooked = &mut Hooked::new(memory, reads);
        let window = &mut Window::new(hooked, self.range);
        let soname = self.image.as_ref().and_then(|image| image.soname(window));
        let Some(soname) = soname else { return text(path) };
        if self.mapping.offset != 0 {
            // The library is inside another file, whose path would be the same for all its
            // libraries.
            return format!("{}/{soname}", text(path));
        }
        // Symbol files are named after the library's soname. It is used if it is a name of the same
        // file, as for the usual link from `libx.so.1` to `libx.so.1.2.3`.
        let folder = path
            .iter()
            .rposition(|byte| *byte == b'/')
            .map_or(0, |slash| slash + 1);
        let other = [&path[..folder], soname.as_bytes()].concat();
        if other != path && memory.leads_to(&other, &self.mapping) {
            text(&other)
        } else {
            text(path)
        }
    }

    /// Returns the identity of the build: the build id in memory, or the one in the file, or else
    /// Breakpad's hash of the code. If the file cannot be read, as on a file system that another
    /// program serves, the code in memory is hashed.
    ///
    /// # Errors
    /// There is none. The text says why.
    fn identity(&self, memory: &mut impl ModuleMemory, reads: &mut dyn ReadHook) -> Result<Vec<u8>, String> {
        let Some(image) = &self.image else {
            // There already is a diagnostic about the malformed headers.
            return Ok(Vec::new());
        };
        let mapping = &self.mapping;
        let mut hooked = Hooked::new(memory, reads);
        let mut window = Window::new(&mut hooked, self.range);
        let mut in_memory = FirstFault::of(&mut window);
        if let Some(id) = image.build_id(&mut in_memory) {
            return Ok(id);
        }
        let unread = in_memory.fault;
        let mut file = ImageFile { memory, mapping };
        let mut in_file = FirstFault::of(&mut file);
        let id = match mapping.is_vdso() {
            true => None,
            false => image
                .build_id_in_file(&mut in_file)
                .or_else(|| image.text_hash(&mut in_file)),
        };
        let unread_file = in_file.fault;
        let in_memory = |_: &Fault| {
            let mut hooked = Hooked::new(memory, reads);
            image.text_hash_in_memory(&mut Window::new(&mut hooked, self.range))
        };
        let id = id.or_else(|| unread_file.as_ref().and_then(in_memory));
        id.ok_or_else(|| match unread.or(unread_file) {
            Some(fault) => fault.to_string(),
            None => "it has neither a build id nor a .text section".to_owned(),
        })
    }
}

/// Memory, and the first error of reading it.
struct FirstFault<'a> {
    memory: &'a mut dyn Memory,
    fault: Option<Fault>,
}

impl<'a> FirstFault<'a> {
    fn of(memory: &'a mut dyn Memory) -> Self {
        Self { memory, fault: None }
    }
}

impl Memory for FirstFault<'_> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        let read = self.memory.read(at, into);
        if let Err(fault) = &read {
            self.fault.get_or_insert_with(|| fault.clone());
        }
        read
    }
}

/// The file of an image. Addresses are relative to the start of the image, which need not be the
/// start of the file.
struct ImageFile<'a, M> {
    memory: &'a mut M,
    /// The mapping that starts with the ELF header.
    mapping: &'a Mapping,
}

impl<M: ModuleMemory> Memory for ImageFile<'_, M> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        let fault = |reason: String| {
            let name = String::from_utf8_lossy(self.mapping.name()).into_owned();
            Fault::new(FaultKind::Unreadable, format!("read {name} at {at:#x}"), reason)
        };
        let offset = self.mapping.offset.checked_add(at);
        let offset = offset.ok_or_else(|| fault("the offset is larger than that of any file".to_owned()))?;
        let read = self.memory.read_file(self.mapping, offset, into);
        read.map_err(fault)
    }
}

/// Whether an ELF header may be at the start of this mapping.
///
/// `has_code` tells whether any mapping of the same file is executable. A file without executable
/// mappings is considered only if the next mapping is another piece of it, or code that was moved
/// to large anonymous pages: loaders map a library in pieces, other programs map a file as a
/// whole. (The data library of ICU has no code at all.)
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

/// Whether the segments of `image` are mapped where its header says. The header is at the start of
/// the mapping with this index.
///
/// A code segment must be in an executable mapping of the same file or of anonymous memory (some
/// programs move their code to large pages). If the image has no code, at least two segments must
/// be at the start of separate mappings.
fn is_loaded(image: &Elf, mappings: &[Mapping], index: usize) -> bool {
    let first = &mappings[index];
    let bias = image.bias();
    let place = |vaddr: u64| {
        let address = page_of(vaddr.wrapping_add(bias));
        let at = mappings.partition_point(|mapping| mapping.range.end() <= address);
        mappings
            .get(at)
            .filter(|mapping| mapping.range.contains(address))
            .map(|mapping| (address, mapping))
    };
    let is_ours = |mapping: &Mapping| mapping.same_file(first) || mapping.is_private_anonymous();
    if image.loads().any(Elf::is_code) {
        let mut code = image.loads().filter(|segment| Elf::is_code(segment));
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

/// Returns the range of a module: `span` bytes, limited to its own mappings and the anonymous
/// mappings between them.
fn extent(mappings: &[Mapping], index: usize, span: u64) -> AddressRange {
    let first = &mappings[index];
    let limit = first.range.start().saturating_add(span);
    let own = mappings[index + 1..].iter().take_while(|next| {
        next.range.start() < limit && (next.same_file(first) || next.is_private_anonymous())
    });
    let end = own.last().unwrap_or(first).range.end();
    AddressRange::new(first.range.start(), end.min(limit)).unwrap_or(first.range)
}

/// Returns the range of a module with a malformed header, by Breakpad's rule: the adjacent mappings
/// of the same file, and an adjacent inaccessible mapping without a name. `None` if none of them
/// contains code.
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

/// Parses the version in a library's file name, such as `libx.so.1.2.3`.
///
/// Each word holds one number, as rust-minidump writes and prints versions of Linux modules. In a
/// PE image each word holds two.
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
