//! Finds the parts of a module that a dump includes, from the module's headers in the target's
//! memory.

use dumpwright_image::pe::{DirectoryEntry, ThreadLocal};
use dumpwright_image::{Elf, Image, Malformed, Pe};
use dumpwright_target::{AddressRange, Memory, Window};

/// The bytes that are dumped of a module whose headers are malformed, and of every ELF image in
/// addition to what its headers name. On Linux, the first page usually contains all headers and the
/// build id.
const FIRST_PAGE: u64 = 4096;

/// The tables that DbgHelp 6.3.9600 includes with the headers. Certificates are not in memory. The
/// directory of thread-local storage is handled separately.
const KEPT: [DirectoryEntry; 6] = [
    DirectoryEntry::Exports,
    DirectoryEntry::Imports,
    DirectoryEntry::Resources,
    DirectoryEntry::Exceptions,
    DirectoryEntry::Relocations,
    DirectoryEntry::Debug,
];

/// The size of `IMAGE_TLS_DIRECTORY64`. DbgHelp includes this many bytes of the directory.
const TLS_SIZE: u64 = 0x28;

/// The parts of a module that dump types ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// Writable data, including data that was initially zero (`.bss`).
    pub data: Vec<AddressRange>,
    /// Executable code.
    pub code: Vec<AddressRange>,
    /// Headers, and the tables that identify the module or are needed to unwind its frames.
    pub headers: Vec<AddressRange>,
}

/// Finds the parts of a module. `module` is its whole range; nothing outside is read, and no part
/// lies outside.
///
/// # Errors
/// If the headers are malformed. The error describes how.
pub(super) fn parts(memory: &mut dyn Memory, module: AddressRange) -> Result<Parts, Malformed> {
    let memory = &mut Window::new(memory, module);
    let mut parts = match Image::read(memory, module.start())? {
        Image::Elf(image) => of_elf(memory, &image, module),
        Image::Pe(image) => of_pe(memory, &image)?,
    };
    for list in [&mut parts.data, &mut parts.code, &mut parts.headers] {
        *list = list.iter().filter_map(|part| part.intersect(module)).collect();
    }
    Ok(parts)
}

fn of_elf(memory: &mut dyn Memory, image: &Elf, module: AddressRange) -> Parts {
    let mut headers: Vec<_> = first_page(module).into_iter().collect();
    headers.extend(image.program_headers());
    headers.extend(image.notes());
    headers.extend(image.dynamic());
    headers.extend(image.strings(memory));
    headers.extend(image.frame_index());
    headers.extend(image.frames(memory));
    Parts {
        data: image.data().collect(),
        code: image.code().collect(),
        headers,
    }
}

fn of_pe(memory: &mut dyn Memory, image: &Pe) -> Result<Parts, Malformed> {
    let mut headers: Vec<_> = image.headers().into_iter().collect();
    headers.extend(KEPT.into_iter().filter_map(|table| image.directory(table)));
    let variables = image.directory(DirectoryEntry::ThreadLocal);
    headers.extend(variables.and_then(|table| AddressRange::at(table.start(), TLS_SIZE)));
    headers.extend(image.debug_records(memory));
    let sections = image.sections(memory)?;
    let with = |is_wanted: fn(&dumpwright_image::pe::Section) -> bool| {
        let wanted = sections.iter().filter(|section| is_wanted(section));
        wanted.map(|section| section.range).collect()
    };
    Ok(Parts {
        data: with(|section| section.is_data),
        code: with(|section| section.is_code),
        headers,
    })
}

/// Returns the thread-local variables of a module; `None` if it has none. `module` is its whole
/// range.
pub(super) fn thread_local(memory: &mut dyn Memory, module: AddressRange) -> Option<ThreadLocal> {
    let memory = &mut Window::new(memory, module);
    let image = Pe::read(memory, module.start()).ok()??;
    image.thread_local(memory, module.len())
}

/// Returns the first page of a module.
pub(super) fn first_page(module: AddressRange) -> Option<AddressRange> {
    AddressRange::at(module.start(), module.len().min(FIRST_PAGE))
}
