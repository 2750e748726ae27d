//! The fields of a dump that contain file offsets.

use super::dump::{Dump, StreamEntry, Table};
use super::error::ReadError;
use super::fields::FieldReader;
use super::list::LIST_LIMIT;
use super::stream_type;

/// A field that contains a file offset. 0 means that what it refers to is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RvaField {
    /// The file offset of the field itself.
    pub at: u64,
    /// Whether it has 64 bits instead of 32.
    pub is_wide: bool,
}

/// The place of a thread's stack descriptor in its entry of either list of threads.
pub(crate) const STACK_IN_THREAD: u64 = 24;

impl Dump {
    /// Returns all fields with file offsets: those of the directory, and those of all streams that
    /// this reader knows. User streams and other streams have none that are known.
    pub(crate) fn rva_fields(&self) -> Result<Vec<RvaField>, ReadError> {
        let mut fields = Vec::new();
        for entry in self.directory() {
            if entry.stream_type != stream_type::UNUSED {
                fields.push(narrow(entry.record_offset + 8));
                self.rva_fields_of(*entry, &mut fields)?;
            }
        }
        Ok(fields)
    }

    /// Returns the file offsets of the stack descriptors of all threads.
    pub(crate) fn stack_descriptors(&self) -> Result<Vec<u64>, ReadError> {
        let mut places = Vec::new();
        for (stream, stride) in [(stream_type::THREAD_LIST, 48), (stream_type::THREAD_EX_LIST, 64)] {
            if let Some(entry) = self.stream(stream) {
                let table = self.counted_list(entry, stride)?;
                places.extend(rows(table)?.map(|row| row + STACK_IN_THREAD));
            }
        }
        Ok(places)
    }

    fn rva_fields_of(&self, entry: StreamEntry, fields: &mut Vec<RvaField>) -> Result<(), ReadError> {
        let start = u64::from(entry.rva);
        // The offsets of narrow fields in each entry of a list with a count.
        let counted: Option<(u64, &[u64])> = match entry.stream_type {
            stream_type::THREAD_LIST => Some((48, &[36, 44])),
            stream_type::THREAD_EX_LIST => Some((64, &[36, 44, 60])),
            stream_type::MODULE_LIST => Some((108, &[20, 80, 88])),
            stream_type::MEMORY_LIST => Some((16, &[12])),
            _ => None,
        };
        if let Some((stride, places)) = counted {
            for row in rows(self.counted_list(entry, stride)?)? {
                fields.extend(places.iter().map(|place| narrow(row + place)));
            }
            return Ok(());
        }
        match entry.stream_type {
            stream_type::SYSTEM_INFO => fields.push(narrow(start + 24)),
            stream_type::EXCEPTION => fields.push(narrow(start + 164)),
            stream_type::MEMORY64_LIST => fields.push(wide(start + 8)),
            stream_type::THREAD_NAMES => {
                let table = self.counted_list(entry, 12)?;
                fields.extend(rows(table)?.map(|row| wide(row + 4)));
            }
            stream_type::UNLOADED_MODULE_LIST => {
                let table = self.sized_list(entry, false, 24)?;
                fields.extend(rows(table)?.map(|row| narrow(row + 20)));
            }
            stream_type::HANDLE_DATA => self.rva_fields_of_handles(entry, fields)?,
            stream_type::LINUX_DSO_DEBUG => self.rva_fields_of_objects(entry, fields)?,
            _ => {}
        }
        Ok(())
    }

    fn rva_fields_of_handles(&self, entry: StreamEntry, fields: &mut Vec<RvaField>) -> Result<(), ReadError> {
        /// The reader supports chains of this length.
        const MOST_BLOCKS: usize = 32;
        let table = self.sized_list(entry, false, 32)?;
        let has_information = table.stride >= 40;
        for row in rows(table)? {
            fields.extend([narrow(row + 8), narrow(row + 12)]);
            if !has_information {
                continue;
            }
            // A chain of blocks. Several handles may have the same.
            let mut field = row + 32;
            for _ in 0..MOST_BLOCKS {
                fields.push(narrow(field));
                let mut bytes = [0; 4];
                self.fill("information about a handle", field, &mut bytes)?;
                field = u32::from_le_bytes(bytes).into();
                if field == 0 {
                    break;
                }
            }
        }
        fields.sort_unstable_by_key(|field| field.at);
        fields.dedup();
        Ok(())
    }

    fn rva_fields_of_objects(&self, entry: StreamEntry, fields: &mut Vec<RvaField>) -> Result<(), ReadError> {
        let start = u64::from(entry.rva);
        let head = self.prefix("LinuxDsoDebug", start, entry.size.into(), 12)?;
        let head = FieldReader(&head);
        let (stride, name) = self.dso_entry(entry);
        let table = Table {
            what: "the list of LinuxDsoDebug",
            start: head.u32(4).into(),
            count: head.u32(8).into(),
            stride,
        };
        if table.count > 0 {
            self.require(table.what, table.start, table.count * stride)?;
            fields.push(narrow(start + 4));
            fields.extend(rows(table)?.map(|row| narrow(row + name)));
        }
        Ok(())
    }
}

fn narrow(at: u64) -> RvaField {
    RvaField { at, is_wide: false }
}

fn wide(at: u64) -> RvaField {
    RvaField { at, is_wide: true }
}

/// Returns the file offsets of the entries of a table.
fn rows(table: Table) -> Result<impl Iterator<Item = u64>, ReadError> {
    let Table {
        what,
        start,
        count,
        stride,
    } = table;
    if count > LIST_LIMIT {
        return Err(ReadError::TooLong {
            what,
            offset: start,
            length: count,
            limit: LIST_LIMIT,
            unit: "entries",
        });
    }
    Ok((0..count).map(move |index| start + index * stride))
}
