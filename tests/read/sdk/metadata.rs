//! The newest metadata of the Windows API (the crate `windows-default`), to find what an SDK newer
//! than the table adds. If a new version of the crate makes one of these tests fail, Microsoft has
//! added something that dumpwright lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use dumpwright::read::{Dump, stream_type};
use minidump_common::format::{self, MiscInfoFlags};
use serde_json::{Value as Json, json};
use windows_metadata::reader::{File, Index, Item, TypeCategory, TypeDef};
use windows_metadata::{Type, TypeAttributes, Value};

use super::table::Table;

/// The bits of x64, x86 and arm64 in the metadata, in the order of the table.
const ARCHITECTURES: [i32; 3] = [2, 1, 4];

/// The enumerations of the header.
const ENUMERATIONS: [&str; 7] = [
    "MINIDUMP_CALLBACK_TYPE",
    "MINIDUMP_HANDLE_OBJECT_INFORMATION_TYPE",
    "MINIDUMP_SECONDARY_FLAGS",
    "MINIDUMP_STREAM_TYPE",
    "MINIDUMP_TYPE",
    "MODULE_WRITE_FLAGS",
    "THREAD_WRITE_FLAGS",
];

/// Types of the metadata that the table does not have, and why.
const NOT_IN_THE_TABLE: [(&str, &str); 6] = [
    ("MINIDUMP_CALLBACK_ROUTINE", "a function"),
    ("MINIDUMP_EXCEPTION_STREAM", "its parts are in the table"),
    (
        "MINIDUMP_HANDLE_DESCRIPTOR_N",
        "another name of the newest version",
    ),
    ("MINIDUMP_MISC_INFO_N", "another name of the newest version"),
    (
        "MINIDUMP_PROCESS_VM_COUNTERS_N",
        "another name of the newest version",
    ),
    (
        "MINIDUMP_SYSTEM_MEMORY_INFO_N",
        "another name of the newest version",
    ),
];

/// The metadata lacks the alignment of 16 for `CONTEXT`, and the packing of structures that contain
/// one. Their layouts are compared with the table only.
const WITH_REGISTERS: [&str; 3] = [
    "MINIDUMP_CALLBACK_INPUT",
    "MINIDUMP_THREAD_CALLBACK",
    "MINIDUMP_THREAD_EX_CALLBACK",
];

fn index(architecture: i32) -> Index {
    let file = File::new(windows_default::WIN32.to_vec()).expect("metadata");
    Index::new_for_architecture(vec![file], architecture)
}

/// The index of x64, for what is the same in all CPU families.
static X64: LazyLock<Index> = LazyLock::new(|| index(ARCHITECTURES[0]));

fn integer(value: &Value) -> u64 {
    match value {
        Value::I32(value) => u64::from(value.cast_unsigned()),
        Value::U32(value) => u64::from(*value),
        other => panic!("{other:?} is no number of 32 bits"),
    }
}

#[test]
fn enumerators_are_those_of_the_newest_metadata() {
    let mut theirs = BTreeMap::new();
    for (_, name, item) in X64.iter_items() {
        if let Item::Type(enumeration) = item
            && ENUMERATIONS.contains(&name)
        {
            let constants = enumeration
                .fields()
                .filter_map(|field| Some((field.name().to_owned(), integer(&field.constant()?.value()))));
            theirs.extend(constants);
        }
    }
    let ours = super::our_values();
    let names: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
    for name in names {
        assert_eq!(
            ours.get(name),
            theirs.get(name),
            "{name}, here and in the metadata"
        );
    }
}

/// Size, alignment, and the offsets of the members, including those of anonymous structures and
/// unions.
struct Layout {
    size: u64,
    align: u64,
    members: BTreeMap<String, u64>,
}

impl Layout {
    fn scalar(size: u64) -> Self {
        Self {
            size,
            align: size,
            members: BTreeMap::new(),
        }
    }

    /// The layout of a C compiler.
    fn of(index: &Index, pointer: u64, structure: TypeDef<'_>) -> Self {
        match structure.category() {
            TypeCategory::Enum => return Self::scalar(4),
            TypeCategory::Delegate => return Self::scalar(pointer),
            _ => {}
        }
        let packing = structure.class_layout().map_or(0, |layout| layout.packing_size());
        let most = if packing == 0 { u64::MAX } else { packing.into() };
        let is_union = structure.flags().contains(TypeAttributes::ExplicitLayout);
        let (mut end, mut align, mut size, mut members) = (0_u64, 1, 0, BTreeMap::new());
        for field in structure.fields() {
            let inner = Self::of_type(index, pointer, structure, &field.ty());
            let inner_align = inner.align.min(most);
            align = align.max(inner_align);
            let at = if is_union {
                0
            } else {
                end.next_multiple_of(inner_align)
            };
            end = at + inner.size;
            size = size.max(end);
            if field.name().starts_with("Anonymous") {
                members.extend(inner.members.into_iter().map(|(name, more)| (name, at + more)));
            } else {
                members.insert(field.name().to_owned(), at);
            }
        }
        Self {
            size: size.next_multiple_of(align),
            align,
            members,
        }
    }

    fn of_type(index: &Index, pointer: u64, outer: TypeDef<'_>, ty: &Type) -> Self {
        match ty {
            Type::I8 | Type::U8 | Type::Bool => Self::scalar(1),
            Type::I16 | Type::U16 | Type::Char => Self::scalar(2),
            Type::I32 | Type::U32 | Type::F32 => Self::scalar(4),
            Type::I64 | Type::U64 | Type::F64 => Self::scalar(8),
            Type::ISize | Type::USize | Type::PtrMut(..) | Type::PtrConst(..) => Self::scalar(pointer),
            Type::ArrayFixed(element, count) => {
                let element = Self::of_type(index, pointer, outer, element);
                Self {
                    size: element.size * *count as u64,
                    ..element
                }
            }
            Type::ValueName(name) | Type::ClassName(name) if name.namespace.is_empty() => {
                let nested = index.nested(outer).find(|nested| nested.name() == name.name);
                Self::of(index, pointer, nested.expect("nested"))
            }
            Type::ValueName(name) | Type::ClassName(name) => {
                let found = index.get(&name.namespace, &name.name).next();
                Self::of(index, pointer, found.unwrap_or_else(|| panic!("{name:?}")))
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn structures_are_those_of_the_newest_metadata() {
    let table = Table::load();
    let known: BTreeSet<&str> = table.structures().map(|(name, _)| name).collect();
    let mut compared = BTreeSet::new();
    for (family, architecture) in ARCHITECTURES.into_iter().enumerate() {
        let pointer = if family == 1 { 4 } else { 8 };
        let index = index(architecture);
        for (_, name, structure) in index.iter() {
            let is_ours = name.starts_with("MINIDUMP_") || known.contains(name);
            let is_elsewhere =
                ENUMERATIONS.contains(&name) || NOT_IN_THE_TABLE.iter().any(|(known, _)| *known == name);
            if !is_ours || is_elsewhere {
                continue;
            }
            assert!(known.contains(name), "{name} is new");
            let found = Layout::of(&index, pointer, structure);
            let members = table.members(name).into_iter();
            let members: BTreeMap<_, _> = members
                .filter_map(|(member, offsets)| Some((member, offsets[family]?)))
                .collect();
            if WITH_REGISTERS.contains(&name) {
                // A member that only the compiler needs.
                let names = |members: &BTreeMap<String, u64>| -> BTreeSet<String> {
                    members.keys().filter(|name| *name != "Pad").cloned().collect()
                };
                assert_eq!(names(&found.members), names(&members), "{name}");
            } else {
                let size = table.structures().find(|(known, _)| *known == name);
                let size = size.and_then(|(_, sizes)| sizes[family]);
                assert_eq!(found.members, members, "{name} of {architecture}");
                assert_eq!(Some(found.size), size, "{name} of {architecture}");
            }
            compared.insert(name.to_owned());
        }
    }
    let missing: Vec<_> = known.iter().filter(|name| !compared.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Bits that mark parts of a structure as valid, and the fields that the reader shows for each.
const PARTS: [(&str, &[&str]); 20] = [
    ("MINIDUMP_MISC1_PROCESS_ID", &["process_id"]),
    (
        "MINIDUMP_MISC1_PROCESS_TIMES",
        &["process_create_time", "process_kernel_time", "process_user_time"],
    ),
    ("MINIDUMP_MISC1_PROCESSOR_POWER_INFO", &["processor_power"]),
    ("MINIDUMP_MISC3_PROCESS_INTEGRITY", &["process_integrity_level"]),
    ("MINIDUMP_MISC3_PROCESS_EXECUTE_FLAGS", &["process_execute_flags"]),
    ("MINIDUMP_MISC3_TIMEZONE", &["time_zone"]),
    ("MINIDUMP_MISC3_PROTECTED_PROCESS", &["protected_process"]),
    (
        "MINIDUMP_MISC4_BUILDSTRING",
        &["build_string", "debug_build_string"],
    ),
    ("MINIDUMP_MISC5_PROCESS_COOKIE", &["process_cookie"]),
    (
        "MINIDUMP_SYSMEMINFO1_FILECACHE_TRANSITIONREPURPOSECOUNT_FLAGS",
        &["FileCacheInfo.Flags", "FileCacheInfo.TransitionRePurposeCount"],
    ),
    (
        "MINIDUMP_SYSMEMINFO1_BASICPERF",
        &[
            "BasicPerfInfo.AvailablePages",
            "BasicPerfInfo.CommitLimit",
            "BasicPerfInfo.CommittedPages",
            "BasicPerfInfo.PeakCommitment",
        ],
    ),
    (
        "MINIDUMP_SYSMEMINFO1_PERF_CCTOTALDIRTYPAGES_CCDIRTYPAGETHRESHOLD",
        &["PerfInfo.CcDirtyPageThreshold", "PerfInfo.CcTotalDirtyPages"],
    ),
    (
        "MINIDUMP_SYSMEMINFO1_PERF_RESIDENTAVAILABLEPAGES_SHAREDCOMMITPAGES",
        &["PerfInfo.ResidentAvailablePages", "PerfInfo.SharedCommittedPages"],
    ),
    (
        "MINIDUMP_SYSMEMINFO1_PERF_MDLPAGESALLOCATED_PFNDATABASECOMMITTEDPAGES",
        &["PerfInfo.MdlPagesAllocated", "PerfInfo.PfnDatabaseCommittedPages"],
    ),
    (
        "MINIDUMP_SYSMEMINFO1_PERF_SYSTEMPAGETABLECOMMITTEDPAGES_CONTIGUOUSPAGESALLOCATED",
        &[
            "PerfInfo.ContiguousPagesAllocated",
            "PerfInfo.SystemPageTableCommittedPages",
        ],
    ),
    // Always valid.
    ("MINIDUMP_PROCESS_VM_COUNTERS", &[]),
    (
        "MINIDUMP_PROCESS_VM_COUNTERS_VIRTUALSIZE",
        &["PeakVirtualSize", "VirtualSize"],
    ),
    ("MINIDUMP_PROCESS_VM_COUNTERS_EX", &["PrivateUsage"]),
    (
        "MINIDUMP_PROCESS_VM_COUNTERS_EX2",
        &["PrivateWorkingSetSize", "SharedCommitUsage"],
    ),
    (
        "MINIDUMP_PROCESS_VM_COUNTERS_JOB",
        &[
            "JobPeakPrivateCommitUsage",
            "JobPrivateCommitLimit",
            "JobPrivateCommitUsage",
            "JobSharedCommitUsage",
            "JobTotalCommitLimit",
        ],
    ),
];

/// Constants that are in no structure of the table, and their values here.
fn other_constants() -> BTreeMap<&'static str, u64> {
    let mut constants = BTreeMap::from([
        ("MINIDUMP_SIGNATURE", format::MINIDUMP_SIGNATURE.into()),
        ("MINIDUMP_VERSION", format::MINIDUMP_VERSION.into()),
        // Never set.
        ("MINIDUMP_THREAD_INFO_ERROR_THREAD", 1),
        ("MINIDUMP_THREAD_INFO_WRITING_THREAD", 2),
    ]);
    // The others are the writer's own constants, each documented with Microsoft's name.
    let source = include_str!("../../../src/streams/thread_info_list.rs");
    let lines: Vec<_> = source.lines().collect();
    for pair in lines.windows(2) {
        let name = pair[0]
            .strip_prefix("/// ")
            .and_then(|text| text.strip_suffix('.'));
        let value = pair[1]
            .strip_prefix("const ")
            .and_then(|text| text.split("= ").nth(1));
        if let (Some(name), Some(value)) = (name, value)
            && name.starts_with("MINIDUMP_THREAD_INFO_")
        {
            let value = value.trim_end_matches(';');
            let value = match value.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => value.parse(),
            };
            constants.insert(name, value.expect("a number"));
        }
    }
    constants
}

/// The fields that the reader shows if a structure has these validity bits.
fn shown(bytes: &[u8], constant: &str, flags: u64) -> BTreeSet<String> {
    type View = fn(&Dump) -> Json;
    let (stream, structure, member, width, view): (_, _, _, _, View) = match constant {
        _ if constant.starts_with("MINIDUMP_MISC") => (
            stream_type::MISC_INFO,
            "MINIDUMP_MISC_INFO_5",
            "Flags1",
            4,
            |dump| json!(dump.misc_info().expect("readable")),
        ),
        _ if constant.starts_with("MINIDUMP_SYSMEMINFO") => (
            stream_type::SYSTEM_MEMORY_INFO,
            "MINIDUMP_SYSTEM_MEMORY_INFO_2",
            "Flags",
            2,
            |dump| json!(dump.system_memory().expect("readable"))["numbers"].clone(),
        ),
        _ => (
            stream_type::PROCESS_VM_COUNTERS,
            "MINIDUMP_PROCESS_VM_COUNTERS_2",
            "Flags",
            2,
            |dump| json!(dump.vm_counters().expect("readable"))["numbers"].clone(),
        ),
    };
    let rva = Dump::from_bytes(bytes)
        .expect("a dump")
        .stream(stream)
        .expect("there is one")
        .rva;
    let at = u64::from(rva) + Table::load().offset(structure, member);
    let at = usize::try_from(at).expect("small");
    let mut bytes = bytes.to_vec();
    bytes[at..at + width].copy_from_slice(&flags.to_le_bytes()[..width]);
    let shown = view(&Dump::from_bytes(bytes).expect("a dump"));
    let shown = shown.as_object().expect("an object");
    let shown = shown.iter().filter(|(_, value)| !value.is_null());
    shown.map(|(name, _)| name.clone()).collect()
}

#[test]
fn constants_are_those_of_the_newest_metadata() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/testdata/cases/windows-every-stream/dump.dmp"
    );
    let dump = std::fs::read(path).expect("a golden dump");
    let others = other_constants();
    let mut seen = BTreeSet::new();
    for (_, name, item) in X64.iter_items() {
        let Item::Const(constant) = item else { continue };
        if !name.starts_with("MINIDUMP_") {
            continue;
        }
        seen.insert(name);
        let value = integer(&constant.constant().expect("a value").value());
        if let Some(ours) = others.get(name) {
            assert_eq!(*ours, value, "{name}");
            continue;
        }
        let part = PARTS.iter().find(|(known, _)| *known == name);
        let (_, members) = part.unwrap_or_else(|| panic!("{name} is new"));
        let with = shown(&dump, name, value);
        let without = shown(&dump, name, 0);
        let more: BTreeSet<_> = with.difference(&without).map(String::as_str).collect();
        assert_eq!(more, members.iter().copied().collect(), "{name}");
        // Writer and reader share no constants. These are the writer's.
        if let Some(flag) = MiscInfoFlags::from_name(name) {
            assert_eq!(u64::from(flag.bits()), value, "{name}");
        }
    }
    let expected = others.keys().copied().chain(PARTS.map(|(name, _)| name));
    assert_eq!(seen, expected.collect());
}
