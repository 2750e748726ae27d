//! A dump of a core file, read by programs that others wrote. LLDB also reads the core itself.
//!
//! Would catch: a dump that shows another crash, other registers, functions or builds of modules
//! than the core.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::support::cores::CoreOfVictim;
use crate::support::dumper::dumpwright;
use crate::support::readers::rust_minidump::Symbols;
use crate::support::readers::{breakpad, lldb, own, rust_minidump, symbols};
use crate::support::run_well;
use crate::support::victim::{self, CrashTruth, Frames};

/// The registers that LLDB shows of a core and of a dump.
const REGISTERS: [&str; 18] = [
    "rax", "rbx", "rcx", "rdx", "rdi", "rsi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15", "rip", "rflags",
];

#[test]
fn readers_show_the_crash_of_the_core() {
    let program = victim::c("crash", Frames::NoPointers);
    let Some(core) = CoreOfVictim::of(&program, &["null"]) else {
        return;
    };
    let truth: CrashTruth = core.truth();
    let dump = core.beside("core.dmp");
    let mut command = dumpwright();
    run_well(
        command
            .args(["dump", "--core"])
            .arg(&core.path)
            .arg("-o")
            .arg(&dump),
    );

    let [of_core, of_dump] = [&core.path, &dump].map(|file| lldb::report(file, &[]).expect("LLDB opens it"));
    assert_eq!((of_core.pid, of_core.selected_tid), (truth.pid, truth.tid));
    assert_eq!((of_dump.pid, of_dump.selected_tid), (truth.pid, truth.tid));
    let threads = |report: &lldb::Report| -> BTreeMap<_, _> {
        let threads = report.threads.iter();
        threads
            .map(|thread| {
                let frames = thread.frames.iter();
                let frames: Vec<_> = frames
                    .map(|frame| (frame.function.clone(), frame.pc, frame.sp))
                    .collect();
                let registers = REGISTERS.map(|name| thread.registers.get(name).copied());
                (thread.tid, (frames, registers))
            })
            .collect()
    };
    assert_eq!(threads(&of_dump), threads(&of_core));
    assert!(threads(&of_core)[&truth.tid].1.iter().all(Option::is_some));
    let builds = |report: &lldb::Report| -> BTreeMap<_, _> {
        let modules = report.modules.iter();
        modules.map(|module| (module.base, module.uuid.clone())).collect()
    };
    assert_eq!(builds(&of_dump), builds(&of_core));

    let binaries: Vec<PathBuf> = of_dump
        .modules
        .iter()
        .map(|module| PathBuf::from(&module.path))
        .filter(|path| path.is_file())
        .collect();
    let symbols = symbols::of(&binaries);
    for reading in [
        rust_minidump::read(&dump, Symbols::Local),
        breakpad::read(&dump, &symbols),
        lldb::reading(&of_dump),
        own::read(&dump),
    ] {
        let reader = reading.reader;
        assert_eq!(reading.complaints, [""; 0], "{reader} complains");
        let crash = reading
            .crash
            .as_ref()
            .unwrap_or_else(|| panic!("{reader} shows no crash"));
        assert_eq!(crash.tid, truth.tid, "{reader}");
        assert!(crash.reason.contains("SIGSEGV"), "{reader}: {crash:?}");
        if let Some(address) = crash.address {
            assert_eq!(address, truth.address, "{reader}");
        }
        let functions = &reading.thread(truth.tid).functions;
        assert!(functions.starts_with(&truth.functions), "{reader}: {functions:?}");
    }
}
