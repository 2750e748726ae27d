//! Queries the names of files.
//!
//! To report the name of a file, the system asks the file's driver, and waits for other operations
//! on the same file object, such as a read from a pipe or a request to a server that does not
//! answer. This can take forever, and the waiting thread cannot even be terminated. Therefore a
//! worker thread makes the query. If it does not return in time, it is abandoned together with its
//! handle.

use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use dumpwright_target::{Diagnostic, Subject};
use windows_sys::Win32::Foundation::{
    NTSTATUS, STATUS_ACCESS_DENIED, STATUS_INFO_LENGTH_MISMATCH, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_HANDLE, STATUS_NO_MEMORY,
};
use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_PIN, GetModuleHandleExW,
};

use crate::query;

/// How long to wait for a name. Microseconds are usual. The target is suspended in the meantime.
const DEADLINE: Duration = Duration::from_millis(500);
/// After this number of timeouts, no more names are requested.
const MOST_TIMEOUTS: usize = 4;

/// The name of an object, which is empty if it has none; or the status of a query that failed.
pub(super) type NameAnswer = Result<String, NTSTATUS>;

/// A function that returns the name of an object.
type Namer = dyn Fn(BorrowedHandle<'_>) -> NameAnswer + Send + Sync;

/// Queries the name of an object. Many objects have none, and their drivers say so with statuses of
/// their own. For objects of type "File", this function may never return.
///
/// # Errors
/// The kernel's status, if it does not tell whether there is a name.
pub(super) fn name(object: BorrowedHandle<'_>) -> NameAnswer {
    match query::object_name(object) {
        Err(
            status @ (STATUS_ACCESS_DENIED
            | STATUS_INFO_LENGTH_MISMATCH
            | STATUS_INSUFFICIENT_RESOURCES
            | STATUS_INVALID_HANDLE
            | STATUS_NO_MEMORY),
        ) => Err(status),
        answer => Ok(answer.unwrap_or_default()),
    }
}

/// Queries names of files in a worker thread.
pub(super) struct Files {
    namer: Arc<Namer>,
    deadline: Duration,
    worker: Option<NameWorker>,
    /// The number of names that took too long, and the number of names that were then not
    /// requested.
    timeouts: usize,
    unasked: usize,
    /// Why the worker thread could not be started, and the number of names that were then not
    /// requested.
    not_started: Option<(std::io::Error, usize)>,
}

/// The channels to and from the worker thread.
struct NameWorker {
    objects: Sender<OwnedHandle>,
    names: Receiver<NameAnswer>,
}

impl Files {
    pub(super) fn new() -> Self {
        Self::with(Arc::new(|object: BorrowedHandle<'_>| name(object)), DEADLINE)
    }

    fn with(namer: Arc<Namer>, deadline: Duration) -> Self {
        Self {
            namer,
            deadline,
            worker: None,
            timeouts: 0,
            unasked: 0,
            not_started: None,
        }
    }

    /// Returns the name of a file. It is empty if the file has none, or if the system does not
    /// return it in time.
    ///
    /// # Errors
    /// As for [`name`].
    pub(super) fn name(&mut self, file: OwnedHandle) -> NameAnswer {
        if self.timeouts >= MOST_TIMEOUTS {
            self.unasked += 1;
            return Ok(String::new());
        }
        let worker = match &self.worker {
            Some(worker) => worker,
            // The system may lack memory for a moment, so a failure is tried once more.
            None => match NameWorker::start(&self.namer).or_else(|_| NameWorker::start(&self.namer)) {
                Ok(worker) => self.worker.insert(worker),
                Err(error) => {
                    let count = self.not_started.take().map_or(0, |(_, count)| count);
                    self.not_started = Some((error, count + 1));
                    return Ok(String::new());
                }
            },
        };
        if worker.objects.send(file).is_ok()
            && let Ok(name) = worker.names.recv_timeout(self.deadline)
        {
            return name;
        }
        // The worker is abandoned. When the system returns, if ever, the worker ends, because its
        // channels are closed.
        stay_loaded();
        self.worker = None;
        self.timeouts += 1;
        Ok(String::new())
    }

    /// Returns the diagnostic, if names were left out.
    pub(super) fn diagnostic(&self) -> Option<Diagnostic> {
        let Self {
            timeouts, unasked, ..
        } = self;
        if let Some((error, count)) = &self.not_started {
            let reason = format!(
                "the names of {} files are not known, because the thread that queries them cannot be started: {error}",
                count + timeouts + unasked
            );
            return Some(Diagnostic::missing(Subject::Stream("HandleData"), reason));
        }
        if timeouts + unasked == 0 {
            return None;
        }
        let reason = format!(
            "{timeouts} names of files took longer than {} ms and {unasked} more were not requested; these handles have no names",
            self.deadline.as_millis()
        );
        Some(Diagnostic::left_out(Subject::Stream("HandleData"), reason))
    }
}

impl NameWorker {
    fn start(namer: &Arc<Namer>) -> std::io::Result<Self> {
        let namer = namer.clone();
        let (objects, asked) = channel::<OwnedHandle>();
        let (tell, names) = channel();
        thread::Builder::new()
            .name("names of files".to_owned())
            .spawn(move || {
                for object in asked {
                    if tell.send(namer(object.as_handle())).is_err() {
                        break;
                    }
                }
            })?;
        Ok(Self { objects, names })
    }
}

/// Keeps the code of this DLL or program loaded until the process ends, because an abandoned thread
/// will return to it.
fn stay_loaded() {
    let here = stay_loaded as fn();
    let mut module = std::ptr::null_mut();
    // SAFETY: with the first flag, the name is an address inside the module, and this function is
    // in the module. The module's handle is written to a local variable.
    unsafe {
        GetModuleHandleExW(
            GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
            (here as *const ()).cast(),
            &mut module,
        )
    };
}

/// These tests would catch: a file whose name never arrives and that stops the dump or costs the
/// names of other files; a dump that waits for the abandoned thread; a query for each of many such
/// files.
#[cfg(test)]
mod tests {
    use std::os::windows::io::HandleOrNull;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use windows_sys::Win32::System::Threading::CreateEventW;

    use super::*;

    /// Longer than anything in these tests takes.
    const NEVER: Duration = Duration::from_secs(3600);

    fn any() -> OwnedHandle {
        let event = unsafe {
            // SAFETY: creates an event without a name; its handle is new and has no other owner.
            HandleOrNull::from_raw_handle(CreateEventW(std::ptr::null(), 0, 0, std::ptr::null()))
        };
        event.try_into().expect("an event")
    }

    /// Returns a namer that never returns, and the number of its calls.
    fn stuck() -> (Arc<Namer>, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let namer = move |_: BorrowedHandle<'_>| {
            count.fetch_add(1, Ordering::SeqCst);
            loop {
                thread::park();
            }
        };
        (Arc::new(namer), asked)
    }

    #[test]
    fn names_that_come_are_taken() {
        let mut files = Files::with(Arc::new(|_: BorrowedHandle<'_>| Ok("x".to_owned())), NEVER);
        for _ in 0..100 {
            assert_eq!(files.name(any()).as_deref(), Ok("x"));
        }
        assert_eq!(files.diagnostic(), None);
        let mut nameless = Files::with(Arc::new(|_: BorrowedHandle<'_>| Ok(String::new())), NEVER);
        assert_eq!(nameless.name(any()).as_deref(), Ok(""));
        assert_eq!(nameless.diagnostic(), None);
    }

    #[test]
    fn names_that_never_come_are_given_up_and_no_more_asked_for() {
        let (namer, asked) = stuck();
        let mut files = Files::with(namer, Duration::from_millis(1));
        for _ in 0..1000 {
            assert_eq!(files.name(any()).as_deref(), Ok(""));
        }
        // A thread may be abandoned before it has started to run.
        assert!(asked.load(Ordering::SeqCst) <= MOST_TIMEOUTS);
        let diagnostic = files.diagnostic().expect("something was left out");
        assert!(diagnostic.reason.contains("996 more"), "{diagnostic}");
    }

    #[test]
    fn a_name_that_never_comes_costs_only_itself() {
        // The first query never returns; the others do.
        let first = Mutex::new(true);
        let namer = move |_: BorrowedHandle<'_>| {
            let is_first = std::mem::replace(&mut *first.lock().expect("sound"), false);
            if is_first {
                loop {
                    thread::park();
                }
            }
            Ok("x".to_owned())
        };
        let mut files = Files::with(Arc::new(namer), Duration::from_millis(50));
        let _ = files.name(any());
        // This works whether or not the thread has already started.
        files.deadline = NEVER;
        while files.timeouts == 0 {
            let _ = files.name(any());
        }
        assert_eq!(files.name(any()).as_deref(), Ok("x"));
        assert_eq!(files.timeouts, 1);
    }
}
