//! A 32-bit program on this 64-bit kernel, read by programs that others wrote, and compared with
//! what it reports about itself.
//!
//! Would catch: registers, stacks, the linker's list or modules that are read in the wrong width; a
//! stack of a signal handler, or the one that it interrupted, that is overlooked because its frames
//! look different in 32-bit code; a red zone, which that ABI does not have; a crash with the
//! registers of another processor; pages of the 64-bit vdso in place of the 32-bit one.
//!
//! The victim needs a compiler with 32-bit libraries (`gcc-multilib`).

use std::collections::BTreeSet;

use crate::support::dumper::{self, Dump, Exec};
use crate::support::readers::rust_minidump::Symbols;
use crate::support::readers::{Reading, breakpad, lldb, rust_minidump, symbols};
use crate::support::victim::{self, CrashTruth, Frames, ThreadsTruth, Victim};
use dumpwright::read::{self, Cpu, X86Registers};

const NORMAL: &str = "normal";
const FULL: &str = "with-full-memory,with-full-memory-info";

/// The name of the vdso in dumps.
const VDSO: &str = "linux-gate.so";

/// A dump of the victim, and its testimony.
struct Case {
    truth: ThreadsTruth,
    dump: Dump,
    ours: read::Dump,
}

impl Case {
    fn new(frames: Frames, types: &str) -> Case {
        let nothing: [&str; 0] = [];
        let mut victim = Victim::start(&victim::narrow("threads", frames), &nothing);
        let dump = Dump::of(&victim, types);
        // All threads of a 32-bit program call the kernel through the vdso. Readers can unwind out
        // of it only if they have its image, which is not in a file.
        let folder = dump.beside("binaries");
        // This comes last: reading the image creates all of its pages.
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(VDSO), vdso_of(victim.pid())).unwrap();
        victim.ping();
        Case {
            truth: victim.truth(),
            ours: read::Dump::open(&dump.path).expect("a minidump"),
            dump,
        }
    }

    fn readings(&self) -> Vec<Reading> {
        let binaries = self.dump.beside("binaries");
        let modules = self.ours.modules().expect("modules");
        let names: Vec<_> = modules
            .into_iter()
            .filter_map(|module| module.name)
            .map(Into::into)
            .collect();
        let symbols = symbols::of(&names);
        symbols::add_as(&symbols, &binaries.join(VDSO), VDSO);
        // rust-minidump 0.27 cannot use local binaries of 32-bit programs; it ends with "not
        // implemented".
        vec![
            rust_minidump::read(&self.dump.path, Symbols::Folder(&symbols)),
            breakpad::read(&self.dump.path, &symbols),
            lldb::read_with(&self.dump.path, &[&binaries]),
        ]
    }

    /// Checks that every thread is there once, with its functions in order.
    fn judge_stacks(&self) {
        let known: BTreeSet<&String> = self
            .truth
            .threads
            .iter()
            .flat_map(|thread| &thread.functions)
            .collect();
        for reading in self.readings() {
            let reader = reading.reader;
            assert_eq!(reading.complaints, [""; 0], "{reader} complains");
            assert_eq!(
                reading.threads.len(),
                self.truth.threads.len(),
                "{reader}: threads"
            );
            assert_eq!(reading.pid, Some(self.truth.pid), "{reader}: process id");
            for thread in &self.truth.threads {
                let expected = self.truth.functions_of(thread);
                let shown = &reading.thread(thread.tid).functions;
                let mut found: Vec<_> = shown
                    .iter()
                    .filter(|name| known.contains(name))
                    .cloned()
                    .collect();
                // As on x86-64, only LLDB unwinds from a handler into the function that it
                // interrupted.
                if thread.alternate_stack.is_some() && !reading.crosses_signal_frames {
                    assert!(
                        found.len() >= 2,
                        "{reader}: the handler's frames, of these: {shown:?}"
                    );
                    found.extend_from_slice(expected.get(found.len()..).unwrap_or_default());
                }
                assert_eq!(
                    found, expected,
                    "{reader}: {}, of these frames: {shown:?}",
                    thread.name
                );
            }
        }
    }

    fn registers(&self, tid: u32) -> X86Registers {
        let threads = self.ours.threads().expect("threads");
        let thread = threads
            .into_iter()
            .find(|thread| thread.id == tid)
            .expect("listed");
        thread.context.expect("it has registers").x86().expect("of x86")
    }

    fn judge_registers(&self) {
        let truth = &self.truth.registers;
        let lldb = lldb::report(&self.dump.path, &[]).expect("LLDB reads it");
        let thread = lldb
            .threads
            .iter()
            .find(|thread| thread.tid == truth.tid)
            .expect("listed");
        for (name, value) in &truth.general {
            assert_eq!(thread.registers[name], *value, "LLDB: {name}");
        }
        let start = self.truth.functions["spin_with_patterns"];
        assert!(
            (start..start + 256).contains(&thread.registers["eip"]),
            "LLDB: eip"
        );
        // Only dumpwright's reader shows vector registers of x86.
        let all = self.registers(truth.tid);
        let xmm: Vec<_> = all
            .xmm
            .iter()
            .map(|register| [*register as u64, (register >> 64) as u64])
            .collect();
        assert_eq!(xmm, truth.xmm);
        assert_eq!((all.mxcsr, u32::from(all.fcw)), (truth.mxcsr, truth.fcw));
        // What winnt.h calls CONTEXT_ALL for x86, and the selectors that Linux gives to 32-bit
        // code.
        assert_eq!((all.context_flags, all.cs, all.ss), (0x0001_003F, 0x23, 0x2b));
    }

    fn judge_threads(&self) {
        for thread in self.ours.threads().expect("threads") {
            let truth = self
                .truth
                .threads
                .iter()
                .find(|truth| truth.tid == thread.id)
                .expect("known");
            let [low, high] = truth.alternate_stack.unwrap_or(truth.stack);
            let pointer = u64::from(self.registers(thread.id).esp);
            assert!(
                (low..high).contains(&pointer),
                "{}: esp is on its stack",
                truth.name
            );
            assert_eq!(thread.stack.start, pointer, "{}: no red zone", truth.name);
            assert_eq!(thread.teb, truth.fs_base, "{}: the thread pointer", truth.name);
            // The dump also has the stack that a handler interrupted, up to its end.
            if truth.alternate_stack.is_some() {
                // Its control block is at that end.
                let whole = self.ours.has_memory(truth.fs_base, 0x400);
                assert!(whole.expect("readable"), "the interrupted stack");
            }
        }
    }

    /// Checks that the linker's list names the mapped files.
    fn judge_linker(&self) {
        let debug = self.ours.dso_debug().expect("readable").expect("present");
        let modules = self.ours.modules().expect("modules");
        let bases: Vec<_> = modules.iter().map(|module| module.base).collect();
        assert!(bases.contains(&debug.ldbase), "{:#x} is a module", debug.ldbase);
        let named: Vec<_> = debug
            .link_map
            .iter()
            .filter_map(|link| link.name.as_deref())
            .collect();
        assert!(named.iter().any(|name| name.ends_with("/libc.so.6")), "{named:?}");
        assert!(
            debug
                .link_map
                .iter()
                .skip(1)
                .all(|link| bases.contains(&link.addr))
        );
    }

    fn judge(&self) {
        assert_eq!(
            self.ours.system_info().expect("readable").expect("present").cpu,
            Cpu::X86
        );
        dumper::check(&self.dump.path).expect("our own checker agrees");
        self.judge_stacks();
        self.judge_registers();
        self.judge_threads();
        self.judge_linker();
    }
}

/// The vdso image that the kernel maps into each process.
fn vdso_of(pid: u32) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let line = maps
        .lines()
        .find(|line| line.ends_with("[vdso]"))
        .expect("it has one");
    let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
    let [start, end] = [start, end].map(|word| u64::from_str_radix(word, 16).unwrap());
    let mut image = vec![0; usize::try_from(end - start).unwrap()];
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    memory.read_exact_at(&mut image, start).unwrap();
    image
}

#[test]
fn normal_dump_with_frame_pointers() {
    Case::new(Frames::Pointers, NORMAL).judge();
}

#[test]
fn normal_dump_without_frame_pointers() {
    Case::new(Frames::NoPointers, NORMAL).judge();
}

#[test]
fn full_dump_has_all_memory() {
    let case = Case::new(Frames::NoPointers, FULL);
    dumper::check(&case.dump.path).expect("our own checker agrees");
    let patterns = ["stack", "data", "heap", "mapped", "behind-hole"].map(|name| case.truth.pattern(name));
    let places = patterns.map(|pattern| (pattern.address, pattern.length));
    let lldb = lldb::report(&case.dump.path, &places).expect("LLDB reads it");
    for (pattern, found) in patterns.iter().zip(&lldb.memory) {
        let expected: String = pattern.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found.as_ref(), Some(&expected), "LLDB: {}", pattern.name);
    }
    case.judge_registers();
    let image = std::fs::read(case.dump.beside("binaries").join(VDSO)).unwrap();
    let modules = case.ours.modules().expect("modules");
    let vdso = modules
        .iter()
        .find(|module| module.name.as_deref() == Some(VDSO))
        .expect("listed");
    let kept = case.ours.memory(vdso.base, image.len() as u64).expect("readable");
    // Pages that the program never used are not resident. If the dumper took them from the 64-bit
    // vdso, they would differ.
    assert!(
        kept.expect("all of it") == image,
        "the vdso is that of 32-bit programs"
    );
}

#[test]
fn null_dereference_in_a_thread() {
    crash("null", "SIGSEGV");
}

/// The program reports the instruction.
#[test]
fn instruction_that_does_not_exist() {
    crash("illegal", "SIGILL");
}

#[test]
fn stack_overflow_in_a_thread() {
    let (truth, dump) = crash("overflow", "SIGSEGV");
    let [_, high] = truth.stack.expect("the bounds of its stack");
    let threads = dump.threads().expect("threads");
    let thread = threads
        .iter()
        .find(|thread| thread.id == truth.tid)
        .expect("listed");
    assert!(thread.stack.end() > Some(high - 0x1000), "up to its end");
}

/// Makes a program crash in this way, and checks its dump in the readers.
fn crash(way: &str, signal: &str) -> (CrashTruth, read::Dump) {
    let program = victim::narrow("crash", Frames::Pointers);
    let exec = Exec::run(600_000, false, &program, &[way]);
    let truth: CrashTruth = exec.truth();
    dumper::check(&exec.path).expect("our own checker agrees");
    let symbols = symbols::of(&[program]);
    for reading in [
        rust_minidump::read(&exec.path, Symbols::Folder(&symbols)),
        breakpad::read(&exec.path, &symbols),
        lldb::read(&exec.path),
    ] {
        let reader = reading.reader;
        assert_eq!(reading.complaints, [""; 0], "{reader} complains");
        let crash = reading
            .crash
            .as_ref()
            .unwrap_or_else(|| panic!("{reader} shows no crash"));
        assert_eq!(crash.tid, truth.tid, "{reader}");
        assert!(crash.reason.contains(signal), "{reader}: {}", crash.reason);
        if let (Some(address), false) = (crash.address, way == "overflow") {
            assert_eq!(address, truth.address, "{reader}");
        }
        let shown = &reading.thread(truth.tid).functions;
        assert_eq!(shown.first(), truth.functions.first(), "{reader}: {shown:?}");
        let outermost = truth.functions.last().expect("known functions");
        assert!(shown.contains(outermost), "{reader}: {shown:?}");
    }
    let ours = read::Dump::open(&exec.path).expect("a minidump");
    let exception = ours.exception().expect("readable").expect("present");
    let at = exception.context.expect("registers").x86().expect("of x86").eip;
    if let Some(instruction) = truth.instruction {
        assert_eq!(u64::from(at), instruction);
    }
    (truth, ours)
}
