//! `[[module]]` and `[[unloaded_module]]`: programs and libraries.

use dumpwright_target::{
    AddressRange, Module, Platform, Region, RegionKind, RegionState, UnloadedModule, build_id_record, protect,
};
use dumpwright_text::{Fields, Listed, Parsed, Value};

use super::memory::{self, Placed};
use super::places::{Places, Ranged};
use super::system::{Machine, numbers};

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
    "dll_characteristics",
    "version",
    "product_version",
    "sections",
    "may_overlap",
];
pub(super) const PDB_KEYS: &[&str] = &["name", "guid", "age"];
pub(super) const SECTION_KEYS: &[&str] = &["offset", "size", "protect", "content", "put"];
pub(super) const UNLOADED_KEYS: &[&str] = &["name", "base", "size", "checksum", "timestamp"];

pub(super) fn tables<'t>(document: &Fields<'t>) -> Listed<Fields<'t>> {
    document.tables("module", "a module", KEYS)
}

/// Reads the modules. Appends their sections to `placed`.
pub(super) fn read<'t>(
    modules: &Listed<Ranged<'t>>,
    places: &Places,
    machine: &Machine,
    placed: &mut Listed<Placed<'t>>,
) -> Listed<Module> {
    let mut images = Vec::new();
    let mut is_program = true;
    let mut list = modules.each(|(fields, range)| {
        let module = module(fields, *range, machine, std::mem::take(&mut is_program));
        let sections = fields.tables("sections", "a section of a module", SECTION_KEYS);
        let sections = sections.each(|section| read_section(section, *range, places));
        placed.items.extend(sections.items);
        placed.all = placed.all.and(sections.all);
        let may_overlap = fields.optional("may_overlap", Value::bool);
        if let (Ok(range), Ok(may_overlap)) = (range, may_overlap) {
            images.push((*range, may_overlap.unwrap_or(false), fields));
        }
        module
    });
    list.all = list.all.and(check_overlaps(images));
    list
}

fn module(
    fields: &Fields<'_>,
    range: Parsed<AddressRange>,
    machine: &Machine,
    is_program: bool,
) -> Parsed<Module> {
    let _ = fields.exclusive(&["build_id", "pdb", "codeview"]);
    let version = fields.get("version", |value| version_numbers(value, machine));
    let product = fields.get("product_version", |value| match machine.platform {
        Ok(Platform::Linux) => Err(value.error("Linux modules have no product version")),
        _ => version_numbers(value, machine),
    });
    let path = fields.required("path", Value::string);
    let module = Module {
        base: 0,
        size: 0,
        checksum: fields.get_or("checksum", Value::u32, 0),
        timestamp: fields.get_or("timestamp", Value::u32, 0),
        dll_characteristics: fields.get_or("dll_characteristics", Value::u16, 0),
        path: String::new(),
        version: version.or(product).map(|file| match machine.system.platform {
            Platform::Linux => linux_version(file),
            _ => windows_version(file, product.unwrap_or(file), is_program),
        }),
        cv_record: code_view(fields),
        misc_record: fields.get_or("misc", Value::hex, Vec::new()),
    };
    let range = range?;
    Ok(Module {
        base: range.start(),
        size: range.len(),
        path: path?,
        ..module
    })
}

/// Reads a section. Sections are regions of the image's own allocation.
fn read_section<'t>(
    section: &Fields<'t>,
    image: Parsed<AddressRange>,
    places: &Places,
) -> Parsed<Placed<'t>> {
    let offset = section.required("offset", Value::size);
    let size = section.required("size", Value::size);
    let range = match (offset, size) {
        (Ok(offset), Ok(size)) => inside_pages(section, offset, size, image, places),
        (Err(mistake), _) | (_, Err(mistake)) => Err(mistake),
    };
    let protect = section.get_or("protect", Value::protection, protect::READONLY);
    let contents = memory::read_contents(section, range, places);
    let region = Region {
        range: range?,
        allocation_base: image?.start(),
        // Every section of an image is mapped with this protection at first.
        allocation_protect: protect::EXECUTE_WRITECOPY,
        protect,
        state: RegionState::Commit,
        kind: Some(RegionKind::Image),
        exclusion: None,
    };
    Ok(Placed {
        region,
        contents,
        from: section.clone(),
    })
}

/// Returns the pages of the image with this offset and size.
fn inside_pages(
    section: &Fields<'_>,
    offset: u64,
    size: u64,
    image: Parsed<AddressRange>,
    places: &Places,
) -> Parsed<AddressRange> {
    let range = memory::inside(section, offset, size, image, "the module")?;
    let start = section.required("offset", |value| places.check_pages(value, range.start()));
    let len = section.required("size", |value| places.check_pages(value, range.len()));
    start.and(len).map(|()| range)
}

fn version_numbers(value: &Value<'_>, machine: &Machine) -> Parsed<[u32; 4]> {
    let version: [u32; 4] = numbers(value)?;
    let is_windows = machine.platform.is_ok_and(|platform| platform != Platform::Linux);
    if is_windows && version.iter().any(|number| *number > 0xFFFF) {
        return Err(value.error("the numbers of a version are at most 65535 on Windows"));
    }
    Ok(version)
}

/// The first word of `VS_FIXEDFILEINFO`.
const SIGNATURE: u32 = 0xFEEF_04BD;
/// The version of `VS_FIXEDFILEINFO`.
const STRUCTURE_VERSION: u32 = 0x1_0000;

/// Returns the words of `VS_FIXEDFILEINFO` as Breakpad's writer for Linux fills them and as readers
/// interpret them in Linux dumps: a whole word for each number.
fn linux_version(version: [u32; 4]) -> [u32; 13] {
    let mut words = [0; 13];
    words[..2].copy_from_slice(&[SIGNATURE, STRUCTURE_VERSION]);
    words[2..6].copy_from_slice(&version);
    words
}

/// Returns the words of `VS_FIXEDFILEINFO` as Windows stores them: half a word for each number.
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

/// Reads the CodeView record: of a build id, of a PDB, or as bytes.
fn code_view(fields: &Fields<'_>) -> Vec<u8> {
    let build_id = fields.get("build_id", Value::hex);
    let pdb = fields.get("pdb", pdb_record);
    let record = fields.get("codeview", Value::hex);
    let build_id = build_id.map(|id| build_id_record(&id));
    build_id.or(pdb).or(record).unwrap_or_default()
}

/// Returns a record of `RSDS`, the GUID, the age, and the name with a NUL.
fn pdb_record(value: &Value<'_>) -> Parsed<Vec<u8>> {
    let fields = value.table("a PDB", PDB_KEYS)?;
    let guid = fields.required("guid", guid);
    let age = fields.get_or("age", Value::u32, 1);
    let name = fields.required("name", Value::text);
    let mut record = b"RSDS".to_vec();
    record.extend(guid?);
    record.extend(age.to_le_bytes());
    record.extend(name?.bytes().chain([0]));
    Ok(record)
}

/// Reads a GUID in its usual notation. Returns the bytes that Windows stores: three little-endian
/// numbers, then eight bytes.
fn guid(value: &Value<'_>) -> Parsed<[u8; 16]> {
    let text = value.text()?;
    let groups: Vec<_> = text.trim_matches(['{', '}']).split('-').collect();
    let lengths: Vec<_> = groups.iter().map(|group| group.len()).collect();
    let digits = groups.concat();
    let number = u128::from_str_radix(&digits, 16)
        .ok()
        .filter(|_| digits.bytes().all(|c| c.is_ascii_hexdigit()));
    let Some(number) = number.filter(|_| lengths == [8, 4, 4, 4, 12]) else {
        return Err(value.expected("a GUID, as in \"01234567-89AB-CDEF-0123-456789ABCDEF\""));
    };
    let mut bytes = number.to_be_bytes();
    bytes[0..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    Ok(bytes)
}

/// The range of a module, whether it may overlap others, and its table.
type Placing<'m, 't> = (AddressRange, bool, &'m Fields<'t>);

/// Refuses modules that overlap, unless one of them may overlap others, and modules that begin at
/// the same address.
fn check_overlaps(mut images: Vec<Placing<'_, '_>>) -> Parsed<()> {
    images.sort_by_key(|(range, ..)| *range);
    // The earlier module that reaches furthest.
    let mut reaching: Option<&Placing<'_, '_>> = None;
    let mut all = Ok(());
    for image in &images {
        let Some(other) = reaching.filter(|other| other.0.end() > image.0.start()) else {
            reaching = Some(image);
            continue;
        };
        let (earlier, later) = if other.2.span().start < image.2.span().start {
            (other, image)
        } else {
            (image, other)
        };
        let refuse = |why: &str| {
            later.2.error(format_args!(
                "{} overlaps the module at {} of line {}; {why}",
                later.0,
                earlier.0,
                earlier.2.line()
            ))
        };
        if image.0.start() == other.0.start() {
            all = Err(refuse("two modules cannot begin at the same address"));
        } else if !image.1 && !other.1 {
            all = Err(refuse("if this is intended, set may_overlap = true"));
        }
        if image.0.end() > other.0.end() {
            reaching = Some(image);
        }
    }
    all
}

pub(super) fn read_unloaded(document: &Fields<'_>, places: &Places) -> Listed<UnloadedModule> {
    let tables = document.tables("unloaded_module", "an unloaded module", UNLOADED_KEYS);
    tables.each(|fields| {
        let range = places.range(fields, "base");
        let name = fields.required("name", Value::string);
        let checksum = fields.get_or("checksum", Value::u32, 0);
        let timestamp = fields.get_or("timestamp", Value::u32, 0);
        let range = range?;
        Ok(UnloadedModule {
            base: range.start(),
            size: range.len(),
            checksum,
            timestamp,
            name: name?,
        })
    })
}
