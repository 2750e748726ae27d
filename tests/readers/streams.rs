//! Streams value by value: what readers by others show of handles, times of threads, regions,
//! unloaded modules, names and the process. The expected values come from the scenario of a golden
//! case, or from `/proc` for a live victim.
//!
//! Would catch: a field at the wrong offset, in the wrong unit or of the wrong object that
//! dumpwright's own reader takes from the same wrong place; a stream, including rare ones, for
//! which a reader refuses the file.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::support::dumper::{self, Dump};
use crate::support::proc::{self, Stat};
use crate::support::readers::rust_minidump::Symbols;
use crate::support::readers::{breakpad, lldb, python, rust_minidump};
use crate::support::victim::{self, Frames, ThreadsTruth, Victim};
use minidump::{
    Minidump, MinidumpHandleDataStream, MinidumpMemoryInfoList, MinidumpMiscInfo, MinidumpThreadInfoList,
    MinidumpThreadNames, MinidumpUnloadedModuleList, Module,
};
use serde_json::{Value, json};

fn golden(case: &str) -> PathBuf {
    crate::support::repository()
        .join("testdata/cases")
        .join(case)
        .join("dump.dmp")
}

/// The case whose scenario has something for each stream. It contains the values below.
const EVERY: &str = "windows-every-stream";

/// STILL_ACTIVE.
const RUNNING: u64 = 0x103;

/// Id, dump flags, exit status, start, end, kernel time, user time, start address, processors.
const THREADS: [[u64; 9]; 5] = [
    [
        2001,
        0,
        RUNNING,
        133_444_600_000_000_000,
        0,
        10_000_000,
        20_000_000,
        0x1_4000_1000,
        0xf,
    ],
    [
        2002,
        0,
        RUNNING,
        133_444_600_100_000_000,
        0,
        1,
        2,
        0x1_4000_1200,
        0x3,
    ],
    [
        2003,
        4,
        0xc000_0005,
        133_444_600_200_000_000,
        133_444_600_300_000_000,
        3,
        4,
        0,
        0,
    ],
    [2004, 8, RUNNING, 0, 0, 0, 0, 0, 0],
    [2005, 0x20, RUNNING, 0, 0, 0, 0, 0, 0],
];

/// Name, base, size, checksum, time stamp.
const UNLOADED: [(&str, u64, u64, u64, u64); 2] = [
    ("plugin.dll", 0x6b00_0000, 0x9000, 0x77, 0x6000_0002),
    ("helper.dll", 0x6c00_0000, 0x3000, 0, 0),
];

struct Handle {
    number: u64,
    kind: &'static str,
    name: Option<&'static str>,
    /// Attributes, access, handles, references.
    numbers: [u32; 4],
    /// Type and bytes of the information about the object.
    information: &'static [(u32, &'static str)],
}

const HANDLES: [Handle; 4] = [
    Handle {
        number: 8,
        kind: "Event",
        name: Some(r"\BaseNamedObjects\ready"),
        numbers: [2, 0x1f_0003, 2, 0x8001],
        information: &[(6, "0100000001000000")],
    },
    Handle {
        number: 12,
        kind: "Mutant",
        name: None,
        numbers: [0, 0x1f_0001, 1, 0],
        information: &[(2, "0000000000010000"), (3, "d007000000000000d107000000000000")],
    },
    Handle {
        number: 16,
        kind: "Section",
        name: Some(r"\Sessions\1\BaseNamedObjects\shared"),
        numbers: [0, 0xf_0007, 1, 0],
        information: &[(7, "000000000000000000000008000000000000010000000000")],
    },
    Handle {
        number: 20,
        kind: "File",
        name: None,
        numbers: [0, 0x12_0089, 1, 0],
        information: &[],
    },
];

/// Base, allocation, its protection, size, state, protection, type.
const REGIONS: [[u64; 7]; 9] = [
    [0x10_0000, 0x10_0000, 4, 0x4000, 0x1000, 4, 0x2_0000],
    [0x20_0000, 0x20_0000, 4, 0x4000, 0x1000, 4, 0x2_0000],
    [0x30_0000, 0x30_0000, 4, 0x4000, 0x1000, 4, 0x2_0000],
    [0x2000_0000, 0x2000_0000, 0x40, 0x2000, 0x1000, 0x40, 0x2_0000],
    [0x7FFD_0000, 0x7FFD_0000, 4, 0x8000, 0x1000, 4, 0x2_0000],
    [0x7FFE_0000, 0x7FFE_0000, 2, 0x1000, 0x1000, 2, 0x2_0000],
    [0x1_4000_0000, 0x1_4000_0000, 0x80, 0x1000, 0x1000, 2, 0x100_0000],
    [
        0x1_4000_1000,
        0x1_4000_0000,
        0x80,
        0x2000,
        0x1000,
        0x20,
        0x100_0000,
    ],
    [0x1_4000_3000, 0x1_4000_0000, 0x80, 0x1000, 0x1000, 8, 0x100_0000],
];

#[test]
fn rust_minidump_shows_what_the_scenario_says() {
    let dump = Minidump::read_path(golden(EVERY)).expect("a minidump");

    let infos: MinidumpThreadInfoList = dump.get_stream().expect("times of threads");
    let infos = infos.thread_infos.iter().map(|info| {
        let raw = &info.raw;
        assert_eq!(raw.dump_error, 0);
        [
            raw.thread_id.into(),
            raw.dump_flags.into(),
            raw.exit_status.into(),
            raw.create_time,
            raw.exit_time,
            raw.kernel_time,
            raw.user_time,
            raw.start_address,
            raw.affinity,
        ]
    });
    assert_eq!(infos.collect::<Vec<_>>(), THREADS);

    let unloaded: MinidumpUnloadedModuleList = dump.get_stream().expect("unloaded modules");
    let unloaded = unloaded.iter().map(|module| {
        let raw = &module.raw;
        let numbers = (u64::from(raw.size_of_image), u64::from(raw.checksum));
        let name = module.code_file().into_owned();
        (
            name,
            raw.base_of_image,
            numbers.0,
            numbers.1,
            u64::from(raw.time_date_stamp),
        )
    });
    let expected = UNLOADED.map(|(name, base, size, sum, time)| (name.to_owned(), base, size, sum, time));
    assert_eq!(unloaded.collect::<Vec<_>>(), expected);

    let handles: MinidumpHandleDataStream = dump.get_stream().expect("handles");
    assert_eq!(handles.handles.len(), HANDLES.len());
    for (found, truth) in handles.iter().zip(&HANDLES) {
        assert_eq!(found.raw.handle(), Some(&truth.number));
        assert_eq!(found.type_name.as_deref(), Some(truth.kind));
        assert_eq!(found.object_name.as_deref(), truth.name);
        let numbers = [
            found.raw.attributes(),
            found.raw.granted_access(),
            found.raw.handle_count(),
            found.raw.pointer_count(),
        ];
        assert_eq!(numbers, truth.numbers.each_ref().map(Some));
        let information = found.object_infos.iter().map(|block| {
            let raw = &block.raw;
            (raw.info_type, raw.size_of_info)
        });
        let expected = truth
            .information
            .iter()
            .map(|(kind, bytes)| (*kind, u32::try_from(bytes.len() / 2).expect("small")));
        assert!(information.eq(expected), "{found:?}");
    }

    let regions: MinidumpMemoryInfoList = dump.get_stream().expect("regions");
    let regions = regions.iter().map(|region| {
        let raw = &region.raw;
        [
            raw.base_address,
            raw.allocation_base,
            raw.allocation_protection.into(),
            raw.region_size,
            raw.state.into(),
            raw.protection.into(),
            raw._type.into(),
        ]
    });
    assert_eq!(regions.collect::<Vec<_>>(), REGIONS);

    let names: MinidumpThreadNames = dump.get_stream().expect("names");
    let names = [2001, 2002, 2003].map(|id| names.get_name(id).map(|name| name.into_owned()));
    assert_eq!(names, [Some("main".to_owned()), Some("client".to_owned()), None]);

    let misc: MinidumpMiscInfo = dump.get_stream().expect("the process");
    let misc = &misc.raw;
    let times = [
        misc.process_create_time(),
        misc.process_user_time(),
        misc.process_kernel_time(),
    ];
    assert_eq!(misc.process_id(), Some(&2000));
    assert_eq!(times, [Some(&1_699_990_000), Some(&5), Some(&1)]);
    let rates = [
        misc.processor_max_mhz(),
        misc.processor_current_mhz(),
        misc.processor_mhz_limit(),
    ];
    assert_eq!(rates, [Some(&3000), Some(&2800), Some(&2900)]);
    assert_eq!(misc.process_integrity_level(), Some(&0x4000));
    assert_eq!(misc.process_execute_flags(), Some(&0x4d));
    assert_eq!(misc.protected_process(), Some(&1));
    assert_eq!(misc.time_zone_id(), Some(&1));
    assert_eq!(misc.time_zone().map(|zone| zone.bias), Some(300));
    assert_eq!(misc.process_cookie(), Some(&0x1234_abcd));
}

#[test]
fn skelsec_shows_what_the_scenario_says() {
    let found = python::skelsec_streams(&golden(EVERY)).expect("skelsec's minidump reads it");
    let infos = THREADS.map(
        |[id, flags, exit, created, ended, kernel, user, start, processors]| {
            json!([
                id, flags, 0, exit, created, ended, kernel, user, start, processors
            ])
        },
    );
    assert_eq!(found["thread_infos"], json!(infos));
    assert_eq!(found["unloaded_modules"], json!(UNLOADED));
    let handles = HANDLES.map(|handle| {
        // This reader reads only the first block of information.
        let information = &handle.information[..handle.information.len().min(1)];
        json!({
            "handle": handle.number,
            "type": handle.kind,
            "name": handle.name,
            "numbers": handle.numbers,
            "info": information,
        })
    });
    assert_eq!(found["handles"], json!(handles));
    assert_eq!(found["memory_info"], json!(REGIONS));
    assert_eq!(
        found["misc"],
        json!([2000, 1_699_990_000, 5, 1, 3000, 2800, 2900])
    );
    let comments = json!(["a comment in bytes\0", "Order 66 was refused — twice\0"]);
    assert_eq!(found["comments"], comments);
}

#[test]
fn breakpad_shows_what_the_scenario_says() {
    let (raw, complaints) = breakpad::raw(&golden(EVERY));
    assert_eq!(complaints, [""; 0]);
    for (name, value) in [
        ("process_id", 2000),
        ("process_create_time", 1_699_990_000),
        ("process_user_time", 5),
        ("process_kernel_time", 1),
        ("processor_max_mhz", 3000),
        ("processor_current_mhz", 2800),
        ("processor_mhz_limit", 2900),
        ("process_integrity_level", 0x4000),
        ("process_execute_flags", 0x4d),
        ("protected_process", 1),
        ("time_zone_id", 1),
        ("time_zone.bias", 300),
        ("process_cookie", 0x1234_abcd),
    ] {
        assert_eq!(
            breakpad::value(&raw, "MDRawMiscInfo", name),
            Some(value),
            "{name}"
        );
    }
    for line in [
        "  time_zone.standard_name      = Eastern Standard Time",
        "  build_string                 = 19041.1.amd64fre.vb_release.191206-1406",
    ] {
        assert!(raw.lines().any(|found| found == line), "{line}");
    }
    assert_eq!(
        breakpad::value(&raw, "MinidumpThreadNameList", "thread_name_count"),
        Some(2)
    );
    assert_eq!(
        breakpad::value(&raw, "MinidumpMemoryInfoList", "info_count"),
        Some(9)
    );
}

/// The only reader that supports the list.
#[test]
fn skelsec_shows_a_thread_ex_list() {
    let found = python::skelsec_streams(&golden("thread-ex")).expect("skelsec's minidump reads it");
    let threads = found["threads_ex"].as_array().expect("a list");
    let bytes = fs::read(golden("thread-ex")).expect("a dump");
    for (index, thread) in threads.iter().enumerate() {
        let number = index as u64 + 1;
        assert_eq!(thread["id"], 1000 + number);
        assert_eq!(
            thread["stack"],
            json!([0x10_0000 + number * 0x1000 - 0x100, (4 - number) * 0x1000 - 0xf00])
        );
        assert_eq!(thread["context"], 1232);
    }
    assert_eq!(threads.len(), 3);
    let store = |index: usize| -> [u64; 3] {
        serde_json::from_value(threads[index]["store"].clone()).expect("three numbers")
    };
    let [start, size, at] = store(0);
    assert_eq!((start, size), (0x20_0000, 0x1000));
    let at = usize::try_from(at).expect("an offset");
    assert!(
        bytes[at..at + 0x1000].iter().any(|byte| *byte != 0),
        "its bytes are there"
    );
    // The second thread has no backing store, and the script leaves out that of the third.
    assert_eq!((store(1), store(2)), ([0; 3], [0; 3]));
}

/// All streams of a live process, in a dump with selected memory and in a full one.
const STREAMS: &str = "with-handle-data,with-unloaded-modules,with-full-memory-info,with-thread-info,\
                       with-token-information,with-process-thread-data";

#[test]
fn every_reader_accepts_all_streams_of_a_live_process() {
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::c("threads", Frames::Pointers), &nothing);
    let truth: ThreadsTruth = victim.truth();
    let ids: Vec<u32> = sorted(truth.threads.iter().map(|thread| thread.tid));
    for more in ["", ",with-full-memory"] {
        let dump = Dump::of(&victim, &format!("{STREAMS}{more}"));
        let file = &dump.path;
        dumper::check(file).expect("our own checker finds no error");
        let folder = tempfile::tempdir().expect("a folder");
        let readings = [
            rust_minidump::read(file, Symbols::Local),
            breakpad::read(file, folder.path()),
            lldb::read(file),
        ];
        for reading in readings {
            assert_eq!(reading.complaints, [""; 0], "{}", reading.reader);
            let shown = sorted(reading.threads.iter().map(|thread| thread.tid));
            assert_eq!(shown, ids, "{}", reading.reader);
            assert_eq!(reading.pid.unwrap_or(truth.pid), truth.pid, "{}", reading.reader);
        }
        for (reader, (_, complaints)) in [
            ("minidump-stackwalk --dump", rust_minidump::raw(file)),
            ("minidump_dump", breakpad::raw(file)),
        ] {
            assert_eq!(complaints, [""; 0], "{reader}");
        }
        let skelsec = python::skelsec(file, &[]).expect("skelsec's minidump reads it");
        assert_eq!(skelsec.complaints, [""; 0]);
        let shown = sorted(skelsec.threads.iter().map(|thread| thread.tid));
        assert_eq!(shown, ids, "skelsec");
        let udmp = python::udmp(file, &[]).expect("udmp-parser reads it");
        assert_eq!(
            sorted(udmp.threads.iter().map(|thread| thread.tid)),
            ids,
            "udmp-parser"
        );
        live_values(file, &victim, &truth);
    }
    victim.ping();
}

/// Compares constant values in `/proc` with those in rust-minidump, skelsec and Breakpad.
fn live_values(file: &Path, victim: &Victim, truth: &ThreadsTruth) {
    let pid = victim.pid();
    let dump = Minidump::read_path(file).expect("a minidump");
    let skelsec = python::skelsec_streams(file).expect("skelsec's minidump reads it");
    let (raw, _) = breakpad::raw(file);

    // Descriptors: number, name, mode.
    let own: BTreeMap<u64, (String, u32)> = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("descriptors")
        .map(|entry| {
            let path = entry.expect("a descriptor").path();
            let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            let name = fs::read_link(&path)
                .expect("a link")
                .to_string_lossy()
                .into_owned();
            let mode = fs::metadata(&path).expect("a file").mode();
            (number.expect("a number"), (name, mode))
        })
        .collect();
    let handles: MinidumpHandleDataStream = dump.get_stream().expect("handles");
    let shown: BTreeMap<u64, (String, u32)> = handles
        .iter()
        .map(|handle| {
            let name = handle.object_name.clone().expect("a name");
            let mode = *handle.raw.attributes().expect("a mode");
            (*handle.raw.handle().expect("a number"), (name, mode))
        })
        .collect();
    assert_eq!(shown, own, "rust-minidump: handles");
    let shown: BTreeMap<u64, (String, u32)> = list(&skelsec["handles"])
        .iter()
        .map(|handle| {
            let mode = handle["numbers"][0]
                .as_u64()
                .and_then(|mode| u32::try_from(mode).ok());
            let name = handle["name"].as_str().expect("a name").to_owned();
            (
                handle["handle"].as_u64().expect("a number"),
                (name, mode.expect("a mode")),
            )
        })
        .collect();
    assert_eq!(shown, own, "skelsec: handles");

    // Names and times of threads. A tick is 10 ms.
    let names: MinidumpThreadNames = dump.get_stream().expect("names");
    let infos: MinidumpThreadInfoList = dump.get_stream().expect("times of threads");
    assert_eq!(infos.thread_infos.len(), truth.threads.len());
    for (info, other) in infos.thread_infos.iter().zip(list(&skelsec["thread_infos"])) {
        let raw = &info.raw;
        let thread = truth
            .threads
            .iter()
            .find(|thread| thread.tid == raw.thread_id)
            .expect("a thread");
        assert_eq!(names.get_name(thread.tid).as_deref(), Some(&*thread.name));
        let stat = Stat::of(format!("{pid}/task/{}", thread.tid)).expect("it lives");
        let started = filetime_of_boot() + stat.number(22) * 100_000;
        assert!(
            raw.create_time.abs_diff(started) < 20_000_000,
            "{raw:?}: {started}"
        );
        // The thread may have run since.
        assert!(raw.user_time + raw.kernel_time <= (stat.number(14) + stat.number(15) + 2) * 100_000);
        assert_eq!((raw.dump_flags, u64::from(raw.exit_status)), (0, RUNNING));
        let same = json!([
            raw.thread_id,
            raw.dump_flags,
            raw.dump_error,
            raw.exit_status,
            raw.create_time,
            raw.exit_time,
            raw.kernel_time,
            raw.user_time,
            raw.start_address,
            raw.affinity
        ]);
        assert_eq!(*other, same, "skelsec: times of a thread");
    }

    // Regions: all that is mapped.
    let regions: MinidumpMemoryInfoList = dump.get_stream().expect("regions");
    let mapped = |start: u64, end: u64| {
        let inside = |base: u64, size: u64| end.min(base + size).saturating_sub(start.max(base));
        let ours: u64 = regions
            .iter()
            .map(|region| inside(region.raw.base_address, region.raw.region_size))
            .sum();
        let theirs: u64 = list(&skelsec["memory_info"])
            .iter()
            .map(|region| {
                inside(
                    region[0].as_u64().expect("a base"),
                    region[3].as_u64().expect("a size"),
                )
            })
            .sum();
        (ours, theirs)
    };
    for mapping in proc::maps(pid).iter().filter(|mapping| mapping.start < 1 << 47) {
        let len = mapping.end - mapping.start;
        assert_eq!(mapped(mapping.start, mapping.end), (len, len), "{mapping:?}");
    }

    // The process.
    let misc: MinidumpMiscInfo = dump.get_stream().expect("the process");
    let stat = Stat::of(pid).expect("it lives");
    let started = (filetime_of_boot() + stat.number(22) * 100_000 - EPOCH) / 10_000_000;
    let shown = [
        (
            "rust-minidump",
            misc.raw.process_create_time().copied().map(u64::from),
        ),
        ("skelsec", skelsec["misc"][1].as_u64()),
        (
            "Breakpad",
            breakpad::value(&raw, "MDRawMiscInfo", "process_create_time"),
        ),
    ];
    for (reader, shown) in shown {
        assert!(
            shown.is_some_and(|shown| shown.abs_diff(started) <= 2),
            "{reader}: {shown:?} {started}"
        );
    }
    assert_eq!(misc.raw.process_id(), Some(&pid));
    assert_eq!(skelsec["misc"][0], pid);
    assert_eq!(
        breakpad::value(&raw, "MDRawMiscInfo", "process_id"),
        Some(pid.into())
    );
    // Linux does not remember unloaded modules, so there is no list.
    assert_eq!(skelsec["unloaded_modules"], json!([]));
}

/// The year 1970 as a FILETIME, which counts from 1601 in units of 100 ns.
const EPOCH: u64 = 116_444_736_000_000_000;

/// When the machine was started. The kernel reports it in whole seconds.
fn filetime_of_boot() -> u64 {
    let text = fs::read_to_string("/proc/stat").expect("readable");
    let boot = text.lines().find_map(|line| line.strip_prefix("btime "));
    EPOCH + boot.and_then(|boot| boot.parse::<u64>().ok()).expect("a time") * 10_000_000
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn sorted(ids: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    ids
}
