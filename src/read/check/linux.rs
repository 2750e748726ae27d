//! Rules about Breakpad's and Mozilla's streams.

use super::super::dump::Dump;
use super::super::error::ReadError;
use super::super::linux::BREAKPAD_INFO_SIZE;
use super::super::stream_type;
use super::{Findings, Rule};

pub(super) fn check(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    if let Some(entry) = dump.stream(stream_type::BREAKPAD_INFO)
        && u64::from(entry.size) != BREAKPAD_INFO_SIZE
    {
        let text = format!(
            "BreakpadInfo has {} bytes instead of {BREAKPAD_INFO_SIZE}",
            entry.size
        );
        findings.add(Rule::BreakpadInfoSize, entry.record_offset, text);
    }
    findings.read(Rule::SoftErrorsJson, dump.soft_errors())?;
    dso_debug(dump, findings)?;
    proc_status(dump, findings)
}

fn dso_debug(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    let Some(entry) = dump.stream(stream_type::LINUX_DSO_DEBUG) else {
        return Ok(());
    };
    if !dump.holds(entry.rva.into(), entry.size.into()) {
        return Ok(());
    }
    match dump.dso_debug() {
        Err(ReadError::Outside { offset, length, .. }) => {
            let text = format!("the list of objects ({length} bytes at {offset:#x}) lies outside the file");
            findings.add(Rule::DsoDebugSize, entry.rva.into(), text);
        }
        other => {
            if let Some(Some(dso)) = findings.read(Rule::DsoDebugSize, other)? {
                for object in &dso.link_map {
                    findings.check_string(
                        dump,
                        format_args!("the name of the object at {:#x}", object.addr),
                        object.name_rva.into(),
                    )?;
                }
            }
        }
    }
    Ok(())
}

/// Checks the process id in LinuxProcStatus. minidump-writer stores the status of the thread that
/// crashed, and the `Pid:` line of that status contains the thread id. LLDB 19.1.7 then shows a
/// wrong process id.
fn proc_status(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    /// The number of bytes of the status that are read. Its first lines include the process id.
    const LONGEST_STATUS: u64 = 64 << 10;
    let Some(entry) = dump.stream(stream_type::LINUX_PROC_STATUS) else {
        return Ok(());
    };
    let Some((text, _)) = findings
        .read(
            Rule::ProcStatusPid,
            dump.text_start(stream_type::LINUX_PROC_STATUS, LONGEST_STATUS),
        )?
        .flatten()
    else {
        return Ok(());
    };
    let pid = text
        .lines()
        .find_map(|line| line.strip_prefix("Pid:"))
        .map(|pid| pid.trim().parse::<u32>().ok());
    let known = dump.misc_info().ok().flatten().and_then(|misc| misc.process_id);
    if let (Some(pid), Some(known)) = (pid, known)
        && pid != Some(known)
    {
        let pid = pid.map_or_else(|| "no number".to_owned(), |pid| pid.to_string());
        let text = format!("the Pid line contains {pid}, but the process id in MiscInfo is {known}");
        findings.add(Rule::ProcStatusPid, entry.rva.into(), text);
    }
    Ok(())
}
