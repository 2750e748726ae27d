//! The facts about the process as a whole. A table has one row for each.

use dumpwright_target::{
    AddressRange, Diagnostic, Fault, Frozen, FunctionTable, Handle, HandleOperation, LinuxFacts, Platform,
    Process, Subject, System, SystemMemory, Token, UnloadedModule, VmCounters,
};

use super::{functions, paths};
use crate::memory::reader::Structures;
use crate::memory::set::RangeSet;
use crate::protocol::dialogue::Service;
use crate::{DumpType, streams};

/// The facts about the process as a whole. Only this file sets them.
#[derive(Default)]
pub(crate) struct ProcessFacts {
    system: Option<System>,
    process: Option<Process>,
    handles: Option<Vec<Handle>>,
    unloaded_modules: Option<Vec<UnloadedModule>>,
    handle_operations: Option<Vec<HandleOperation>>,
    function_tables: Vec<FunctionTable>,
    unwind_information: Vec<AddressRange>,
    tokens: Option<Vec<Token>>,
    system_memory: Option<SystemMemory>,
    vm_counters: Option<VmCounters>,
    linux: Option<LinuxFacts>,
}

/// A fact that is read from the target.
struct Fact {
    /// The stream that contains the fact, and that is missing if the fact cannot be obtained. The
    /// fact is read if the dump type has this stream (`streams::flag_of`).
    stream: &'static str,
    /// Reads the fact and stores it in its field.
    ask: fn(&mut dyn Frozen, &mut Service<'_>, &mut ProcessFacts) -> Result<(), Fault>,
}

/// A row of the table: the stream, the field, and the method of [`Frozen`] that provides the fact.
macro_rules! fact {
    ($stream:literal, $field:ident, $question:ident) => {
        Fact {
            stream: $stream,
            ask: |frozen, _, facts| {
                facts.$field = frozen.$question()?.into();
                Ok(())
            },
        }
    };
    // For facts that are stored in the target's memory.
    ($stream:literal, $field:ident, $question:ident, reads) => {
        Fact {
            stream: $stream,
            ask: |frozen, service, facts| {
                facts.$field = frozen.$question(&mut Structures(service))?.into();
                Ok(())
            },
        }
    };
}

/// The facts that are read before threads and modules, because describing threads and modules
/// requires them.
const BEFORE: &[Fact] = &[
    fact!("SystemInfo", system, system),
    fact!("MiscInfo", process, process),
];

/// The facts that are read after threads and modules, in this order.
const BEHIND: &[Fact] = &[
    fact!("HandleData", handles, handles),
    fact!("UnloadedModuleList", unloaded_modules, unloaded_modules, reads),
    fact!("HandleOperationList", handle_operations, handle_operations),
    fact!("FunctionTable", function_tables, function_tables, reads),
    fact!("Token", tokens, tokens),
    fact!("SystemMemoryInfo", system_memory, system_memory),
    fact!("ProcessVmCounters", vm_counters, vm_counters),
];

impl ProcessFacts {
    /// Reads the facts that are required to describe threads and modules.
    pub(super) fn before(
        frozen: &mut dyn Frozen,
        dump_type: DumpType,
        service: &mut Service<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut facts = Self::default();
        facts.ask(BEFORE, frozen, dump_type, service, diagnostics);
        facts
    }

    /// Reads the other facts.
    pub(super) fn behind(
        &mut self,
        frozen: &mut dyn Frozen,
        dump_type: DumpType,
        service: &mut Service<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        self.ask(BEHIND, frozen, dump_type, service, diagnostics);
        self.unwind_information = functions::unwind_information(frozen, &self.function_tables, service);
        self.linux = frozen.linux(&mut Structures(service));
    }

    fn ask(
        &mut self,
        rows: &[Fact],
        frozen: &mut dyn Frozen,
        dump_type: DumpType,
        service: &mut Service<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        for row in rows
            .iter()
            .filter(|row| dump_type.contains(streams::flag_of(row.stream)))
        {
            if let Err(fault) = (row.ask)(frozen, service, self) {
                diagnostics.push(Diagnostic::missing(
                    Subject::Stream(row.stream),
                    fault.to_string(),
                ));
            }
        }
    }
}

/// Changes for filters and RemoveMemory.
impl ProcessFacts {
    /// Removes the folders from all paths.
    pub(super) fn shorten_paths(&mut self) {
        self.linux.iter_mut().for_each(paths::shorten_linux);
        let unloaded = self.unloaded_modules.iter_mut();
        unloaded.for_each(|modules| paths::shorten_unloaded(modules));
    }

    /// Removes facts that were copied from memory that the callback removed.
    pub(super) fn forget_copies(&mut self, removed: &RangeSet) {
        if let Some(debug) = self.linux.as_mut().and_then(|linux| linux.dso_debug.as_mut())
            && let Some(section) = AddressRange::at(debug.dynamic, debug.dynamic_section.len() as u64)
            && removed.meets(section)
        {
            debug.dynamic_section.clear();
        }
    }
}

impl ProcessFacts {
    pub fn system(&self) -> Option<&System> {
        self.system.as_ref()
    }

    /// The kind of system; `None` if unknown.
    pub fn platform(&self) -> Option<Platform> {
        self.system.as_ref().map(|system| system.platform)
    }

    /// The size of a pointer in the target, in bytes; 8 if unknown.
    pub fn pointer_size(&self) -> u64 {
        self.system.as_ref().map_or(8, |system| system.cpu.pointer_size())
    }

    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Open handles; `None` if the dump has none.
    pub fn handles(&self) -> Option<&[Handle]> {
        self.handles.as_deref()
    }

    /// Modules that have been unloaded; empty if the dump does not list them.
    pub fn unloaded_modules(&self) -> &[UnloadedModule] {
        self.unloaded_modules.as_deref().unwrap_or_default()
    }

    /// Operations on handles; empty if the dump does not list them.
    pub fn handle_operations(&self) -> &[HandleOperation] {
        self.handle_operations.as_deref().unwrap_or_default()
    }

    pub fn function_tables(&self) -> &[FunctionTable] {
        &self.function_tables
    }

    /// The unwind information of the functions in these tables.
    pub fn unwind_information(&self) -> &[AddressRange] {
        &self.unwind_information
    }

    /// Tokens of the process and its threads; empty if the dump does not contain them.
    pub fn tokens(&self) -> &[Token] {
        self.tokens.as_deref().unwrap_or_default()
    }

    pub fn system_memory(&self) -> Option<&SystemMemory> {
        self.system_memory.as_ref()
    }

    pub fn vm_counters(&self) -> Option<&VmCounters> {
        self.vm_counters.as_ref()
    }

    pub fn linux(&self) -> Option<&LinuxFacts> {
        self.linux.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fact_has_a_stream() {
        for row in BEFORE.iter().chain(BEHIND) {
            streams::flag_of(row.stream);
        }
    }
}
