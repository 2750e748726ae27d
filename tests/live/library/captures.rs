//! Dumps into memory.

use dumpwright::read::Dump;
use dumpwright::{Callback, Error, Report, Request, dump, native};

use crate::support::proc;

/// A dump and its report.
pub struct Captured {
    pub report: Report,
    pub dump: Dump,
}

/// Dumps a process into memory, and checks that the process is released whatever the result.
pub fn capture(pid: u32, request: &Request, callback: Option<&mut dyn Callback>) -> Result<Captured, Error> {
    let mut target = native::process(pid)?;
    let mut bytes = Vec::new();
    let outcome = dump(&mut target, request, callback, &mut bytes);
    if proc::Stat::of(pid).is_some_and(|stat| stat.state() != 'Z') {
        proc::assert_released(pid);
    }
    let report = outcome?;
    assert_eq!(report.bytes, bytes.len() as u64);
    Ok(Captured {
        report,
        dump: Dump::from_bytes(bytes).unwrap(),
    })
}

/// The same; the dump must be complete.
pub fn complete(pid: u32, request: &Request, callback: Option<&mut dyn Callback>) -> Captured {
    let captured = capture(pid, request, callback).unwrap_or_else(|error| {
        panic!(
            "{error}\nThese tests need the right to trace processes that they start: root, or \
             kernel.yama.ptrace_scope 0; in a container the capability SYS_PTRACE."
        )
    });
    assert!(
        captured.report.is_complete(),
        "{:?}",
        captured.report.missing().collect::<Vec<_>>()
    );
    captured
}
