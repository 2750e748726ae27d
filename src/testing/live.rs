use std::io::Write as _;
use std::{env, io};

use dumpwright_target::{Fault, FaultKind, Need, Target as _};

use crate::native::{self, Process};

/// The live process of this id, if this machine lets us look at it.
///
/// Where tracing is forbidden (containers, `ptrace_scope`), a test cannot do its work. It then says so on standard error, past the test
/// runner's capture, and the caller gets `None` and returns. With `DUMPWRIGHT_REQUIRE_LIVE=1`, which belongs into every CI that is
/// meant to test live processes, it fails instead.
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
/// The process cannot be dumped for another reason, or may not and `DUMPWRIGHT_REQUIRE_LIVE=1`.
#[track_caller]
#[must_use]
pub fn live(id: u32) -> Option<Process> {
    let required = env::var_os("DUMPWRIGHT_REQUIRE_LIVE").is_some_and(|value| value == "1");
    match attempt(id) {
        Ok(process) => Some(process),
        Err(fault) if is_excuse(&fault, required) => {
            let test = super::reproduce::test_name().unwrap_or_default();
            let text =
                format!("\nNOT TESTED: {test}: {fault}\n(DUMPWRIGHT_REQUIRE_LIVE=1 makes this a failure)\n");
            // Nothing is to be done if that fails too.
            let _ = io::stderr().write_all(text.as_bytes());
            None
        }
        Err(fault) => panic!("process {id} cannot be dumped: {fault}"),
    }
}

/// Whether a test may be left undone for this reason: it is the machine's, not the test's or ours.
fn is_excuse(fault: &Fault, required: bool) -> bool {
    fault.kind == FaultKind::NotPermitted && !required
}

/// Opens it, and holds it once: some systems refuse only then.
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
