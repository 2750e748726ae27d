//! The file as a whole: the header, the directory, and checked access to the bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use serde::Serialize;

use super::compressed::{decompressed, is_compressed};
use super::compressed_memory::BucketStore;
use super::context::{Cpu, XStateLayout};
use super::error::ReadError;
use super::fields::{FieldReader, hex};
use super::list::{List, reserve};
use super::memory::MemoryMap;
use super::source::{ByteSource, FileSource};
use super::stream_type::{self, stream_name};
use super::system::Platform;

/// The size of `MINIDUMP_HEADER` in bytes.
pub(super) const HEADER_SIZE: u64 = 32;
/// The size of `MINIDUMP_DIRECTORY` in bytes.
pub(super) const DIRECTORY_ENTRY_SIZE: u64 = 12;
/// The maximum number of directory entries that are kept. Breakpad's reader stops at 128 entries,
/// and no writer comes near that number.
pub(super) const DIRECTORY_LIMIT: u64 = 65_536;

/// An open minidump.
pub struct Dump {
    source: Box<dyn ByteSource>,
    header: Header,
    directory: Vec<StreamEntry>,
    /// The first entry of each stream type. Streams are looked up for every thread, and a directory
    /// may have up to 65,536 entries.
    by_type: HashMap<u32, StreamEntry>,
    memory: OnceLock<MemoryMap>,
    buckets: OnceLock<BucketStore>,
    /// What contexts and names depend on. They are looked up for every thread and module.
    processor: OnceLock<Cpu>,
    platform: OnceLock<Platform>,
    extended_state: OnceLock<Option<XStateLayout>>,
}

/// The fields of `MINIDUMP_HEADER`, without the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Header {
    /// The version. The low word is 0xA793 in all minidumps; each writer chooses the high word.
    #[serde(serialize_with = "hex")]
    pub version: u32,
    /// The number of directory entries, including unused ones.
    pub number_of_streams: u32,
    /// The file offset of the directory.
    pub stream_directory_rva: u32,
    /// The checksum. It was 0 in every dump seen, and no reader checks it.
    pub checksum: u32,
    /// The time when the dump was written, in seconds since 1970 (UTC).
    pub time: u32,
    /// The dump type (`MINIDUMP_TYPE`), with the flags that were effective.
    #[serde(serialize_with = "hex")]
    pub flags: u64,
}

/// One entry of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StreamEntry {
    /// The file offset of this entry.
    pub record_offset: u64,
    /// The type of the stream: a number of `MINIDUMP_STREAM_TYPE`, or a number above 0xFFFF that an
    /// application chose.
    #[serde(serialize_with = "hex")]
    pub stream_type: u32,
    /// The size of the stream in bytes.
    pub size: u32,
    /// The file offset of the stream.
    pub rva: u32,
}

impl Header {
    /// Returns the names of the flags that are set, as in `MINIDUMP_TYPE` but without the prefix
    /// `MiniDump`. A bit without a name is listed by its number. Empty for a normal dump.
    #[must_use]
    pub fn flag_names(&self) -> Vec<String> {
        const NAMES: [&str; 27] = [
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
            "WithMemoryCompressed",
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
    /// Returns the name of the stream type, or `None` if it has none (see [`stream_name`]).
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        stream_name(self.stream_type)
    }
}

/// The location of a list of entries in the file.
#[derive(Clone, Copy)]
pub(super) struct Table {
    /// The name of the list, for error texts.
    pub(super) what: &'static str,
    /// The file offset of the first entry.
    pub(super) start: u64,
    /// The number of entries.
    pub(super) count: u64,
    /// The distance between the starts of two entries, in bytes.
    pub(super) stride: u64,
}

impl Dump {
    /// Opens a dump file. Only the header and the directory are read, so this is fast for files of
    /// any size. Of a file that is compressed with zstd, the seek table is read as well.
    ///
    /// # Errors
    ///
    /// The file cannot be opened or read, is not a regular file, does not start with a minidump
    /// header, or is compressed and cannot be read at any offset
    /// ([`Compressed`](ReadError::Compressed)). Damage to other parts is reported when they are
    /// read; [`check`](super::check()) lists all of it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        let path = path.as_ref();
        let open = |source| ReadError::Open {
            path: path.to_owned(),
            source,
        };
        // Opening a named pipe would wait for another program.
        let kind = std::fs::metadata(path).map_err(open)?;
        if !kind.is_file() {
            let reason = "it is not a regular file";
            return Err(open(io::Error::new(io::ErrorKind::InvalidInput, reason)));
        }
        let file = File::open(path).map_err(open)?;
        Self::from_source(FileSource::new(file).map_err(open)?)
    }

    /// Reads a dump from an open file. The file must not be changed while the dump is in use.
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

    /// Reads a dump from memory.
    ///
    /// # Errors
    ///
    /// The bytes do not start with a minidump header.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, ReadError> {
        Self::from_source(bytes.into())
    }

    /// Reads a dump from any source that can be read at an offset.
    ///
    /// # Errors
    ///
    /// As for [`Dump::open`].
    pub fn from_source(source: impl ByteSource + 'static) -> Result<Self, ReadError> {
        let mut source: Box<dyn ByteSource> = Box::new(source);
        let mut bytes = read_header(&*source)?;
        if is_compressed(&bytes) {
            source = decompressed(source)?;
            bytes = read_header(&*source)?;
        }
        if !bytes.starts_with(b"MDMP") {
            let reason = format!(
                "it starts with {:?} instead of \"MDMP\"",
                bytes[..4].escape_ascii().to_string()
            );
            return Err(ReadError::NotAMinidump { reason });
        }
        let fields = FieldReader(&bytes);
        let header = Header {
            version: fields.u32(4),
            number_of_streams: fields.u32(8),
            stream_directory_rva: fields.u32(12),
            checksum: fields.u32(16),
            time: fields.u32(20),
            flags: fields.u64(24),
        };
        let mut dump = Self {
            source,
            header,
            directory: Vec::new(),
            by_type: HashMap::new(),
            memory: OnceLock::new(),
            buckets: OnceLock::new(),
            processor: OnceLock::new(),
            platform: OnceLock::new(),
            extended_state: OnceLock::new(),
        };
        dump.directory = dump.read_directory()?;
        for entry in &dump.directory {
            dump.by_type.entry(entry.stream_type).or_insert(*entry);
        }
        Ok(dump)
    }

    /// Reads the directory entries that lie inside the file. The streams of a truncated file remain
    /// accessible if their entries are in the file.
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
        List::new(self, table, DIRECTORY_ENTRY_SIZE, |record_offset, entry| {
            StreamEntry {
                record_offset,
                stream_type: entry.u32(0),
                size: entry.u32(4),
                rva: entry.u32(8),
            }
        })?
        .into_vec()
    }

    /// Returns the header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the length of the dump in bytes: that of the file, or if it is compressed, that of
    /// its decompressed bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // a dump has at least its header
    pub fn len(&self) -> u64 {
        self.source.len()
    }

    /// Returns the directory entries in the order of the file, including unused ones (type 0).
    #[must_use]
    pub fn directory(&self) -> &[StreamEntry] {
        &self.directory
    }

    /// Returns the directory entry of the first stream of a type, or `None` if the dump has no such
    /// stream.
    #[must_use]
    pub fn stream(&self, stream_type: u32) -> Option<StreamEntry> {
        let entry = self.by_type.get(&stream_type).copied();
        entry.filter(|_| stream_type != stream_type::UNUSED)
    }

    /// Returns the bytes of the first stream of a type, or `None` if the dump has no such stream.
    /// Use this method for user streams and for other streams that this reader does not parse.
    ///
    /// # Errors
    ///
    /// The stream lies outside the file, or the file cannot be read.
    pub fn stream_bytes(&self, stream_type: u32) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(entry) = self.stream(stream_type) else {
            return Ok(None);
        };
        let what = entry.name().unwrap_or("a stream");
        self.bytes(what, entry.rva.into(), entry.size.into()).map(Some)
    }

    /// Fills `into` with the bytes of the file that start at `offset`.
    ///
    /// # Errors
    ///
    /// The bytes lie outside the file, or the file cannot be read.
    pub fn read_file(&self, offset: u64, into: &mut [u8]) -> Result<(), ReadError> {
        self.fill("a piece of the file", offset, into)
    }

    /// Returns an error unless `length` bytes at `offset` lie inside the file. `what` names them in
    /// the error.
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

    /// Returns whether `length` bytes at `offset` lie inside the file.
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
        let mut bytes = Vec::new();
        reserve(&mut bytes, what, offset, length)?;
        bytes.resize(length as usize, 0);
        self.fill(what, offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Returns all bytes of a stream that must be read at once. A stream of more than `limit` bytes
    /// is an error.
    pub(super) fn whole(
        &self,
        what: &'static str,
        entry: StreamEntry,
        limit: u64,
    ) -> Result<Vec<u8>, ReadError> {
        let (offset, length) = (u64::from(entry.rva), u64::from(entry.size));
        self.require(what, offset, length)?;
        if length > limit {
            return Err(ReadError::TooLong {
                what,
                offset,
                length,
                limit,
                unit: "bytes",
            });
        }
        self.bytes(what, offset, length)
    }

    /// Returns the first `limit` bytes of `size` bytes at `offset`, or all of them if there are
    /// fewer. All `size` bytes must lie inside the file.
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

    /// Locates a list that starts with a 32-bit count (threads, modules, memory ranges).
    ///
    /// Some writers of Breakpad's family put four bytes of padding after the count, so that the
    /// entries are aligned to 8 bytes. The size of the stream shows whether there is padding. This
    /// reader accepts both forms, as Breakpad and rust-minidump do.
    pub(super) fn counted_list(&self, entry: StreamEntry, stride: u64) -> Result<Table, ReadError> {
        let what = entry.name().unwrap_or("a list");
        let (offset, size) = (u64::from(entry.rva), u64::from(entry.size));
        self.require(what, offset, size)?;
        if size < 4 {
            let reason = format!("{size} bytes are too few for its count");
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

    /// Locates a list whose header contains the size of the header, the size of an entry and the
    /// count (memory info, thread info, handles, unloaded modules). The distance between entries is
    /// the size in the header, which must be at least `least`. `wide_count` is true if the count
    /// has 64 bits.
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
        let fields = FieldReader(&bytes);
        let (header, stride) = (u64::from(fields.u32(0)), u64::from(fields.u32(4)));
        let count = if wide_count {
            fields.u64(8)
        } else {
            fields.u32(8).into()
        };
        let malformed = |reason| Err(ReadError::Malformed { what, offset, reason });
        if size < header_needed || header < header_needed {
            return malformed(format!(
                "its header has {header} bytes in a stream of {size} bytes; \
                 at least {header_needed} are needed"
            ));
        }
        if stride < least {
            return malformed(format!(
                "its entries have {stride} bytes instead of at least {least}"
            ));
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

    /// Returns the processor architecture, or `Other(0xFFFF)`, the format's value for an unknown
    /// processor, if the dump has no readable system info.
    pub(super) fn cpu(&self) -> Cpu {
        *self.processor.get_or_init(|| {
            let system = self.system_info().ok().flatten();
            system.map_or(Cpu::Other(0xFFFF), |system| system.cpu)
        })
    }

    /// Returns the operating system, or `Other(0)` if the dump has no readable system info.
    pub(super) fn platform(&self) -> Platform {
        *self.platform.get_or_init(|| {
            let system = self.system_info().ok().flatten();
            system.map_or(Platform::Other(0), |system| system.platform)
        })
    }

    /// Returns the layout of extended contexts, or `None` if MiscInfo does not contain it.
    pub(super) fn extended_state(&self) -> Option<&XStateLayout> {
        let layout = self.extended_state.get_or_init(|| {
            let misc = self.misc_info().ok().flatten();
            misc.and_then(|misc| misc.extended_state)
        });
        layout.as_ref()
    }

    /// Returns the index of the captured memory. It is created by the first call.
    pub(super) fn memory_map(&self) -> Result<&MemoryMap, ReadError> {
        if let Some(map) = self.memory.get() {
            return Ok(map);
        }
        let regions = self.iter_compressed_regions()?.into_vec()?;
        let buckets = self.bucket_store()?.buckets();
        for region in &regions {
            if let Some(reason) = region.contradiction(buckets) {
                return Err(ReadError::Malformed {
                    what: "the table of compressed regions",
                    offset: region.record_offset,
                    reason,
                });
            }
        }
        let map = MemoryMap::new(&self.memory_ranges()?, &regions, self.losses()?);
        Ok(self.memory.get_or_init(|| map))
    }

    /// Returns the buckets of compressed memory. They are read by the first call.
    pub(super) fn bucket_store(&self) -> Result<&BucketStore, ReadError> {
        if let Some(store) = self.buckets.get() {
            return Ok(store);
        }
        let store = BucketStore::new(self)?;
        Ok(self.buckets.get_or_init(|| store))
    }
}

/// Returns the bytes of the header. Its signature is not checked.
fn read_header(source: &dyn ByteSource) -> Result<[u8; HEADER_SIZE as usize], ReadError> {
    let length = source.len();
    if length < HEADER_SIZE {
        let reason = format!("the file has {length} bytes, but a header has {HEADER_SIZE}");
        return Err(ReadError::NotAMinidump { reason });
    }
    let mut bytes = [0; HEADER_SIZE as usize];
    source.read_at(0, &mut bytes).map_err(|source| ReadError::Io {
        what: "the header",
        offset: 0,
        length: HEADER_SIZE,
        source,
    })?;
    Ok(bytes)
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
