//! What Breakpad's and Mozilla's writers add: texts of /proc, the dynamic linker's list, soft errors.

use serde::Serialize;

use super::context::Cpu;
use super::dump::{Dump, Table};
use super::error::ReadError;
use super::fields::{Fields, hex};
use super::stream_type;
use super::strings::{TextBudget, utf16};

/// Bytes of `MINIDUMP_BREAKPAD_INFO`.
pub(super) const BREAKPAD_INFO_SIZE: u64 = 12;

/// BreakpadInfo: which threads took part in writing the dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BreakpadInfo {
    /// The thread that wrote the dump.
    pub dump_thread_id: Option<u32>,
    /// The thread that asked for it, or crashed.
    pub requesting_thread_id: Option<u32>,
}

/// LinuxDsoDebug: what the dynamic linker tells debuggers (`struct r_debug`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DsoDebug {
    /// Version of the protocol.
    pub version: u32,
    /// The linker's function where debuggers set a breakpoint.
    #[serde(serialize_with = "hex")]
    pub brk: u64,
    /// Where the linker is loaded.
    #[serde(serialize_with = "hex")]
    pub ldbase: u64,
    /// Address of the program's dynamic section.
    #[serde(serialize_with = "hex")]
    pub dynamic: u64,
    /// The linker's list of objects.
    pub link_map: Vec<LinkMapEntry>,
}

/// One object of the dynamic linker's list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkMapEntry {
    /// Difference between the addresses in the object's file and those in memory.
    #[serde(serialize_with = "hex")]
    pub addr: u64,
    /// File offset of the name.
    pub name_rva: u32,
    /// Its path, empty for the program itself; `None` if it can't be read.
    pub name: Option<String>,
    /// Address of its dynamic section.
    #[serde(serialize_with = "hex")]
    pub ld: u64,
}

/// Sizes of LinuxDsoDebug for one width of pointers.
pub(super) struct DsoLayout {
    /// Bytes of the fixed part.
    pub(super) head: u64,
    /// Bytes of one list entry.
    pub(super) entry: u64,
    word: usize,
}

impl Dump {
    /// A stream that holds text (one of the Linux streams, or a comment), bytes that are not UTF-8 replaced by
    /// U+FFFD. Lists that separate by NUL (command line, environment) keep their NULs.
    ///
    /// # Errors
    ///
    /// The stream lies outside the file.
    pub fn text(&self, stream_type: u32) -> Result<Option<String>, ReadError> {
        let bytes = self.stream_bytes(stream_type)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The comments (streams 10 and 11) without their closing NUL.
    ///
    /// # Errors
    ///
    /// A stream lies outside the file.
    pub fn comments(&self) -> Result<Vec<String>, ReadError> {
        let narrow = self.text(stream_type::COMMENT_A)?;
        let wide = self
            .stream_bytes(stream_type::COMMENT_W)?
            .map(|bytes| utf16(&bytes));
        Ok([narrow, wide]
            .into_iter()
            .flatten()
            .map(|text| text.trim_end_matches('\0').to_owned())
            .collect())
    }

    /// BreakpadInfo; `None` if the dump has none.
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
        let fields = Fields(&bytes);
        let valid = |bit: u32, at: usize| (fields.u32(0) & bit != 0).then(|| fields.u32(at));
        Ok(Some(BreakpadInfo {
            dump_thread_id: valid(1, 4),
            requesting_thread_id: valid(2, 8),
        }))
    }

    /// What the writer itself recorded as going wrong (MozSoftErrors), parsed; `None` if the dump has no such stream.
    ///
    /// # Errors
    ///
    /// The stream is not JSON or lies outside the file.
    pub fn soft_errors(&self) -> Result<Option<serde_json::Value>, ReadError> {
        let Some(entry) = self.stream(stream_type::MOZ_SOFT_ERRORS) else {
            return Ok(None);
        };
        let bytes = self
            .stream_bytes(stream_type::MOZ_SOFT_ERRORS)?
            .unwrap_or_default();
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| ReadError::Malformed {
                what: "MozSoftErrors",
                offset: entry.rva.into(),
                reason: format!("it is not JSON: {error}"),
            })
    }

    /// LinuxDsoDebug; `None` if the dump has none.
    ///
    /// # Errors
    ///
    /// The stream is too short for its fixed part, or it or its list lies outside the file.
    pub fn dso_debug(&self) -> Result<Option<DsoDebug>, ReadError> {
        const WHAT: &str = "LinuxDsoDebug";
        let Some(entry) = self.stream(stream_type::LINUX_DSO_DEBUG) else {
            return Ok(None);
        };
        let layout = self.dso_layout();
        let bytes = self.prefix(WHAT, entry.rva.into(), entry.size.into(), layout.head)?;
        if (bytes.len() as u64) < layout.head {
            let reason = format!("{} bytes instead of at least {}", bytes.len(), layout.head);
            return Err(ReadError::Malformed {
                what: WHAT,
                offset: entry.rva.into(),
                reason,
            });
        }
        let word = |fields: Fields, at: usize| match layout.word {
            8 => fields.u64(at),
            _ => fields.u32(at).into(),
        };
        let head = Fields(&bytes);
        let table = Table {
            what: "the list of LinuxDsoDebug",
            start: head.u32(4).into(),
            count: head.u32(8).into(),
            stride: layout.entry,
        };
        let mut names = TextBudget::new(self);
        // Without objects the list has no place: minidump-writer then writes 0xFFFFFFFF, others 0.
        let link_map = if table.count == 0 {
            Vec::new()
        } else {
            self.entries(table, layout.entry, |_, record| {
                let name_rva = record.u32(layout.word);
                LinkMapEntry {
                    addr: word(record, 0),
                    name_rva,
                    name: self.string_at(name_rva.into(), &mut names).ok(),
                    ld: word(record, layout.word + 4),
                }
            })?
        };
        Ok(Some(DsoDebug {
            version: head.u32(0),
            brk: word(head, 12),
            ldbase: word(head, 12 + layout.word),
            dynamic: word(head, 12 + 2 * layout.word),
            link_map,
        }))
    }

    pub(super) fn dso_layout(&self) -> DsoLayout {
        match self.cpu() {
            Cpu::X86 | Cpu::Arm => DsoLayout {
                head: 24,
                entry: 12,
                word: 4,
            },
            _ => DsoLayout {
                head: 36,
                entry: 20,
                word: 8,
            },
        }
    }
}
