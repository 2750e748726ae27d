//! FunctionTable: functions that a Windows program made at run time. Debuggers need them for
//! unwinding.

use dumpwright_target::{FunctionEntry, FunctionTable};

use super::{BlockId, PieceBlocks, Plan, Snapshot};
use crate::Error;
use crate::plan::narrow;

/// The size of `MINIDUMP_FUNCTION_TABLE_STREAM`.
const HEADER: usize = 24;
/// The size of `MINIDUMP_FUNCTION_TABLE_DESCRIPTOR`.
const DESCRIPTOR: usize = 32;
/// The size of the system's own record (`DYNAMIC_FUNCTION_TABLE` of x86-64).
const NATIVE: usize = 88;
/// The size of `RUNTIME_FUNCTION` of x86-64.
const ENTRY: usize = 12;
/// The alignment of each descriptor in the file. The stream has it as well, and therefore the first
/// descriptor.
const ALIGN: usize = 8;

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    !snapshot.facts().function_tables().is_empty()
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &PieceBlocks) -> BlockId {
    let tables = snapshot.facts().function_tables();
    let len = HEADER
        + tables
            .iter()
            .map(|table| len(table) + padding(table))
            .sum::<usize>();
    plan.record(len, move |_| {
        let header = [
            narrow(HEADER, "a header")?,
            narrow(DESCRIPTOR, "a descriptor")?,
            narrow(NATIVE, "a descriptor")?,
            narrow(ENTRY, "an entry")?,
            narrow(tables.len(), "the number of function tables")?,
            0,
        ];
        let mut bytes = header.map(u32::to_le_bytes).concat();
        for table in tables {
            write(table, &mut bytes)?;
        }
        Ok(bytes)
    })
}

fn len(table: &FunctionTable) -> usize {
    DESCRIPTOR + NATIVE + table.entries.len() * ENTRY
}

fn padding(table: &FunctionTable) -> usize {
    len(table).next_multiple_of(ALIGN) - len(table)
}

fn write(table: &FunctionTable, bytes: &mut Vec<u8>) -> Result<(), Error> {
    let addresses = [table.minimum_address, table.maximum_address, table.base_address];
    bytes.extend(addresses.map(u64::to_le_bytes).concat());
    let counts = [
        narrow(table.entries.len(), "the number of functions")?,
        narrow(padding(table), "padding")?,
    ];
    bytes.extend(counts.map(u32::to_le_bytes).concat());
    bytes.extend(table.native);
    for FunctionEntry {
        begin,
        end,
        unwind_info,
    } in &table.entries
    {
        bytes.extend([*begin, *end, *unwind_info].map(u32::to_le_bytes).concat());
    }
    bytes.resize(bytes.len() + padding(table), 0);
    Ok(())
}
