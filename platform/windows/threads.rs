//! Facts about a thread.

use std::ffi::c_void;
use std::os::windows::io::{AsRawHandle, BorrowedHandle};

use dumpwright_target::{
    AddressRange, Diagnostic, Fault, FaultKind, Memory, MemoryExt, Stack, Subject, Thread, ThreadExit,
    ThreadTimes,
};
use windows_sys::Wdk::System::Threading::ThreadQuerySetWin32StartAddress;
use windows_sys::Win32::Foundation::{FILETIME, HANDLE, LocalFree};
use windows_sys::Win32::System::Threading::{GetPriorityClass, GetThreadPriority, GetThreadTimes};

use crate::access::Access;
use crate::error::{self, Losses, last_fault, nt_fault};
use crate::freeze::{SuspendedThread, TargetThreads};
use crate::nt::bound;
use crate::query::{self, ThreadBasic};
use crate::regions;
use crate::snapshot::units;

/// The result of `GetThreadPriority` when it fails.
const THREAD_PRIORITY_ERROR_RETURN: i32 = i32::MAX;
/// `NORMAL_PRIORITY_CLASS`.
const NORMAL_PRIORITY_CLASS: u32 = 0x20;

/// Offsets in the TEB (x64): two in the `NT_TIB` at its beginning, and `DeallocationStack`.
mod teb {
    pub(super) const STACK_BASE: u64 = 0x08;
    pub(super) const STACK_LIMIT: u64 = 0x10;
    pub(super) const DEALLOCATION_STACK: u64 = 0x1478;
}

/// The maximum size of a stack in bytes; larger bounds are rejected. The linker's default is 1 MiB,
/// and programs that need more request megabytes.
const LONGEST_STACK: u64 = 1 << 30;
/// The maximum number of bytes that are stored if the stack pointer points to memory outside the
/// stack that the TEB describes.
const UNKNOWN_STACK: u64 = 1 << 20;

/// Returns everything about a thread. `with_times`: whether its times and its start address are
/// needed.
pub(crate) fn thread(
    access: &Access<'_>,
    memory: &mut dyn Memory,
    threads: &TargetThreads,
    id: u32,
    with_times: bool,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Thread, Fault> {
    let held = threads.find(id)?;
    let handle = held.handle();
    let operation = |what: &str| format!("query {what} of thread {id} of process {}", access.id);
    let mut losses = Losses::default();
    let basic = handle.and_then(|handle| {
        let basic = query::thread_basic(handle);
        losses.keep(basic.map_err(|status| nt_fault(operation("the TEB and the affinity"), status)))
    });
    if let Some(fault) = &held.not_extended {
        losses.add(fault.clone());
    }
    let exit = exit(held, handle);
    let context = match &held.registers {
        Ok(context) => Some(context.clone()),
        Err(fault) => {
            let subject = Subject::Thread(id);
            diagnostics.push(match exit {
                Some(_) => Diagnostic::left_out(subject, "it has ended and has no registers"),
                None if fault.kind == FaultKind::NoSuchProcess => {
                    Diagnostic::left_out(subject, "it has not started to run yet and has no registers")
                }
                None => Diagnostic::missing(subject, fault.to_string()),
            });
            None
        }
    };
    let teb = held
        .entry
        .as_ref()
        .map_or(basic.map_or(0, |basic| basic.teb), |entry| entry.teb);
    let stack = context
        .as_ref()
        .and_then(|context| stack(access, memory, teb, context.stack_pointer(), id, diagnostics));
    let thread = Thread {
        id,
        handle: handle.map_or(0, |handle| handle.as_raw_handle().addr() as u64),
        suspend_count: held.suspend_count,
        priority_class: threads.priority_class.unwrap_or(NORMAL_PRIORITY_CLASS),
        priority: losses
            .keep(priority(held, handle).map_err(|code| error::fault(operation("the priority"), code)))
            .unwrap_or(0),
        teb,
        context,
        stack,
        interrupted: Vec::new(),
        name: handle.and_then(|handle| {
            let name = name(handle).map_err(|code| error::fault(operation("the name"), code));
            losses.keep(name).flatten()
        }),
        times: match &held.entry {
            Some(entry) => Some(entry.times),
            None => handle
                .filter(|_| with_times)
                .and_then(|handle| times(handle, basic, &mut losses, &operation)),
        },
        exit,
        backing_store: None,
    };
    // A thread that has ended does not have all facts.
    if thread.exit.is_none() {
        diagnostics.extend(losses.diagnostic(Subject::Thread(id)));
    }
    Ok(thread)
}

/// Returns the stack of a thread for this stack pointer.
pub(crate) fn stack_at(
    access: &Access<'_>,
    memory: &mut dyn Memory,
    threads: &TargetThreads,
    id: u32,
    pointer: u64,
) -> Option<Stack> {
    let held = threads.find(id).ok()?;
    let teb = match &held.entry {
        Some(entry) => entry.teb,
        None => query::thread_basic(held.handle()?).ok()?.teb,
    };
    stack(access, memory, teb, pointer, id, &mut Vec::new())
}

/// Returns how the thread ended, if it has ended.
fn exit(held: &SuspendedThread, handle: Option<BorrowedHandle<'_>>) -> Option<ThreadExit> {
    if let Some(exit) = held.entry.as_ref().and_then(|entry| entry.exit) {
        return Some(exit);
    }
    let status = held.exit_status?;
    let times = handle.and_then(|handle| all_times(handle, String::new()).ok());
    let ended = times.map_or(0, |[_, ended, _, _]| ended);
    Some(ThreadExit { status, time: ended })
}

/// Returns four times: creation, end, time in the kernel, time in user code.
///
/// # Errors
/// The system does not report them. `operation` is that of the fault.
fn all_times(handle: BorrowedHandle<'_>, operation: String) -> Result<[u64; 4], Fault> {
    let mut times = [FILETIME::default(); 4];
    let [created, ended, kernel, user] = &mut times;
    // SAFETY: the handle is open as long as it is borrowed. The times are written to local
    // structures.
    let known = unsafe { GetThreadTimes(handle.as_raw_handle(), created, ended, kernel, user) };
    if known == 0 {
        return Err(last_fault(operation));
    }
    Ok(times.map(units))
}

fn times(
    handle: BorrowedHandle<'_>,
    basic: Option<ThreadBasic>,
    losses: &mut Losses,
    operation: &dyn Fn(&str) -> String,
) -> Option<ThreadTimes> {
    let [created, _, kernel, user] = losses.keep(all_times(handle, operation("the times")))?;
    let start = query::thread(handle, ThreadQuerySetWin32StartAddress);
    let start = start.map_err(|status| nt_fault(operation("the start address"), status));
    Some(ThreadTimes {
        created,
        kernel,
        user,
        start_address: losses.keep(start).map_or(0, u64::from_le_bytes),
        affinity: basic.map_or(0, |basic| basic.affinity),
    })
}

/// Returns the priority class of a process.
///
/// # Errors
/// The system does not report it.
pub(crate) fn priority_class(access: &Access<'_>) -> Result<u32, Fault> {
    // SAFETY: the handle is open as long as it is borrowed. The result is an integer.
    match unsafe { GetPriorityClass(access.process().as_raw_handle()) } {
        0 => Err(last_fault(format!(
            "query the priority class of process {}",
            access.id
        ))),
        class => Ok(class),
    }
}

/// Returns the priority within the priority class.
///
/// # Errors
/// The system's Win32 code.
fn priority(held: &SuspendedThread, handle: Option<BorrowedHandle<'_>>) -> Result<i32, u32> {
    // SAFETY: the handle is open as long as it is borrowed. The result is an integer.
    let known = handle.map(|handle| unsafe { GetThreadPriority(handle.as_raw_handle()) });
    match (known, &held.entry) {
        (Some(known), _) if known != THREAD_PRIORITY_ERROR_RETURN => Ok(known),
        (_, Some(entry)) => Ok(entry.priority),
        (None, None) => Ok(0),
        (Some(_), None) => Err(error::last_error()),
    }
}

/// Returns the name that `SetThreadDescription` has set (Windows 10, 1607).
///
/// # Errors
/// The system's HRESULT.
fn name(handle: BorrowedHandle<'_>) -> Result<Option<String>, u32> {
    /// The maximum length in 16-bit units. No debugger shows longer names.
    const LONGEST: usize = 32 << 10;
    let Some(ask) = bound!(
        Kernel32,
        c"GetThreadDescription",
        fn(HANDLE, *mut *mut u16) -> i32
    ) else {
        return Ok(None);
    };
    let mut text: *mut u16 = std::ptr::null_mut();
    // SAFETY: the signature is that of processthreadsapi.h. The handle is open as long as it is
    // borrowed, and the address of the text is written to a local variable. All results that are
    // not negative mean success; the function was seen to return 0x10000000.
    let result = unsafe { ask(handle.as_raw_handle(), &raw mut text) };
    if result < 0 {
        return Err(result.cast_unsigned());
    }
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: after success the text ends with 0 and the caller owns it. It is read up to the 0,
    // and freed once by the documented function.
    let name = unsafe {
        let length = (0..LONGEST).take_while(|index| *text.add(*index) != 0).count();
        let name = String::from_utf16_lossy(std::slice::from_raw_parts(text, length));
        LocalFree(text.cast::<c_void>());
        name
    };
    Ok((!name.is_empty()).then_some(name))
}

/// Returns the part of a stack that is in use.
///
/// The TEB describes the thread's stack. It is memory of the target, so its values are used only if
/// they are plausible.
fn stack(
    access: &Access<'_>,
    memory: &mut dyn Memory,
    teb: u64,
    pointer: u64,
    id: u32,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Stack> {
    let mut word = |offset: u64| memory.word(teb.checked_add(offset)?, 8).ok();
    let bounds = (teb != 0)
        .then(|| word(teb::STACK_BASE).zip(word(teb::STACK_LIMIT)))
        .flatten()
        .filter(|(base, limit)| limit < base && base - limit <= LONGEST_STACK);
    if let Some((base, limit)) = bounds {
        if let Some(range) = AddressRange::new(pointer, base).filter(|_| pointer >= limit) {
            return Some(Stack { range, pointer });
        }
        // The pointer is below the committed part but in the reserved part: the stack has
        // overflowed or is about to grow.
        let reserved = word(teb::DEALLOCATION_STACK).filter(|lowest| *lowest <= limit);
        if (reserved.unwrap_or(limit)..limit).contains(&pointer) {
            let range = AddressRange::new(limit, base)?;
            return Some(Stack { range, pointer });
        }
    }
    // The thread uses a stack that the program has allocated itself, or its TEB is not plausible.
    let region = match regions::readable_at(access, pointer) {
        Ok(region) => region?,
        Err(code) => {
            let operation = format!(
                "find the stack of thread {id} of process {} at {pointer:#x}",
                access.id
            );
            let reason = error::fault(operation, code).to_string();
            diagnostics.push(Diagnostic::missing(Subject::Thread(id), reason));
            return None;
        }
    };
    let whole = AddressRange::new(pointer, region.end())?;
    let range = AddressRange::at(pointer, whole.len().min(UNKNOWN_STACK))?;
    if range != whole {
        let reason = format!(
            "the end of its stack at {pointer:#x} is not known; {} bytes of it are stored",
            range.len()
        );
        diagnostics.push(Diagnostic::note(Subject::Thread(id), reason));
    }
    Some(Stack { range, pointer })
}
