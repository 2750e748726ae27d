//! What these tests would catch: memory that comes from a wrong place of the core or from a file of
//! another build, zeros where the core was cut off, mappings with wrong names or protections, and
//! hostile cores that cause a panic.

use std::os::unix::fs::FileExt;

use dumpwright_target::{Content, CpuInformation, Direct, RegionState, protect};
use goblin::elf::program_header::{PF_R, PF_W, PF_X};
use proptest::prelude::*;

use super::super::sample::{AUXV, FILE, PRSTATUS, SampleCore, files, note, status, words};
use super::*;

/// Opens a core with these bytes.
fn open(bytes: &[u8]) -> Result<CoreFile, Fault> {
    let stored = spool::store(bytes, &std::env::temp_dir()).expect("stored");
    CoreFile::from_file(stored.file, "a.core")
}

fn freeze(core: &mut CoreFile) -> Box<dyn Frozen + '_> {
    core.freeze(&Need::default()).expect("nothing can fail")
}

fn range(start: u64, end: u64) -> AddressRange {
    AddressRange::new(start, end).expect("not empty")
}

fn contents(frozen: &mut dyn Frozen, all: AddressRange) -> Vec<(u64, Content)> {
    let extents = frozen.survey(all);
    assert_eq!(
        extents.first().map(|extent| extent.range.start()),
        Some(all.start())
    );
    assert_eq!(extents.last().map(|extent| extent.range.end()), Some(all.end()));
    for pair in extents.windows(2) {
        assert_eq!(pair[0].range.end(), pair[1].range.start());
        assert_ne!(pair[0].content, pair[1].content);
    }
    extents
        .into_iter()
        .map(|extent| (extent.range.start(), extent.content))
        .collect()
}

fn reason(content: Content) -> &'static str {
    match content {
        Content::Unreadable(reason) | Content::Nothing(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn memory_comes_from_the_core_and_holes_are_zeros() {
    let mut sample = SampleCore::new();
    let mut pages = vec![0; 0x4000];
    pages[..0x1000].fill(1);
    pages[0x3000..].fill(4);
    // Aligned as the kernel does it, so that zeros can become holes.
    sample.notes.resize(0x4000 - 64 - 56 * 3, 0);
    sample.loads = vec![
        (0x10_0000, 0x5000, PF_R | PF_W, pages),
        (0x20_0000, 0x1000, PF_R | PF_W, Vec::new()),
    ];
    let mut core = open(&sample.bytes()).expect("sound");
    let mut frozen = freeze(&mut core);
    assert_eq!(frozen.bytes(0x10_0ffe, 4), Ok(vec![1, 1, 0, 0]));
    assert_eq!(frozen.up_to(0x10_3ffe, 4), [4, 4], "up to what is stored");
    assert!(frozen.array::<1>(0x30_0000).is_err());
    let found = contents(&mut *frozen, range(0xf_0000, 0x30_0000));
    let [
        before,
        (0x10_0000, Content::Readable),
        (0x10_1000, Content::Zero),
        (0x10_3000, Content::Readable),
        rest,
        between,
        empty,
        behind,
    ] = found[..]
    else {
        panic!("{found:x?}")
    };
    assert_eq!(
        (rest.0, between.0, empty.0, behind.0),
        (0x10_4000, 0x10_5000, 0x20_0000, 0x20_1000)
    );
    assert_eq!(reason(before.1), reason(behind.1));
    assert!(reason(rest.1).contains("not in the core") && reason(rest.1) == reason(empty.1));
    assert!(matches!(between.1, Content::Nothing(_)));
}

#[test]
fn what_is_cut_off_is_not_zero() {
    let bytes = SampleCore::new().bytes();
    let mut core = open(&bytes[..bytes.len() - 0x1800]).expect("it has threads");
    let mut frozen = freeze(&mut core);
    assert_eq!(frozen.up_to(0x40_0000, 0x2000), [0x7f; 0x800]);
    let fault = frozen.array::<1>(0x7ff0_0000).expect_err("it is cut off");
    assert!(fault.to_string().contains("cut off"), "{fault}");
    let found = contents(&mut *frozen, range(0x40_0000, 0x40_1000));
    assert!(matches!(
        found[..],
        [
            (0x40_0000, Content::Readable),
            (0x40_0800, Content::Unreadable(_))
        ]
    ));
    let diagnostics = frozen.diagnostics();
    let cut = format!("{} of {} bytes", bytes.len() - 0x1800, bytes.len());
    assert!(
        diagnostics.iter().any(|one| one.reason.contains(&cut)),
        "{diagnostics:?}"
    );
}

#[test]
fn the_auxiliary_vector_names_the_stack_and_the_vdso() {
    let sample = SampleCore {
        loads: vec![
            (0x1000, 0x1000, PF_R, vec![0; 0x1000]),
            (0x3000, 0x1000, PF_R, Vec::new()),
            (0x4000, 0x1000, PF_R, Vec::new()),
            (0x5000, 0x1000, PF_R | PF_X, vec![0; 0x1000]),
            (0x7000, 0x2000, PF_R | PF_W, vec![0; 0x2000]),
        ],
        notes: [
            note("CORE", PRSTATUS, &status(1, 0, 0x5000, 0x7100)),
            note("CORE", AUXV, &words(&[33, 0x5000, 25, 0x8800, 31, 0x8ff0, 0, 0])),
        ]
        .concat(),
    };
    let core = open(&sample.bytes()).expect("sound");
    let named = mappings::of(&core.headers, &core.auxv);
    let names: Vec<_> = named.iter().map(|found| found.mapping.name()).collect();
    let expected: [&[u8]; 5] = [b"", b"[vvar]", b"[vvar]", b"[vdso]", b"[stack]"];
    assert_eq!(names, expected);

    let stack = |environment| {
        let mut core = open(&sample.bytes()).expect("sound");
        let need = Need {
            environment,
            ..Need::default()
        };
        let mut frozen = core.freeze(&need).expect("nothing can fail");
        let thread = frozen.thread(1, &mut Direct).expect("it is there");
        thread.stack.map(|stack| stack.range)
    };
    assert_eq!(
        stack(false),
        Some(range(0x7080, 0x8800)),
        "up to the random bytes"
    );
    assert_eq!(stack(true), Some(range(0x7080, 0x9000)));
}

/// It is not known where the environment is, so nothing of the first stack is kept.
#[test]
fn without_the_auxiliary_vector_the_first_thread_has_no_stack() {
    let mut sample = SampleCore::new();
    sample.notes = [
        note("CORE", PRSTATUS, &status(7, 0, 0, 0x7ff0_0800)),
        note("CORE", PRSTATUS, &status(8, 0, 0, 0x4000_0800)),
    ]
    .concat();
    sample
        .loads
        .push((0x4000_0000, 0x1000, PF_R | PF_W, vec![1; 0x1000]));
    let mut core = open(&sample.bytes()).expect("sound");
    let mut frozen = freeze(&mut core);
    let mut stack = |id| frozen.thread(id, &mut Direct).expect("it is there").stack;
    assert_eq!(stack(7), None);
    assert_eq!(
        stack(8).map(|stack| stack.range),
        Some(range(0x4000_0780, 0x4000_1000))
    );
    let diagnostics = frozen.diagnostics();
    assert!(
        diagnostics
            .iter()
            .any(|one| one.reason.contains("no auxiliary vector"))
    );
}

/// The command line may hold secrets, as the environment.
#[test]
fn the_command_line_is_there_if_it_is_requested() {
    let mut core = open(&SampleCore::new().bytes()).expect("sound");
    let mut texts = |environment| -> Vec<(LinuxTextKind, Vec<u8>)> {
        let need = Need {
            environment,
            ..Need::default()
        };
        let mut frozen = core.freeze(&need).expect("nothing can fail");
        let facts = frozen.linux(&mut Direct).expect("it is a Linux process");
        facts
            .texts
            .into_iter()
            .map(|text| (text.kind, text.bytes))
            .collect()
    };
    let auxv = words(&[6, 4096, 9, 0x40_0000, 25, 0x7ff0_0f00, 0, 0]);
    assert_eq!(texts(false), [(LinuxTextKind::Auxv, auxv.clone())]);
    let command_line = b"./sample --all\0".to_vec();
    assert_eq!(
        texts(true),
        [
            (LinuxTextKind::Auxv, auxv),
            (LinuxTextKind::CmdLine, command_line)
        ]
    );
}

/// Without a vdso, the machine of the core is another one.
#[test]
fn of_another_machine_little_is_known() {
    let mut core = open(&SampleCore::new().bytes()).expect("sound");
    let mut frozen = freeze(&mut core);
    let system = frozen.system().expect("known");
    assert_eq!(
        (system.version, system.processors, system.page_size),
        ([0; 3], 0, 4096)
    );
    assert_eq!(system.version_text, "Linux x86_64");
    let diagnostics = frozen.diagnostics();
    assert!(
        diagnostics
            .iter()
            .any(|one| one.reason.contains("lacks the vdso"))
    );
}

/// The vdso of this process tells the version of the kernel, and that it is this one.
#[test]
fn the_vdso_tells_the_kernel() {
    let maps = std::fs::read("/proc/self/maps").expect("readable");
    let mut all = regions::parse(&maps[..]).expect("well formed").into_iter();
    let Some(vdso) = all.find(Mapping::is_vdso) else {
        eprintln!("SKIPPED: this kernel has no vdso");
        return;
    };
    let here = system::system(Cpu::Amd64, None).expect("known");
    let (start, len) = (vdso.range.start(), vdso.range.len());
    let bytes = memory_here(start, usize::try_from(len).expect("it is here"));
    let system_of = |bytes: Vec<u8>| {
        let mut sample = SampleCore::new();
        sample.loads.push((start, len, PF_R | PF_X, bytes));
        sample.notes = [
            note("CORE", PRSTATUS, &status(7, 0, 0, 0)),
            note("CORE", AUXV, &words(&[33, start, 16, 0x1234_5678, 0, 0])),
        ]
        .concat();
        let mut core = open(&sample.bytes()).expect("sound");
        freeze(&mut core).system().expect("known")
    };
    assert_eq!(system_of(bytes.clone()), here);
    let mut other = bytes;
    *other.last_mut().expect("not empty") ^= 1;
    let other = system_of(other);
    // The kernel caps the third number at 255.
    let [major, minor, patch] = here.version;
    assert_eq!(other.version, [major, minor, patch.min(255)]);
    let CpuInformation::X86 { features, vendor, .. } = other.cpu_information else {
        panic!("not x86")
    };
    assert_eq!((features, vendor), (0x1234_5678, [0; 3]));
}

/// The mappings of the C library of this process, of which the core has the first page only.
struct OwnLibrary {
    mappings: Vec<Mapping>,
    sample: SampleCore,
}

impl OwnLibrary {
    fn new() -> Self {
        let maps = std::fs::read("/proc/self/maps").expect("readable");
        let all = regions::parse(&maps[..]).expect("well formed");
        let is_libc = |mapping: &Mapping| {
            let name = mapping.name();
            name.starts_with(b"/") && memchr::memmem::find(name, b"/libc.so").is_some()
        };
        let mappings: Vec<_> = all.into_iter().filter(is_libc).collect();
        let first = mappings
            .first()
            .expect("tests are linked dynamically")
            .range
            .start();
        let name = String::from_utf8_lossy(mappings[0].name()).into_owned();
        let list: Vec<_> = mappings
            .iter()
            .map(|mapping| {
                let range = mapping.range;
                (range.start(), range.end(), mapping.offset / 4096, &*name)
            })
            .collect();
        let sample = SampleCore {
            loads: vec![
                (0x1_0000, 0x1000, PF_R | PF_W, vec![1; 0x1000]),
                (first, 0x1000, PF_R, memory_here(first, 0x1000)),
            ],
            notes: [
                note("CORE", PRSTATUS, &status(7, 0, first, 0x1_0800)),
                note("CORE", FILE, &files(&list)),
            ]
            .concat(),
        };
        Self { mappings, sample }
    }

    fn code(&self) -> &Mapping {
        let mut mappings = self.mappings.iter();
        mappings.find(|mapping| mapping.execute).expect("it has code")
    }
}

fn memory_here(at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let memory = File::open("/proc/self/mem").expect("readable");
    memory.read_exact_at(&mut bytes, at).expect("mapped");
    bytes
}

#[test]
fn what_the_core_lacks_comes_from_the_file_of_the_same_build() {
    let library = OwnLibrary::new();
    let code = library.code().range;
    let mut core = open(&library.sample.bytes()).expect("sound");
    let mut frozen = freeze(&mut core);
    // Also across the end of what is stored.
    let start = library.mappings[0].range.start();
    assert!(frozen.bytes(start + 0xff0, 0x40) == Ok(memory_here(start + 0xff0, 0x40)));
    let length = usize::try_from(code.len()).expect("it is here");
    assert!(frozen.bytes(code.start(), length) == Ok(memory_here(code.start(), length)));
    assert_eq!(contents(&mut *frozen, code), [(code.start(), Content::Readable)]);
    let regions = frozen.regions(&mut Direct).expect("listed");
    let region = regions
        .iter()
        .find(|region| region.range == code)
        .expect("listed");
    assert_eq!(
        (region.protect, region.state),
        (protect::EXECUTE_READ, RegionState::Commit),
        "{regions:x?}"
    );
    assert_eq!(frozen.module_bases(&mut Direct), Ok(vec![start]));
    let module = frozen.module(start, &mut Direct).expect("it is there");
    assert!(!module.cv_record.is_empty());
    let notes = frozen.diagnostics();
    let told = notes
        .iter()
        .filter(|one| one.reason.contains("the same build id"));
    assert_eq!(told.count(), 1, "{notes:?}");
}

#[test]
fn the_file_of_another_build_is_not_read() {
    let mut library = OwnLibrary::new();
    let code = library.code().range;
    let page = &mut library.sample.loads[1].3;
    let name = memchr::memmem::find(page, b"GNU\0").expect("the note of the build id");
    // The note of the build id is the first one of this owner in most libraries; change all.
    let notes: Vec<_> = memchr::memmem::find_iter(&page[..], b"GNU\0").collect();
    assert!(notes.contains(&name));
    for at in notes {
        page[at + 4] ^= 0xff;
    }
    let mut core = open(&library.sample.bytes()).expect("sound");
    let mut frozen = freeze(&mut core);
    let fault = frozen.array::<8>(code.start()).expect_err("another build");
    assert!(fault.to_string().contains("another build"), "{fault}");
    let found = contents(&mut *frozen, code);
    assert!(reason(found[0].1).contains("another build"), "{found:?}");
    let start = library.mappings[0].range.start();
    let module = frozen.module_bases(&mut Direct).expect("listed");
    assert_eq!(module, [start]);
    let module = frozen.module(start, &mut Direct).expect("it is there");
    assert!(!module.cv_record.is_empty(), "the build id in the core");
}

/// Without private memory in the core, the program may have changed pages that the core lacks.
#[test]
fn without_private_memory_only_code_comes_from_files() {
    let mut library = OwnLibrary::new();
    library.sample.loads[0].3.clear();
    let mut core = open(&library.sample.bytes()).expect("sound");
    let mut frozen = freeze(&mut core);
    assert!(frozen.array::<8>(library.code().range.start()).is_ok());
    let data = library
        .mappings
        .iter()
        .find(|mapping| mapping.write)
        .expect("it has data");
    assert!(frozen.array::<8>(data.range.start()).is_err());
}

/// Asks everything that a dump may ask.
fn ask_everything(core: &mut CoreFile) {
    let need = Need {
        extended_state: true,
        environment: true,
        thread_times: true,
        handles: true,
        ..Need::default()
    };
    let _ = (core.exception(), core.program_name(), core.process_id());
    let mut frozen = core.freeze(&need).expect("nothing can fail");
    let _ = (frozen.system(), frozen.process());
    for id in frozen.thread_ids().expect("listed") {
        frozen.thread(id, &mut Direct).expect("it is there");
        let _ = frozen.stack_at(id, 0x7ff0_0800, &mut Direct);
    }
    for base in frozen.module_bases(&mut Direct).expect("listed") {
        frozen.module(base, &mut Direct).expect("it is there");
    }
    for region in frozen.regions(&mut Direct).expect("listed") {
        contents(&mut *frozen, region.range);
        let _ = frozen.up_to(region.range.start(), 100);
        let _ = frozen.up_to(region.range.end() - 1, 2);
    }
    let _ = (frozen.linux(&mut Direct), frozen.handles(), frozen.diagnostics());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Some bytes of the headers and notes of a core are replaced, and it may be cut off.
    #[test]
    fn changed_cores_answer_every_question(
        changes in prop::collection::vec((0_usize..2600, any::<u8>()), 0..12),
        end in 0_usize..20_000,
    ) {
        let mut sample = SampleCore::new();
        sample.notes.extend(note("CORE", AUXV, &words(&[33, 0x40_0000, 25, 0x7ff0_0900, 3, 0x40_0040, 5, 4])));
        let mut bytes = sample.bytes();
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes.truncate(end.max(300));
        if let Ok(mut core) = open(&bytes) {
            ask_everything(&mut core);
        }
    }

    /// The headers of an image in a core are hostile.
    #[test]
    fn images_in_a_core_are_not_trusted(changes in prop::collection::vec((0_usize..0x400, any::<u8>()), 1..12)) {
        let mut library = OwnLibrary::new();
        for (at, value) in changes {
            library.sample.loads[1].3[at] = value;
        }
        let mut core = open(&library.sample.bytes()).expect("its own headers are sound");
        ask_everything(&mut core);
    }
}

/// The first thread comes first, and has the name of the process.
#[test]
fn threads_are_in_the_order_of_live_ones() {
    let mut core = open(&SampleCore::new().bytes()).expect("sound");
    ask_everything(&mut core);
    let mut frozen = freeze(&mut core);
    assert_eq!(
        frozen.thread_ids(),
        Ok(vec![41, 42]),
        "the first thread comes first"
    );
    let thread = frozen.thread(42, &mut Direct).expect("it is there");
    assert_eq!(thread.name, None);
    let stack = thread.stack.expect("a stack");
    assert_eq!(
        (stack.pointer, stack.range),
        (0x7ff0_0100, range(0x7ff0_0080, 0x7ff0_0f00))
    );
    let first = frozen.thread(41, &mut Direct).expect("it is there");
    assert_eq!(first.name.as_deref(), Some("sample"));
}
