//! The file as a whole: header, directory, and safe access to its bytes.

use std::fs::File;
use std::path::Path;
use std::sync::OnceLock;

use serde::Serialize;

use super::error::ReadError;
use super::fields::{Fields, hex};
use super::memory::MemoryMap;
use super::source::{FileSource, Source};
use super::stream_type::stream_name;

/// Bytes of `MINIDUMP_HEADER`.
pub(super) const HEADER_SIZE: u64 = 32;
/// Bytes of `MINIDUMP_DIRECTORY`.
pub(super) const DIRECTORY_ENTRY_SIZE: u64 = 12;
/// More directory entries than this are not kept. Breakpad's reader stops at 128; no writer comes near.
pub(super) const DIRECTORY_LIMIT: u64 = 65_536;
/// Tables are read in pieces of this size, so that a table as large as the file costs no more than its result.
const TABLE_CHUNK: u64 = 64 * 1024;

/// An open minidump.
pub struct Dump {
    source: Box<dyn Source>,
    header: Header,
    directory: Vec<StreamEntry>,
    memory: OnceLock<MemoryMap>,
}

/// The fields of `MINIDUMP_HEADER` that carry information.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Header {
    /// The low word is the format, 0xA793; the high word belongs to the writer.
    #[serde(serialize_with = "hex")]
    pub version: u32,
    /// Entries of the directory, unused ones included.
    pub number_of_streams: u32,
    /// File offset of the directory.
    pub stream_directory_rva: u32,
    /// 0 in every dump seen; no reader looks.
    pub checksum: u32,
    /// When the dump was written, in seconds since 1970 (UTC).
    pub time: u32,
    /// `MINIDUMP_TYPE`: what the dump was asked to contain.
    #[serde(serialize_with = "hex")]
    pub flags: u64,
}

/// One entry of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StreamEntry {
    /// File offset of this entry.
    pub record_offset: u64,
    /// `MINIDUMP_STREAM_TYPE`, or an application's own number above 0xFFFF.
    #[serde(serialize_with = "hex")]
    pub stream_type: u32,
    /// Bytes of the stream.
    pub size: u32,
    /// File offset of the stream.
    pub rva: u32,
}

impl Header {
    /// The names of the set flags, as `MINIDUMP_TYPE` has them without `MiniDump`; bits without a name as numbers.
    /// Empty for a normal dump.
    #[must_use]
    pub fn flag_names(&self) -> Vec<String> {
        const NAMES: [&str; 26] = [
            "WithDataSegs",
            "WithFullMemory",
            "WithHandleData",
            "FilterMemory",
            "ScanMemory",
            "WithUnloadedModules",
            "WithIndirectlyReferencedMemory",
            "FilterModulePaths",
            "WithProcessThreadData",
            "WithPrivateReadWriteMemory",
            "WithoutOptionalData",
            "WithFullMemoryInfo",
            "WithThreadInfo",
            "WithCodeSegs",
            "WithoutAuxiliaryState",
            "WithFullAuxiliaryState",
            "WithPrivateWriteCopyMemory",
            "IgnoreInaccessibleMemory",
            "WithTokenInformation",
            "WithModuleHeaders",
            "FilterTriage",
            "WithAvxXStateContext",
            "WithIptTrace",
            "ScanInaccessiblePartialPages",
            "FilterWriteCombinedMemory",
            "NoIgnoreInaccessibleMemory",
        ];
        (0..64)
            .filter(|bit| self.flags >> bit & 1 != 0)
            .map(|bit| {
                NAMES
                    .get(bit)
                    .map_or_else(|| format!("bit {bit}"), |name| (*name).to_owned())
            })
            .collect()
    }
}

impl StreamEntry {
    /// The stream's name where one is defined (see [`stream_name`]).
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        stream_name(self.stream_type)
    }
}

/// A list inside a stream: where its entries begin, how many there are, how far apart.
#[derive(Clone, Copy)]
pub(super) struct Table {
    pub(super) what: &'static str,
    pub(super) start: u64,
    pub(super) count: u64,
    pub(super) stride: u64,
}

impl Dump {
    /// Opens a dump file. Reads the header and the directory only, so the size of the file does not matter.
    ///
    /// # Errors
    ///
    /// The file can't be opened or read, or it does not begin with a minidump header. Damage further in shows when
    /// that part is asked for; [`check`](super::check()) lists all of it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        let path = path.as_ref();
        let open = |source| ReadError::Open {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(open)?;
        Self::from_source(FileSource::new(file).map_err(open)?)
    }

    /// Takes a file that is open. Nothing may be written to it as long as the dump is in use.
    ///
    /// # Errors
    ///
    /// As for [`Dump::open`].
    pub fn from_file(file: File) -> Result<Self, ReadError> {
        Self::from_source(FileSource::new(file).map_err(|source| ReadError::Io {
            what: "the file's length",
            offset: 0,
            length: 0,
            source,
        })?)
    }

    /// Takes a dump that lies in memory.
    ///
    /// # Errors
    ///
    /// The bytes do not begin with a minidump header.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, ReadError> {
        Self::from_source(bytes.into())
    }

    /// Takes a dump from anything that can be read at an offset.
    ///
    /// # Errors
    ///
    /// As for [`Dump::open`].
    pub fn from_source(source: impl Source + 'static) -> Result<Self, ReadError> {
        let length = source.len();
        if length < HEADER_SIZE {
            let reason = format!("the file has {length} bytes, a header alone takes {HEADER_SIZE}");
            return Err(ReadError::NotAMinidump { reason });
        }
        let mut bytes = [0; HEADER_SIZE as usize];
        source.read_at(0, &mut bytes).map_err(|source| ReadError::Io {
            what: "the header",
            offset: 0,
            length: HEADER_SIZE,
            source,
        })?;
        if !bytes.starts_with(b"MDMP") {
            let reason = format!(
                "it begins with {:?} instead of \"MDMP\"",
                bytes[..4].escape_ascii().to_string()
            );
            return Err(ReadError::NotAMinidump { reason });
        }
        let fields = Fields(&bytes);
        let header = Header {
            version: fields.u32(4),
            number_of_streams: fields.u32(8),
            stream_directory_rva: fields.u32(12),
            checksum: fields.u32(16),
            time: fields.u32(20),
            flags: fields.u64(24),
        };
        let mut dump = Self {
            source: Box::new(source),
            header,
            directory: Vec::new(),
            memory: OnceLock::new(),
        };
        dump.directory = dump.read_directory()?;
        Ok(dump)
    }

    /// As many entries as lie inside the file: a file that was cut short keeps the streams that arrived.
    fn read_directory(&self) -> Result<Vec<StreamEntry>, ReadError> {
        let start = u64::from(self.header.stream_directory_rva);
        let room = self.len().saturating_sub(start) / DIRECTORY_ENTRY_SIZE;
        let table = Table {
            what: "the directory",
            start,
            count: u64::from(self.header.number_of_streams)
                .min(room)
                .min(DIRECTORY_LIMIT),
            stride: DIRECTORY_ENTRY_SIZE,
        };
        self.entries(table, DIRECTORY_ENTRY_SIZE, |record_offset, entry| StreamEntry {
            record_offset,
            stream_type: entry.u32(0),
            size: entry.u32(4),
            rva: entry.u32(8),
        })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Length of the file in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // a dump has at least its header
    pub fn len(&self) -> u64 {
        self.source.len()
    }

    /// The directory in the file's order, unused slots (type 0) included.
    #[must_use]
    pub fn directory(&self) -> &[StreamEntry] {
        &self.directory
    }

    /// The first stream of a type.
    #[must_use]
    pub fn stream(&self, stream_type: u32) -> Option<StreamEntry> {
        self.directory
            .iter()
            .copied()
            .find(|entry| entry.stream_type == stream_type && stream_type != 0)
    }

    /// The bytes of the first stream of a type; `None` if the dump has no such stream. This is the way to user
    /// streams and to streams that this reader does not interpret.
    ///
    /// # Errors
    ///
    /// The stream lies outside the file, or the file can't be read.
    pub fn stream_bytes(&self, stream_type: u32) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(entry) = self.stream(stream_type) else {
            return Ok(None);
        };
        let what = entry.name().unwrap_or("a stream");
        self.bytes(what, entry.rva.into(), entry.size.into()).map(Some)
    }

    /// The bytes of the file from `offset` on, as many as `into` takes.
    ///
    /// # Errors
    ///
    /// The piece lies outside the file, or the file can't be read.
    pub fn read_file(&self, offset: u64, into: &mut [u8]) -> Result<(), ReadError> {
        self.fill("a piece of the file", offset, into)
    }

    /// That `length` bytes at `offset` lie inside the file.
    pub(super) fn require(&self, what: &'static str, offset: u64, length: u64) -> Result<(), ReadError> {
        if self.holds(offset, length) {
            return Ok(());
        }
        Err(ReadError::Outside {
            what,
            offset,
            length,
            file_length: self.len(),
        })
    }

    pub(super) fn holds(&self, offset: u64, length: u64) -> bool {
        offset.checked_add(length).is_some_and(|end| end <= self.len())
    }

    pub(super) fn fill(&self, what: &'static str, offset: u64, into: &mut [u8]) -> Result<(), ReadError> {
        let length = into.len() as u64;
        self.require(what, offset, length)?;
        self.source.read_at(offset, into).map_err(|source| ReadError::Io {
            what,
            offset,
            length,
            source,
        })
    }

    pub(super) fn bytes(&self, what: &'static str, offset: u64, length: u64) -> Result<Vec<u8>, ReadError> {
        self.require(what, offset, length)?;
        let length = usize::try_from(length).map_err(|_| ReadError::Malformed {
            what,
            offset,
            reason: format!("{length} bytes do not fit into this machine's memory"),
        })?;
        let mut bytes = vec![0; length];
        self.fill(what, offset, &mut bytes)?;
        Ok(bytes)
    }

    /// The first `N` bytes of a piece, or fewer when the piece is shorter.
    pub(super) fn prefix(
        &self,
        what: &'static str,
        offset: u64,
        size: u64,
        limit: u64,
    ) -> Result<Vec<u8>, ReadError> {
        self.require(what, offset, size)?;
        self.bytes(what, offset, size.min(limit))
    }

    /// Calls `make` with the file offset and the first `take` bytes of every entry of a table, and collects what it
    /// makes. The whole table is known to lie inside the file before the first entry is read.
    pub(super) fn entries<T>(
        &self,
        table: Table,
        take: u64,
        mut make: impl FnMut(u64, Fields) -> T,
    ) -> Result<Vec<T>, ReadError> {
        let Table {
            what,
            start,
            count,
            stride,
        } = table;
        if stride == 0 || stride < take {
            let reason = format!("entries of {stride} bytes, at least {take} are needed");
            return Err(ReadError::Malformed {
                what,
                offset: start,
                reason,
            });
        }
        let total = count.checked_mul(stride).ok_or_else(|| ReadError::Malformed {
            what,
            offset: start,
            reason: format!("{count} entries of {stride} bytes are more than any file holds"),
        })?;
        self.require(what, start, total)?;
        let mut made = Vec::new();
        // Entries that are themselves larger than a chunk come from a stride in a hostile file; only their first
        // bytes are read.
        let at_once = (TABLE_CHUNK / stride).max(1);
        let piece = if at_once == 1 { take } else { stride };
        let mut buffer = vec![0; (at_once.min(count.max(1)) * piece) as usize];
        let mut next = 0;
        while next < count {
            let now = at_once.min(count - next);
            let offset = start + next * stride;
            let chunk = &mut buffer[..(now * piece) as usize];
            self.fill(what, offset, chunk)?;
            for (index, entry) in chunk.chunks_exact(piece as usize).enumerate() {
                made.push(make(
                    offset + index as u64 * stride,
                    Fields(&entry[..take as usize]),
                ));
            }
            next += now;
        }
        Ok(made)
    }

    /// A list that begins with a 32-bit count (threads, modules, memory ranges).
    ///
    /// Some writers of Breakpad's family put four bytes of padding behind the count, to bring the entries to a
    /// multiple of eight; it shows in the size of the stream. Breakpad and rust-minidump accept both, and so do we.
    pub(super) fn counted_list(&self, entry: StreamEntry, stride: u64) -> Result<Table, ReadError> {
        let what = entry.name().unwrap_or("a list");
        let (offset, size) = (u64::from(entry.rva), u64::from(entry.size));
        self.require(what, offset, size)?;
        if size < 4 {
            let reason = format!("{size} bytes can't hold its count");
            return Err(ReadError::Malformed { what, offset, reason });
        }
        let mut bytes = [0; 4];
        self.fill(what, offset, &mut bytes)?;
        let count = u64::from(u32::from_le_bytes(bytes));
        let needed = count * stride;
        let header = if size == 8 + needed { 8 } else { 4 };
        if size < header + needed {
            let reason = format!("{count} entries of {stride} bytes do not fit into its {size} bytes");
            return Err(ReadError::Malformed { what, offset, reason });
        }
        Ok(Table {
            what,
            start: offset + header,
            count,
            stride,
        })
    }

    /// A list whose header states its own size, the size of an entry and the count (the "extended" headers:
    /// memory info, thread info, handles, unloaded modules). Entries are stepped over by the size the file states.
    pub(super) fn sized_list(
        &self,
        entry: StreamEntry,
        wide_count: bool,
        least: u64,
    ) -> Result<Table, ReadError> {
        let what = entry.name().unwrap_or("a list");
        let (offset, size) = (u64::from(entry.rva), u64::from(entry.size));
        self.require(what, offset, size)?;
        let header_needed = if wide_count { 16 } else { 12 };
        let bytes = self.prefix(what, offset, size, header_needed)?;
        let fields = Fields(&bytes);
        let (header, stride) = (u64::from(fields.u32(0)), u64::from(fields.u32(4)));
        let count = if wide_count {
            fields.u64(8)
        } else {
            fields.u32(8).into()
        };
        let malformed = |reason| Err(ReadError::Malformed { what, offset, reason });
        if size < header_needed || header < header_needed {
            return malformed(format!("a header of {header} bytes in a stream of {size}"));
        }
        if stride < least {
            return malformed(format!("entries of {stride} bytes, at least {least} are needed"));
        }
        let fits = count
            .checked_mul(stride)
            .and_then(|all| all.checked_add(header))
            .is_some_and(|all| all <= size);
        if !fits {
            return malformed(format!(
                "{count} entries of {stride} bytes do not fit into its {size} bytes"
            ));
        }
        Ok(Table {
            what,
            start: offset + header,
            count,
            stride,
        })
    }

    /// The index over captured memory, made when it is first needed.
    pub(super) fn memory_map(&self) -> Result<&MemoryMap, ReadError> {
        if let Some(map) = self.memory.get() {
            return Ok(map);
        }
        let map = MemoryMap::new(&self.memory_ranges()?, self.losses()?);
        Ok(self.memory.get_or_init(|| map))
    }
}

impl std::fmt::Debug for Dump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dump")
            .field("len", &self.len())
            .field("header", &self.header)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}
