//! Modules, loaded and unloaded, and the ids by which their symbols are found.

use std::fmt::Write;

use serde::Serialize;

use super::dump::Dump;
use super::error::ReadError;
use super::fields::{Fields, Location, hex};
use super::stream_type;
use super::strings::TextBudget;
use super::system::Platform;

/// Bytes of `MINIDUMP_MODULE`.
pub(super) const MODULE_SIZE: u64 = 108;
/// Bytes of `MINIDUMP_UNLOADED_MODULE`.
pub(super) const UNLOADED_MODULE_SIZE: u64 = 24;
/// Longest CodeView record that is kept. The longest holds a path.
const LONGEST_CODE_VIEW: u64 = 64 * 1024;

/// `RSDS`: the id of a PDB file.
pub(super) const CV_PDB70: u32 = 0x5344_5352;
/// `NB10`: the id of an old PDB file.
pub(super) const CV_PDB20: u32 = 0x3031_424E;
/// Breakpad's `BpEL`, in the file the bytes `LEpB`: an ELF build id.
pub(super) const CV_ELF: u32 = 0x4270_454C;

/// One module.
#[derive(Debug, Clone, Serialize)]
pub struct Module {
    /// File offset of the module's record.
    pub record_offset: u64,
    /// First address.
    #[serde(serialize_with = "hex")]
    pub base: u64,
    /// Bytes of the image in memory.
    pub size: u32,
    /// The PE header's checksum, 0 for ELF.
    #[serde(serialize_with = "hex")]
    pub checksum: u32,
    /// The PE header's time, 0 for ELF.
    #[serde(serialize_with = "hex")]
    pub timestamp: u32,
    /// File offset of the name.
    pub name_rva: u32,
    /// Full path as a rule; `None` if it can't be read.
    pub name: Option<String>,
    /// File version, if the record has one: four numbers.
    pub version: Option<String>,
    /// Where the file holds the CodeView record.
    pub cv_location: Location,
    /// The CodeView record; `None` if absent or unreadable.
    pub code_view: Option<CodeView>,
    /// The id by which Breakpad-style symbol files are found: 32 hex digits of the GUID and the age. Formed as
    /// rust-minidump and Breakpad do.
    pub debug_id: Option<String>,
    /// The id of the image itself: the whole build id in hex, or time and size of a PE image.
    pub code_id: Option<String>,
}

impl Module {
    /// The address behind the image, saturating.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.base.saturating_add(self.size.into())
    }

    /// The last part of the name.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        self.name.as_deref()?.rsplit(['/', '\\']).next()
    }
}

/// A CodeView record: what connects an image with its symbols.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum CodeView {
    /// `RSDS`.
    Pdb70 {
        /// As 16 bytes of the file (Data1 to Data3 little-endian).
        guid: [u8; 16],
        /// Increases with every rebuild of the same PDB.
        age: u32,
        /// Name or path of the PDB.
        path: String,
    },
    /// `NB10`.
    Pdb20 {
        /// Time of the PDB.
        signature: u32,
        /// Increases with every rebuild of the same PDB.
        age: u32,
        /// Name or path of the PDB.
        path: String,
    },
    /// `BpEL`.
    Elf {
        /// The GNU build id, usually 20 bytes.
        build_id: Vec<u8>,
    },
    /// Anything else, as it lies in the file.
    Raw {
        /// The record.
        bytes: Vec<u8>,
    },
}

impl CodeView {
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let fields = Fields(bytes);
        let path = |at: usize| {
            let text = bytes.get(at..).unwrap_or_default();
            let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
            String::from_utf8_lossy(&text[..end]).into_owned()
        };
        match fields.u32(0) {
            CV_PDB70 if bytes.len() >= 24 => {
                let mut guid = [0; 16];
                guid.copy_from_slice(&bytes[4..20]);
                Self::Pdb70 {
                    guid,
                    age: fields.u32(20),
                    path: path(24),
                }
            }
            CV_PDB20 if bytes.len() >= 16 => Self::Pdb20 {
                signature: fields.u32(8),
                age: fields.u32(12),
                path: path(16),
            },
            CV_ELF => Self::Elf {
                build_id: bytes[4..].to_vec(),
            },
            _ => Self::Raw {
                bytes: bytes.to_vec(),
            },
        }
    }

    /// The Breakpad debug id. An id of zeros is none: it marks mapped files that are no images.
    #[must_use]
    pub fn debug_id(&self) -> Option<String> {
        match self {
            Self::Pdb70 { guid, age, .. } => guid
                .iter()
                .any(|byte| *byte != 0)
                .then(|| format!("{}{age:x}", guid_text(guid))),
            Self::Pdb20 { signature, age, .. } => Some(format!("{signature:08X}{age:x}")),
            Self::Elf { build_id } => {
                let mut guid = [0; 16];
                let used = build_id.len().min(16);
                guid[..used].copy_from_slice(&build_id[..used]);
                build_id
                    .iter()
                    .any(|byte| *byte != 0)
                    .then(|| format!("{}0", guid_text(&guid)))
            }
            Self::Raw { .. } => None,
        }
    }
}

/// The digits of a GUID without dashes: its first three fields are little-endian in the file.
fn guid_text(guid: &[u8; 16]) -> String {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    hex_text(ORDER.iter().map(|index| guid[*index])).to_uppercase()
}

/// Bytes as lower-case hex digits.
fn hex_text(bytes: impl IntoIterator<Item = u8>) -> String {
    bytes.into_iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing into a String can't fail
        text
    })
}

fn code_id(code_view: Option<&CodeView>, platform: Platform, timestamp: u32, size: u32) -> Option<String> {
    match code_view {
        // Apple's dumps carry the image's UUID as if it were a PDB's; there it is the id of the image itself.
        Some(CodeView::Pdb70 { guid, .. }) if matches!(platform, Platform::MacOs | Platform::Ios) => {
            Some(guid_text(guid).to_lowercase())
        }
        Some(CodeView::Pdb70 { .. } | CodeView::Pdb20 { .. }) => Some(format!("{timestamp:08X}{size:x}")),
        Some(CodeView::Elf { build_id }) => build_id
            .iter()
            .any(|byte| *byte != 0)
            .then(|| hex_text(build_id.iter().copied())),
        None if platform == Platform::Windows => Some(format!("{timestamp:08X}{size:x}")),
        Some(CodeView::Raw { .. }) | None => None,
    }
}

/// The version in `VS_FIXEDFILEINFO`. Windows keeps two numbers in each 32-bit part; for Linux, minidump-writer and
/// rust-minidump keep one number in each of four parts.
fn version(record: Fields, platform: Platform) -> Option<String> {
    const SIGNATURE: u32 = 0xFEEF_04BD;
    const STRUCTURE_VERSION: u32 = 0x1_0000;
    const INFO: usize = 24;
    if record.u32(INFO) != SIGNATURE || record.u32(INFO + 4) != STRUCTURE_VERSION {
        return None;
    }
    let part = |index: usize| record.u32(INFO + 8 + 4 * index);
    let [a, b, c, d] = if matches!(platform, Platform::Windows | Platform::MacOs | Platform::Ios) {
        [part(0) >> 16, part(0) & 0xFFFF, part(1) >> 16, part(1) & 0xFFFF]
    } else {
        [part(0), part(1), part(2), part(3)]
    };
    Some(format!("{a}.{b}.{c}.{d}"))
}

/// One entry of the unloaded module list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnloadedModule {
    /// File offset of the record.
    pub record_offset: u64,
    /// First address it had.
    #[serde(serialize_with = "hex")]
    pub base: u64,
    /// Bytes of the image.
    pub size: u32,
    /// The PE header's checksum.
    #[serde(serialize_with = "hex")]
    pub checksum: u32,
    /// The PE header's time.
    #[serde(serialize_with = "hex")]
    pub timestamp: u32,
    /// File offset of the name.
    pub name_rva: u32,
    /// A base name as a rule; `None` if it can't be read.
    pub name: Option<String>,
}

/// A module's record without what has to be fetched from elsewhere in the file.
pub(super) struct ModuleRecord {
    pub(super) offset: u64,
    pub(super) base: u64,
    pub(super) size: u32,
    checksum: u32,
    timestamp: u32,
    pub(super) name_rva: u32,
    version: Option<String>,
    pub(super) code_view: Location,
}

impl Dump {
    /// The modules in the file's order; the first is the program itself.
    ///
    /// A name or CodeView record that can't be read is missing from its module; the others stay.
    ///
    /// # Errors
    ///
    /// The list itself is damaged or lies outside the file.
    pub fn modules(&self) -> Result<Vec<Module>, ReadError> {
        let platform = self.platform();
        let mut names = TextBudget::new(self);
        let mut records_left = self.len().saturating_mul(2).saturating_add(1 << 20);
        let mut code_view = |at: Location| {
            records_left = records_left.checked_sub(at.size.into())?;
            if !at.is_present() || at.size < 4 {
                return None;
            }
            let bytes = self.prefix(
                "a CodeView record",
                at.rva.into(),
                at.size.into(),
                LONGEST_CODE_VIEW,
            );
            Some(CodeView::from_bytes(&bytes.ok()?))
        };
        Ok(self
            .module_records()?
            .into_iter()
            .map(|record| {
                let code_view = code_view(record.code_view);
                Module {
                    record_offset: record.offset,
                    base: record.base,
                    size: record.size,
                    checksum: record.checksum,
                    timestamp: record.timestamp,
                    name_rva: record.name_rva,
                    name: self.string_at(record.name_rva.into(), &mut names).ok(),
                    version: record.version,
                    cv_location: record.code_view,
                    debug_id: code_view.as_ref().and_then(CodeView::debug_id),
                    code_id: code_id(code_view.as_ref(), platform, record.timestamp, record.size),
                    code_view,
                }
            })
            .collect())
    }

    pub(super) fn module_records(&self) -> Result<Vec<ModuleRecord>, ReadError> {
        let Some(entry) = self.stream(stream_type::MODULE_LIST) else {
            return Ok(Vec::new());
        };
        let platform = self.platform();
        self.entries(
            self.counted_list(entry, MODULE_SIZE)?,
            MODULE_SIZE,
            |offset, record| ModuleRecord {
                offset,
                base: record.u64(0),
                size: record.u32(8),
                checksum: record.u32(12),
                timestamp: record.u32(16),
                name_rva: record.u32(20),
                version: version(record, platform),
                code_view: record.location(76),
            },
        )
    }

    /// The unloaded modules in the file's order.
    ///
    /// # Errors
    ///
    /// The list itself is damaged or lies outside the file.
    pub fn unloaded_modules(&self) -> Result<Vec<UnloadedModule>, ReadError> {
        let Some(entry) = self.stream(stream_type::UNLOADED_MODULE_LIST) else {
            return Ok(Vec::new());
        };
        let mut names = TextBudget::new(self);
        let table = self.sized_list(entry, false, UNLOADED_MODULE_SIZE)?;
        self.entries(table, UNLOADED_MODULE_SIZE, |record_offset, record| {
            UnloadedModule {
                record_offset,
                base: record.u64(0),
                size: record.u32(8),
                checksum: record.u32(12),
                timestamp: record.u32(16),
                name_rva: record.u32(20),
                name: self.string_at(record.u32(20).into(), &mut names).ok(),
            }
        })
    }

    pub(super) fn platform(&self) -> Platform {
        self.system_info()
            .ok()
            .flatten()
            .map_or(Platform::Other(0), |system| system.platform)
    }
}
