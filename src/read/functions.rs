//! FunctionTableStream: unwind information for code that was generated at run time.

use serde::Serialize;

use super::dump::Dump;
use super::error::ReadError;
use super::fields::{FieldReader, hex};
use super::stream_type;

/// The size of `MINIDUMP_FUNCTION_TABLE_STREAM` in bytes.
pub(super) const HEADER_SIZE: usize = 24;
/// The size of `MINIDUMP_FUNCTION_TABLE_DESCRIPTOR` in bytes.
const DESCRIPTOR_SIZE: usize = 32;
/// The size of the longest stream that is read, in bytes. It has a million functions.
const LONGEST: u64 = 16 << 20;

/// A table of functions that the program generated at run time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FunctionTable {
    /// The file offset of the descriptor.
    pub record_offset: u64,
    /// The lowest address of the functions.
    #[serde(serialize_with = "hex")]
    pub minimum_address: u64,
    /// The end address of the functions (exclusive).
    #[serde(serialize_with = "hex")]
    pub maximum_address: u64,
    /// The address to which the offsets in the entries are relative.
    #[serde(serialize_with = "hex")]
    pub base_address: u64,
    /// The functions, if the entries have 12 bytes as on x86-64; empty for other processors.
    pub entries: Vec<FunctionEntry>,
}

/// `RUNTIME_FUNCTION` of x86-64. Its fields are offsets from the base address of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // the names are Microsoft's
pub struct FunctionEntry {
    #[serde(serialize_with = "hex")]
    pub begin_address: u32,
    #[serde(serialize_with = "hex")]
    pub end_address: u32,
    #[serde(serialize_with = "hex")]
    pub unwind_info_address: u32,
}

impl Dump {
    /// Returns the tables of FunctionTableStream in the order of the file. Empty if the dump has no
    /// such stream.
    ///
    /// # Errors
    ///
    /// The stream is malformed, lies outside the file, or has more than 16 MiB.
    pub fn function_tables(&self) -> Result<Vec<FunctionTable>, ReadError> {
        const WHAT: &str = "FunctionTableStream";
        /// The size of an entry on x86-64 in bytes.
        const AMD64_ENTRY: usize = 12;
        let Some(entry) = self.stream(stream_type::FUNCTION_TABLE) else {
            return Ok(Vec::new());
        };
        let offset = u64::from(entry.rva);
        let malformed = |at: usize, reason| {
            Err(ReadError::Malformed {
                what: WHAT,
                offset: offset + at as u64,
                reason,
            })
        };
        let bytes = self.whole(WHAT, entry, LONGEST)?;
        if bytes.len() < HEADER_SIZE {
            return malformed(0, format!("{} bytes are too few for its header", bytes.len()));
        }
        let head = FieldReader(&bytes);
        let size = |at: usize| head.u32(at) as usize;
        let [header, descriptor, native, function] = [size(0), size(4), size(8), size(12)];
        if header < HEADER_SIZE || descriptor < DESCRIPTOR_SIZE || function == 0 {
            return malformed(
                0,
                format!(
                    "its header has invalid sizes: {header} bytes for the header, \
                     {descriptor} for a descriptor, {function} for a function"
                ),
            );
        }
        let mut tables = Vec::new();
        let mut at = header.saturating_add(size(20));
        for _ in 0..size(16) {
            let Some(record) = bytes.get(at..at.saturating_add(descriptor)) else {
                return malformed(at, "a table extends past the end of the stream".to_owned());
            };
            let record = FieldReader(record);
            let first = at.saturating_add(descriptor).saturating_add(native);
            let length = (record.u32(24) as usize).saturating_mul(function);
            let Some(entries) = bytes.get(first..first.saturating_add(length)) else {
                let count = record.u32(24);
                return malformed(
                    at,
                    format!("a table with {count} functions extends past the end of the stream"),
                );
            };
            let entries = entries.chunks_exact(function).map(FieldReader);
            tables.push(FunctionTable {
                record_offset: offset + at as u64,
                minimum_address: record.u64(0),
                maximum_address: record.u64(8),
                base_address: record.u64(16),
                entries: entries
                    .filter(|_| function == AMD64_ENTRY)
                    .map(|entry| FunctionEntry {
                        begin_address: entry.u32(0),
                        end_address: entry.u32(4),
                        unwind_info_address: entry.u32(8),
                    })
                    .collect(),
            });
            at = first
                .saturating_add(length)
                .saturating_add(record.u32(28) as usize);
        }
        Ok(tables)
    }
}
