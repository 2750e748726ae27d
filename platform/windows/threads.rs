//! What is known of a thread.

use std::ffi::c_void;

use dumpwright_target::{
    AddressRange, Fault, FaultKind, Remark, Stack, Subject, Thread, ThreadExit, ThreadTimes,
};
use windows_sys::Wdk::System::Threading::{ThreadBasicInformation, ThreadQuerySetWin32StartAddress};
use windows_sys::Win32::Foundation::{FILETIME, HANDLE, LocalFree};
use windows_sys::Win32::System::Threading::{GetPriorityClass, GetThreadPriority, GetThreadTimes};

use crate::access::Access;
use crate::freeze::{Held, Threads};
use crate::nt::{self, bound};
use crate::snapshot::units;
use crate::{read, regions};

/// `GetThreadPriority` says so when it fails.
const THREAD_PRIORITY_ERROR_RETURN: i32 = i32::MAX;
/// `NORMAL_PRIORITY_CLASS`.
const NORMAL_PRIORITY_CLASS: u32 = 0x20;

/// Offsets in the TEB (x64): those of the `NT_TIB` at its beginning, and `DeallocationStack`.
mod teb {
    pub(super) const STACK_BASE: u64 = 0x08;
    pub(super) const STACK_LIMIT: u64 = 0x10;
    pub(super) const DEALLOCATION_STACK: u64 = 0x1478;
}

/// The longest stack that is believed. The linker's default is 1 MiB; programs that want more ask for megabytes.
const LONGEST_STACK: u64 = 1 << 30;
/// How much is kept of memory that a stack pointer points into and that is not the thread's stack by its own words.
const UNKNOWN_STACK: u64 = 1 << 20;

/// Everything about a thread.
pub(crate) fn thread(
    access: &Access,
    threads: &Threads,
    id: u32,
    remarks: &mut Vec<Remark>,
) -> Result<Thread, Fault> {
    let held = threads.find(id)?;
    let handle = held.handle.as_ref().map(|handle| handle.get());
    let basic = handle.and_then(basic);
    let exit = exit(held, handle);
    let context = match &held.registers {
        Ok(context) => Some(context.clone()),
        Err(fault) => {
            let subject = Subject::Thread(id);
            remarks.push(match exit {
                Some(_) => Remark::left_out(subject, "it has ended, and has no registers"),
                None if fault.kind == FaultKind::NoSuchProcess => {
                    Remark::left_out(subject, "it has not begun to run, and has no registers")
                }
                None => Remark::missing(subject, fault.to_string()),
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
        .and_then(|context| stack(access, teb, context.stack_pointer(), id, remarks));
    Ok(Thread {
        id,
        handle: handle.map_or(0, |handle| handle.addr() as u64),
        suspend_count: held.suspend_count,
        priority_class: threads.priority_class.unwrap_or_else(|| priority_class(access)),
        priority: priority(held, handle),
        teb,
        context,
        stack,
        interrupted: Vec::new(),
        name: handle.and_then(name),
        times: match &held.entry {
            Some(entry) => Some(entry.times),
            None => handle.and_then(|handle| times(handle, basic)),
        },
        exit,
        backing_store: None,
    })
}

/// The stack of a thread that has this stack pointer.
pub(crate) fn stack_at(access: &Access, threads: &Threads, id: u32, pointer: u64) -> Option<Stack> {
    let held = threads.find(id).ok()?;
    let teb = match &held.entry {
        Some(entry) => entry.teb,
        None => basic(held.handle.as_ref()?.get())?.teb,
    };
    stack(access, teb, pointer, id, &mut Vec::new())
}

/// What `THREAD_BASIC_INFORMATION` says.
#[derive(Debug, Clone, Copy)]
struct Basic {
    teb: u64,
    affinity: u64,
}

fn basic(handle: HANDLE) -> Option<Basic> {
    // Status, TEB, process and thread id, affinity, priorities.
    let words: [u64; 6] = nt::thread_information(handle, ThreadBasicInformation).ok()?;
    Some(Basic {
        teb: words[1],
        affinity: words[4],
    })
}

/// Whether a thread is only being made, and is nothing but a number yet.
///
/// Under Wine 8 a thread is known, suspended once, before the thread that makes it has started it. If the latter is suspended at that
/// moment, the new one never comes to where it could be asked for its registers. It has no TEB then; on Windows each thread has
/// one from the beginning.
pub(crate) fn has_not_begun(handle: HANDLE) -> bool {
    basic(handle).is_some_and(|basic| basic.teb == 0)
}

/// How it ended, if it has.
fn exit(held: &Held, handle: Option<HANDLE>) -> Option<ThreadExit> {
    if let Some(exit) = held.entry.as_ref().and_then(|entry| entry.exit) {
        return Some(exit);
    }
    let status = held.exit_status?;
    let ended = handle.and_then(all_times).map_or(0, |[_, ended, _, _]| ended);
    Some(ThreadExit { status, time: ended })
}

/// Creation, end, time in the kernel, time in user code.
fn all_times(handle: HANDLE) -> Option<[u64; 4]> {
    let mut times = [FILETIME::default(); 4];
    let [created, ended, kernel, user] = &mut times;
    // SAFETY: the handle is open; the times go to local structures.
    let told = unsafe { GetThreadTimes(handle, created, ended, kernel, user) };
    (told != 0).then(|| times.map(units))
}

fn times(handle: HANDLE, basic: Option<Basic>) -> Option<ThreadTimes> {
    let [created, _, kernel, user] = all_times(handle)?;
    let start: Result<[u64; 1], _> = nt::thread_information(handle, ThreadQuerySetWin32StartAddress);
    Some(ThreadTimes {
        created,
        kernel,
        user,
        start_address: start.map_or(0, |[address]| address),
        affinity: basic.map_or(0, |basic| basic.affinity),
    })
}

fn priority_class(access: &Access) -> u32 {
    // SAFETY: a handle that is none is an error.
    match unsafe { GetPriorityClass(access.process) } {
        0 => NORMAL_PRIORITY_CLASS,
        class => class,
    }
}

/// The priority within the class.
fn priority(held: &Held, handle: Option<HANDLE>) -> i32 {
    // SAFETY: the handle is open.
    let told = handle.map(|handle| unsafe { GetThreadPriority(handle) });
    match told.filter(|told| *told != THREAD_PRIORITY_ERROR_RETURN) {
        Some(priority) => priority,
        None => held.entry.as_ref().map_or(0, |entry| entry.priority),
    }
}

/// Its name, which `SetThreadDescription` gives (Windows 10, 1607).
fn name(handle: HANDLE) -> Option<String> {
    /// Longer names than any debugger shows.
    const LONGEST: usize = 32 << 10;
    let ask = bound!(
        c"kernel32.dll",
        c"GetThreadDescription",
        unsafe extern "system" fn(HANDLE, *mut *mut u16) -> i32
    )?;
    let mut text: *mut u16 = std::ptr::null_mut();
    // SAFETY: the handle is open; the text goes to a local variable. Success is any result without the sign, 0x10000000 in
    // truth.
    if unsafe { ask(handle, &raw mut text) } < 0 || text.is_null() {
        return None;
    }
    // SAFETY: the system gives a text that ends with 0, in memory that LocalFree frees, once.
    let name = unsafe {
        let length = (0..LONGEST).take_while(|index| *text.add(*index) != 0).count();
        let name = String::from_utf16_lossy(std::slice::from_raw_parts(text, length));
        LocalFree(text.cast::<c_void>());
        name
    };
    (!name.is_empty()).then_some(name)
}

/// The part in use of the stack that the pointer points into.
///
/// The thread's own words about its stack, in the TEB, are its process' memory, and believed only as far as they make
/// sense.
fn stack(access: &Access, teb: u64, pointer: u64, id: u32, remarks: &mut Vec<Remark>) -> Option<Stack> {
    let word = |offset: u64| read::word(access, teb.checked_add(offset)?);
    let bounds = (teb != 0)
        .then(|| word(teb::STACK_BASE).zip(word(teb::STACK_LIMIT)))
        .flatten()
        .filter(|(base, limit)| limit < base && base - limit <= LONGEST_STACK);
    if let Some((base, limit)) = bounds {
        if let Some(range) = AddressRange::new(pointer, base).filter(|_| pointer >= limit) {
            return Some(Stack { range, pointer });
        }
        // Below what is committed, but in what is reserved: the stack has overflown, or is about to grow.
        let reserved = word(teb::DEALLOCATION_STACK).filter(|lowest| *lowest <= limit);
        if (reserved.unwrap_or(limit)..limit).contains(&pointer) {
            let range = AddressRange::new(limit, base)?;
            return Some(Stack { range, pointer });
        }
    }
    // On a stack of the program's own making, or without a TEB that makes sense.
    let region = regions::readable_at(access, pointer)?;
    let whole = AddressRange::new(pointer, region.end())?;
    let range = AddressRange::at(pointer, whole.len().min(UNKNOWN_STACK))?;
    if range != whole {
        let reason = format!(
            "where its stack at {pointer:#x} ends is not known: {} bytes of it are kept",
            range.len()
        );
        remarks.push(Remark::note(Subject::Thread(id), reason));
    }
    Some(Stack { range, pointer })
}
