//! Rules about SystemInfo and MiscInfo.

use super::super::context::Cpu;
use super::super::dump::Dump;
use super::super::error::ReadError;
use super::super::stream_type;
use super::super::system::{Platform, SYSTEM_INFO_SIZE};
use super::{Findings, Rule};

pub(super) fn check(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    system_info(dump, findings)?;
    misc_info(dump, findings)
}

fn system_info(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    let Some(entry) = dump.stream(stream_type::SYSTEM_INFO) else {
        return Ok(());
    };
    let offset = u64::from(entry.rva);
    if u64::from(entry.size) != SYSTEM_INFO_SIZE {
        let text = format!(
            "SystemInfoStream has {} bytes instead of {SYSTEM_INFO_SIZE}",
            entry.size
        );
        findings.add(Rule::SystemInfoSize, entry.record_offset, text);
        return Ok(());
    }
    let Some(system) = findings.read(Rule::SystemInfoSize, dump.system_info())?.flatten() else {
        return Ok(());
    };
    if let Cpu::Other(architecture) = system.cpu {
        let text = format!("readers do not support processor architecture {architecture:#x}");
        findings.add(Rule::SystemInfoProcessor, offset, text);
    }
    if let Platform::Other(platform) = system.platform {
        findings.add(
            Rule::SystemInfoPlatform,
            offset + 20,
            format!("the platform {platform:#x} is unknown"),
        );
    }
    if system.csd_version_rva == 0 {
        findings.add(Rule::CsdStringMissing, offset + 24, "CSDVersionRva is 0");
    } else {
        findings.check_string(
            dump,
            format_args!("the CSD string"),
            system.csd_version_rva.into(),
        )?;
    }
    Ok(())
}

fn misc_info(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    /// The sizes of the five generations in bytes.
    const GENERATIONS: [u32; 5] = [24, 44, 232, 832, 1364];
    let Some(entry) = dump.stream(stream_type::MISC_INFO) else {
        return Ok(());
    };
    let offset = u64::from(entry.rva);
    let Some(misc) = findings.read(Rule::MiscInfoSize, dump.misc_info())?.flatten() else {
        return Ok(());
    };
    if misc.size_of_info != entry.size || !GENERATIONS.contains(&entry.size) {
        let text = format!(
            "SizeOfInfo is {} and the stream has {} bytes; both must be 24, 44, 232, 832 or 1364",
            misc.size_of_info, entry.size
        );
        findings.add(Rule::MiscInfoSize, offset, text);
    }
    match misc.process_id {
        None => findings.add(
            Rule::MiscInfoProcessId,
            offset + 4,
            "the process id is not marked as valid",
        ),
        Some(0) => findings.add(Rule::MiscInfoProcessId, offset + 8, "the process id is 0"),
        Some(_) => {}
    }
    Ok(())
}
