//! What these tests would catch: fields that are taken from wrong offsets, notes that belong to
//! another thread, a core of a pipe that differs from the same core in a file, errors that do not
//! name the reason, and hostile cores that cause a panic or cost more than their size.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use dumpwright_target::{Cpu, Pieces, Severity};
use proptest::prelude::*;

use super::super::sample::{self, SampleCore, files, note, process, siginfo, status};
use super::super::{CoreFileRange, FrontToBack};
use super::*;

fn read(bytes: &[u8]) -> Result<CoreHeaders, Fault> {
    CoreHeaders::read(&mut Pieces::one(0, bytes.to_vec()), "a.core")
}

/// Like [`read`], from a pipe.
fn read_pipe(bytes: &[u8]) -> Result<CoreHeaders, Fault> {
    CoreHeaders::read(&mut FrontToBack::new(bytes), "a.core")
}

#[test]
fn everything_is_where_the_kernel_puts_it() {
    let core = read(&SampleCore::new().bytes()).expect("sound");
    assert_eq!(core.diagnostics, []);
    let notes = &core.notes;
    assert_eq!(notes.process_id(), 41);
    let [first, second] = &notes.threads[..] else {
        panic!("{:?}", notes.threads)
    };
    assert_eq!((first.tid, second.tid), (42, 41));
    let registers = &first.registers.amd64;
    // The order of struct user_regs_struct.
    assert_eq!(
        (
            registers.r15,
            registers.rbp,
            registers.rbx,
            registers.rax,
            registers.rdi
        ),
        (0, 4, 5, 10, 14)
    );
    assert_eq!((registers.rip, registers.rsp), (0x40_1000, 0x7ff0_0100));
    assert_eq!((registers.cs, registers.eflags, registers.ss), (17, 18, 20));
    assert_eq!(first.registers.thread_pointer(Cpu::Amd64), 21, "fs_base");
    assert_eq!(registers.segments, Some([23, 24, 25, 26]), "ds, es, fs, gs");
    let fxsave = registers.fxsave.as_deref().expect("there");
    assert_eq!(
        (fxsave[463], fxsave[464]),
        (0x5A, 0),
        "without the software bytes"
    );
    assert_eq!(
        second.registers.amd64.fxsave, None,
        "it belongs to the first thread"
    );
    assert_eq!((first.xsave.len(), second.xsave.len()), (832, 0));
    assert_eq!(
        (first.signal, first.blocked, first.user_time, first.kernel_time),
        (11, 0x1000, 25_000_000, 70)
    );
    let process = notes.process.as_ref().expect("there");
    assert_eq!(
        (
            process.pid,
            process.parent,
            process.uid,
            process.gid,
            process.nice
        ),
        (41, 7, 1000, 100, 5)
    );
    assert_eq!(
        (&process.name[..], &process.arguments[..]),
        (&b"sample"[..], &b"./sample --all"[..])
    );
    assert_eq!(
        notes.auxv,
        sample::words(&[6, 4096, 9, 0x40_0000, 25, 0x7ff0_0f00, 0, 0])
    );
    let features = notes.xsave_layout.iter();
    let features: Vec<_> = features
        .map(|part| (part.number, part.offset, part.size))
        .collect();
    assert_eq!(features, [(2, 576, 256)]);
    let file = CoreFileRange {
        range: AddressRange::new(0x40_0000, 0x40_2000).expect("not empty"),
        offset: 0,
        path: b"/tmp/sample".to_vec(),
    };
    assert_eq!(notes.files, [file]);
    let places: Vec<_> = core
        .segments
        .iter()
        .map(|segment| {
            (
                segment.range.start(),
                segment.stored,
                segment.write,
                segment.execute,
            )
        })
        .collect();
    assert_eq!(
        places,
        [
            (0x40_0000, 0x1000, false, false),
            (0x40_1000, 0, false, true),
            (0x7ff0_0000, 0x1000, true, false)
        ]
    );
    assert_eq!(core.end, SampleCore::new().bytes().len() as u64);
    let exception = notes.exception().expect("it has crashed");
    assert_eq!(
        (
            exception.thread_id,
            exception.code,
            exception.flags,
            exception.address
        ),
        (42, 11, 1, 0x18)
    );
}

/// As a handler of cores reads it: the pipe is not read beyond the notes.
#[test]
fn a_pipe_gives_the_same_up_to_the_end_of_the_notes() {
    let bytes = SampleCore::new().bytes();
    let notes_end = bytes.len() - 0x2000;
    let mut rest = &bytes[..];
    let piped = CoreHeaders::read(&mut FrontToBack::new(&mut rest), "a pipe").expect("sound");
    assert_eq!(piped.notes, read(&bytes).expect("sound").notes);
    assert!(rest.len() >= 0x2000, "{} of {notes_end}", rest.len());
}

/// gcore writes the facts about the process first, a siginfo for each thread, and the notes behind
/// the memory.
#[test]
fn the_order_of_gcore_is_read_as_well() {
    let notes = [
        note("CORE", sample::PRPSINFO, &process(41, "sample", "")),
        note("CORE", sample::PRSTATUS, &status(42, 0, 1, 2)),
        note("CORE", sample::SIGINFO, &siginfo(19, 0, 0)),
        note("CORE", sample::PRSTATUS, &status(41, 0, 3, 4)),
        note("CORE", sample::SIGINFO, &siginfo(11, 1, 8)),
        note("GDB", 0xff00_0000, b"<target/>"),
    ];
    let sample = SampleCore {
        notes: notes.concat(),
        ..SampleCore::new()
    };
    let mut bytes = sample.bytes();
    // Move the notes to the end.
    let end = bytes.len() as u64;
    bytes.extend(&sample.notes);
    bytes[64 + 8..64 + 16].copy_from_slice(&end.to_le_bytes());
    for core in [read(&bytes), read_pipe(&bytes)] {
        let core = core.expect("sound");
        assert_eq!(core.notes.threads.len(), 2);
        assert_eq!(core.notes.exception(), None, "SIGSTOP kills nobody");
        let second = core.notes.threads[1].siginfo.expect("there");
        assert_eq!(second.signal, 11);
    }
}

#[test]
fn a_signal_without_its_facts_is_a_number() {
    let sample = SampleCore {
        notes: note("CORE", sample::PRSTATUS, &status(9, 6, 0x1234, 0)),
        ..SampleCore::new()
    };
    let core = read(&sample.bytes()).expect("sound");
    let exception = core.notes.exception().expect("it has a signal");
    assert_eq!((exception.code, exception.address), (6, 0x1234));
    assert!(exception.parameters.is_empty());
    assert_eq!(core.notes.process_id(), 9);
}

#[test]
fn what_is_no_core_is_refused_with_the_reason() {
    let core = SampleCore::new().bytes();
    let changed = |at: usize, bytes: &[u8]| {
        let mut core = core.clone();
        core[at..at + bytes.len()].copy_from_slice(bytes);
        core
    };
    let without_threads = SampleCore {
        notes: note("CORE", sample::PRPSINFO, &process(1, "", "")),
        ..SampleCore::new()
    };
    for (bytes, expected) in [
        (Vec::new(), "it is empty"),
        (b"MDMP and more".to_vec(), "does not begin with an ELF header"),
        (core[..10].to_vec(), "it is cut off after 10 bytes"),
        (core[..63].to_vec(), "it is cut off after 63 bytes"),
        (changed(16, &[2, 0]), "it is an ELF file, but not a core"),
        (changed(5, &[2]), "big-endian"),
        (changed(18, &[183, 0]), "of an ARM64 program"),
        (changed(4, &[1, 1]), "of an x32 program"),
        (
            [&changed(4, &[1])[..18], &[3, 0][..], &core[20..]].concat(),
            "of a 32-bit x86 program",
        ),
        (changed(54, &[32, 0]), "have 32 bytes instead of 56"),
        (without_threads.bytes(), "it has no thread"),
        (
            core[..300].to_vec(),
            "it has no thread: the notes of the core are cut off",
        ),
        (core[..100].to_vec(), "it has no thread: the core is cut off"),
    ] {
        for outcome in [read(&bytes), read_pipe(&bytes)] {
            let fault = outcome.expect_err(expected).to_string();
            assert!(fault.starts_with("cannot use a.core as a core: "), "{fault}");
            assert!(fault.contains(expected), "{fault}, not {expected}");
        }
    }
}

#[test]
fn a_core_that_is_cut_off_has_what_comes_before() {
    let sample = SampleCore::new();
    let bytes = sample.bytes();
    let notes_end = bytes.len() - 0x2000;
    let whole = read(&bytes).expect("sound");
    let mut threads = 0;
    for end in 0..bytes.len() {
        let Ok(core) = read(&bytes[..end]) else {
            assert_eq!(threads, 0, "{end}");
            continue;
        };
        assert!(core.notes.threads.len() >= threads);
        threads = core.notes.threads.len();
        assert_eq!(core.end, whole.end, "{end}");
        let is_reported = core
            .diagnostics
            .iter()
            .any(|one| one.severity == Severity::Missing);
        assert!(
            is_reported || end + 16 > notes_end,
            "{end}: {:?}",
            core.diagnostics
        );
    }
    assert_eq!(threads, 2);
}

/// The number of program headers does not fit into its field. It follows from the place of the
/// notes, or is in the first section header.
#[test]
fn more_program_headers_than_the_field_can_count() {
    const COUNT: u64 = 70_000;
    let mut sample = SampleCore::new();
    sample.loads = (1..=COUNT)
        .map(|at| (at << 16, 0x1000, PF_R, Vec::new()))
        .collect();
    let mut bytes = sample.bytes();
    let piped = read_pipe(&bytes).expect("sound");
    assert_eq!(
        (piped.segments.len() as u64, piped.notes.threads.len()),
        (COUNT, 2)
    );
    // Notes elsewhere, as gdb writes them.
    let notes_at = bytes.len() as u64;
    bytes.extend(&sample.notes);
    let section_at = bytes.len() as u64;
    bytes.resize(bytes.len() + 64, 0);
    let count_at = section_at as usize + 44;
    bytes[count_at..count_at + 4].copy_from_slice(&(COUNT as u32 + 1).to_le_bytes());
    bytes[40..48].copy_from_slice(&section_at.to_le_bytes());
    bytes[72..80].copy_from_slice(&notes_at.to_le_bytes());
    let core = read(&bytes).expect("sound");
    assert_eq!((core.segments.len() as u64, core.notes.threads.len()), (COUNT, 2));
}

#[test]
fn sizes_beyond_the_core_allocate_nothing() {
    // 65534 program headers of which none is there, and a note of 4 GiB.
    let mut bytes = SampleCore::new().bytes();
    bytes[56..58].copy_from_slice(&0xfffe_u16.to_le_bytes());
    assert!(read(&bytes).is_ok_and(|core| !core.diagnostics.is_empty()));
    for kind in [sample::AUXV, sample::FILE, 77] {
        let mut huge = note("CORE", kind, &[]);
        huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        let sample = SampleCore {
            notes: [note("CORE", sample::PRSTATUS, &status(1, 0, 0, 0)), huge].concat(),
            ..SampleCore::new()
        };
        let core = read(&sample.bytes()).expect("it has a thread");
        assert!(!core.diagnostics.is_empty(), "{kind}");
    }
    // More files than the note has bytes for.
    let mut list = files(&[(0, 1, 0, "a")]);
    list[..8].copy_from_slice(&(u64::MAX / 24).to_le_bytes());
    let sample = SampleCore {
        notes: [
            note("CORE", sample::PRSTATUS, &status(1, 0, 0, 0)),
            note("CORE", sample::FILE, &list),
        ]
        .concat(),
        ..SampleCore::new()
    };
    let core = read(&sample.bytes()).expect("it has a thread");
    assert!(core.diagnostics[0].reason.contains("list of mapped files"));
}

#[test]
fn mappings_that_overlap_are_cut() {
    let mut sample = SampleCore::new();
    sample.loads = vec![
        (0x3000, 0x1000, PF_R, vec![3; 0x1000]),
        (0x1000, 0x1000, PF_R, vec![1; 0x1000]),
        (0x1800, 0x1000, PF_R, vec![2; 0x1000]),
        (0x1100, 0x100, PF_R, vec![4; 0x100]),
        (u64::MAX - 1, 2, PF_R, vec![5; 2]),
        (0xffff_ffff_ff60_0000, 0x1000, PF_X, Vec::new()),
    ];
    let bytes = sample.bytes();
    let core = read(&bytes).expect("sound");
    let found: Vec<_> = core
        .segments
        .iter()
        .map(|segment| {
            let at = segment.offset as usize;
            (
                segment.range.start(),
                segment.range.end(),
                segment.stored,
                bytes[at],
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (0x1000, 0x2000, 0x1000, 1),
            (0x2000, 0x2800, 0x800, 2),
            (0x3000, 0x4000, 0x1000, 3)
        ]
    );
}

/// A core that this machine's kernel has written.
#[test]
fn a_core_of_the_kernel_is_read() {
    let pattern = || std::fs::read_to_string("/proc/sys/kernel/core_pattern").expect("readable");
    if pattern().trim() != "core" {
        eprintln!(
            "SKIPPED: the kernel writes cores to {:?}, not to \"core\"",
            pattern()
        );
        return;
    }
    let folder = std::env::temp_dir().join(format!("dumpwright-core-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("created");
    let script = "ulimit -c unlimited; kill -SEGV $$";
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", script]).arg0("a-shell").current_dir(&folder);
    let mut shell = shell.spawn().expect("there is a shell");
    let status = shell.wait().expect("it ends");
    let entry = std::fs::read_dir(&folder).expect("readable").next();
    if pattern().trim() != "core" || !status.core_dumped() {
        eprintln!("SKIPPED: the kernel wrote no core into the folder");
        return;
    }
    let bytes = std::fs::read(entry.expect("a core").expect("readable").path()).expect("readable");
    std::fs::remove_dir_all(&folder).expect("removed");
    let core = read(&bytes).expect("sound");
    assert_eq!(core.diagnostics, []);
    assert_eq!(core.end, bytes.len() as u64);
    assert_eq!(core.notes, read_pipe(&bytes).expect("sound").notes);
    let process = core.notes.process.as_ref().expect("there");
    assert_eq!(process.pid, shell.id());
    assert_eq!(process.arguments, format!("a-shell -c {script}").as_bytes());
    // SAFETY: getuid has no preconditions.
    assert_eq!(process.uid, unsafe { libc::getuid() });
    let exception = core.notes.exception().expect("a signal has killed it");
    assert_eq!((exception.code, exception.thread_id), (11, shell.id()));
    assert_eq!(exception.flags, 0, "SI_USER");
    assert_eq!(
        exception.parameters[0],
        u64::from(shell.id()),
        "it has sent it itself"
    );
    let rip = exception.context.instruction_pointer();
    let code = core.segments.iter().find(|segment| segment.range.contains(rip));
    assert!(code.is_some_and(|segment| segment.execute));
    let stack = exception.context.stack_pointer();
    let stack = core.segments.iter().find(|segment| segment.range.contains(stack));
    assert!(stack.is_some_and(|segment| segment.write && segment.stored == segment.range.len()));
    let file = core.notes.files.iter().find(|file| file.range.contains(rip));
    let name = String::from_utf8_lossy(&file.expect("a file").path).into_owned();
    assert!(name.starts_with('/'), "{name}");
    assert!(core.notes.threads[0].registers.amd64.fxsave.is_some());
}

proptest! {
    /// Some bytes of a core, anywhere in its headers and notes, are replaced.
    #[test]
    fn changed_cores_cause_no_panic(
        changes in prop::collection::vec((0_usize..2600, any::<u8>()), 1..12),
        end in 0_usize..3000,
    ) {
        let mut bytes = SampleCore::new().bytes();
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        if end % 3 == 0 {
            bytes.truncate(end);
        }
        for core in [read(&bytes), read_pipe(&bytes)].into_iter().flatten() {
            prop_assert!(!core.notes.threads.is_empty());
            for pair in core.segments.windows(2) {
                prop_assert!(pair[0].range.end() <= pair[1].range.start());
            }
            let _ = (core.notes.exception(), core.notes.process_id());
        }
    }
}
