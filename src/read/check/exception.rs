//! Rules about the exception.

use super::super::dump::Dump;
use super::super::error::ReadError;
use super::super::exception::{EXCEPTION_SIZE, MOST_PARAMETERS};
use super::super::list::LIST_LIMIT;
use super::super::stream_type;
use super::{Findings, Rule};

pub(super) fn check(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    let Some(entry) = dump.stream(stream_type::EXCEPTION) else {
        return Ok(());
    };
    let offset = u64::from(entry.rva);
    if u64::from(entry.size) != EXCEPTION_SIZE {
        let text = format!(
            "ExceptionStream has {} bytes instead of {EXCEPTION_SIZE}",
            entry.size
        );
        findings.add(Rule::ExceptionSize, entry.record_offset, text);
        return Ok(());
    }
    let Some(exception) = findings.read(Rule::ExceptionSize, dump.exception())?.flatten() else {
        return Ok(());
    };
    // There are other rules for a thread list that cannot be read or is too long.
    if let Ok(threads) = dump.thread_records().and_then(|list| list.bounded(LIST_LIMIT))
        && !threads.flatten().any(|thread| thread.id == exception.thread_id)
    {
        let text = format!(
            "the exception's thread {} is not in the thread list",
            exception.thread_id
        );
        findings.add(Rule::ExceptionThread, offset, text);
    }
    if exception.number_of_parameters > MOST_PARAMETERS {
        let text = format!("NumberParameters is {}", exception.number_of_parameters);
        findings.add(Rule::ExceptionParameters, offset + 32, text);
    }
    if !exception.context_location.is_present() {
        findings.add(
            Rule::ExceptionContextMissing,
            offset + 160,
            "the exception has no context",
        );
        return Ok(());
    }
    findings.check_context(
        dump,
        format_args!("the context of the exception"),
        exception.context_location,
    )
}
