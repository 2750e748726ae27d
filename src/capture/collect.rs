//! Step 3: collects the facts about the selected threads and modules.

use dumpwright_target::{Diagnostic, Fault, Frozen, Region, Subject};

use super::causes::Causes;
use super::snapshot::Terms;
use super::{
    AddressMap, CapturedMemory, CapturedThreads, Negotiated, ProcessFacts, Selection, Snapshot, dbghelp, map,
    modules, referenced, threads,
};
use crate::protocol::dialogue::Dialogue;
use crate::{DumpType, Error, Profile, Request};

/// The snapshot without memory, and the map of the address space from which its memory will be
/// chosen.
pub(crate) struct Collected {
    pub snapshot: Snapshot,
    pub map: Vec<Region>,
}

/// Collects the facts, and asks Module and Thread about them.
///
/// A fact that cannot be obtained becomes a diagnostic, because a dump without it is better than
/// none. Only the callback can stop the dump here. The questions are asked in the order of the
/// lines below.
pub(crate) fn collect(
    frozen: &mut dyn Frozen,
    process_id: u32,
    mut selection: Selection,
    negotiated: &Negotiated,
    request: &Request,
    dialogue: &mut Dialogue<'_>,
) -> Result<Collected, Error> {
    let (dump_type, profile) = (negotiated.dump_type, negotiated.profile);
    let mut diagnostics = not_listed(&selection);
    diagnostics.extend(nothing_included(&selection));
    let mut facts = ProcessFacts::before(frozen, dump_type, dialogue.service(), &mut diagnostics);
    let mut modules = modules::gather(frozen, &selection, dialogue.service(), &mut diagnostics);
    let mut exception = request.exception.clone();
    threads::check_family(exception.as_ref(), facts.system())?;
    let mut threads = threads::gather(
        frozen,
        &mut selection,
        facts.platform(),
        &mut exception,
        request,
        dialogue.service(),
        &mut diagnostics,
    )?;
    dbghelp::drop_stacks(frozen, dialogue.service(), &mut threads, facts.system(), profile);
    threads::strip(&mut threads, dump_type);
    diagnostics.extend(threads::no_extended_state(&threads, dump_type));
    poll_as_if_gathering_stacks(threads.len(), dump_type, profile, dialogue)?;
    if dump_type.intersects(DumpType::FILTER_MEMORY | DumpType::SCAN_MEMORY) {
        let word = facts.pointer_size();
        referenced::mark(frozen, &mut modules, &threads, word, dialogue.service())?;
    }
    let modules = modules::ask(modules, dump_type, profile, dialogue)?;
    let threads = threads::ask(threads, request.thread_ex, dialogue)?;
    if let (true, Some(error)) = (profile.refuses_contradictions_late(), dump_type.contradiction()) {
        return Err(error);
    }
    facts.behind(frozen, dump_type, dialogue.service(), &mut diagnostics);
    if dump_type.contains(DumpType::FILTER_MODULE_PATHS) && profile.filters_all_paths() {
        facts.shorten_paths();
    }
    let map = map::gather(frozen, dump_type, profile, dialogue, &mut diagnostics)?;
    diagnostics.extend(unheeded(dump_type));
    let snapshot = Snapshot {
        terms: Terms {
            dump_type,
            profile,
            secondary: negotiated.secondary,
            process_id,
            thread_ex: request.thread_ex,
            user_streams: request.user_streams.clone(),
        },
        facts,
        threads: CapturedThreads::new(threads, exception, request, dump_type, profile),
        modules,
        map: AddressMap::new(&map, dump_type, profile),
        memory: CapturedMemory::default(),
        shared_data: selection.shared_data,
        diagnostics,
        causes: Causes::new(request.explained),
    };
    Ok(Collected { snapshot, map })
}

/// Returns a diagnostic if there are threads and modules, and the callback has included none of
/// them. Many callbacks end with FALSE for what they do not know.
fn nothing_included(selection: &Selection) -> Option<Diagnostic> {
    let [threads, modules] = selection.asked;
    let is_empty = selection.threads.is_empty() && selection.modules.is_empty();
    (is_empty && threads > 0 && modules > 0).then(|| {
        let reason = format!("the callback included none of the {threads} threads and {modules} modules");
        Diagnostic::left_out(Subject::Process, reason)
    })
}

/// Returns a diagnostic for each list, threads or modules, that could not be obtained.
fn not_listed(selection: &Selection) -> Vec<Diagnostic> {
    let lists = [
        (&selection.thread_fault, "ThreadList"),
        (&selection.module_fault, "ModuleList"),
    ];
    let diagnostic = |(fault, stream): (&Option<Fault>, _)| {
        let fault = fault.as_ref()?;
        Some(Diagnostic::missing(Subject::Stream(stream), fault.to_string()))
    };
    lists.into_iter().filter_map(diagnostic).collect()
}

/// Sends the Cancel calls that DbgHelp sends between the last IncludeModule and the first Module:
/// one after the modules, one for each stack, one after the stacks (not in `dbghelp10`), and one
/// before the questions. This was observed in its dialogues. With full memory it does not gather
/// stacks.
fn poll_as_if_gathering_stacks(
    threads: usize,
    dump_type: DumpType,
    profile: Profile,
    dialogue: &mut Dialogue<'_>,
) -> Result<(), Error> {
    let for_stacks = match dump_type.has_all_memory() {
        true => 0,
        false => threads + usize::from(profile.polls_after_stacks()),
    };
    for _ in 0..for_stacks + 2 {
        dialogue.service().poll_cancel()?;
    }
    Ok(())
}

/// Returns a diagnostic for each flag that has no effect. Without it, the user would believe that
/// the flag was obeyed.
fn unheeded(dump_type: DumpType) -> Vec<Diagnostic> {
    const EXTRAS: [(DumpType, &str); 2] = [
        // DbgHelp asks other libraries for this data, such as that of the .NET runtime. Without
        // them it adds nothing either.
        (
            DumpType::WITH_FULL_AUXILIARY_STATE,
            "adds nothing: no auxiliary provider is known to this writer",
        ),
        (
            DumpType::WITH_IPT_TRACE,
            "adds nothing: no trace of Intel PT is recorded",
        ),
    ];
    let asked = EXTRAS.into_iter().filter(|(flag, _)| dump_type.contains(*flag));
    asked
        .map(|(flag, reason)| Diagnostic::left_out(Subject::Process, format!("{flag} {reason}")))
        .collect()
}
