//! The threads: their descriptions, the Thread question about each, and the exception in one of
//! them.

use dumpwright_callback::{ThreadAsked, ThreadWriteFlags};
use dumpwright_target::{
    AddressRange, CpuContext, Diagnostic, Exception, FaultKind, Frozen, Platform, Severity, Subject, System,
    Thread,
};

use super::Selection;
use crate::memory::reader::Structures;
use crate::protocol::dialogue::{Dialogue, Service};
use crate::{DumpType, Error, KnownCrash, Profile, Request};

/// A thread in the dump.
pub(crate) struct CapturedThread {
    pub thread: Thread,
    pub flags: ThreadWriteFlags,
}

/// The threads in the dump. Only this file sets them; filters change their registers.
pub(crate) struct CapturedThreads {
    kept: Vec<CapturedThread>,
    exception: Option<Exception>,
    requesting: Option<u32>,
}

impl CapturedThreads {
    /// Takes the threads, and the exception as far as the type and the threads' flags want it.
    pub(super) fn new(
        kept: Vec<CapturedThread>,
        exception: Option<Exception>,
        request: &Request,
        dump_type: DumpType,
        profile: Profile,
    ) -> Self {
        let exception = exception.map(|mut exception| {
            exception.context = as_asked(exception.context, dump_type);
            if profile.withholds_registers_of_exceptions() && !keeps_registers(&kept, exception.thread_id) {
                // Keep the instruction and stack pointer, which show where the exception happened.
                exception.context.filter(0, |_| false);
            }
            exception
        });
        let requesting = request
            .requesting_thread
            .or(exception.as_ref().map(|exception| exception.thread_id))
            .or(kept.first().map(|kept| kept.thread.id));
        Self {
            kept,
            exception,
            requesting,
        }
    }

    pub fn kept(&self) -> &[CapturedThread] {
        &self.kept
    }

    pub fn exception(&self) -> Option<&Exception> {
        self.exception.as_ref()
    }

    /// The thread that readers show first.
    pub fn requesting(&self) -> Option<u32> {
        self.requesting
    }

    /// The registers of each thread and of the exception, for filters.
    pub(super) fn registers_mut(&mut self) -> (&mut [CapturedThread], Option<&mut CpuContext>) {
        let exception = self.exception.as_mut();
        (&mut self.kept, exception.map(|exception| &mut exception.context))
    }
}

/// Checks that the exception's registers belong to the target's processor family. Readers assume
/// this, whatever `ContextFlags` contains.
pub(super) fn check_family(exception: Option<&Exception>, system: Option<&System>) -> Result<(), Error> {
    let (Some(exception), Some(system)) = (exception, system) else {
        return Ok(());
    };
    let given = exception.context.cpu();
    if given == system.cpu {
        return Ok(());
    }
    Err(Error::InvalidRequest(format!(
        "the registers of the exception in thread {} belong to the processor family {}, but the process belongs to {}; \
         pass registers of that family",
        exception.thread_id,
        given.name(),
        system.cpu.name()
    )))
}

/// Describes the selected threads, and finds the exception if it is to be found and there is none.
/// The thread of the exception is described as it was when the exception happened.
pub(super) fn gather(
    frozen: &mut dyn Frozen,
    selection: &mut Selection,
    platform: Option<Platform>,
    exception: &mut Option<Exception>,
    request: &Request,
    service: &mut Service<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Vec<(Thread, ThreadWriteFlags)>, Error> {
    let mut gathered = Vec::with_capacity(selection.threads.len());
    let mut last_fault = None;
    for (id, flags) in &selection.threads {
        let described = selection.described.remove(id);
        match described.unwrap_or_else(|| frozen.thread(*id, &mut Structures(service))) {
            Ok(thread) => gathered.push((thread, *flags)),
            Err(fault) => {
                // A thread that ended before it could be suspended is not missing: a moment later
                // it would not have been listed.
                let diagnostic = match fault.kind {
                    FaultKind::NoSuchProcess => Diagnostic::left_out,
                    _ => Diagnostic::missing,
                };
                diagnostics.push(diagnostic(Subject::Thread(*id), fault.to_string()));
                last_fault = Some(fault);
            }
        }
    }
    // A dump without threads is useless. If the process has ended in the meantime, the dump fails
    // here.
    if let (true, Some(fault)) = (gathered.is_empty(), last_fault) {
        return Err(fault.into());
    }
    if exception.is_none() && (request.find_crash || request.known_crash.is_some()) {
        let handled = frozen.handled_crash(&mut Structures(service));
        *exception = match &request.known_crash {
            None => handled,
            Some(known) => exception_of(known, handled, &gathered, diagnostics),
        };
    }
    if let Some(exception) = exception {
        let thread = gathered
            .iter_mut()
            .map(|(thread, _)| thread)
            .find(|thread| thread.id == exception.thread_id);
        match thread {
            // A Linux thread that reports its own crash is now in its signal handler. Readers that
            // use the thread list must see where it crashed. Both stacks are dumped.
            Some(thread) if platform == Some(Platform::Linux) => {
                match thread
                    .context
                    .as_ref()
                    .filter(|own| extends(own, &exception.context))
                {
                    Some(own) => exception.context = own.clone(),
                    None => thread.context = Some(exception.context.clone()),
                }
                let pointer = exception.context.stack_pointer();
                if let Some(crashed) = frozen.stack_at(thread.id, pointer, &mut Structures(service)) {
                    thread.interrupted.extend(thread.stack.replace(crashed));
                }
            }
            Some(_) => {}
            None => diagnostics.push(Diagnostic {
                severity: Severity::Note,
                subject: Subject::Thread(exception.thread_id),
                reason: "the thread of the exception is not in the dump".to_owned(),
            }),
        }
    }
    for (thread, flags) in &mut gathered {
        if thread.stack.is_none() {
            // The Thread question must not show a stack as wanted if there is none. DbgHelp was
            // observed to clear the flag for threads whose TEB cannot be read.
            flags.remove(ThreadWriteFlags::STACK);
        }
    }
    Ok(gathered)
}

/// Returns the exception for a crash of which the caller knows no registers. `handled` is one that
/// the program handles.
fn exception_of(
    known: &KnownCrash,
    handled: Option<Exception>,
    threads: &[(Thread, ThreadWriteFlags)],
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Exception> {
    let handled =
        handled.filter(|handled| (handled.thread_id, handled.code) == (known.thread_id, known.code));
    let mut threads = threads.iter().map(|(thread, _)| thread);
    let own = threads.find(|thread| thread.id == known.thread_id);
    let context = match &handled {
        Some(handled) => Some(handled.context.clone()),
        None => own.and_then(|thread| thread.context.clone()),
    };
    let Some(context) = context else {
        diagnostics.push(Diagnostic::missing(
            Subject::Thread(known.thread_id),
            "there is no exception, because the thread that crashed is not in the dump, or has no registers",
        ));
        return None;
    };
    let instruction = context.instruction_pointer();
    let address = known.address.or(handled.as_ref().map(|handled| handled.address));
    let address = address.unwrap_or(instruction);
    // They may contain the address.
    let handled = handled.filter(|handled| handled.address == address);
    Some(Exception {
        thread_id: known.thread_id,
        code: known.code,
        flags: known.flags,
        record: 0,
        address,
        parameters: handled.map(|handled| handled.parameters).unwrap_or_default(),
        context,
    })
}

/// Whether `own` has more groups of registers than `reported`, and the same general registers. This
/// is the case if the thread is still where the exception happened, and the exception was reported
/// without the extended state, or without a group that could not be read at that time.
fn extends(own: &CpuContext, reported: &CpuContext) -> bool {
    let flags = |context: &CpuContext| context.cpu().layout().context_flags(context.bytes());
    let general = |context: &CpuContext| -> Vec<u64> {
        let layout = context.cpu().layout();
        layout.general_registers(context.bytes()).collect()
    };
    own.cpu() == reported.cpu()
        && flags(own) != flags(reported)
        && flags(own) & flags(reported) == flags(reported)
        && general(own) == general(reported)
}

/// Removes extended state that the type does not ask for.
pub(super) fn strip(threads: &mut [(Thread, ThreadWriteFlags)], dump_type: DumpType) {
    for (thread, _) in threads {
        thread.context = thread.context.take().map(|context| as_asked(context, dump_type));
    }
}

/// Returns registers without their extended state, unless the type asks for it.
fn as_asked(context: CpuContext, dump_type: DumpType) -> CpuContext {
    match dump_type.contains(DumpType::WITH_AVX_X_STATE_CONTEXT) {
        true => context,
        false => context.without_extended_state(),
    }
}

/// Returns a diagnostic if registers beyond SSE were asked for and no thread has any.
pub(super) fn no_extended_state(
    threads: &[(Thread, ThreadWriteFlags)],
    dump_type: DumpType,
) -> Option<Diagnostic> {
    let is_extended = |thread: &Thread| thread.context.as_ref().is_some_and(CpuContext::is_extended);
    let asked = dump_type.contains(DumpType::WITH_AVX_X_STATE_CONTEXT);
    (asked && !threads.iter().any(|(thread, _)| is_extended(thread))).then(|| {
        Diagnostic::left_out(
            Subject::Process,
            "the threads have no extended contexts: the processor has no AVX, the process is not an x86-64 process, or the \
             system does not provide these registers",
        )
    })
}

/// Asks Thread or ThreadEx about each thread.
pub(super) fn ask(
    gathered: Vec<(Thread, ThreadWriteFlags)>,
    thread_ex: bool,
    dialogue: &mut Dialogue<'_>,
) -> Result<Vec<CapturedThread>, Error> {
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
            name: thread.name.as_deref(),
        };
        let flags = match thread_ex {
            true => dialogue.thread_ex(asked, flags)?,
            false => dialogue.thread(asked, flags)?,
        };
        kept.push(CapturedThread { thread, flags });
    }
    Ok(kept)
}

/// Whether the registers of this thread are written.
fn keeps_registers(threads: &[CapturedThread], id: u32) -> bool {
    let wanted = ThreadWriteFlags::THREAD | ThreadWriteFlags::CONTEXT;
    threads
        .iter()
        .any(|kept| kept.thread.id == id && kept.flags.contains(wanted))
}
