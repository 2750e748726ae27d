//! Conversions of dumps, there and back.
//!
//! Would catch: memory that is lost or moved; a stream whose bytes change, or whose offsets lead
//! elsewhere; stacks that readers do not find in the result; a dump that is converted although it
//! does not have all memory.

use dumpwright::convert::{ConvertError, MemoryForm, convert};
use dumpwright::read::{Dump, Level, check, stream_type};
use dumpwright::target::protect::READWRITE;
use dumpwright::{DumpType, Profile, Request, StreamSink, dump};
use dumpwright_sim::Contents;

use crate::support::compressed_memory;
use crate::support::repository;
use crate::support::simulated::two_threads;

fn converted(file: &[u8], form: MemoryForm) -> Vec<u8> {
    let dump = Dump::from_bytes(file).unwrap();
    let mut output = Vec::new();
    let conversion = convert(&dump, form, &mut output).unwrap();
    assert_eq!(conversion.bytes, output.len() as u64);
    output
}

/// Everything that a dump says, except for places in the file and how memory is listed.
fn facts(file: &[u8]) -> String {
    let dump = Dump::from_bytes(file).unwrap();
    let mut json = serde_json::json!({
        "system": dump.system_info().unwrap(),
        "process": dump.misc_info().unwrap(),
        "threads": dump.threads().unwrap(),
        "names": dump.thread_names().unwrap(),
        "infos": dump.thread_infos().unwrap(),
        "modules": dump.modules().unwrap(),
        "unloaded": dump.unloaded_modules().unwrap(),
        "regions": dump.memory_regions().unwrap(),
        "exception": dump.exception().unwrap(),
        "handles": dump.handles().unwrap(),
        "operations": dump.handle_operations().unwrap(),
        "functions": dump.function_tables().unwrap(),
        "tokens": dump.tokens().unwrap(),
        "objects": dump.dso_debug().unwrap(),
        "errors": dump.soft_errors().unwrap(),
    });
    let places = ["record_offset", "rva", "offset", "file_offset"];
    strip(&mut json, &|key| places.contains(&key) || key.ends_with("_rva"));
    json.to_string()
}

fn strip(json: &mut serde_json::Value, is_place: &dyn Fn(&str) -> bool) {
    match json {
        serde_json::Value::Object(object) => {
            object.retain(|key, _| !is_place(key));
            object.values_mut().for_each(|value| strip(value, is_place));
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(|value| strip(value, is_place)),
        _ => {}
    }
}

/// All captured memory, as one list of bytes for each range without gaps.
fn memory(file: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let dump = Dump::from_bytes(file).unwrap();
    let mut ranges: Vec<_> = dump
        .memory_ranges()
        .unwrap()
        .iter()
        .map(|range| (range.address, range.size))
        .chain(dump.iter_compressed_regions().unwrap().map(|region| {
            region
                .map(|region| (region.address, u64::from(region.size)))
                .unwrap()
        }))
        .collect();
    // A range without bytes could not be read.
    ranges.retain(|(_, size)| *size > 0);
    ranges.sort_unstable();
    let mut all: Vec<(u64, Vec<u8>)> = Vec::new();
    for (address, size) in ranges {
        let bytes = dump.memory(address, size).unwrap().expect("it is listed");
        match all.last_mut() {
            Some((start, known)) if address <= *start + known.len() as u64 => {
                let from = usize::try_from(address - *start).unwrap();
                let have = known.len() - from;
                known.extend(bytes.get(have..).unwrap_or_default());
            }
            _ => all.push((address, bytes)),
        }
    }
    all
}

fn errors(file: &[u8]) -> Vec<String> {
    let found = check(&Dump::from_bytes(file).unwrap()).unwrap();
    let errors = found
        .iter()
        .filter(|violation| violation.severity == Level::Error);
    errors.map(ToString::to_string).collect()
}

#[test]
fn full_golden_dumps_are_the_same_there_and_back() {
    let mut count = 0;
    for folder in std::fs::read_dir(repository().join("testdata/cases")).unwrap() {
        let path = folder.unwrap().path().join("dump.dmp");
        let Ok(file) = std::fs::read(&path) else { continue };
        let dump = Dump::from_bytes(&file[..]).unwrap();
        if dump.stream(stream_type::MEMORY64_LIST).is_none() || !dump.losses().unwrap().is_empty() {
            continue;
        }
        count += 1;
        let name = path.display();
        let small = converted(&file, MemoryForm::Compressed);
        let again = converted(&small, MemoryForm::Plain);
        let twice = converted(&again, MemoryForm::Compressed);
        assert_eq!(facts(&small), facts(&file), "{name}");
        assert_eq!(facts(&again), facts(&file), "{name}");
        assert!(memory(&small) == memory(&file), "{name}");
        assert!(memory(&again) == memory(&file), "{name}");
        assert!(
            compressed_memory::memory(&twice) == compressed_memory::memory(&small),
            "{name}"
        );
        if errors(&file).is_empty() {
            assert_eq!(errors(&small), [""; 0], "{name}");
            assert_eq!(errors(&again), [""; 0], "{name}");
        }
    }
    assert!(count > 5, "{count} golden dumps");
}

/// The writer leaves stacks where only the stream has them; the conversion gives them a place.
#[test]
fn dumps_without_a_list_of_memory_are_converted_too() {
    let types = DumpType::WITH_MEMORY_COMPRESSED;
    let request = Request::new(types).profile(Profile::DbgHelp10).time(1);
    let mut process = two_threads().memory(0x100_0000_0000, 9 << 20, READWRITE, Contents::Pattern(3));
    let mut file = Vec::new();
    dump(&mut process, &request, None, &mut file).unwrap();
    let plain = converted(&file, MemoryForm::Plain);
    assert!(memory(&plain) == memory(&file));
    assert_eq!(
        Dump::from_bytes(&plain[..]).unwrap().header().flags & 0x400_0002,
        2
    );
    let small = converted(&plain, MemoryForm::Compressed);
    for thread in Dump::from_bytes(&small[..]).unwrap().threads().unwrap() {
        assert_ne!(thread.stack.rva, 0);
    }
    assert_eq!(errors(&small), [""; 0]);
    assert!(memory(&small) == memory(&file));
}

/// Lays compressed memory out as Microsoft's writer was seen to do it: everything is at multiples
/// of 64 KiB, with gaps, the buckets are not in the order of their ids, and the size of the data
/// does not include the gaps.
fn with_gaps(file: &[u8]) -> Vec<u8> {
    fn align(file: &mut Vec<u8>) -> usize {
        file.resize(file.len().next_multiple_of(64 << 10), 0xEE);
        file.len()
    }
    let stream = compressed_memory::stream(file);
    let old = stream.offset;
    let word = |at: usize| usize::try_from(u64::from_le_bytes(file[at..at + 8].try_into().unwrap())).unwrap();
    let mut new = file[..old].to_vec();
    let header = align(&mut new);
    new.extend(&file[old..old + 0xC0]);
    let table = |place: usize, count: usize, size: usize, new: &mut Vec<u8>| {
        let at = align(new);
        new.extend(&file[word(old + place)..][..count * size]);
        at
    };
    let regions = table(88, stream.regions.len(), 32, &mut new);
    let buckets = table(112, stream.buckets.len(), 40, &mut new);
    let data = align(&mut new);
    let mut set = vec![
        (header + 40, header),
        (header + 88, regions),
        (header + 112, buckets),
    ];
    set.push((header + 128, data));
    for (id, bucket) in stream.buckets.iter().enumerate().rev() {
        set.push((buckets + 40 * id + 16, align(&mut new)));
        new.extend(&file[bucket.offset..bucket.offset + bucket.compressed_size]);
    }
    let end = align(&mut new);
    set.push((header + 48, end - header));
    for (at, value) in set {
        new[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
    }
    let dump = Dump::from_bytes(file).unwrap();
    let entry = dump.stream(stream_type::COMPRESSED_MEMORY).unwrap();
    let rva = usize::try_from(entry.record_offset).unwrap() + 8;
    new[rva..rva + 4].copy_from_slice(&u32::try_from(header).unwrap().to_le_bytes());
    new
}

#[test]
fn dumps_in_microsofts_layout_are_converted_too() {
    let types = DumpType::WITH_MEMORY_COMPRESSED | DumpType::WITH_FULL_MEMORY_INFO;
    let request = Request::new(types).profile(Profile::DbgHelp10).time(1);
    let mut process = two_threads().memory(0x100_0000_0000, 9 << 20, READWRITE, Contents::Pattern(3));
    let mut file = Vec::new();
    dump(&mut process, &request, None, &mut file).unwrap();
    let theirs = with_gaps(&file);
    assert!(compressed_memory::stream(&file).buckets.len() > 2);
    assert!(memory(&theirs) == memory(&file));
    assert_eq!(facts(&theirs), facts(&file));
    let plain = converted(&theirs, MemoryForm::Plain);
    assert!(memory(&plain) == memory(&file));
    assert_eq!(facts(&plain), facts(&file));
    assert_eq!(errors(&plain), errors(&converted(&file, MemoryForm::Plain)));
    let small = converted(&plain, MemoryForm::Compressed);
    assert!(memory(&small) == memory(&file));
}

#[test]
fn what_cannot_be_converted_is_refused_with_the_reason() {
    let file = |types: u32| {
        let request = Request::new(DumpType::from_bits_retain(types)).time(1);
        let mut file = Vec::new();
        dump(&mut two_threads(), &request, None, &mut file).unwrap();
        Dump::from_bytes(file).unwrap()
    };
    for (types, form, reason) in [
        (0, MemoryForm::Compressed, "does not have all memory"),
        (0x200, MemoryForm::Plain, "no compressed memory"),
        (0x400_0000, MemoryForm::Compressed, "compressed already"),
        (0x2, MemoryForm::Plain, "no compressed memory"),
    ] {
        let error = convert(&file(types), form, &mut Vec::new()).expect_err(reason);
        assert!(matches!(error, ConvertError::Unsuitable(_)), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let mut pipe = StreamSink::new(Vec::new());
    let error = convert(&file(0x2), MemoryForm::Compressed, &mut pipe).expect_err("a pipe");
    assert!(matches!(error, ConvertError::Output(_)), "{error}");
    assert!(pipe.into_inner().is_empty());
}
