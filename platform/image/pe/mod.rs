//! PE images: sections, and the tables in the list of data directories.
//!
//! Source: Microsoft's "PE Format". Tables are found by their addresses in memory (relative virtual
//! addresses), so this module cannot read an image in its file.

mod debug;
mod tls;
mod version;

use dumpwright_target::{AddressRange, Memory, MemoryExt};
use goblin::pe::data_directories::{DataDirectory, SIZEOF_DATA_DIRECTORY};
use goblin::pe::header::CoffHeader;
use goblin::pe::optional_header::{
    MAGIC_32, MAGIC_64, StandardFields32, StandardFields64, WindowsFields, WindowsFields32, WindowsFields64,
};
use scroll::{LE, Pread};

pub use self::tls::ThreadLocal;
pub use self::version::FixedFileInfo;
use crate::Malformed;
use crate::limits::{LONGEST_OPTIONAL_HEADER, MOST_PE_SECTIONS};
use crate::start::Start;

/// The tables that an image may have, with their numbers in the list of data directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum DirectoryEntry {
    /// The functions and variables that other images may use.
    Exports = 0,
    /// The functions and variables of other images that the image uses.
    Imports = 1,
    /// Resources, which include the version.
    Resources = 2,
    /// How to unwind the functions.
    Exceptions = 3,
    /// What to change if the image is not loaded at its preferred address.
    Relocations = 5,
    /// Debug records.
    Debug = 6,
    /// Thread-local variables.
    ThreadLocal = 9,
}

/// The headers of a PE image.
#[derive(Debug, Clone)]
pub struct Pe {
    base: u64,
    file: CoffHeader,
    /// The fields of the 64-bit format. Those of the 32-bit format are widened to it.
    windows: WindowsFields,
    /// The size of a pointer in bytes: 4 or 8.
    pointer: usize,
    directories: Vec<DataDirectory>,
    /// The address of the section headers.
    sections_at: Option<u64>,
}

/// A section in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Its addresses.
    pub range: AddressRange,
    /// Whether it is writable.
    pub is_data: bool,
    /// Whether it contains code.
    pub is_code: bool,
}

impl Pe {
    /// Reads the headers of the image whose first byte is at `base`. Returns `None` if no PE image
    /// begins there.
    ///
    /// # Errors
    /// The headers are malformed, or nothing can be read at `base`.
    pub fn read(memory: &mut dyn Memory, base: u64) -> Result<Option<Self>, Malformed> {
        Self::parse(&mut Start::of(memory, base), base)
    }

    pub(crate) fn parse(memory: &mut Start<'_>, base: u64) -> Result<Option<Self>, Malformed> {
        const SIGNATURE: &[u8] = b"PE\0\0";
        const SIGNATURE_AND_HEADER: usize = 24;
        /// The offset in the DOS header of the PE header's offset.
        const NEW_HEADER: usize = 0x3c;
        let dos = memory.up_to(base, NEW_HEADER + 4);
        if dos.is_empty() {
            return Err(Malformed::new("the headers cannot be read"));
        }
        if !dos.starts_with(b"MZ") {
            return Ok(None);
        }
        let offset = dos.pread_with::<u32>(NEW_HEADER, LE);
        let offset = offset.map_err(|_| Malformed::new("the DOS header cannot be read"))?;
        let at = base.checked_add(offset.into());
        let head = at.and_then(|at| memory.array::<SIGNATURE_AND_HEADER>(at).ok());
        let (at, head) = at
            .zip(head)
            .ok_or_else(|| Malformed::new("the PE header cannot be read"))?;
        if !head.starts_with(SIGNATURE) {
            return Err(Malformed::new("there is no PE header"));
        }
        let short = |_| Malformed::new("the optional header is too short");
        let file: CoffHeader = head.pread_with(SIGNATURE.len(), LE).map_err(short)?;
        let optional_len = usize::from(file.size_of_optional_header);
        let optional_at = at.checked_add(SIGNATURE_AND_HEADER as u64);
        let optional = optional_at
            .and_then(|at| memory.bytes(at, optional_len.min(LONGEST_OPTIONAL_HEADER)).ok())
            .ok_or_else(|| Malformed::new("the optional header cannot be read"))?;
        let mut at = 0;
        let (windows, pointer): (WindowsFields, usize) = match optional.pread_with(0, LE).map_err(short)? {
            MAGIC_32 => {
                optional
                    .gread_with::<StandardFields32>(&mut at, LE)
                    .map_err(short)?;
                let fields: WindowsFields32 = optional.gread_with(&mut at, LE).map_err(short)?;
                (fields.into(), 4)
            }
            MAGIC_64 => {
                optional
                    .gread_with::<StandardFields64>(&mut at, LE)
                    .map_err(short)?;
                let fields: WindowsFields64 = optional.gread_with(&mut at, LE).map_err(short)?;
                (fields, 8)
            }
            _ => return Err(Malformed::new("the optional header has an unknown magic number")),
        };
        // There are no directories beyond this count, nor beyond the end of the header.
        let count = windows.number_of_rva_and_sizes as usize;
        let directories = optional[at..].chunks_exact(SIZEOF_DATA_DIRECTORY).take(count);
        Ok(Some(Self {
            base,
            windows,
            pointer,
            directories: directories
                .filter_map(|bytes| bytes.pread_with(0, LE).ok())
                .collect(),
            sections_at: optional_at.and_then(|at| at.checked_add(optional_len as u64)),
            file,
        }))
    }

    /// Returns the size of the image in memory in bytes, according to its header.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.windows.size_of_image
    }

    /// Returns the checksum; 0 if there is none.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        self.windows.check_sum
    }

    /// Returns when the image was linked, in seconds since 1970, or a hash that the linker wrote
    /// instead.
    #[must_use]
    pub fn timestamp(&self) -> u32 {
        self.file.time_date_stamp
    }

    /// Returns the flags that tell what the image supports (`DllCharacteristics`).
    #[must_use]
    pub fn dll_characteristics(&self) -> u16 {
        self.windows.dll_characteristics
    }

    /// Returns the address range of the headers.
    #[must_use]
    pub fn headers(&self) -> Option<AddressRange> {
        AddressRange::at(self.base, self.windows.size_of_headers.into())
    }

    /// Returns the address range of a table, or `None` if the image has no such table.
    #[must_use]
    pub fn directory(&self, table: DirectoryEntry) -> Option<AddressRange> {
        let directory = self.directories.get(table as usize)?;
        (directory.virtual_address != 0)
            .then(|| self.place(directory.virtual_address, directory.size))
            .flatten()
    }

    /// Returns the sections.
    ///
    /// # Errors
    /// There are more sections than an image can have, or their headers cannot be read.
    pub fn sections(&self, memory: &mut dyn Memory) -> Result<Vec<Section>, Malformed> {
        /// The size of `IMAGE_SECTION_HEADER`. The name is not needed.
        const LEN: usize = 40;
        #[derive(Pread)]
        struct Header {
            _name: u64,
            virtual_size: u32,
            virtual_address: u32,
            size_of_raw_data: u32,
            _pointers: [u32; 3],
            _counts: [u16; 2],
            characteristics: u32,
        }
        const CNT_CODE: u32 = 0x20;
        const MEM_EXECUTE: u32 = 0x2000_0000;
        const MEM_WRITE: u32 = 0x8000_0000;
        let count = self.file.number_of_sections;
        if count > MOST_PE_SECTIONS {
            return Err(Malformed::new(format!(
                "there are {count} sections, more than the {MOST_PE_SECTIONS} that Windows loads"
            )));
        }
        let headers = self
            .sections_at
            .and_then(|at| memory.bytes(at, usize::from(count) * LEN).ok())
            .ok_or_else(|| Malformed::new("the section headers cannot be read"))?;
        let sections = headers.chunks_exact(LEN).filter_map(|header| {
            let header: Header = header.pread_with(0, LE).ok()?;
            // Old linkers set the size in memory to 0 and mean the size in the file.
            let size = match header.virtual_size {
                0 => header.size_of_raw_data,
                size => size,
            };
            Some(Section {
                range: self.place(header.virtual_address, size)?,
                is_data: header.characteristics & MEM_WRITE != 0,
                is_code: header.characteristics & (MEM_EXECUTE | CNT_CODE) != 0,
            })
        });
        Ok(sections.collect())
    }

    /// Converts a relative virtual address and a size to an address range.
    fn place(&self, address: u32, size: u32) -> Option<AddressRange> {
        AddressRange::at(self.base.checked_add(address.into())?, size.into())
    }
}

#[cfg(test)]
mod tests;
