//! The binaries of a process on this machine.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use dumpwright::read::{CodeView, Module};
use framehop::ModuleSectionInfo;
use miniz_oxide::inflate;
use object::{CompressionFormat, LittleEndian, Object, ObjectSection, ObjectSegment, ReadCache, ReadRef};

use super::names::Functions;

/// The size in bytes of the longest table that is read. The tables of web browsers have 20 MiB.
const LONGEST_TABLE: u64 = 256 << 20;

/// The size in bytes of the largest file that is read as a whole.
const LONGEST_WHOLE: u64 = 256 << 20;

/// Where debug files of packages are installed. Source: the documentation of GDB, "Debugging
/// Information in Separate Files".
const DEBUG_FOLDER: &str = "/usr/lib/debug";

/// What a binary on this machine contributes to stack traces.
pub(super) struct Binary {
    pub(super) functions: Functions,
    /// The address in the file that is at the module's base in memory.
    pub(super) linked_at: u64,
    cache: ReadCache<File>,
    /// The addresses and the offsets of the parts of the file.
    parts: Vec<(u64, u64, u64)>,
}

/// Why a binary is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// There is no such file, or it cannot be read.
    Absent,
    /// It is another file than the one that was loaded.
    Other,
}

/// The unwind tables of a binary, and other sections that framehop asks for.
#[derive(Default)]
pub(super) struct Tables {
    linked_at: u64,
    sections: Vec<(&'static str, Range<u64>, Vec<u8>)>,
}

impl ModuleSectionInfo<Vec<u8>> for Tables {
    fn base_svma(&self) -> u64 {
        self.linked_at
    }

    fn section_svma_range(&mut self, name: &[u8]) -> Option<Range<u64>> {
        let mut sections = self.sections.iter();
        let found = sections.find(|(known, ..)| known.as_bytes() == name)?;
        Some(found.1.clone())
    }

    fn section_data(&mut self, name: &[u8]) -> Option<Vec<u8>> {
        let mut sections = self.sections.iter_mut();
        let found = sections.find(|(known, ..)| known.as_bytes() == name)?;
        (!found.2.is_empty()).then(|| std::mem::take(&mut found.2))
    }
}

/// Finds and reads the binary of a module: at its path, or below one of these folders.
pub(super) fn find(module: &Module, folders: &[PathBuf]) -> Result<(Binary, Tables), Unusable> {
    let mut unusable = Unusable::Absent;
    for path in places(module, folders) {
        match read(&path, module, folders) {
            Ok(found) => return Ok(found),
            Err(Unusable::Other) => unusable = Unusable::Other,
            Err(Unusable::Absent) => {}
        }
    }
    Err(unusable)
}

/// Returns the paths at which the binary may be.
fn places(module: &Module, folders: &[PathBuf]) -> Vec<PathBuf> {
    let Some(name) = module.name.as_deref() else {
        return Vec::new();
    };
    let mut places = Vec::new();
    for folder in folders {
        // A path with `..` would leave the folder.
        let inside = name.trim_start_matches('/');
        if !inside.contains('\\') && !inside.split('/').any(|part| part == "..") {
            places.push(folder.join(inside));
        }
        if let Some(file) = module
            .file_name()
            .filter(|file| !file.is_empty() && *file != "..")
        {
            places.push(folder.join(file));
        }
    }
    if is_local(name) {
        places.push(name.into());
    }
    places
}

/// Whether a path from a dump may be opened. A share on another machine may not, because Windows
/// would log in there. The files of the kernel may not either, because opening one can have an
/// effect or block.
fn is_local(name: &str) -> bool {
    let is_share = name.starts_with("\\\\") || name.starts_with("//");
    let is_special = ["/proc/", "/sys/", "/dev/"]
        .iter()
        .any(|folder| name.starts_with(folder));
    Path::new(name).is_absolute() && !is_share && !is_special && !name.contains("/../")
}

/// Opens a regular file. Opening a named pipe would wait for another program.
fn open(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    File::open(path)
}

fn read(path: &Path, module: &Module, folders: &[PathBuf]) -> Result<(Binary, Tables), Unusable> {
    let absent = |_| Unusable::Absent;
    let mut file = open(path).map_err(absent)?;
    let again = file.try_clone().map_err(absent)?;
    // Reading the names one by one takes a system call each.
    if file.metadata().map_err(absent)?.len() <= LONGEST_WHOLE {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(absent)?;
        examine(&*bytes, again, path, module, folders)
    } else {
        examine(&ReadCache::new(file), again, path, module, folders)
    }
}

/// Takes what is needed from the contents of a binary.
fn examine<'data>(
    data: impl ReadRef<'data>,
    file: File,
    path: &Path,
    module: &Module,
    folders: &[PathBuf],
) -> Result<(Binary, Tables), Unusable> {
    let parsed = object::File::parse(data).map_err(|_| Unusable::Other)?;
    if !is_same(&parsed, module) {
        return Err(Unusable::Other);
    }
    let mut functions = Functions::default();
    functions.add(&parsed);
    if parsed.symbols().next().is_none() {
        add_debug_file(&mut functions, &parsed, path, folders);
    }
    functions.finish();
    let segments = parsed.segments();
    let parts: Vec<_> = segments
        .map(|segment| {
            let (offset, size) = segment.file_range();
            (segment.address(), size, offset)
        })
        .collect();
    let first = parts.iter().map(|(address, ..)| *address).min().unwrap_or(0);
    let linked_at = match parsed {
        object::File::Pe64(_) | object::File::Pe32(_) => parsed.relative_address_base(),
        // An ELF image begins with the page of its first segment.
        _ => first & !0xfff,
    };
    let tables = tables(&parsed, linked_at);
    let binary = Binary {
        functions,
        linked_at,
        cache: ReadCache::new(file),
        parts,
    };
    Ok((binary, tables))
}

/// Whether a file is the one that was loaded as this module.
fn is_same<'data>(file: &object::File<'data, impl ReadRef<'data>>, module: &Module) -> bool {
    match file {
        object::File::Pe64(pe) => {
            let headers = pe.nt_headers();
            headers.file_header.time_date_stamp.get(LittleEndian) == module.timestamp
                && headers.optional_header.size_of_image.get(LittleEndian) == module.size
        }
        object::File::Elf64(_) | object::File::Elf32(_) => match (&module.code_view, file.build_id()) {
            (Some(CodeView::Elf { build_id }), Ok(Some(found))) => build_id == found,
            // Programs in Go have no such id. Breakpad's writers use a hash of the code instead.
            (Some(CodeView::Elf { build_id }), Ok(None)) => Some(build_id) == text_hash(file).as_ref(),
            (None, Ok(None)) => true,
            _ => false,
        },
        _ => false,
    }
}

/// Returns the hash with which Breakpad's tools identify a file without a build id: the
/// exclusive-or of the blocks of 16 bytes in the first 4096 bytes of `.text`.
fn text_hash<'data>(file: &object::File<'data, impl ReadRef<'data>>) -> Option<Vec<u8>> {
    let section = file.section_by_name(".text")?;
    let code = section
        .data_range(section.address(), section.size().min(4096))
        .ok()??;
    let mut hash = vec![0; 16];
    for block in code.chunks(16) {
        for (sum, byte) in hash.iter_mut().zip(block) {
            *sum ^= byte;
        }
    }
    Some(hash)
}

/// Copies the unwind tables of a file.
fn tables<'data>(file: &object::File<'data, impl ReadRef<'data>>, linked_at: u64) -> Tables {
    let (with_data, others): (&[_], &[_]) = match file {
        // Of functions that were stopped in their prologue or epilogue, framehop reads the code.
        object::File::Pe64(_) => (&[".pdata", ".rdata", ".xdata", ".text"], &[]),
        _ => (&[".eh_frame", ".eh_frame_hdr"], &[".text", ".got"]),
    };
    let section = |name: &'static str, has_data: bool| {
        let section = file.section_by_name(name)?;
        let (start, size) = (section.address(), section.size());
        let end = start.checked_add(size)?;
        let is_read = has_data && size <= LONGEST_TABLE;
        let data = if is_read { section.data().ok()? } else { &[] };
        (start >= linked_at).then(|| (name, start..end, data.to_vec()))
    };
    let with_data = with_data.iter().filter_map(|name| section(name, true));
    let others = others.iter().filter_map(|name| section(name, false));
    let mut sections: Vec<_> = with_data.chain(others).collect();
    if !sections
        .iter()
        .any(|(name, _, data)| *name == ".eh_frame" && !data.is_empty())
    {
        // The index alone is of no use.
        sections.retain(|(name, ..)| *name != ".eh_frame_hdr");
        let debug_frame = debug_frame(file);
        sections.extend(debug_frame.map(|data| (".debug_frame", 0..data.len() as u64, data)));
    }
    Tables { linked_at, sections }
}

/// Returns the unwind table among the sections for debuggers. Programs in Go have only this one,
/// and Go's linker compresses it.
fn debug_frame<'data>(file: &object::File<'data, impl ReadRef<'data>>) -> Option<Vec<u8>> {
    let section = file.section_by_name(".debug_frame")?;
    if section.size() > LONGEST_TABLE {
        return None;
    }
    let compressed = section.compressed_data().ok()?;
    let size = usize::try_from(compressed.uncompressed_size).ok()?;
    match compressed.format {
        CompressionFormat::None => Some(compressed.data.to_vec()),
        CompressionFormat::Zlib if compressed.uncompressed_size <= LONGEST_TABLE => {
            inflate::decompress_to_vec_zlib_with_limit(compressed.data, size).ok()
        }
        _ => None,
    }
}

/// Adds the functions of the separate debug file, if the binary has one: by its build id, or by the
/// name in `.gnu_debuglink`.
fn add_debug_file<'data>(
    functions: &mut Functions,
    binary: &object::File<'data, impl ReadRef<'data>>,
    path: &Path,
    folders: &[PathBuf],
) {
    let build_id = binary.build_id().ok().flatten();
    let mut places = Vec::new();
    let system = Path::new(DEBUG_FOLDER);
    if let Some([first, rest @ ..]) = build_id {
        let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
        let inside = format!(".build-id/{first:02x}/{rest}.debug");
        places.extend(folders.iter().map(|folder| folder.join(&inside)));
        places.push(system.join(inside));
    }
    let link = binary.gnu_debuglink().ok().flatten();
    let link = link.and_then(|(name, _)| std::str::from_utf8(name).ok());
    if let (Some(link), Some(folder)) = (link.filter(|link| !link.contains('/')), path.parent()) {
        places.push(folder.join(link));
        places.push(folder.join(".debug").join(link));
        places.extend(folders.iter().map(|extra| extra.join(link)));
        if let Ok(inside) = folder.strip_prefix("/") {
            places.push(system.join(inside).join(link));
        }
    }
    for place in places {
        let Ok(file) = open(&place) else { continue };
        let cache = ReadCache::new(file);
        let Ok(debug) = object::File::parse(&cache) else {
            continue;
        };
        // Without ids, only the checksum in the link could tell. Debug files with a link but
        // without an id are those of builds that nobody installs.
        if build_id.is_some() && debug.build_id().ok().flatten() == build_id {
            functions.add(&debug);
            return;
        }
    }
}

impl Binary {
    /// Reads code. `address` is an address in the file.
    pub(super) fn code<const LENGTH: usize>(&self, address: u64) -> Option<[u8; LENGTH]> {
        let (start, _, offset) = self
            .parts
            .iter()
            .find(|(start, size, _)| address.checked_sub(*start).is_some_and(|at| at < *size))?;
        let offset = offset.checked_add(address - start)?;
        let bytes = (&self.cache).read_bytes_at(offset, LENGTH as u64).ok()?;
        bytes.try_into().ok()
    }
}

#[cfg(all(test, unix))]
mod tests {
    //! These tests catch a dump that makes this program open something else than a local file.

    use super::*;

    #[test]
    fn only_local_files_are_opened() {
        assert!(is_local("/usr/lib/libc.so.6"));
        for name in [
            "libc.so.6",
            "",
            "//server/share/x.dll",
            "\\\\server\\share\\x.dll",
            "/proc/self/mem",
            "/dev/sda",
            "/sys/power/state",
            "/usr/../dev/sda",
        ] {
            assert!(!is_local(name), "{name}");
        }
        assert!(open(Path::new("/dev/null")).is_err(), "no regular file");
    }
}
