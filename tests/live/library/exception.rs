//! A crash that the crashing process reports itself, with the arguments of its signal handler.

use dumpwright::{DumpType, KnownCrash, Request, dump, native};
use serde::Deserialize;

use super::captures::complete;
use crate::capture::Capture;
use crate::support::victim::{self, Pattern, Victim};

#[derive(Deserialize)]
struct Report {
    pid: u32,
    tid: u32,
    siginfo: String,
    ucontext: String,
    fxsave: String,
    rip: u64,
    rsp: u64,
    r12: u64,
    xmm3: u64,
    crashed: Pattern,
    handler: Pattern,
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    (0..hexadecimal.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hexadecimal[at..at + 2], 16).unwrap())
        .collect()
}

/// Reads a structure from its bytes.
///
/// # Safety
/// `T` is valid whatever its bytes are.
unsafe fn structure<T>(bytes: &[u8]) -> T {
    assert_eq!(bytes.len(), size_of::<T>());
    // SAFETY: as many bytes as a T has are read from a slice of that length, whatever its
    // alignment; every pattern is valid, says the caller.
    unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
}

#[test]
fn it_is_shown_as_it_was_at_the_crash() {
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::live("reporter"), &nothing);
    let report: Report = victim.truth();
    // SAFETY: both are structures of numbers and of pointers that are not followed.
    let (siginfo, ucontext): (libc::siginfo_t, libc::ucontext_t) = unsafe {
        (
            structure(&bytes(&report.siginfo)),
            structure(&bytes(&report.ucontext)),
        )
    };
    let fxsave: [u8; 512] = bytes(&report.fxsave).try_into().unwrap();
    let exception = native::exception(report.tid, &siginfo, &ucontext, Some(&fxsave));

    let full = DumpType::WITH_FULL_MEMORY | DumpType::WITH_FULL_MEMORY_INFO;
    for request in [
        Request::new(DumpType::NORMAL).exception(exception.clone()),
        Request::new(full).exception(exception.clone()),
        // Found in the handler's frame.
        Request::new(DumpType::NORMAL).find_crash(true),
        Request::new(full).find_crash(true),
    ] {
        let captured = complete(report.pid, &request, None);
        let dump = &captured.dump;
        let told = dump.exception().unwrap().expect("the stream is there");
        assert_eq!(
            (told.thread_id, told.code, told.flags, told.address),
            (report.tid, 11, 1, 0x18),
            "SIGSEGV, SEGV_MAPERR, the address that was written to"
        );
        // A write, and its address, as Windows reports access violations.
        assert_eq!(told.parameters, [1, 0x18]);

        let threads = dump.threads().unwrap();
        let thread = threads.iter().find(|thread| thread.id == report.tid).unwrap();
        let [at_crash, listed] =
            [told.context.clone(), thread.context.clone()].map(|context| context.unwrap().amd64().unwrap());
        assert_eq!(
            at_crash, listed,
            "the thread is listed as it was at the crash, not in its handler"
        );
        assert_eq!(
            (at_crash.rip, at_crash.rsp, at_crash.r12),
            (report.rip, report.rsp, report.r12)
        );
        assert_eq!(at_crash.xmm[3] as u64, report.xmm3);
        // Control, integer and floating point. A signal handler does not get the segment registers.
        assert_eq!(at_crash.context_flags, 0x0010_000B);

        // The thread's stack is the one that crashed. The dump also has the stack on which the
        // handler runs.
        assert!((thread.stack.start..thread.stack.end().unwrap()).contains(&report.rsp));
        for pattern in [&report.crashed, &report.handler] {
            assert_eq!(
                dump.memory(pattern.address, pattern.length).unwrap(),
                Some(pattern.bytes()),
                "{}",
                pattern.name
            );
        }
        assert!(dump.has_memory(report.rip - 128, 256).unwrap());
        let requesting = dump.breakpad_info().unwrap().unwrap().requesting_thread_id;
        assert_eq!(requesting, Some(report.tid), "readers show it first");
        let violations = dumpwright::read::check(dump).unwrap();
        assert!(violations.is_empty(), "{violations:#?}");
        victim.ping();
    }
    let captured = complete(report.pid, &Request::new(DumpType::NORMAL), None);
    assert_eq!(captured.dump.exception().unwrap(), None, "nobody asked for it");
}

/// Its frame is still on the stack.
#[test]
fn a_handler_that_was_left_handles_nothing() {
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::live("left"), &nothing);
    let request = Request::new(DumpType::NORMAL).find_crash(true);
    let captured = complete(victim.pid(), &request, None);
    assert_eq!(captured.dump.exception().unwrap(), None);
    victim.ping();
}

/// A crash that another program tells of: the thread, the signal, its code and the address.
#[test]
fn a_crash_that_is_known_from_elsewhere_is_the_exception() {
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::live("reporter"), &nothing);
    let report: Report = victim.truth();
    let tid = report.tid.to_string();
    let told = |options: &[&str]| {
        let capture = Capture::with(report.pid, options);
        capture.check();
        let exception = capture.dump.exception().unwrap().expect("the stream is there");
        let registers = exception.context.unwrap().amd64().unwrap();
        let listed = capture.thread(exception.thread_id).registers().unwrap();
        assert_eq!(registers, listed);
        let facts = (exception.thread_id, exception.code, exception.flags);
        (facts, exception.address, exception.parameters, registers)
    };
    // It handles this signal.
    let (facts, address, parameters, registers) =
        told(&["--crash-thread", &tid, "--signal", "11", "--code", "1"]);
    assert_eq!((facts, address), ((report.tid, 11, 1), 0x18));
    assert_eq!(parameters, [1, 0x18]);
    assert_eq!((registers.rip, registers.rsp), (report.rip, report.rsp));
    // It handles another signal than this one.
    let (facts, address, parameters, registers) = told(&[
        "--crash-thread",
        &tid,
        "--signal",
        "6",
        "--code",
        "-6",
        "--address",
        "0x1234",
    ]);
    assert_eq!((facts, address), ((report.tid, 6, 0xffff_fffa), 0x1234));
    assert_eq!(parameters, [0_u64; 0]);
    assert_ne!(registers.rip, report.rip, "those of the handler");
    // Another thread.
    let (facts, address, _, registers) = told(&[
        "--crash-thread",
        &report.pid.to_string(),
        "--signal",
        "0xc0000005",
    ]);
    assert_eq!(facts, (report.pid, 0xc000_0005, 0));
    assert_eq!(address, registers.rip);
    victim.ping();

    let known = KnownCrash {
        thread_id: 1,
        code: 11,
        flags: 1,
        address: None,
    };
    let request = Request::new(DumpType::NORMAL).known_crash(known);
    let mut target = native::process(report.pid).unwrap();
    let outcome = dump(&mut target, &request, None, &mut Vec::new()).unwrap();
    let missing: Vec<_> = outcome.missing().map(ToString::to_string).collect();
    assert!(
        missing.len() == 1 && missing[0].contains("there is no exception"),
        "{missing:?}"
    );
}
