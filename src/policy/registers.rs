//! Registers of a `CONTEXT`, whatever the processor.

use dumpwright_target::Layout;

/// The values of the general registers; none if the processor is not known.
pub(super) fn general(context: &[u8]) -> Vec<u64> {
    Layout::of(context).map_or_else(Vec::new, |layout| layout.general_registers(context).collect())
}

/// The instruction pointer.
pub(super) fn instruction_pointer(context: &[u8]) -> Option<u64> {
    Some(Layout::of(context)?.instruction_pointer(context))
}
