//! Phase 3: the facts of what was selected.

use dumpwright_callback::{ModuleAsked, ModuleWriteFlags, ThreadAsked, ThreadWriteFlags};
use dumpwright_target::{
    AddressRange, CpuContext, Exception, Exclusion, FaultKind, Frozen, Gravity, Module, Platform, Region,
    Remark, Subject, System, Thread, protect,
};

use super::regions::regions;
use super::snapshot::pointer_size;
use super::{KeptModule, KeptThread, Negotiated, Selection, Snapshot, filter, functions, paths, referenced};
use crate::protocol::dialogue::Dialogue;
use crate::{DumpType, Error, Profile, Request};

/// The snapshot without memory, and the map that its memory will be chosen by.
pub(crate) struct Collected {
    pub snapshot: Snapshot,
    pub map: Vec<Region>,
}

/// Gathers the facts and asks Module and Thread about them.
///
/// Some information is better than none: what cannot be had becomes a remark, only the callback can
/// stop the dump here.
pub(crate) fn collect(
    frozen: &mut dyn Frozen,
    process_id: u32,
    selection: Selection,
    negotiated: &Negotiated,
    request: &Request,
    dialogue: &mut Dialogue<'_>,
) -> Result<Collected, Error> {
    let dump_type = negotiated.dump_type;
    let profile = negotiated.profile;
    let mut remarks = Vec::new();
    if let Some(fault) = &selection.thread_fault {
        remarks.push(Remark::missing(Subject::Stream("ThreadList"), fault.to_string()));
    }
    if let Some(fault) = &selection.module_fault {
        remarks.push(Remark::missing(Subject::Stream("ModuleList"), fault.to_string()));
    }
    let system = keep(frozen.system(), Subject::Stream("SystemInfo"), &mut remarks);
    let process = keep(frozen.process(), Subject::Stream("MiscInfo"), &mut remarks);
    let mut modules = gather_modules(frozen, &selection, &mut remarks);
    let mut exception = request.exception.clone();
    check_family(exception.as_ref(), system.as_ref())?;
    let mut threads = gather_threads(
        frozen,
        &selection,
        system.as_ref().map(|s| s.platform),
        exception.as_mut(),
        &mut remarks,
    )?;
    for (thread, _) in &mut threads {
        thread.context = thread.context.take().map(|context| as_asked(context, dump_type));
    }
    remarks.extend(no_extended_state(&threads, dump_type));
    poll_as_if_gathering_stacks(&threads, dump_type, dialogue)?;
    if dump_type.intersects(DumpType::FILTER_MEMORY | DumpType::SCAN_MEMORY) {
        let word = pointer_size(system.as_ref());
        referenced::mark(frozen, &mut modules, &threads, word, dialogue.service());
    }
    let modules = ask_modules(modules, dump_type, profile, dialogue)?;
    let threads = ask_threads(threads, request.thread_ex, dialogue)?;
    if let (true, Some(error)) = (profile.refuses_contradictions_late(), dump_type.contradiction()) {
        return Err(error);
    }
    let handles = dump_type
        .contains(DumpType::WITH_HANDLE_DATA)
        .then(|| keep(frozen.handles(), Subject::Stream("HandleData"), &mut remarks))
        .flatten();
    let mut unloaded_modules = dump_type
        .contains(DumpType::WITH_UNLOADED_MODULES)
        .then(|| {
            keep(
                frozen.unloaded_modules(),
                Subject::Stream("UnloadedModuleList"),
                &mut remarks,
            )
        })
        .flatten();
    let handle_operations = dump_type
        .contains(DumpType::WITH_HANDLE_DATA)
        .then(|| {
            keep(
                frozen.handle_operations(),
                Subject::Stream("HandleOperationList"),
                &mut remarks,
            )
        })
        .flatten();
    let function_tables = keep(
        frozen.function_tables(),
        Subject::Stream("FunctionTable"),
        &mut remarks,
    )
    .unwrap_or_default();
    let unwind_information = functions::unwind_information(frozen, &function_tables, dialogue.service());
    let tokens = dump_type
        .contains(DumpType::WITH_TOKEN_INFORMATION)
        .then(|| keep(frozen.tokens(), Subject::Stream("Token"), &mut remarks))
        .flatten();
    let system_memory = keep(
        frozen.system_memory(),
        Subject::Stream("SystemMemoryInfo"),
        &mut remarks,
    );
    let vm_counters = keep(
        frozen.vm_counters(),
        Subject::Stream("ProcessVmCounters"),
        &mut remarks,
    );
    let mut linux = frozen.linux();
    if dump_type.contains(DumpType::FILTER_MODULE_PATHS) && profile.filters_all_paths() {
        linux.iter_mut().for_each(paths::shorten_linux);
        unloaded_modules
            .iter_mut()
            .for_each(|modules| paths::shorten_unloaded(modules));
    }
    let map = if asks_for_map(dump_type) && !profile.queries_for_each_use() {
        regions(frozen, dialogue)
    } else {
        frozen.regions().map_err(Error::from)
    };
    let map = match map {
        Ok(map) => without_write_combined(map, dump_type),
        // Without a map, memory is chosen blindly but still read; all of it cannot be had.
        Err(Error::Target(fault)) => {
            remarks.push(Remark::missing(
                Subject::Stream("MemoryInfoList"),
                fault.to_string(),
            ));
            Vec::new()
        }
        Err(other) => return Err(other),
    };
    let exception = exception.map(|mut exception| {
        exception.context = as_asked(exception.context, dump_type);
        if profile.withholds_registers_of_exceptions() && !keeps_registers(&threads, exception.thread_id) {
            // Instruction and stack pointer stay: what happened where.
            exception.context.filter(0, |_| false);
        }
        exception
    });
    let wants_map = dump_type.contains(DumpType::WITH_FULL_MEMORY_INFO) && !map.is_empty();
    remarks.extend(unheeded(dump_type));
    let requesting_thread = request
        .requesting_thread
        .or(exception.as_ref().map(|exception| exception.thread_id))
        .or(threads.first().map(|kept| kept.thread.id));
    let snapshot = Snapshot {
        dump_type,
        profile,
        secondary: negotiated.secondary,
        process_id,
        system,
        process,
        threads,
        thread_ex: request.thread_ex,
        modules,
        regions: wants_map.then(|| map.clone()),
        generated_code: filter::generated_code(&map, profile),
        handles,
        unloaded_modules,
        handle_operations,
        function_tables,
        unwind_information,
        tokens,
        system_memory: system_memory.flatten(),
        vm_counters: vm_counters.flatten(),
        linux,
        exception,
        requesting_thread,
        user_streams: request.user_streams.clone(),
        pieces: Vec::new(),
        large: false,
        remarks,
    };
    Ok(Collected { snapshot, map })
}

/// Readers take the registers of an exception for those of the dump's processor, whatever their `ContextFlags` say.
fn check_family(exception: Option<&Exception>, system: Option<&System>) -> Result<(), Error> {
    let (Some(exception), Some(system)) = (exception, system) else {
        return Ok(());
    };
    let given = exception.context.cpu();
    if given == system.cpu {
        return Ok(());
    }
    Err(Error::InvalidRequest(format!(
        "the registers of the exception in thread {} are of the processor family {}, the process is of {}; give the \
         registers of that family",
        exception.thread_id,
        given.name(),
        system.cpu.name()
    )))
}

/// Whether `own` is `plain` with extended state: those of a thread that still stands where the exception happened, which
/// whoever told of the exception did not ask for that state.
fn extends(own: &CpuContext, plain: &CpuContext) -> bool {
    own.is_extended() && own.clone().without_extended_state() == *plain
}

/// Registers without their extended state, unless the type asks for it.
fn as_asked(context: CpuContext, dump_type: DumpType) -> CpuContext {
    match dump_type.contains(DumpType::WITH_AVX_X_STATE_CONTEXT) {
        true => context,
        false => context.without_extended_state(),
    }
}

/// What is to be said if registers beyond SSE were asked for and there are none.
fn no_extended_state(threads: &[(Thread, ThreadWriteFlags)], dump_type: DumpType) -> Option<Remark> {
    let is_extended = |thread: &Thread| thread.context.as_ref().is_some_and(CpuContext::is_extended);
    let asked = dump_type.contains(DumpType::WITH_AVX_X_STATE_CONTEXT);
    (asked && !threads.iter().any(|(thread, _)| is_extended(thread))).then(|| {
        Remark::left_out(
            Subject::Process,
            "its threads have no extended contexts: the processor has no AVX, the process is not an x86-64 one, or the \
             system does not give these registers",
        )
    })
}

fn keep<T>(
    got: Result<T, dumpwright_target::Fault>,
    subject: Subject,
    remarks: &mut Vec<Remark>,
) -> Option<T> {
    got.map_err(|fault| remarks.push(Remark::missing(subject, fault.to_string())))
        .ok()
}

/// Whether the type needs the address space's regions one by one, which is what VmQuery is asked for.
fn asks_for_map(dump_type: DumpType) -> bool {
    dump_type.intersects(
        DumpType::WITH_FULL_MEMORY
            | DumpType::WITH_PRIVATE_READ_WRITE_MEMORY
            | DumpType::WITH_PRIVATE_WRITE_COPY_MEMORY
            | DumpType::WITH_FULL_MEMORY_INFO,
    )
}

/// The map with write-combined regions marked as left out, if the type filters them.
fn without_write_combined(mut map: Vec<Region>, dump_type: DumpType) -> Vec<Region> {
    if dump_type.contains(DumpType::FILTER_WRITE_COMBINED_MEMORY) {
        let write_combined = map
            .iter_mut()
            .filter(|region| region.protect & protect::WRITECOMBINE != 0);
        write_combined.for_each(|region| region.exclusion = Some(Exclusion::WriteCombined));
    }
    map
}

fn gather_modules(
    frozen: &mut dyn Frozen,
    selection: &Selection,
    remarks: &mut Vec<Remark>,
) -> Vec<(Module, ModuleWriteFlags)> {
    let mut gathered = Vec::with_capacity(selection.modules.len());
    for (base, flags) in &selection.modules {
        let Some(mut module) = keep(frozen.module(*base), Subject::Module(*base), remarks) else {
            continue;
        };
        if !flags.contains(ModuleWriteFlags::CV_RECORD) {
            module.cv_record.clear();
        }
        if !flags.contains(ModuleWriteFlags::MISC_RECORD) {
            module.misc_record.clear();
        }
        gathered.push((module, *flags));
    }
    gathered
}

/// Polls where DbgHelp does between the last IncludeModule and the first Module: at the end of the modules, for
/// each stack, behind the stacks, and before the questions. Seen in its dialogues; with full memory it has no
/// stacks to gather.
fn poll_as_if_gathering_stacks(
    threads: &[(Thread, ThreadWriteFlags)],
    dump_type: DumpType,
    dialogue: &mut Dialogue<'_>,
) -> Result<(), Error> {
    let for_stacks = match dump_type.contains(DumpType::WITH_FULL_MEMORY) {
        true => 0,
        false => threads.len() + 1,
    };
    for _ in 0..for_stacks + 2 {
        dialogue.service().poll_cancel()?;
    }
    Ok(())
}

fn ask_modules(
    gathered: Vec<(Module, ModuleWriteFlags)>,
    dump_type: DumpType,
    profile: Profile,
    dialogue: &mut Dialogue<'_>,
) -> Result<Vec<KeptModule>, Error> {
    let mut kept = Vec::with_capacity(gathered.len());
    for (mut module, flags) in gathered {
        let asked = ModuleAsked {
            full_path: &module.path,
            base_of_image: module.base,
            size_of_image: u32::try_from(module.size).unwrap_or(u32::MAX),
            checksum: module.checksum,
            time_date_stamp: module.timestamp,
            version_info: module.version.unwrap_or_default(),
            cv_record: &module.cv_record,
            misc_record: &module.misc_record,
        };
        let flags = dialogue.module(asked, flags)?;
        if !flags.contains(ModuleWriteFlags::MODULE) {
            continue;
        }
        if !flags.contains(ModuleWriteFlags::CV_RECORD) {
            module.cv_record.clear();
        }
        if !flags.contains(ModuleWriteFlags::MISC_RECORD) {
            module.misc_record.clear();
        }
        if dump_type.contains(DumpType::FILTER_MODULE_PATHS) {
            paths::shorten_module(&mut module, profile);
        }
        kept.push(KeptModule { module, flags });
    }
    Ok(kept)
}

fn gather_threads(
    frozen: &mut dyn Frozen,
    selection: &Selection,
    platform: Option<Platform>,
    exception: Option<&mut Exception>,
    remarks: &mut Vec<Remark>,
) -> Result<Vec<(Thread, ThreadWriteFlags)>, Error> {
    let mut gathered = Vec::with_capacity(selection.threads.len());
    let mut last_fault = None;
    for (id, flags) in &selection.threads {
        match frozen.thread(*id) {
            Ok(thread) => gathered.push((thread, *flags)),
            Err(fault) => {
                // One that had ended before it could be held is not missing: a moment later it would not have been listed.
                let remark = match fault.kind {
                    FaultKind::NoSuchProcess => Remark::left_out,
                    _ => Remark::missing,
                };
                remarks.push(remark(Subject::Thread(*id), fault.to_string()));
                last_fault = Some(fault);
            }
        }
    }
    // Without any thread there is nothing to look at; a process that ended meanwhile fails here.
    if let (true, Some(fault)) = (gathered.is_empty(), last_fault) {
        return Err(fault.into());
    }
    if let Some(exception) = exception {
        let thread = gathered
            .iter_mut()
            .map(|(thread, _)| thread)
            .find(|thread| thread.id == exception.thread_id);
        match thread {
            // A Linux thread that reports its own crash is in its handler by now; readers that look at the
            // thread list are to see where it crashed. Both stacks are kept.
            Some(thread) if platform == Some(Platform::Linux) => {
                match thread
                    .context
                    .as_ref()
                    .filter(|own| extends(own, &exception.context))
                {
                    Some(own) => exception.context = own.clone(),
                    None => thread.context = Some(exception.context.clone()),
                }
                if let Some(crashed) = frozen.stack_at(thread.id, exception.context.stack_pointer()) {
                    thread.interrupted.extend(thread.stack.replace(crashed));
                }
            }
            Some(_) => {}
            None => remarks.push(Remark {
                gravity: Gravity::Note,
                subject: Subject::Thread(exception.thread_id),
                reason: "the thread of the exception is not in the dump".to_owned(),
            }),
        }
    }
    for (thread, flags) in &mut gathered {
        if thread.stack.is_none() {
            // What the Thread question shows as wanted must exist; seen on DbgHelp for threads whose TEB
            // cannot be read.
            flags.remove(ThreadWriteFlags::STACK);
        }
    }
    Ok(gathered)
}

fn ask_threads(
    gathered: Vec<(Thread, ThreadWriteFlags)>,
    thread_ex: bool,
    dialogue: &mut Dialogue<'_>,
) -> Result<Vec<KeptThread>, Error> {
    let mut kept = Vec::with_capacity(gathered.len());
    for (thread, flags) in gathered {
        let asked = ThreadAsked {
            thread_id: thread.id,
            thread_handle: thread.handle,
            context: thread.context.as_ref().map_or(&[], |context| context.plain()),
            stack_base: thread.stack.map_or(0, |stack| stack.range.end()),
            stack_end: thread.stack.map_or(0, |stack| stack.range.start()),
            backing_store_base: thread.backing_store.map_or(0, AddressRange::start),
            backing_store_end: thread.backing_store.map_or(0, AddressRange::end),
        };
        let flags = match thread_ex {
            true => dialogue.thread_ex(asked, flags)?,
            false => dialogue.thread(asked, flags)?,
        };
        kept.push(KeptThread { thread, flags });
    }
    Ok(kept)
}

/// Whether the registers of this thread are to be written.
fn keeps_registers(threads: &[KeptThread], id: u32) -> bool {
    let wanted = ThreadWriteFlags::THREAD | ThreadWriteFlags::CONTEXT;
    threads
        .iter()
        .any(|kept| kept.thread.id == id && kept.flags.contains(wanted))
}

/// What was asked for in vain: saying nothing would pass for having obeyed.
fn unheeded(dump_type: DumpType) -> Vec<Remark> {
    const EXTRAS: [(DumpType, &str); 2] = [
        // DbgHelp asks other libraries for it, such as that of the .NET runtime, and without them does as this does.
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
        .map(|(flag, reason)| Remark::left_out(Subject::Process, format!("{flag} {reason}")))
        .collect()
}
