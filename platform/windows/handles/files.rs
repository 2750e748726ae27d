//! Names of files.
//!
//! To tell a file's name, the system asks its driver, and waits for whoever else uses the same file object: a pipe that somebody reads from, a server that does
//! not answer. That may take for ever, and the thread that asks can then not even be ended. So another thread asks, and if it does not come back in time
//! it is left to itself, with its handle.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use dumpwright_target::{Remark, Subject};
use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_PIN, GetModuleHandleExW,
};

use super::object;
use crate::owned::Owned;

/// How long a name may take; microseconds are usual. The process waits meanwhile.
const DEADLINE: Duration = Duration::from_millis(500);
/// After so many names that took longer, none is asked for any more.
const MOST_TIMEOUTS: usize = 4;

/// Tells the name of an object.
type Namer = dyn Fn(&Owned) -> Option<String> + Send + Sync;

/// Names files by another thread.
pub(super) struct Files {
    namer: Arc<Namer>,
    deadline: Duration,
    worker: Option<Worker>,
    /// Names that took too long, and those that were not asked for any more.
    timeouts: usize,
    unasked: usize,
}

/// The other thread, as we talk to it.
struct Worker {
    objects: Sender<Owned>,
    names: Receiver<Option<String>>,
}

impl Files {
    pub(super) fn new() -> Self {
        Self::with(Arc::new(|object: &Owned| object::name(object.get())), DEADLINE)
    }

    fn with(namer: Arc<Namer>, deadline: Duration) -> Self {
        Self {
            namer,
            deadline,
            worker: None,
            timeouts: 0,
            unasked: 0,
        }
    }

    /// The name of a file, if it has one and the system comes back with it in time.
    pub(super) fn name(&mut self, file: Owned) -> Option<String> {
        if self.timeouts >= MOST_TIMEOUTS {
            self.unasked += 1;
            return None;
        }
        let worker = match &self.worker {
            Some(worker) => worker,
            None => match Worker::start(self.namer.clone()) {
                Ok(worker) => self.worker.insert(worker),
                Err(_) => {
                    self.unasked += 1;
                    return None;
                }
            },
        };
        if worker.objects.send(file).is_ok()
            && let Ok(name) = worker.names.recv_timeout(self.deadline)
        {
            return name;
        }
        // Left to itself: it ends when the system comes back, if ever, because nobody listens to it any more.
        stay_loaded();
        self.worker = None;
        self.timeouts += 1;
        None
    }

    /// What was left out.
    pub(super) fn remark(&self) -> Option<Remark> {
        let Self {
            timeouts, unasked, ..
        } = self;
        if timeouts + unasked == 0 {
            return None;
        }
        let reason = format!(
            "{timeouts} names of files took longer than {} ms, and {unasked} more were not asked for: their handles stand without names",
            self.deadline.as_millis()
        );
        Some(Remark::left_out(Subject::Stream("HandleData"), reason))
    }
}

impl Worker {
    fn start(namer: Arc<Namer>) -> std::io::Result<Self> {
        let (objects, asked) = channel::<Owned>();
        let (tell, names) = channel();
        thread::Builder::new()
            .name("names of files".to_owned())
            .spawn(move || {
                for object in asked {
                    if tell.send(namer(&object)).is_err() {
                        break;
                    }
                }
            })?;
        Ok(Self { objects, names })
    }
}

/// Keeps the code of this module loaded for good: a thread that was left to itself will come back to it.
fn stay_loaded() {
    let here = stay_loaded as fn();
    let mut module = std::ptr::null_mut();
    // SAFETY: with this flag the name is an address inside the module; writes a handle to the variable.
    unsafe {
        GetModuleHandleExW(
            GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
            (here as *const ()).cast(),
            &mut module,
        )
    };
}

/// What these tests would catch: a file whose name never comes holds up the dump; it costs the names of others; its thread is waited for or a process with
/// many such files is asked for each of them.
#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use windows_sys::Win32::System::Threading::CreateEventW;

    use super::*;

    /// Nothing in these tests takes so long.
    const NEVER: Duration = Duration::from_secs(3600);

    fn any() -> Owned {
        // SAFETY: a nameless event; the handle is ours.
        unsafe { Owned::new(CreateEventW(std::ptr::null(), 0, 0, std::ptr::null())) }.expect("an event")
    }

    /// A namer that never comes back, and how often it was asked.
    fn stuck() -> (Arc<Namer>, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let namer = move |_: &Owned| {
            count.fetch_add(1, Ordering::SeqCst);
            loop {
                thread::park();
            }
        };
        (Arc::new(namer), asked)
    }

    #[test]
    fn names_that_come_are_taken() {
        let mut files = Files::with(Arc::new(|_: &Owned| Some("x".to_owned())), NEVER);
        for _ in 0..100 {
            assert_eq!(files.name(any()).as_deref(), Some("x"));
        }
        assert_eq!(files.remark(), None);
        let mut nameless = Files::with(Arc::new(|_: &Owned| None), NEVER);
        assert_eq!(nameless.name(any()), None);
        assert_eq!(nameless.remark(), None);
    }

    #[test]
    fn names_that_never_come_are_given_up_and_no_more_asked_for() {
        let (namer, asked) = stuck();
        let mut files = Files::with(namer, Duration::from_millis(1));
        for _ in 0..1000 {
            assert_eq!(files.name(any()), None);
        }
        // A thread may be given up before it has even begun.
        assert!(asked.load(Ordering::SeqCst) <= MOST_TIMEOUTS);
        let remark = files.remark().expect("something was left out");
        assert!(remark.reason.contains("996 more"), "{remark}");
    }

    #[test]
    fn a_name_that_never_comes_costs_only_itself() {
        // The first question is never answered, the others are.
        let first = Mutex::new(true);
        let namer = move |_: &Owned| {
            let is_first = std::mem::replace(&mut *first.lock().expect("sound"), false);
            if is_first {
                loop {
                    thread::park();
                }
            }
            Some("x".to_owned())
        };
        let mut files = Files::with(Arc::new(namer), Duration::from_millis(50));
        let _ = files.name(any());
        // Whether the thread had begun by then or not.
        files.deadline = NEVER;
        while files.timeouts == 0 {
            let _ = files.name(any());
        }
        assert_eq!(files.name(any()).as_deref(), Some("x"));
        assert_eq!(files.timeouts, 1);
    }
}
