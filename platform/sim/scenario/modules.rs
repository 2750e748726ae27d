//! `[[module]]` and `[[unloaded_module]]`: programs and libraries.

use dumpwright_target::{
    AddressRange, Module, Platform, Region, RegionKind, RegionState, UnloadedModule, build_id_record, protect,
};

use super::fields::{Fields, Outcome, Value};
use super::memory::{self, Placed};
use super::places::Places;
use super::system::numbers;

pub(super) const KEYS: &[&str] = &[
    "name",
    "path",
    "base",
    "size",
    "build_id",
    "pdb",
    "codeview",
    "misc",
    "checksum",
    "timestamp",
    "version",
    "product_version",
    "sections",
    "may_overlap",
];
pub(super) const PDB_KEYS: &[&str] = &["name", "guid", "age"];
pub(super) const SECTION_KEYS: &[&str] = &["offset", "size", "protect", "content", "put"];
pub(super) const UNLOADED_KEYS: &[&str] = &["name", "base", "size", "checksum", "timestamp"];

pub(super) fn tables<'t>(document: &Fields<'t>) -> Outcome<Vec<Fields<'t>>> {
    document.tables("module", "a module", KEYS)
}

pub(super) fn read<'t>(
    document: &Fields<'t>,
    places: &Places,
    platform: Platform,
    placed: &mut Vec<Placed<'t>>,
) -> Outcome<Vec<Module>> {
    let mut modules = Vec::new();
    let mut images = Vec::new();
    for fields in tables(document)? {
        fields.exclusive(&["build_id", "pdb", "codeview"])?;
        let range = places.range(&fields, "base")?;
        let version = fields.get("version", |value| version_numbers(value, platform))?;
        let product = fields.get("product_version", |value| match platform {
            Platform::Linux => Err(value.error("modules of Linux have one version only")),
            _ => version_numbers(value, platform),
        })?;
        modules.push(Module {
            base: range.start(),
            size: range.len(),
            checksum: fields.get_or("checksum", Value::u32, 0)?,
            timestamp: fields.get_or("timestamp", Value::u32, 0)?,
            path: fields.need("path")?.string()?,
            version: version.or(product).map(|_| {
                let file = version.or(product).unwrap_or_default();
                match platform {
                    Platform::Linux => linux_version(file),
                    _ => windows_version(file, product.unwrap_or(file), modules.is_empty()),
                }
            }),
            cv_record: code_view(&fields)?,
            misc_record: fields.get_or("misc", Value::hex, Vec::new())?,
        });
        read_sections(&fields, range, places, placed)?;
        images.push((range, fields.get_or("may_overlap", Value::bool, false)?, fields));
    }
    check_overlaps(images)?;
    Ok(modules)
}

/// Sections are regions of the image's own allocation.
fn read_sections<'t>(
    module: &Fields<'t>,
    image: AddressRange,
    places: &Places,
    placed: &mut Vec<Placed<'t>>,
) -> Outcome<()> {
    for section in module.tables("sections", "a section of a module", SECTION_KEYS)? {
        let (offset, size) = (section.need("offset")?, section.need("size")?);
        let range = memory::inside(&section, offset.u64()?, size.u64()?, image, "the module")?;
        places.check_pages(&offset, range.start())?;
        places.check_pages(&size, range.len())?;
        let region = Region {
            range,
            allocation_base: image.start(),
            // So is every section of an image mapped at first.
            allocation_protect: protect::EXECUTE_WRITECOPY,
            protect: section.get_or("protect", memory::read_protection, protect::READONLY)?,
            state: RegionState::Commit,
            kind: Some(RegionKind::Image),
            exclusion: None,
        };
        let contents = memory::read_contents(&section, range, places)?;
        placed.push(Placed {
            region,
            contents,
            from: section,
        });
    }
    Ok(())
}

fn version_numbers(value: &Value<'_>, platform: Platform) -> Outcome<[u32; 4]> {
    let version: [u32; 4] = numbers(value)?;
    if platform != Platform::Linux && version.iter().any(|number| *number > 0xFFFF) {
        return Err(value.error("the numbers of a version are at most 65535 on Windows"));
    }
    Ok(version)
}

/// What `VS_FIXEDFILEINFO` begins with.
const SIGNATURE: u32 = 0xFEEF_04BD;
/// The version of that structure.
const STRUCTURE_VERSION: u32 = 0x1_0000;

/// The words of `VS_FIXEDFILEINFO` as Breakpad's writer for Linux fills them, and as readers take them in dumps of
/// Linux: a whole word for each number.
fn linux_version(version: [u32; 4]) -> [u32; 13] {
    let mut words = [0; 13];
    words[..2].copy_from_slice(&[SIGNATURE, STRUCTURE_VERSION]);
    words[2..6].copy_from_slice(&version);
    words
}

/// The words of `VS_FIXEDFILEINFO` as Windows has them: half a word for each number.
fn windows_version(file: [u32; 4], product: [u32; 4], is_program: bool) -> [u32; 13] {
    const ALL_FLAGS: u32 = 0x3F;
    /// VOS_NT_WINDOWS32.
    const SYSTEM: u32 = 0x4_0004;
    /// VFT_APP and VFT_DLL.
    const KINDS: [u32; 2] = [1, 2];
    let pair = |version: [u32; 4], at: usize| (version[at] << 16) | version[at + 1];
    [
        SIGNATURE,
        STRUCTURE_VERSION,
        pair(file, 0),
        pair(file, 2),
        pair(product, 0),
        pair(product, 2),
        ALL_FLAGS,
        0,
        SYSTEM,
        KINDS[usize::from(!is_program)],
        0,
        0,
        0,
    ]
}

/// The CodeView record: of a build id, of a PDB, or as it is written down.
fn code_view(fields: &Fields<'_>) -> Outcome<Vec<u8>> {
    if let Some(id) = fields.get("build_id", Value::hex)? {
        return Ok(build_id_record(&id));
    }
    if let Some(record) = fields.get("pdb", pdb_record)? {
        return Ok(record);
    }
    fields.get_or("codeview", Value::hex, Vec::new())
}

/// `RSDS`, the GUID, the age, and the name with a NUL behind it.
fn pdb_record(value: &Value<'_>) -> Outcome<Vec<u8>> {
    let fields = value.table("a PDB", PDB_KEYS)?;
    let mut record = b"RSDS".to_vec();
    record.extend(fields.need("guid").and_then(|value| guid(&value))?);
    record.extend(fields.get_or("age", Value::u32, 1)?.to_le_bytes());
    record.extend(fields.need("name")?.text()?.bytes().chain([0]));
    Ok(record)
}

/// A GUID in its usual spelling, as the bytes that Windows stores: three little-endian numbers, then eight
/// bytes.
fn guid(value: &Value<'_>) -> Outcome<[u8; 16]> {
    let text = value.text()?;
    let groups: Vec<_> = text.trim_matches(['{', '}']).split('-').collect();
    let lengths: Vec<_> = groups.iter().map(|group| group.len()).collect();
    let digits = groups.concat();
    let number = u128::from_str_radix(&digits, 16)
        .ok()
        .filter(|_| digits.bytes().all(|c| c.is_ascii_hexdigit()));
    let Some(number) = number.filter(|_| lengths == [8, 4, 4, 4, 12]) else {
        return Err(value.error("expected a GUID, as in \"01234567-89AB-CDEF-0123-456789ABCDEF\""));
    };
    let mut bytes = number.to_be_bytes();
    bytes[0..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    Ok(bytes)
}

/// A module's place, whether it may overlap others, and its table.
type Placing<'t> = (AddressRange, bool, Fields<'t>);

/// Two modules at one address are refused, unless one of them may be there; two at one base always.
fn check_overlaps(mut images: Vec<Placing<'_>>) -> Outcome<()> {
    images.sort_by_key(|(range, ..)| *range);
    // Of those that came before, the one that reaches farthest.
    let mut reaching: Option<&Placing<'_>> = None;
    for image in &images {
        let Some(other) = reaching.filter(|other| other.0.end() > image.0.start()) else {
            reaching = Some(image);
            continue;
        };
        let (earlier, later) = if other.2.is_before(&image.2) {
            (other, image)
        } else {
            (image, other)
        };
        let told = format!(
            "{} overlaps the module at {} of line {}",
            later.0,
            earlier.0,
            earlier.2.line()
        );
        if image.0.start() == other.0.start() {
            return Err(later.2.error(format!("{told}; no two begin at the same address")));
        }
        if !image.1 && !other.1 {
            return Err(later
                .2
                .error(format!("{told}; if that is meant, say may_overlap = true")));
        }
        if image.0.end() > other.0.end() {
            reaching = Some(image);
        }
    }
    Ok(())
}

pub(super) fn read_unloaded(document: &Fields<'_>, places: &Places) -> Outcome<Vec<UnloadedModule>> {
    let mut modules = Vec::new();
    for fields in document.tables("unloaded_module", "an unloaded module", UNLOADED_KEYS)? {
        let range = places.range(&fields, "base")?;
        modules.push(UnloadedModule {
            base: range.start(),
            size: range.len(),
            checksum: fields.get_or("checksum", Value::u32, 0)?,
            timestamp: fields.get_or("timestamp", Value::u32, 0)?,
            name: fields.need("name")?.string()?,
        });
    }
    Ok(modules)
}
