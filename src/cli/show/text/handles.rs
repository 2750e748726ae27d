//! Prints the handles and the recorded operations on handles.

use std::io::{self, Write};

use dumpwright::read::Dump;

use super::section_of;
use super::words::name;

pub(super) fn print(out: &mut impl Write, dump: &Dump, problems: &mut Vec<String>) -> io::Result<()> {
    section_of(
        out,
        problems,
        dump.iter_handles(),
        |len| format!("Handles ({len})"),
        |out, handle| {
            let kind = handle.type_name.as_deref().map_or("(no type)".into(), name);
            let name = handle.object_name.as_deref().map(name).unwrap_or_default();
            writeln!(
                out,
                "  {:>6}  {kind:<14} access {:#010x}  {name}",
                handle.handle, handle.granted_access
            )?;
            for block in handle.object_information {
                let kind = match block.info_type {
                    1 => "thread".to_owned(),
                    2 | 3 => "mutant".to_owned(),
                    4 | 5 => "process".to_owned(),
                    6 => "event".to_owned(),
                    7 => "section".to_owned(),
                    8 => "semaphore".to_owned(),
                    other => format!("type {other:#x}"),
                };
                let digits: String = block.bytes.iter().map(|byte| format!(" {byte:02x}")).collect();
                writeln!(out, "          {kind}:{digits}")?;
            }
            Ok(())
        },
    )?;
    section_of(
        out,
        problems,
        dump.iter_handle_operations(),
        |len| format!("Operations on handles ({len})"),
        |out, operation| {
            let what = match operation.operation_type {
                1 => "opened".to_owned(),
                2 => "closed".to_owned(),
                3 => "bad reference to".to_owned(),
                other => format!("operation {other:#x} on"),
            };
            writeln!(
                out,
                "  {what} {} by thread {} of process {}, {} calls",
                operation.handle,
                operation.thread_id,
                operation.process_id,
                operation.return_addresses.len()
            )
        },
    )
}
