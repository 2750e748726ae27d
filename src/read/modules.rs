//! The loaded and unloaded modules, and the identifiers of their symbol files.

use std::fmt::Write;

use serde::{Serialize, Serializer};

use super::dump::Dump;
use super::error::ReadError;
use super::fields::{FieldReader, Location, hex};
use super::list::List;
use super::stream_type;
use super::strings::TextBudget;
use super::system::Platform;

/// The size of `MINIDUMP_MODULE` in bytes.
pub(super) const MODULE_SIZE: u64 = 108;
/// The size of `MINIDUMP_UNLOADED_MODULE` in bytes.
pub(super) const UNLOADED_MODULE_SIZE: u64 = 24;
/// The size of the longest CodeView record that is kept, in bytes. The longest records contain a
/// path.
const LONGEST_CODE_VIEW: u64 = 64 * 1024;
/// The maximum number of bytes of CodeView records that are read for one list of modules. The
/// records of 50,000 modules with long paths have less.
const MOST_CODE_VIEW: u64 = 16 << 20;
/// The maximum number of modules that are checked and shown. No process has more objects loaded.
pub(super) const MOST_MODULES: u64 = 1 << 16;

/// The signature `RSDS`: the identifier of a PDB file.
pub(super) const CV_PDB70: u32 = 0x5344_5352;
/// The signature `NB10`: the identifier of a PDB file in the old format.
pub(super) const CV_PDB20: u32 = 0x3031_424E;
/// Breakpad's signature `BpEL`: an ELF build id. Its bytes in the file are `LEpB`.
pub(super) const CV_ELF: u32 = 0x4270_454C;

/// A loaded module.
#[derive(Debug, Clone, Serialize)]
pub struct Module {
    /// The file offset of the module's record.
    pub record_offset: u64,
    /// The first address of the image.
    #[serde(serialize_with = "hex")]
    pub base: u64,
    /// The size of the image in memory, in bytes.
    pub size: u32,
    /// The checksum from the PE header. 0 for ELF images.
    #[serde(serialize_with = "hex")]
    pub checksum: u32,
    /// The timestamp from the PE header. 0 for ELF images.
    #[serde(serialize_with = "hex")]
    pub timestamp: u32,
    /// `DllCharacteristics` from the PE header. 0 for ELF images, and in dumps by writers that do
    /// not record it.
    #[serde(serialize_with = "hex")]
    pub dll_characteristics: u16,
    /// The file offset of the name.
    pub name_rva: u32,
    /// The name, usually the full path. `None` if it cannot be read.
    pub name: Option<String>,
    /// The file version as four numbers separated by dots. `None` if the record has no version.
    pub version: Option<String>,
    /// The location of the CodeView record in the file.
    pub cv_location: Location,
    /// The CodeView record. `None` if it is absent or cannot be read.
    pub code_view: Option<CodeView>,
    /// The identifier of Breakpad symbol files for this module, in the same form as in
    /// rust-minidump and Breakpad: 32 hexadecimal digits of the GUID, followed by the age.
    pub debug_id: Option<String>,
    /// The identifier of the image itself: the whole build id of an ELF image in hexadecimal, or
    /// the timestamp and the size of a PE image.
    pub code_id: Option<String>,
}

impl Module {
    /// Returns the end address of the image (exclusive). It saturates at the end of the address
    /// space.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.base.saturating_add(self.size.into())
    }

    /// Returns the last component of the name.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        self.name.as_deref()?.rsplit(['/', '\\']).next()
    }
}

/// A CodeView record, which identifies the symbol file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum CodeView {
    /// A PDB file (`RSDS`).
    Pdb70 {
        /// The GUID as the 16 bytes in the file (Data1 to Data3 are little-endian).
        #[serde(serialize_with = "digits")]
        guid: [u8; 16],
        /// The age, which increases each time the same PDB is rebuilt.
        age: u32,
        /// The name or path of the PDB.
        path: String,
    },
    /// A PDB file in the old format (`NB10`).
    Pdb20 {
        /// The timestamp of the PDB.
        signature: u32,
        /// The age, which increases each time the same PDB is rebuilt.
        age: u32,
        /// The name or path of the PDB.
        path: String,
    },
    /// An ELF image (`BpEL`).
    Elf {
        /// The GNU build id, usually 20 bytes.
        #[serde(serialize_with = "digits")]
        build_id: Vec<u8>,
    },
    /// A record with another signature.
    Raw {
        /// The bytes of the record.
        #[serde(serialize_with = "digits")]
        bytes: Vec<u8>,
    },
}

impl CodeView {
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let fields = FieldReader(bytes);
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

    /// Returns the debug identifier in Breakpad's form. `None` if it consists of zeros: writers use
    /// such an identifier for mapped files that are not images.
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

/// Formats a GUID as 32 digits without dashes. Its first three fields are little-endian in the
/// file.
fn guid_text(guid: &[u8; 16]) -> String {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    hex_text(ORDER.iter().map(|index| guid[*index])).to_uppercase()
}

/// Formats bytes as lower-case hexadecimal digits.
fn hex_text(bytes: impl IntoIterator<Item = u8>) -> String {
    bytes.into_iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing into a String can't fail
        text
    })
}

/// Serializes bytes as text with two hexadecimal digits each.
fn digits<T: AsRef<[u8]>, S: Serializer>(bytes: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex_text(bytes.as_ref().iter().copied()))
}

fn code_id(code_view: Option<&CodeView>, platform: Platform, timestamp: u32, size: u32) -> Option<String> {
    match code_view {
        // In dumps of Apple's systems, this record contains the UUID of the image instead of a
        // PDB's GUID.
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

/// Returns the version from `VS_FIXEDFILEINFO`. On Windows, each 32-bit field contains two of the
/// numbers. In Linux dumps, minidump-writer and rust-minidump use four fields with one number each.
fn version(record: FieldReader, platform: Platform) -> Option<String> {
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

/// A module that was unloaded before the dump was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnloadedModule {
    /// The file offset of the record.
    pub record_offset: u64,
    /// The first address that the image had.
    #[serde(serialize_with = "hex")]
    pub base: u64,
    /// The size of the image in bytes.
    pub size: u32,
    /// The checksum from the PE header.
    #[serde(serialize_with = "hex")]
    pub checksum: u32,
    /// The timestamp from the PE header.
    #[serde(serialize_with = "hex")]
    pub timestamp: u32,
    /// The file offset of the name.
    pub name_rva: u32,
    /// The name, usually without the directory. `None` if it cannot be read.
    pub name: Option<String>,
}

/// The fields of a module's record. The name and the CodeView record, which are elsewhere in the
/// file, have not been read.
pub(super) struct RawModule {
    pub(super) offset: u64,
    pub(super) base: u64,
    pub(super) size: u32,
    checksum: u32,
    timestamp: u32,
    dll_characteristics: u16,
    pub(super) name_rva: u32,
    pub(super) code_view: Location,
}

impl RawModule {
    fn from_fields(offset: u64, record: FieldReader<'_>) -> Self {
        Self {
            offset,
            base: record.u64(0),
            size: record.u32(8),
            checksum: record.u32(12),
            timestamp: record.u32(16),
            dll_characteristics: record.u16(92),
            name_rva: record.u32(20),
            code_view: record.location(76),
        }
    }
}

impl Dump {
    /// Returns the modules in the order of the file. Writers list the program itself first. Empty
    /// if the dump has no ModuleListStream.
    ///
    /// A name or a CodeView record that cannot be read is `None` in its module.
    ///
    /// # Errors
    ///
    /// The list itself is malformed, lies outside the file, or has more than
    /// [`LIST_LIMIT`](super::LIST_LIMIT) entries.
    pub fn modules(&self) -> Result<Vec<Module>, ReadError> {
        self.iter_modules()?.into_vec()
    }

    /// Returns an iterator over the entries of [`Dump::modules`].
    ///
    /// # Errors
    ///
    /// The list itself is malformed or lies outside the file.
    pub fn iter_modules(&self) -> Result<List<'_, Module>, ReadError> {
        let platform = self.platform();
        let mut names = TextBudget::new(self);
        // The CodeView records may overlap in a hostile file. Their total size is limited, like
        // that of strings.
        let mut records_left = self
            .len()
            .saturating_mul(2)
            .saturating_add(1 << 20)
            .min(MOST_CODE_VIEW);
        let mut code_view = move |at: Location| {
            let size = u64::from(at.size).min(LONGEST_CODE_VIEW);
            records_left = records_left.checked_sub(size)?;
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
        self.module_list(move |offset, fields| {
            let record = RawModule::from_fields(offset, fields);
            let code_view = code_view(record.code_view);
            Module {
                record_offset: record.offset,
                base: record.base,
                size: record.size,
                checksum: record.checksum,
                timestamp: record.timestamp,
                dll_characteristics: record.dll_characteristics,
                name_rva: record.name_rva,
                name: self.string_at(record.name_rva.into(), &mut names).ok(),
                version: version(fields, platform),
                cv_location: record.code_view,
                debug_id: code_view.as_ref().and_then(CodeView::debug_id),
                code_id: code_id(code_view.as_ref(), platform, record.timestamp, record.size),
                code_view,
            }
        })
    }

    /// Returns an iterator over the records of the modules. Names and CodeView records, which are
    /// elsewhere in the file, are not read.
    pub(super) fn module_records(&self) -> Result<List<'_, RawModule>, ReadError> {
        self.module_list(RawModule::from_fields)
    }

    fn module_list<'d, T>(
        &'d self,
        make: impl FnMut(u64, FieldReader<'_>) -> T + 'd,
    ) -> Result<List<'d, T>, ReadError> {
        let Some(entry) = self.stream(stream_type::MODULE_LIST) else {
            return Ok(List::empty(self));
        };
        List::new(self, self.counted_list(entry, MODULE_SIZE)?, MODULE_SIZE, make)
    }

    /// Returns the unloaded modules in the order of the file. Empty if the dump has no
    /// UnloadedModuleListStream.
    ///
    /// # Errors
    ///
    /// The list itself is malformed, lies outside the file, or has more than
    /// [`LIST_LIMIT`](super::LIST_LIMIT) entries.
    pub fn unloaded_modules(&self) -> Result<Vec<UnloadedModule>, ReadError> {
        self.iter_unloaded_modules()?.into_vec()
    }

    /// Returns an iterator over the entries of [`Dump::unloaded_modules`].
    ///
    /// # Errors
    ///
    /// The list itself is malformed or lies outside the file.
    pub fn iter_unloaded_modules(&self) -> Result<List<'_, UnloadedModule>, ReadError> {
        let Some(entry) = self.stream(stream_type::UNLOADED_MODULE_LIST) else {
            return Ok(List::empty(self));
        };
        let mut names = TextBudget::new(self);
        let table = self.sized_list(entry, false, UNLOADED_MODULE_SIZE)?;
        List::new(self, table, UNLOADED_MODULE_SIZE, move |record_offset, record| {
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

    /// Returns an iterator over the base addresses and the file offsets of the names of the
    /// unloaded modules.
    pub(super) fn unloaded_records(&self) -> Result<List<'_, (u64, u32)>, ReadError> {
        let Some(entry) = self.stream(stream_type::UNLOADED_MODULE_LIST) else {
            return Ok(List::empty(self));
        };
        let table = self.sized_list(entry, false, UNLOADED_MODULE_SIZE)?;
        List::new(self, table, UNLOADED_MODULE_SIZE, |_, record| {
            (record.u64(0), record.u32(20))
        })
    }
}
