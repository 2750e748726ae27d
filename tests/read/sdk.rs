//! Names, values, sizes and offsets, compared with Microsoft's newest header (`testdata/sdk`) and
//! with the newest metadata of the Windows API.
//!
//! Would catch: a flag, stream type or callback type whose number differs from Microsoft's; a C
//! structure of the callback with a wrong layout in any CPU family; a field of a dump whose offset
//! differs from Microsoft's header; anything that a newer SDK has and dumpwright lacks.

mod file;
mod metadata;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use dumpwright::DumpType;
use dumpwright::callback::{AskKind, ModuleWriteFlags, SecondaryFlags, ThreadWriteFlags};
use dumpwright::read::stream_name;
use dumpwright::target::ObjectInformationKind;
use dumpwright_abi::{ANONYMOUS, OffsetsOf, STRUCTURES, UNIONS, arm64, x64, x86};

use table::Table;

/// Converts `WITH_DATA_SEGS` to `WithDataSegs`, as in Microsoft's header.
fn camel(constant: &str) -> String {
    let words = constant.split('_').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_owned() + &rest.to_lowercase()
    });
    words.collect()
}

/// Every enumerator of Microsoft's header, with its value in dumpwright.
fn our_values() -> BTreeMap<String, u64> {
    fn named<F: bitflags::Flags<Bits = u32>>(prefix: &str) -> Vec<(String, u64)> {
        let named = F::FLAGS.iter().filter(|flag| flag.is_named());
        named
            .map(|flag| {
                (
                    format!("{prefix}{}", camel(flag.name())),
                    flag.value().bits().into(),
                )
            })
            .collect()
    }
    let mut values = BTreeMap::from([
        ("MiniDumpNormal".to_owned(), DumpType::NORMAL.bits().into()),
        (
            "MiniDumpValidTypeFlags".to_owned(),
            DumpType::VALID_TYPE_FLAGS.bits().into(),
        ),
        (
            "MiniDumpValidTypeFlagsEx".to_owned(),
            DumpType::VALID_TYPE_FLAGS_EX.bits().into(),
        ),
        ("LastReservedStream".to_owned(), 0xFFFF),
    ]);
    values.extend(named::<DumpType>("MiniDump"));
    values.extend(AskKind::ALL.map(|kind| (format!("{}Callback", kind.name()), kind as u64)));
    values.extend(named::<ThreadWriteFlags>("ThreadWrite"));
    values.extend(
        named::<ModuleWriteFlags>("ModuleWrite")
            .into_iter()
            // A status, which is never written; its name differs accordingly.
            .map(|(name, bits)| (name.replace("ModuleWriteReferenced", "ModuleReferenced"), bits)),
    );
    let secondary = named::<SecondaryFlags>("MiniSecondary");
    let valid = secondary.iter().fold(0, |all, (_, bits)| all | bits);
    values.insert("MiniSecondaryValidFlags".to_owned(), valid);
    values.extend(secondary);
    let streams = (0..=0xFFFF).filter_map(|number| Some((stream_name(number)?.to_owned(), number.into())));
    values.extend(streams);
    use ObjectInformationKind::*;
    let kinds = [
        ("Thread", "1", Thread1),
        ("Mutant", "1", Mutant1),
        ("Mutant", "2", Mutant2),
        ("Process", "1", Process1),
        ("Process", "2", Process2),
        ("Event", "1", Event1),
        ("Section", "1", Section1),
        ("Semaphore", "1", Semaphore1),
    ];
    let last = kinds.iter().map(|(.., kind)| kind.value()).max().unwrap_or(0);
    values.extend(
        kinds.map(|(object, version, kind)| {
            (format!("Mini{object}Information{version}"), kind.value().into())
        }),
    );
    values.insert("MiniHandleObjectInformationNone".to_owned(), 0);
    values.insert(
        "MiniHandleObjectInformationTypeMax".to_owned(),
        u64::from(last) + 1,
    );
    values
}

#[test]
fn values_are_those_of_the_newest_header() {
    let theirs: BTreeMap<String, u64> = Table::load()
        .values()
        .map(|(name, values)| {
            let [Some(x64), x86, arm64] = values else {
                panic!("{name} has no value on x64")
            };
            assert_eq!([x86, arm64], [Some(x64); 2], "{name}");
            (name.to_owned(), x64)
        })
        .collect();
    let ours = our_values();
    for (name, value) in &theirs {
        assert_eq!(ours.get(name), Some(value), "{name}");
    }
    // dumpwright has no value that Microsoft does not have.
    let more: Vec<_> = ours.keys().filter(|name| !theirs.contains_key(*name)).collect();
    assert!(more.is_empty(), "{more:?}");
}

/// The size of a structure and the offsets of its fields, each for x64, x86 and ARM64.
type Layout = ([u64; 3], BTreeMap<String, [u64; 3]>);

/// Sizes and offsets of a structure of the callback in the three CPU families, by the names that C
/// programs use: members of anonymous structures and unions count as members of the structure.
fn layout(name: &str) -> Option<Layout> {
    let index = STRUCTURES.iter().position(|structure| structure.name == name)?;
    let families: [&OffsetsOf; 3] = [&x64::OFFSETS[index], &x86::OFFSETS[index], &arm64::OFFSETS[index]];
    let mut members = BTreeMap::new();
    for (field_index, field) in STRUCTURES[index].fields.iter().enumerate() {
        let at = families.map(|family| family.offsets[field_index] as u64);
        let union = UNIONS.iter().find(|union| union.name == field.c_type);
        let arms = union.map_or(std::slice::from_ref(field), |union| union.fields);
        for arm in arms {
            if !ANONYMOUS.contains(&arm.c_type) {
                members.insert(arm.name.to_owned(), at);
                continue;
            }
            let (_, inner) = layout(arm.c_type).expect("in the table of structures");
            members.extend(inner.into_iter().map(|(name, more)| {
                let sum: Vec<_> = at.iter().zip(more).map(|(at, more)| at + more).collect();
                (name, sum.try_into().expect("three families"))
            }));
        }
    }
    Some((families.map(|family| family.size as u64), members))
}

#[test]
fn structures_of_the_callback_are_those_of_the_newest_header() {
    let table = Table::load();
    let mut compared = BTreeSet::new();
    for (structure, sizes) in table.structures() {
        let Some((our_sizes, mut ours)) = layout(structure) else {
            continue;
        };
        compared.insert(structure);
        assert_eq!(our_sizes.map(Some), sizes, "size of {structure}");
        for (member, offsets) in table.members(structure) {
            // Windows' header has this member on ARM64; on x64 the compiler inserts the padding.
            let ours = match member.as_str() {
                "Pad" => ours.remove("_pad").map(|[_, _, arm64]| [None, None, Some(arm64)]),
                _ => ours.remove(&member).map(|offsets| offsets.map(Some)),
            };
            assert_eq!(ours, Some(offsets), "{structure}.{member}");
        }
        // The rest is padding, which C compilers insert.
        ours.retain(|name, _| name != "_tail" && name != "_pad");
        assert!(ours.is_empty(), "{structure}: {ours:?}");
    }
    let all: BTreeSet<_> = STRUCTURES.iter().map(|structure| structure.name).collect();
    let missing: Vec<_> = all
        .difference(&compared)
        .filter(|name| !ANONYMOUS.contains(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
