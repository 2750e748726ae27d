use std::io::Write as _;
use std::{env, io};

use dumpwright_target::{Fault, FaultKind, Need, Target as _};

use crate::native::{self, Process};

/// Opens the live process with this id, if this machine permits it.
///
/// If tracing is forbidden (in containers, or by `ptrace_scope`), the test cannot run. This
/// function then prints a message to standard error, bypassing the test runner's capture, and
/// returns `None`; the test should return. With `DUMPWRIGHT_REQUIRE_LIVE=1` it panics instead. Set
/// this variable in every CI that is meant to test live processes.
///
/// ```no_run
/// use dumpwright::testing::{live, rehearse};
/// # fn test() {
/// let child = std::process::Command::new("server").spawn().expect("a child");
/// let Some(process) = live(child.id()) else { return };
/// let rehearsal = rehearse(|_: dumpwright::Ask<'_>| true).on(process);
/// # }
/// ```
///
/// # Panics
/// If the process cannot be dumped for another reason, or if permission is missing and
/// `DUMPWRIGHT_REQUIRE_LIVE=1` is set.
#[track_caller]
#[must_use]
pub fn live(id: u32) -> Option<Process> {
    let required = env::var_os("DUMPWRIGHT_REQUIRE_LIVE").is_some_and(|value| value == "1");
    match attempt(id) {
        Ok(process) => Some(process),
        Err(fault) if is_excuse(&fault, required) => {
            let test = super::reproduce::test_name().unwrap_or_default();
            let text = format!(
                "\nNOT TESTED: {test}: {fault}\n(with DUMPWRIGHT_REQUIRE_LIVE=1, this test fails instead)\n"
            );
            // If this fails as well, nothing can be done about it.
            let _ = io::stderr().write_all(text.as_bytes());
            None
        }
        Err(fault) => panic!("process {id} cannot be dumped: {fault}"),
    }
}

/// Whether a test may be skipped because of this fault: the machine is the cause, not the test or
/// dumpwright.
fn is_excuse(fault: &Fault, required: bool) -> bool {
    fault.kind == FaultKind::NotPermitted && !required
}

/// Opens the process and suspends it once, because some systems refuse only then.
fn attempt(id: u32) -> Result<Process, Fault> {
    let mut process = native::process(id)?;
    process.freeze(&Need::default())?.thaw();
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_rights_excuse_and_only_where_live_tests_are_not_required() {
        let fault = |kind| Fault::new(kind, "attach to process 17", "the system says so");
        assert!(is_excuse(&fault(FaultKind::NotPermitted), false));
        assert!(!is_excuse(&fault(FaultKind::NotPermitted), true));
        assert!(!is_excuse(&fault(FaultKind::NoSuchProcess), false));
    }
}
