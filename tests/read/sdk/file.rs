//! The structures of the file. Numbers are written into a dump at the offsets of Microsoft's
//! header, and the reader must show them in the right fields. The dumps are golden dumps of
//! dumpwright, so the writer is tested as well.

use std::collections::BTreeSet;

use dumpwright::read::{Dump, stream_type};
use serde_json::{Value, json};

use super::table::Table;
use crate::sample;

/// A dump, its bytes, and the members that have been compared.
struct Subject<'t> {
    table: &'t Table,
    bytes: Vec<u8>,
    compared: BTreeSet<String>,
}

/// A member, its size in bytes, and the JSON pointer to it in the reader's output.
type Member = (&'static str, usize, &'static str);

/// The reader's output for a structure.
type View<'v> = &'v dyn Fn(&Dump) -> Value;

fn golden(case: &str) -> Vec<u8> {
    let path = format!("{}/testdata/cases/{case}/dump.dmp", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn open(bytes: &[u8]) -> Dump {
    Dump::from_bytes(bytes).expect("a dump")
}

/// A number in the reader's output: signed or not, as a number or as hexadecimal digits; for a
/// text, its first unit.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.encode_utf16().next().map(u64::from),
        },
        Value::Number(number) => number.as_u64().or_else(|| Some(number.as_i64()?.cast_unsigned())),
        _ => None,
    }
}

impl<'t> Subject<'t> {
    fn new(table: &'t Table, bytes: Vec<u8>) -> Self {
        Self {
            table,
            bytes,
            compared: BTreeSet::new(),
        }
    }

    fn dump(&self) -> Dump {
        open(&self.bytes)
    }

    /// The offset of a stream.
    fn stream(&self, stream_type: u32) -> u64 {
        let entry = self.dump().stream(stream_type);
        entry
            .unwrap_or_else(|| panic!("no stream {stream_type}"))
            .rva
            .into()
    }

    /// The offset of a member. For a member of a member, the path has a plus:
    /// `Stack+MINIDUMP_MEMORY_DESCRIPTOR.Memory`.
    fn offset(&mut self, structure: &str, path: &str) -> u64 {
        let mut members = path.split('+');
        let first = members.next().expect("a member");
        let mut at = self.table.offset(structure, first);
        self.compared.insert(format!("{structure}.{first}"));
        for inner in members {
            let (structure, member) = inner.split_once('.').expect("STRUCTURE.MEMBER");
            at += self.table.offset(structure, member);
            self.compared.insert(inner.to_owned());
        }
        at
    }

    fn raw(&self, at: u64, width: usize) -> u64 {
        let at = usize::try_from(at).expect("small");
        let mut value = [0; 8];
        value[..width].copy_from_slice(&self.bytes[at..at + width]);
        u64::from_le_bytes(value)
    }

    /// The number in a member of the structure at `at`.
    fn member(&mut self, structure: &str, at: u64, path: &str, width: usize) -> u64 {
        let offset = self.offset(structure, path);
        self.raw(at + offset, width)
    }

    /// Writes a number into each member of the structure at `at`, one after the other. `view` must
    /// show it.
    #[track_caller]
    fn shows(&mut self, structure: &str, at: u64, view: View<'_>, members: &[Member]) {
        for (path, width, pointer) in members {
            let offset = self.offset(structure, path);
            let place = usize::try_from(at + offset).expect("small");
            let mut bytes = self.bytes.clone();
            let mut written = [0; 8];
            for (index, byte) in written[..*width].iter_mut().enumerate() {
                *byte = 0x21 + u8::try_from(index).expect("at most 8");
                bytes[place + index] = *byte;
            }
            let written = u64::from_le_bytes(written);
            let shown = view(&open(&bytes));
            let found = shown.pointer(pointer).and_then(number);
            assert_eq!(
                found,
                Some(written),
                "{structure}.{path} is {pointer} in {shown:#}"
            );
        }
    }

    /// Checks a list that begins with its count: where its records begin, and the distance between
    /// them.
    #[track_caller]
    fn list(&mut self, structure: &str, stream: u32, [count, records]: [&str; 2], record: &str, at: &[u64]) {
        assert!(!at.is_empty(), "{structure}");
        let begin = self.stream(stream);
        let width = if stream == stream_type::MEMORY64_LIST {
            8
        } else {
            4
        };
        assert_eq!(
            self.member(structure, begin, count, width),
            at.len() as u64,
            "{structure}"
        );
        let first = begin + self.offset(structure, records);
        self.strides(structure, first, self.table.size(record), at);
    }

    /// Checks a list that begins with the sizes of its header and of its records.
    #[track_caller]
    fn sized_list(&mut self, structure: &str, stream: u32, members: [&str; 3], record: u64, at: &[u64]) {
        assert!(!at.is_empty(), "{structure}");
        let begin = self.stream(stream);
        let head = self.table.size(structure);
        let numbers = members.map(|member| self.member(structure, begin, member, 4));
        assert_eq!(numbers, [head, record, at.len() as u64], "{structure}");
        self.strides(structure, begin + head, record, at);
    }

    #[track_caller]
    fn strides(&self, what: &str, first: u64, stride: u64, at: &[u64]) {
        let expected: Vec<_> = (0..at.len() as u64).map(|index| first + index * stride).collect();
        assert_eq!(at, expected, "{what}");
    }
}

/// The offsets of records in the file.
fn records<T: serde::Serialize>(list: &[T]) -> Vec<u64> {
    let offset = |record: &T| json!(record)["record_offset"].as_u64().expect("an offset");
    list.iter().map(offset).collect()
}

const LOCATION: &str = "MINIDUMP_LOCATION_DESCRIPTOR";

fn header_and_directory(subject: &mut Subject<'_>) {
    subject.shows(
        "MINIDUMP_HEADER",
        0,
        &|dump| json!(dump.header()),
        &[
            ("CheckSum", 4, "/checksum"),
            ("TimeDateStamp", 4, "/time"),
            ("Flags", 8, "/flags"),
        ],
    );
    let header = *subject.dump().header();
    for (member, expected) in [
        ("Signature", u32::from_le_bytes(*b"MDMP")),
        ("Version", header.version),
        ("NumberOfStreams", header.number_of_streams),
        ("StreamDirectoryRva", header.stream_directory_rva),
    ] {
        assert_eq!(
            subject.member("MINIDUMP_HEADER", 0, member, 4),
            u64::from(expected),
            "{member}"
        );
    }
    assert_eq!(header.version & 0xFFFF, 0xA793);
    let directory = subject.dump().directory().to_vec();
    let size = subject.table.size("MINIDUMP_DIRECTORY");
    subject.strides(
        "MINIDUMP_DIRECTORY",
        header.stream_directory_rva.into(),
        size,
        &records(&directory),
    );
    let last = directory.len() - 1;
    subject.shows(
        "MINIDUMP_DIRECTORY",
        directory[last].record_offset,
        &move |dump| json!(dump.directory()[last]),
        &[
            ("StreamType", 4, "/stream_type"),
            ("Location+MINIDUMP_LOCATION_DESCRIPTOR.DataSize", 4, "/size"),
            ("Location+MINIDUMP_LOCATION_DESCRIPTOR.Rva", 4, "/rva"),
        ],
    );
}

fn system(subject: &mut Subject<'_>) {
    let at = subject.stream(stream_type::SYSTEM_INFO);
    let entry = subject.dump().stream(stream_type::SYSTEM_INFO);
    let size = subject.table.size("MINIDUMP_SYSTEM_INFO");
    assert_eq!(entry.map(|entry| u64::from(entry.size)), Some(size));
    subject.shows(
        "MINIDUMP_SYSTEM_INFO",
        at,
        &|dump| json!(dump.system_info().expect("readable")),
        &[
            ("ProcessorArchitecture", 2, "/processor_architecture"),
            ("ProcessorLevel", 2, "/processor_level"),
            ("ProcessorRevision", 2, "/processor_revision"),
            ("NumberOfProcessors", 1, "/number_of_processors"),
            ("ProductType", 1, "/product_type"),
            ("MajorVersion", 4, "/major_version"),
            ("MinorVersion", 4, "/minor_version"),
            ("BuildNumber", 4, "/build_number"),
            ("PlatformId", 4, "/platform_id"),
            ("CSDVersionRva", 4, "/csd_version_rva"),
            ("SuiteMask", 2, "/suite_mask"),
            ("Cpu+CPU_INFORMATION.X86CpuInfo", 1, "/cpu_information/0"),
            ("Cpu+CPU_INFORMATION.OtherCpuInfo", 1, "/cpu_information/0"),
        ],
    );
    assert_eq!(
        subject.table.offset("MINIDUMP_SYSTEM_INFO", "Cpu") + subject.table.size("CPU_INFORMATION"),
        size
    );
}

fn misc_info(table: &Table, bytes: Vec<u8>) -> BTreeSet<String> {
    let mut subject = Subject::new(table, bytes);
    let at = subject.stream(stream_type::MISC_INFO);
    let size = table.size("MINIDUMP_MISC_INFO_5");
    assert_eq!(subject.member("MINIDUMP_MISC_INFO_5", at, "SizeOfInfo", 4), size);
    // All parts are valid, extended registers too.
    let mut set = |at: u64, value: u32| {
        let at = usize::try_from(at).expect("small");
        subject.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    };
    set(at + table.offset("MINIDUMP_MISC_INFO_5", "Flags1"), 0x3FF);
    let xstate = at + table.offset("MINIDUMP_MISC_INFO_5", "XStateData");
    set(
        xstate + table.offset("XSTATE_CONFIG_FEATURE_MSC_INFO", "EnabledFeatures"),
        1,
    );
    set(
        xstate + table.offset("XSTATE_CONFIG_FEATURE_MSC_INFO", "ContextSize"),
        1,
    );
    set(
        xstate + table.offset("XSTATE_CONFIG_FEATURE_MSC_INFO", "SizeOfInfo"),
        u32::try_from(table.size("XSTATE_CONFIG_FEATURE_MSC_INFO")).expect("small"),
    );
    let members: [Member; 21] = [
        ("Flags1", 1, "/flags"),
        ("ProcessId", 4, "/process_id"),
        ("ProcessCreateTime", 4, "/process_create_time"),
        ("ProcessUserTime", 4, "/process_user_time"),
        ("ProcessKernelTime", 4, "/process_kernel_time"),
        ("ProcessorMaxMhz", 4, "/processor_power/max_mhz"),
        ("ProcessorCurrentMhz", 4, "/processor_power/current_mhz"),
        ("ProcessorMhzLimit", 4, "/processor_power/mhz_limit"),
        ("ProcessorMaxIdleState", 4, "/processor_power/max_idle_state"),
        (
            "ProcessorCurrentIdleState",
            4,
            "/processor_power/current_idle_state",
        ),
        ("ProcessIntegrityLevel", 4, "/process_integrity_level"),
        ("ProcessExecuteFlags", 4, "/process_execute_flags"),
        ("ProtectedProcess", 4, "/protected_process"),
        ("TimeZoneId", 4, "/time_zone/id"),
        ("TimeZone", 4, "/time_zone/bias"),
        ("BuildString", 2, "/build_string"),
        ("DbgBldStr", 2, "/debug_build_string"),
        (
            "XStateData+XSTATE_CONFIG_FEATURE_MSC_INFO.ContextSize",
            4,
            "/extended_state/context_size",
        ),
        (
            "XStateData+XSTATE_CONFIG_FEATURE_MSC_INFO.EnabledFeatures",
            8,
            "/extended_state/enabled_features",
        ),
        (
            "XStateData+XSTATE_CONFIG_FEATURE_MSC_INFO.Features",
            4,
            "/extended_state/features/0/offset",
        ),
        ("ProcessCookie", 4, "/process_cookie"),
    ];
    let view = |dump: &Dump| json!(dump.misc_info().expect("readable"));
    // The lowest bits of the flags keep their values.
    let flags = members[0];
    let before = subject.raw(at + table.offset("MINIDUMP_MISC_INFO_5", flags.0), 4);
    assert_eq!(
        view(&subject.dump()).pointer(flags.2).and_then(number),
        Some(before)
    );
    subject.compared.insert("MINIDUMP_MISC_INFO_5.Flags1".to_owned());
    subject.shows("MINIDUMP_MISC_INFO_5", at, &view, &members[1..]);
    // The earlier versions are the beginnings of the last one.
    for generation in ["", "_2", "_3", "_4"] {
        let structure = format!("MINIDUMP_MISC_INFO{generation}");
        for member in table.members(&structure).into_keys() {
            let at = table.offset(&structure, &member);
            assert_eq!(at, table.offset("MINIDUMP_MISC_INFO_5", &member), "{structure}");
            subject.compared.insert(format!("{structure}.{member}"));
        }
    }
    // Each version ends where the next one begins to add members.
    for (structure, next, first) in [
        ("MINIDUMP_MISC_INFO", "MINIDUMP_MISC_INFO_2", "ProcessorMaxMhz"),
        (
            "MINIDUMP_MISC_INFO_2",
            "MINIDUMP_MISC_INFO_3",
            "ProcessIntegrityLevel",
        ),
        ("MINIDUMP_MISC_INFO_3", "MINIDUMP_MISC_INFO_4", "BuildString"),
        ("MINIDUMP_MISC_INFO_4", "MINIDUMP_MISC_INFO_5", "XStateData"),
    ] {
        assert_eq!(table.size(structure), table.offset(next, first), "{structure}");
    }
    subject.compared
}

/// The members that extended and plain entries share.
const THREAD: [Member; 10] = [
    ("ThreadId", 4, "/id"),
    ("SuspendCount", 4, "/suspend_count"),
    ("PriorityClass", 4, "/priority_class"),
    ("Priority", 4, "/priority"),
    ("Teb", 8, "/teb"),
    (
        "Stack+MINIDUMP_MEMORY_DESCRIPTOR.StartOfMemoryRange",
        8,
        "/stack/start",
    ),
    (
        "Stack+MINIDUMP_MEMORY_DESCRIPTOR.Memory+MINIDUMP_LOCATION_DESCRIPTOR.DataSize",
        4,
        "/stack/size",
    ),
    (
        "Stack+MINIDUMP_MEMORY_DESCRIPTOR.Memory+MINIDUMP_LOCATION_DESCRIPTOR.Rva",
        4,
        "/stack/rva",
    ),
    (
        "ThreadContext+MINIDUMP_LOCATION_DESCRIPTOR.DataSize",
        4,
        "/context_location/size",
    ),
    (
        "ThreadContext+MINIDUMP_LOCATION_DESCRIPTOR.Rva",
        4,
        "/context_location/rva",
    ),
];

fn threads(subject: &mut Subject<'_>) {
    let threads = records(&subject.dump().threads().expect("readable"));
    subject.list(
        "MINIDUMP_THREAD_LIST",
        stream_type::THREAD_LIST,
        ["NumberOfThreads", "Threads"],
        "MINIDUMP_THREAD",
        &threads,
    );
    let second = |dump: &Dump| json!(dump.threads().expect("readable")[1]);
    subject.shows("MINIDUMP_THREAD", threads[1], &second, &THREAD);

    let names = records(&subject.dump().thread_names().expect("readable"));
    subject.list(
        "MINIDUMP_THREAD_NAME_LIST",
        stream_type::THREAD_NAMES,
        ["NumberOfThreadNames", "ThreadNames"],
        "MINIDUMP_THREAD_NAME",
        &names,
    );
    let second = |dump: &Dump| json!(dump.thread_names().expect("readable")[1]);
    subject.shows(
        "MINIDUMP_THREAD_NAME",
        names[1],
        &second,
        &[("ThreadId", 4, "/thread_id"), ("RvaOfThreadName", 8, "/rva")],
    );
    // The name itself: the number of bytes, then UTF-16.
    let at = subject.member("MINIDUMP_THREAD_NAME", names[1], "RvaOfThreadName", 8);
    let name = second(&subject.dump())["name"].clone();
    let units = name.as_str().expect("a name").encode_utf16().count() as u64;
    assert_eq!(subject.member("MINIDUMP_STRING", at, "Length", 4), 2 * units);
    subject.shows("MINIDUMP_STRING", at, &second, &[("Buffer", 2, "/name")]);

    let infos = subject.dump().thread_infos().expect("readable");
    let size = subject.table.size("MINIDUMP_THREAD_INFO");
    subject.sized_list(
        "MINIDUMP_THREAD_INFO_LIST",
        stream_type::THREAD_INFO_LIST,
        ["SizeOfHeader", "SizeOfEntry", "NumberOfEntries"],
        size,
        &records(&infos),
    );
    subject.shows(
        "MINIDUMP_THREAD_INFO",
        infos[1].record_offset,
        &|dump| json!(dump.thread_infos().expect("readable")[1]),
        &[
            ("ThreadId", 4, "/thread_id"),
            ("DumpFlags", 4, "/dump_flags"),
            ("DumpError", 4, "/dump_error"),
            ("ExitStatus", 4, "/exit_status"),
            ("CreateTime", 8, "/create_time"),
            ("ExitTime", 8, "/exit_time"),
            ("KernelTime", 8, "/kernel_time"),
            ("UserTime", 8, "/user_time"),
            ("StartAddress", 8, "/start_address"),
            ("Affinity", 8, "/affinity"),
        ],
    );
}

fn extended_threads(table: &Table) -> BTreeSet<String> {
    let mut subject = Subject::new(table, golden("thread-ex"));
    let threads = records(&subject.dump().threads().expect("readable"));
    subject.list(
        "MINIDUMP_THREAD_EX_LIST",
        stream_type::THREAD_EX_LIST,
        ["NumberOfThreads", "Threads"],
        "MINIDUMP_THREAD_EX",
        &threads,
    );
    let first = |dump: &Dump| json!(dump.threads().expect("readable")[0]);
    subject.shows("MINIDUMP_THREAD_EX", threads[0], &first, &THREAD);
    subject.shows(
        "MINIDUMP_THREAD_EX",
        threads[0],
        &first,
        &[(
            "BackingStore+MINIDUMP_MEMORY_DESCRIPTOR.StartOfMemoryRange",
            8,
            "/backing_store/start",
        )],
    );
    subject.compared
}

fn modules(subject: &mut Subject<'_>) {
    let modules = records(&subject.dump().modules().expect("readable"));
    subject.list(
        "MINIDUMP_MODULE_LIST",
        stream_type::MODULE_LIST,
        ["NumberOfModules", "Modules"],
        "MINIDUMP_MODULE",
        &modules,
    );
    let first = |dump: &Dump| json!(dump.modules().expect("readable")[0]);
    const COMMON: [Member; 5] = [
        ("BaseOfImage", 8, "/base"),
        ("SizeOfImage", 4, "/size"),
        ("CheckSum", 4, "/checksum"),
        ("TimeDateStamp", 4, "/timestamp"),
        ("ModuleNameRva", 4, "/name_rva"),
    ];
    subject.shows("MINIDUMP_MODULE", modules[0], &first, &COMMON);
    subject.shows(
        "MINIDUMP_MODULE",
        modules[0],
        &first,
        &[
            (
                "CvRecord+MINIDUMP_LOCATION_DESCRIPTOR.DataSize",
                4,
                "/cv_location/size",
            ),
            ("CvRecord+MINIDUMP_LOCATION_DESCRIPTOR.Rva", 4, "/cv_location/rva"),
        ],
    );
    // VS_FIXEDFILEINFO begins with its signature.
    let version = subject.member("MINIDUMP_MODULE", modules[0], "VersionInfo", 4);
    assert!([0xFEEF_04BD, 0].contains(&version), "{version:#x}");

    let unloaded = records(&subject.dump().unloaded_modules().expect("readable"));
    let size = subject.table.size("MINIDUMP_UNLOADED_MODULE");
    subject.sized_list(
        "MINIDUMP_UNLOADED_MODULE_LIST",
        stream_type::UNLOADED_MODULE_LIST,
        ["SizeOfHeader", "SizeOfEntry", "NumberOfEntries"],
        size,
        &unloaded,
    );
    let second = |dump: &Dump| json!(dump.unloaded_modules().expect("readable")[1]);
    subject.shows("MINIDUMP_UNLOADED_MODULE", unloaded[1], &second, &COMMON[..4]);
    subject.offset("MINIDUMP_UNLOADED_MODULE", "ModuleNameRva");
    let rva = subject.member("MINIDUMP_UNLOADED_MODULE", unloaded[1], "ModuleNameRva", 4);
    assert_eq!(
        second(&subject.dump()).pointer("/name_rva").and_then(number),
        Some(rva)
    );
}

fn memory(subject: &mut Subject<'_>) {
    let ranges = records(&subject.dump().memory_ranges().expect("readable"));
    subject.list(
        "MINIDUMP_MEMORY_LIST",
        stream_type::MEMORY_LIST,
        ["NumberOfMemoryRanges", "MemoryRanges"],
        "MINIDUMP_MEMORY_DESCRIPTOR",
        &ranges,
    );
    subject.shows(
        "MINIDUMP_MEMORY_DESCRIPTOR",
        ranges[1],
        &|dump| json!(dump.memory_ranges().expect("readable")[1]),
        &[
            ("StartOfMemoryRange", 8, "/address"),
            ("Memory+MINIDUMP_LOCATION_DESCRIPTOR.DataSize", 4, "/size"),
            ("Memory+MINIDUMP_LOCATION_DESCRIPTOR.Rva", 4, "/file_offset"),
        ],
    );
    let regions = records(&subject.dump().memory_regions().expect("readable"));
    let size = subject.table.size("MINIDUMP_MEMORY_INFO");
    subject.sized_list(
        "MINIDUMP_MEMORY_INFO_LIST",
        stream_type::MEMORY_INFO_LIST,
        ["SizeOfHeader", "SizeOfEntry", "NumberOfEntries"],
        size,
        &regions,
    );
    subject.shows(
        "MINIDUMP_MEMORY_INFO",
        regions[1],
        &|dump| json!(dump.memory_regions().expect("readable")[1]),
        &[
            ("BaseAddress", 8, "/base"),
            ("AllocationBase", 8, "/allocation_base"),
            ("AllocationProtect", 4, "/allocation_protect"),
            ("RegionSize", 8, "/size"),
            ("State", 4, "/state"),
            ("Protect", 4, "/protect"),
            ("Type", 4, "/kind"),
        ],
    );
}

fn all_memory(table: &Table) -> BTreeSet<String> {
    let mut subject = Subject::new(table, golden("flag-full-memory"));
    let ranges = records(&subject.dump().memory_ranges().expect("readable"));
    subject.list(
        "MINIDUMP_MEMORY64_LIST",
        stream_type::MEMORY64_LIST,
        ["NumberOfMemoryRanges", "MemoryRanges"],
        "MINIDUMP_MEMORY_DESCRIPTOR64",
        &ranges,
    );
    let at = subject.stream(stream_type::MEMORY64_LIST);
    let first = |dump: &Dump| json!(dump.memory_ranges().expect("readable")[0]);
    subject.shows(
        "MINIDUMP_MEMORY64_LIST",
        at,
        &first,
        &[("BaseRva", 8, "/file_offset")],
    );
    subject.shows(
        "MINIDUMP_MEMORY_DESCRIPTOR64",
        ranges[0],
        &first,
        &[("StartOfMemoryRange", 8, "/address"), ("DataSize", 8, "/size")],
    );
    subject.compared
}

fn exception(table: &Table) -> BTreeSet<String> {
    let mut subject = Subject::new(table, sample::normal().bytes);
    // After the thread's id and its padding.
    let at = subject.stream(stream_type::EXCEPTION) + 8;
    let view = |dump: &Dump| json!(dump.exception().expect("readable"));
    subject.shows(
        "MINIDUMP_EXCEPTION",
        at,
        &view,
        &[
            ("ExceptionCode", 4, "/code"),
            ("ExceptionFlags", 4, "/flags"),
            ("ExceptionRecord", 8, "/record"),
            ("ExceptionAddress", 8, "/address"),
            ("NumberParameters", 1, "/number_of_parameters"),
            ("ExceptionInformation", 8, "/parameters/0"),
        ],
    );
    // The location of the registers follows it.
    let end = at + table.size("MINIDUMP_EXCEPTION");
    let registers = subject.raw(end + table.offset(LOCATION, "Rva"), 4);
    assert_eq!(
        view(&subject.dump())
            .pointer("/context_location/rva")
            .and_then(number),
        Some(registers)
    );
    subject.compared
}

fn handles(subject: &mut Subject<'_>) {
    let handles = subject.dump().handles().expect("readable");
    let size = subject.table.size("MINIDUMP_HANDLE_DESCRIPTOR_2");
    subject.sized_list(
        "MINIDUMP_HANDLE_DATA_STREAM",
        stream_type::HANDLE_DATA,
        ["SizeOfHeader", "SizeOfDescriptor", "NumberOfDescriptors"],
        size,
        &records(&handles),
    );
    const MEMBERS: [Member; 8] = [
        ("Handle", 8, "/handle"),
        ("TypeNameRva", 4, "/type_name_rva"),
        ("ObjectNameRva", 4, "/object_name_rva"),
        ("Attributes", 4, "/attributes"),
        ("GrantedAccess", 4, "/granted_access"),
        ("HandleCount", 4, "/handle_count"),
        ("PointerCount", 4, "/pointer_count"),
        ("ObjectInfoRva", 4, "/object_info_rva"),
    ];
    let first = |dump: &Dump| json!(dump.handles().expect("readable")[0]);
    let at = handles[0].record_offset;
    subject.shows("MINIDUMP_HANDLE_DESCRIPTOR_2", at, &first, &MEMBERS);
    // The first version is the beginning of the second.
    subject.shows("MINIDUMP_HANDLE_DESCRIPTOR", at, &first, &MEMBERS[..7]);
    assert_eq!(
        subject.table.size("MINIDUMP_HANDLE_DESCRIPTOR"),
        subject
            .table
            .offset("MINIDUMP_HANDLE_DESCRIPTOR_2", "ObjectInfoRva")
    );
    let with = handles
        .iter()
        .position(|handle| handle.object_information.len() > 1);
    let with = with.expect("a handle with two blocks of information");
    let blocks = &handles[with].object_information;
    let at = blocks[0].record_offset;
    const INFORMATION: &str = "MINIDUMP_HANDLE_OBJECT_INFORMATION";
    assert_eq!(
        subject.member(INFORMATION, at, "NextInfoRva", 4),
        blocks[1].record_offset
    );
    assert_eq!(
        subject.member(INFORMATION, at, "SizeOfInfo", 4),
        blocks[0].bytes.len() as u64
    );
    subject.shows(
        INFORMATION,
        at,
        &move |dump| json!(dump.handles().expect("readable")[with].object_information[0]),
        &[("InfoType", 4, "/info_type")],
    );
    let head = usize::try_from(at + subject.table.size(INFORMATION)).expect("small");
    assert_eq!(subject.bytes[head..head + blocks[0].bytes.len()], blocks[0].bytes);

    /// `AVRF_HANDLE_OPERATION` of avrfsdk.h, which the table does not cover.
    const OPERATION: u64 = 288;
    let operations = records(&subject.dump().handle_operations().expect("readable"));
    subject.sized_list(
        "MINIDUMP_HANDLE_OPERATION_LIST",
        stream_type::HANDLE_OPERATION_LIST,
        ["SizeOfHeader", "SizeOfEntry", "NumberOfEntries"],
        OPERATION,
        &operations,
    );
}

fn function_tables(subject: &mut Subject<'_>) {
    const HEAD: &str = "MINIDUMP_FUNCTION_TABLE_STREAM";
    const RECORD: &str = "MINIDUMP_FUNCTION_TABLE_DESCRIPTOR";
    let tables = subject.dump().function_tables().expect("readable");
    let at = subject.stream(stream_type::FUNCTION_TABLE);
    for (member, expected) in [
        ("SizeOfHeader", subject.table.size(HEAD)),
        ("SizeOfDescriptor", subject.table.size(RECORD)),
        // For x86-64: DYNAMIC_FUNCTION_TABLE and RUNTIME_FUNCTION.
        ("SizeOfNativeDescriptor", 88),
        ("SizeOfFunctionEntry", 12),
        ("NumberOfDescriptors", tables.len() as u64),
    ] {
        assert_eq!(subject.member(HEAD, at, member, 4), expected, "{member}");
    }
    let pad = subject.member(HEAD, at, "SizeOfAlignPad", 4);
    assert_eq!(tables[0].record_offset, at + subject.table.size(HEAD) + pad);
    let at = tables[0].record_offset;
    subject.shows(
        RECORD,
        at,
        &|dump| json!(dump.function_tables().expect("readable")[0]),
        &[
            ("MinimumAddress", 8, "/minimum_address"),
            ("MaximumAddress", 8, "/maximum_address"),
            ("BaseAddress", 8, "/base_address"),
        ],
    );
    let entries = subject.member(RECORD, at, "EntryCount", 4);
    assert_eq!(entries, tables[0].entries.len() as u64);
    let pad = subject.member(RECORD, at, "SizeOfAlignPad", 4);
    assert_eq!(
        tables[1].record_offset,
        at + subject.table.size(RECORD) + 88 + 12 * entries + pad
    );
}

fn tokens(subject: &mut Subject<'_>) {
    const LIST: &str = "MINIDUMP_TOKEN_INFO_LIST";
    const RECORD: &str = "MINIDUMP_TOKEN_INFO_HEADER";
    let tokens = subject.dump().tokens().expect("readable");
    let entry = subject.dump().stream(stream_type::TOKEN).expect("there is one");
    let at = u64::from(entry.rva);
    // After the header of an element there are seven pairs of offset and size, which Microsoft's
    // header does not declare.
    let element = subject.table.size(RECORD) + 7 * 8;
    for (member, expected) in [
        ("TokenListSize", u64::from(entry.size)),
        ("TokenListEntries", tokens.len() as u64),
        ("ListHeaderSize", subject.table.size(LIST)),
        ("ElementHeaderSize", element),
    ] {
        assert_eq!(subject.member(LIST, at, member, 4), expected, "{member}");
    }
    let at = tokens[0].record_offset;
    assert_eq!(at, u64::from(entry.rva) + subject.table.size(LIST));
    let size = subject.member(RECORD, at, "TokenSize", 4);
    assert_eq!(tokens[1].record_offset, at + size);
    subject.shows(
        RECORD,
        at,
        &|dump| json!(dump.tokens().expect("readable")[0]),
        &[("TokenId", 4, "/id"), ("TokenHandle", 8, "/handle")],
    );
}

/// Structures of numbers only; the reader shows each number by its name.
fn counters(subject: &mut Subject<'_>) {
    const FLAGS: [u8; 2] = [0xFF, 0];
    let memory = subject.stream(stream_type::SYSTEM_MEMORY_INFO);
    let process = subject.stream(stream_type::PROCESS_VM_COUNTERS);
    for (structure, stream, revision) in [
        (
            "MINIDUMP_SYSTEM_MEMORY_INFO_2",
            stream_type::SYSTEM_MEMORY_INFO,
            2,
        ),
        (
            "MINIDUMP_PROCESS_VM_COUNTERS_2",
            stream_type::PROCESS_VM_COUNTERS,
            2,
        ),
    ] {
        let entry = subject.dump().stream(stream).expect("there is one");
        assert_eq!(
            u64::from(entry.size),
            subject.table.size(structure),
            "{structure}"
        );
        assert_eq!(
            subject.member(structure, entry.rva.into(), "Revision", 2),
            revision
        );
        // Everything is valid.
        let flags = u64::from(entry.rva) + subject.offset(structure, "Flags");
        let flags = usize::try_from(flags).expect("small");
        subject.bytes[flags..flags + 2].copy_from_slice(&FLAGS);
    }
    let of_machine = |dump: &Dump| json!(dump.system_memory().expect("readable"))["numbers"].clone();
    let parts = [
        ("BasicInfo", "MINIDUMP_SYSTEM_BASIC_INFORMATION"),
        ("FileCacheInfo", "MINIDUMP_SYSTEM_FILECACHE_INFORMATION"),
        ("BasicPerfInfo", "MINIDUMP_SYSTEM_BASIC_PERFORMANCE_INFORMATION"),
        ("PerfInfo", "MINIDUMP_SYSTEM_PERFORMANCE_INFORMATION_2"),
    ];
    let mut all = 0;
    for (part, structure) in parts {
        let at = memory + subject.offset("MINIDUMP_SYSTEM_MEMORY_INFO_2", part);
        all += numbers(subject, structure, at, &format!("{part}."), &of_machine);
    }
    let shown = of_machine(&subject.dump());
    assert_eq!(
        shown.as_object().map(serde_json::Map::len),
        Some(all),
        "nothing else is read"
    );
    // The first revision has the same beginning.
    for (first, second) in [
        ("MINIDUMP_SYSTEM_MEMORY_INFO_1", "MINIDUMP_SYSTEM_MEMORY_INFO_2"),
        (
            "MINIDUMP_SYSTEM_PERFORMANCE_INFORMATION",
            "MINIDUMP_SYSTEM_PERFORMANCE_INFORMATION_2",
        ),
    ] {
        for member in subject.table.members(first).into_keys() {
            let at = subject.offset(first, &member);
            assert_eq!(at, subject.offset(second, &member), "{first}.{member}");
        }
    }

    let of_process = |dump: &Dump| json!(dump.vm_counters().expect("readable"))["numbers"].clone();
    numbers(
        subject,
        "MINIDUMP_PROCESS_VM_COUNTERS_2",
        process,
        "",
        &of_process,
    );
    let revision = usize::try_from(process).expect("small");
    let second = std::mem::replace(&mut subject.bytes[revision], 1);
    subject.offset("MINIDUMP_PROCESS_VM_COUNTERS_1", "Revision");
    numbers(
        subject,
        "MINIDUMP_PROCESS_VM_COUNTERS_1",
        process,
        "",
        &of_process,
    );
    subject.bytes[revision] = second;
}

/// Writes a number into each member except those of the header. Returns the number of members.
fn numbers(
    subject: &mut Subject<'_>,
    structure: &'static str,
    at: u64,
    prefix: &str,
    view: View<'_>,
) -> usize {
    let mut members: Vec<(u64, String)> = subject
        .table
        .members(structure)
        .into_keys()
        .map(|member| (subject.table.offset(structure, &member), member))
        .collect();
    members.sort();
    members.retain(|(_, member)| !(prefix.is_empty() && ["Revision", "Flags"].contains(&member.as_str())));
    let ends = members.iter().skip(1).map(|(at, _)| *at);
    let ends: Vec<_> = ends.chain([subject.table.size(structure)]).collect();
    let count = members.len();
    for ((begin, member), end) in members.into_iter().zip(ends) {
        // The pointers to members must live as long as the test runs.
        let pointer: &'static str = format!("/{prefix}{member}").leak();
        let width = usize::try_from(end - begin).expect("small");
        subject.shows(structure, at, view, &[(member.leak(), width, pointer)]);
    }
    count
}

/// Members that no field of the reader shows, and why.
const NOT_SHOWN: [(&str, &str); 17] = [
    (
        "MINIDUMP_HEADER.Reserved",
        "the union's other name of TimeDateStamp",
    ),
    (
        "MINIDUMP_SYSTEM_INFO.Reserved0",
        "the union's other name of two bytes",
    ),
    (
        "MINIDUMP_SYSTEM_INFO.Reserved1",
        "the union's other name of SuiteMask",
    ),
    ("MINIDUMP_SYSTEM_INFO.Reserved2", "reserved"),
    ("MINIDUMP_MODULE.MiscRecord", "an old form of CvRecord"),
    ("MINIDUMP_MODULE.Reserved0", "reserved"),
    ("MINIDUMP_MODULE.Reserved1", "reserved"),
    ("MINIDUMP_EXCEPTION.__unusedAlignment", "padding"),
    ("MINIDUMP_HANDLE_DESCRIPTOR_2.Reserved0", "reserved"),
    ("MINIDUMP_HANDLE_DATA_STREAM.Reserved", "reserved"),
    ("MINIDUMP_HANDLE_OPERATION_LIST.Reserved", "reserved"),
    (
        "XSTATE_CONFIG_FEATURE_MSC_INFO.SizeOfInfo",
        "the size of the structure",
    ),
    ("MINIDUMP_LOCATION_DESCRIPTOR64", "in no stream"),
    ("MINIDUMP_EXCEPTION_INFORMATION64", "in no stream"),
    ("MINIDUMP_USER_RECORD", "in no stream"),
    ("MINIDUMP_MEMORY_INFO.__alignment1", "padding"),
    ("MINIDUMP_MEMORY_INFO.__alignment2", "padding"),
];

#[test]
fn members_of_the_file_stand_where_the_newest_header_has_them() {
    let table = Table::load();
    let mut subject = Subject::new(&table, golden("windows-every-stream"));
    header_and_directory(&mut subject);
    system(&mut subject);
    threads(&mut subject);
    modules(&mut subject);
    memory(&mut subject);
    handles(&mut subject);
    function_tables(&mut subject);
    tokens(&mut subject);
    counters(&mut subject);
    let mut compared = subject.compared;
    compared.extend(misc_info(&table, golden("windows-every-stream")));
    compared.extend(extended_threads(&table));
    compared.extend(all_memory(&table));
    compared.extend(exception(&table));

    let mut forgotten = Vec::new();
    for (structure, _) in table.structures() {
        // The structures of the callback have a separate test.
        if super::layout(structure).is_some() && structure != "MINIDUMP_MEMORY_INFO" {
            continue;
        }
        for member in table.members(structure).into_keys() {
            let name = format!("{structure}.{member}");
            let excused = NOT_SHOWN
                .iter()
                .any(|(known, _)| [structure, &name].contains(known));
            assert!(
                !(excused && compared.contains(&name)),
                "{name} is shown after all"
            );
            if !excused && !compared.contains(&name) {
                forgotten.push(name);
            }
        }
    }
    assert!(forgotten.is_empty(), "{forgotten:#?}");
}
