//! Functions made at run time: FunctionTableStream.

use serde::Serialize;

use super::dump::Dump;
use super::error::ReadError;
use super::fields::{Fields, hex};
use super::stream_type;

/// Bytes of `MINIDUMP_FUNCTION_TABLE_STREAM`.
pub(super) const HEADER_SIZE: usize = 24;
/// Bytes of `MINIDUMP_FUNCTION_TABLE_DESCRIPTOR`.
const DESCRIPTOR_SIZE: usize = 32;

/// A table of functions that the program made at run time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FunctionTable {
    /// File offset of the descriptor.
    pub record_offset: u64,
    /// The lowest address of its functions.
    #[serde(serialize_with = "hex")]
    pub minimum_address: u64,
    /// The address behind them.
    #[serde(serialize_with = "hex")]
    pub maximum_address: u64,
    /// What the entries count from.
    #[serde(serialize_with = "hex")]
    pub base_address: u64,
    /// The functions of x86-64, whose entries have 12 bytes; empty for others.
    pub entries: Vec<FunctionEntry>,
}

/// `RUNTIME_FUNCTION` of x86-64; offsets from the table's base.
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
    /// The tables of functions that the program made at run time.
    ///
    /// # Errors
    ///
    /// The stream makes no sense or lies outside the file.
    pub fn function_tables(&self) -> Result<Vec<FunctionTable>, ReadError> {
        const WHAT: &str = "FunctionTableStream";
        /// Bytes of an entry on x86-64.
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
        let bytes = self.bytes(WHAT, offset, entry.size.into())?;
        if bytes.len() < HEADER_SIZE {
            return malformed(0, format!("{} bytes can't hold its header", bytes.len()));
        }
        let head = Fields(&bytes);
        let size = |at: usize| head.u32(at) as usize;
        let [header, descriptor, native, function] = [size(0), size(4), size(8), size(12)];
        if header < HEADER_SIZE || descriptor < DESCRIPTOR_SIZE || function == 0 {
            return malformed(
                0,
                format!("records of {header}, {descriptor} and {function} bytes"),
            );
        }
        let mut tables = Vec::new();
        let mut at = header.saturating_add(size(20));
        for _ in 0..size(16) {
            let Some(record) = bytes.get(at..at.saturating_add(descriptor)) else {
                return malformed(at, "a table does not fit".to_owned());
            };
            let record = Fields(record);
            let first = at.saturating_add(descriptor).saturating_add(native);
            let length = (record.u32(24) as usize).saturating_mul(function);
            let Some(entries) = bytes.get(first..first.saturating_add(length)) else {
                return malformed(at, format!("{} functions do not fit", record.u32(24)));
            };
            let entries = entries.chunks_exact(function).map(Fields);
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
