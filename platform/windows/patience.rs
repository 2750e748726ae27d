//! Reads registers with a time limit.
//!
//! GetThreadContext waits until the thread has stopped. A thread that is stuck in a driver does not
//! stop, and the dumper would wait forever while the whole process is suspended. Therefore a worker
//! thread reads the registers. If the result takes too long, the worker is abandoned: it gets its
//! result when the process runs again, and then ends.

use std::os::windows::io::{AsHandle, OwnedHandle};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use dumpwright_target::XStateLayout;

use crate::registers::{self, ThreadRegisters};

/// How long to wait for the registers of a thread. Usually they are available at once, but a
/// machine under load may need longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why the registers of a thread could not be read.
#[derive(Debug)]
pub(crate) enum NoRegisters {
    /// The system refused, with this Win32 code.
    Refused(u32),
    /// The thread did not stop in time.
    TooLate,
}

/// Reads registers through a worker thread.
#[derive(Debug, Default)]
pub(crate) struct Asker {
    /// The worker thread, which is started when it is first needed.
    worker: Option<Worker>,
}

#[derive(Debug)]
struct Worker {
    orders: Sender<(Arc<OwnedHandle>, Option<XStateLayout>)>,
    answers: Receiver<Result<ThreadRegisters, u32>>,
    thread: JoinHandle<()>,
}

impl Worker {
    fn start() -> Option<Self> {
        let (orders, received) = channel::<(Arc<OwnedHandle>, Option<XStateLayout>)>();
        let (answer, answers) = channel();
        let work = move || {
            for (handle, layout) in received {
                let registers = registers::read(handle.as_handle(), layout.as_ref());
                drop(handle);
                if answer.send(registers).is_err() {
                    break;
                }
            }
        };
        let thread = Builder::new()
            .name("dumpwright registers".to_owned())
            .spawn(work)
            .ok()?;
        Some(Self {
            orders,
            answers,
            thread,
        })
    }
}

impl Asker {
    /// Reads the registers of a suspended thread.
    pub(crate) fn registers(
        &mut self,
        thread: &Arc<OwnedHandle>,
        layout: Option<&XStateLayout>,
    ) -> Result<ThreadRegisters, NoRegisters> {
        if self.worker.is_none() {
            self.worker = Worker::start();
        }
        let Some(worker) = &self.worker else {
            // The worker thread could not be started.
            return registers::read(thread.as_handle(), layout).map_err(NoRegisters::Refused);
        };
        let order = (Arc::clone(thread), layout.cloned());
        let answer = match worker.orders.send(order) {
            Ok(()) => worker.answers.recv_timeout(PATIENCE),
            Err(_) => Err(RecvTimeoutError::Disconnected),
        };
        match answer {
            Ok(answer) => answer.map_err(NoRegisters::Refused),
            Err(_) => {
                // The worker is abandoned, and the next call starts a new one.
                self.worker = None;
                Err(NoRegisters::TooLate)
            }
        }
    }

    /// Ends the worker thread and waits for it.
    pub(crate) fn end(&mut self) {
        if let Some(worker) = self.worker.take() {
            drop(worker.orders);
            // The worker is waiting for orders, and ends because the channel is closed.
            let _ = worker.thread.join();
        }
    }
}
