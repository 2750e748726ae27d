//! Registers in a `CONTEXT` of any processor.

use dumpwright_target::ContextLayout;

/// Returns the values of the general registers; empty if the processor is unknown.
pub(super) fn general(context: &[u8]) -> Vec<u64> {
    ContextLayout::of(context).map_or_else(Vec::new, |layout| layout.general_registers(context).collect())
}

/// Returns the instruction pointer; `None` if the processor is unknown.
pub(super) fn instruction_pointer(context: &[u8]) -> Option<u64> {
    Some(ContextLayout::of(context)?.instruction_pointer(context))
}
