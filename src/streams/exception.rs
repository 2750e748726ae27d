//! Exception: the crash. A dump made on request does not have this stream, because readers would
//! show a crash that did not happen.

use minidump_common::format::{MINIDUMP_EXCEPTION, MINIDUMP_EXCEPTION_STREAM};

use super::{BlockId, PieceBlocks, Plan, Snapshot};
use crate::format;

/// `EXCEPTION_MAXIMUM_PARAMETERS`. rust-minidump panics on a record that claims more.
const MOST_PARAMETERS: usize = 15;

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &PieceBlocks) -> BlockId {
    let exception = snapshot.threads().exception().expect("wanted");
    // The exception has its own context. Without it, LLDB shows no frames of the thread.
    let context = plan.bytes(exception.context.bytes());
    plan.record(format::size::<MINIDUMP_EXCEPTION_STREAM>(), move |offsets| {
        let count = exception.parameters.len().min(MOST_PARAMETERS);
        let mut exception_information = [0; MOST_PARAMETERS];
        exception_information[..count].copy_from_slice(&exception.parameters[..count]);
        Ok(format::bytes([MINIDUMP_EXCEPTION_STREAM {
            thread_id: exception.thread_id,
            __align: 0,
            exception_record: MINIDUMP_EXCEPTION {
                exception_code: exception.code,
                exception_flags: exception.flags,
                exception_record: exception.record,
                exception_address: exception.address,
                number_parameters: u32::try_from(count).expect("at most 15"),
                __align: 0,
                exception_information,
            },
            thread_context: offsets.location(context)?,
        }]))
    })
}
