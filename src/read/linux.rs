//! The streams of Breakpad's and Mozilla's writers: text files from /proc, the dynamic linker's
//! list of objects, and soft errors. Also the comment streams, which are text too.

use serde::Serialize;

use super::context::Cpu;
use super::dump::{Dump, StreamEntry, Table};
use super::error::ReadError;
use super::fields::{FieldReader, hex};
use super::list::List;
use super::stream_type;
use super::strings::{TextBudget, utf16};

/// The size of `MINIDUMP_BREAKPAD_INFO` in bytes.
pub(super) const BREAKPAD_INFO_SIZE: u64 = 12;

/// The size of the longest comment that is read, in bytes.
const LONGEST_COMMENT: u64 = 16 << 20;

/// The maximum number of objects in LinuxDsoDebug. No process has more objects loaded.
const MOST_LINKS: u64 = 1 << 16;

/// The threads that took part in writing the dump, from BreakpadInfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BreakpadInfo {
    /// The id of the thread that wrote the dump, if the stream marks it as valid.
    pub dump_thread_id: Option<u32>,
    /// The id of the thread that requested the dump or crashed, if the stream marks it as valid.
    pub requesting_thread_id: Option<u32>,
}

/// The data that the dynamic linker provides for debuggers (`struct r_debug`), from LinuxDsoDebug.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DsoDebug {
    /// The version of the protocol between the dynamic linker and debuggers.
    pub version: u32,
    /// The address of the linker's function where debuggers set a breakpoint.
    #[serde(serialize_with = "hex")]
    pub brk: u64,
    /// The address at which the linker is loaded.
    #[serde(serialize_with = "hex")]
    pub ldbase: u64,
    /// The address of the program's dynamic section.
    #[serde(serialize_with = "hex")]
    pub dynamic: u64,
    /// The linker's list of loaded objects.
    pub link_map: Vec<LinkMapEntry>,
}

/// A loaded object in the list of the dynamic linker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkMapEntry {
    /// The difference between the object's addresses in memory and those in its file.
    #[serde(serialize_with = "hex")]
    pub addr: u64,
    /// The file offset of the name.
    pub name_rva: u32,
    /// The path of the object, empty for the program itself. `None` if it cannot be read.
    pub name: Option<String>,
    /// The address of the object's dynamic section.
    #[serde(serialize_with = "hex")]
    pub ld: u64,
}

/// The layout of LinuxDsoDebug.
struct DsoLayout {
    /// The size of the fixed part in bytes.
    head: u64,
    /// The offset of the first of its addresses.
    brk: usize,
    /// The size of a list entry in bytes.
    entry: u64,
    /// The offset of the second address in an entry.
    ld: usize,
    /// The size of a pointer in bytes.
    word: usize,
}

impl Dump {
    /// Returns the contents of a stream that contains text: one of the Linux streams or a comment.
    /// `None` if the dump has no such stream. Bytes that are not UTF-8 become U+FFFD. Text with
    /// NULs as separators (command line, environment) keeps them.
    ///
    /// # Errors
    ///
    /// The stream lies outside the file.
    pub fn text(&self, stream_type: u32) -> Result<Option<String>, ReadError> {
        let bytes = self.stream_bytes(stream_type)?;
        Ok(bytes.map(lossy))
    }

    /// Returns the first `limit` bytes of a stream that contains text, like [`Dump::text`], and the
    /// number of bytes of the stream.
    ///
    /// # Errors
    ///
    /// The stream lies outside the file.
    pub fn text_start(&self, stream_type: u32, limit: u64) -> Result<Option<(String, u64)>, ReadError> {
        let Some(entry) = self.stream(stream_type) else {
            return Ok(None);
        };
        let (what, size) = (entry.name().unwrap_or("a stream"), u64::from(entry.size));
        let bytes = self.prefix(what, entry.rva.into(), size, limit)?;
        Ok(Some((lossy(bytes), size)))
    }

    /// Returns the comments (streams 10 and 11) without the NULs at their ends.
    ///
    /// # Errors
    ///
    /// A stream lies outside the file or has more than 16 MiB.
    pub fn comments(&self) -> Result<Vec<String>, ReadError> {
        let comment = |stream_type| {
            let entry = self.stream(stream_type);
            let bytes =
                entry.map(|entry| self.whole(entry.name().unwrap_or("a comment"), entry, LONGEST_COMMENT));
            bytes.transpose()
        };
        let narrow = comment(stream_type::COMMENT_A)?.map(lossy);
        let wide = comment(stream_type::COMMENT_W)?.map(|bytes| utf16(&bytes));
        Ok([narrow, wide]
            .into_iter()
            .flatten()
            .map(|text| text.trim_end_matches('\0').to_owned())
            .collect())
    }

    /// Returns the contents of BreakpadInfo, or `None` if the dump has no such stream.
    ///
    /// # Errors
    ///
    /// The stream is shorter than 12 bytes or lies outside the file.
    pub fn breakpad_info(&self) -> Result<Option<BreakpadInfo>, ReadError> {
        const WHAT: &str = "BreakpadInfo";
        let Some(entry) = self.stream(stream_type::BREAKPAD_INFO) else {
            return Ok(None);
        };
        let bytes = self.prefix(WHAT, entry.rva.into(), entry.size.into(), BREAKPAD_INFO_SIZE)?;
        if (bytes.len() as u64) < BREAKPAD_INFO_SIZE {
            let reason = format!("{} bytes instead of {BREAKPAD_INFO_SIZE}", bytes.len());
            return Err(ReadError::Malformed {
                what: WHAT,
                offset: entry.rva.into(),
                reason,
            });
        }
        let fields = FieldReader(&bytes);
        let valid = |bit: u32, at: usize| (fields.u32(0) & bit != 0).then(|| fields.u32(at));
        Ok(Some(BreakpadInfo {
            dump_thread_id: valid(1, 4),
            requesting_thread_id: valid(2, 8),
        }))
    }

    /// Returns the errors that the writer recorded in MozSoftErrors, or `None` if the dump has no
    /// such stream.
    ///
    /// # Errors
    ///
    /// The stream is not JSON, lies outside the file, has more than 16 MiB, or contains more than
    /// 200,000 lists, objects and commas: parsed, a list of empty objects takes 200 times as much
    /// memory as in the file.
    pub fn soft_errors(&self) -> Result<Option<serde_json::Value>, ReadError> {
        const WHAT: &str = "MozSoftErrors";
        const MOST_BYTES: u64 = 16 << 20;
        const MOST_VALUES: u64 = 200_000;
        let Some(entry) = self.stream(stream_type::MOZ_SOFT_ERRORS) else {
            return Ok(None);
        };
        let bytes = self.whole(WHAT, entry, MOST_BYTES)?;
        let values = bytes.iter().filter(|byte| matches!(byte, b'[' | b'{' | b','));
        let length = values.count() as u64;
        if length > MOST_VALUES {
            return Err(ReadError::TooLong {
                what: WHAT,
                offset: entry.rva.into(),
                length,
                limit: MOST_VALUES,
                unit: "lists, objects and commas",
            });
        }
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| ReadError::Malformed {
                what: WHAT,
                offset: entry.rva.into(),
                reason: format!("it is not JSON: {error}"),
            })
    }

    /// Returns the contents of LinuxDsoDebug, or `None` if the dump has no such stream.
    ///
    /// # Errors
    ///
    /// The stream is too short for its fixed part, the stream or its list of objects lies outside
    /// the file, or the list has more than 65,536 objects.
    pub fn dso_debug(&self) -> Result<Option<DsoDebug>, ReadError> {
        const WHAT: &str = "LinuxDsoDebug";
        let Some(entry) = self.stream(stream_type::LINUX_DSO_DEBUG) else {
            return Ok(None);
        };
        let layout = self.dso_layout(entry);
        let bytes = self.prefix(WHAT, entry.rva.into(), entry.size.into(), layout.head)?;
        if (bytes.len() as u64) < layout.head {
            let reason = format!("{} bytes instead of at least {}", bytes.len(), layout.head);
            return Err(ReadError::Malformed {
                what: WHAT,
                offset: entry.rva.into(),
                reason,
            });
        }
        let word = |fields: FieldReader, at: usize| match layout.word {
            8 => fields.u64(at),
            _ => fields.u32(at).into(),
        };
        let head = FieldReader(&bytes);
        let table = Table {
            what: "the list of LinuxDsoDebug",
            start: head.u32(4).into(),
            count: head.u32(8).into(),
            stride: layout.entry,
        };
        let mut names = TextBudget::new(self);
        // The offset of an empty list has no meaning: minidump-writer writes 0xFFFFFFFF, other
        // writers write 0.
        let link_map = if table.count == 0 {
            Vec::new()
        } else {
            let list = List::new(self, table, layout.entry, move |_, record| {
                let name_rva = record.u32(layout.word);
                LinkMapEntry {
                    addr: word(record, 0),
                    name_rva,
                    name: self.string_at(name_rva.into(), &mut names).ok(),
                    ld: word(record, layout.ld),
                }
            })?;
            list.bounded(MOST_LINKS)?.into_vec()?
        };
        Ok(Some(DsoDebug {
            version: head.u32(0),
            brk: word(head, layout.brk),
            ldbase: word(head, layout.brk + layout.word),
            dynamic: word(head, layout.brk + 2 * layout.word),
            link_map,
        }))
    }

    /// Returns the size of an entry in the list of LinuxDsoDebug, and the place of the name's
    /// offset in it.
    pub(super) fn dso_entry(&self, entry: StreamEntry) -> (u64, u64) {
        let layout = self.dso_layout(entry);
        (layout.entry, layout.word as u64)
    }

    /// Returns the layout of LinuxDsoDebug in this dump.
    ///
    /// For 64-bit processes there are two. minidump-writer and dumpwright write the structures
    /// without padding. Breakpad on x86-64 aligns 64-bit fields to 8 bytes (`crash_linux.dmp` in
    /// the test data of symbolic, for example). Both write the program's dynamic section after the
    /// fixed part, and its entries have 16 bytes; so the size of the stream shows the layout.
    fn dso_layout(&self, entry: StreamEntry) -> DsoLayout {
        const DYNAMIC_ENTRY: u32 = 16;
        match self.cpu() {
            Cpu::X86 | Cpu::Arm => DsoLayout {
                head: 24,
                brk: 12,
                entry: 12,
                ld: 8,
                word: 4,
            },
            _ if entry.size >= 40 && (entry.size - 40).is_multiple_of(DYNAMIC_ENTRY) => DsoLayout {
                head: 40,
                brk: 16,
                entry: 24,
                ld: 16,
                word: 8,
            },
            _ => DsoLayout {
                head: 36,
                brk: 12,
                entry: 20,
                ld: 12,
                word: 8,
            },
        }
    }
}

/// Decodes UTF-8. Other bytes become U+FFFD.
fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
