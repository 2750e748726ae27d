//! Reading registers with a limit of time.
//!
//! GetThreadContext waits until the thread has come to its stop, and one that does not come there, because it is stuck in
//! a driver, would have us wait for ever while the whole process stands still. So another thread of ours asks. If the answer takes
//! too long it is left alone: it gets its answer when the process runs again, and ends.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use dumpwright_target::{CpuContext, XStateLayout};

use crate::freeze::ThreadHandle;
use crate::registers;

/// How long registers are waited for. Others come at once; a machine under load may take its time.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why there are no registers.
#[derive(Debug)]
pub(crate) enum NoRegisters {
    /// The system's code.
    Refused(u32),
    /// The thread did not stop in time.
    TooLate,
}

/// Who asks for registers.
#[derive(Debug, Default)]
pub(crate) struct Asker {
    /// Started when first needed.
    worker: Option<Worker>,
}

#[derive(Debug)]
struct Worker {
    orders: Sender<(Arc<ThreadHandle>, Option<XStateLayout>)>,
    answers: Receiver<Result<CpuContext, u32>>,
    thread: JoinHandle<()>,
}

impl Worker {
    fn start() -> Option<Self> {
        let (orders, received) = channel::<(Arc<ThreadHandle>, Option<XStateLayout>)>();
        let (answer, answers) = channel();
        let work = move || {
            for (handle, layout) in received {
                let registers = registers::read(handle.get(), layout.as_ref());
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
    /// The registers of a suspended thread.
    pub(crate) fn registers(
        &mut self,
        thread: &Arc<ThreadHandle>,
        layout: Option<&XStateLayout>,
    ) -> Result<CpuContext, NoRegisters> {
        if self.worker.is_none() {
            self.worker = Worker::start();
        }
        let Some(worker) = &self.worker else {
            // No thread can be had for it.
            return registers::read(thread.get(), layout).map_err(NoRegisters::Refused);
        };
        let order = (Arc::clone(thread), layout.cloned());
        let answer = match worker.orders.send(order) {
            Ok(()) => worker.answers.recv_timeout(PATIENCE),
            Err(_) => Err(RecvTimeoutError::Disconnected),
        };
        match answer {
            Ok(answer) => answer.map_err(NoRegisters::Refused),
            Err(_) => {
                // Left alone; the next thread gets another worker.
                self.worker = None;
                Err(NoRegisters::TooLate)
            }
        }
    }

    /// Ends the worker, so that nothing of it is left.
    pub(crate) fn end(&mut self) {
        if let Some(worker) = self.worker.take() {
            drop(worker.orders);
            // It is waiting for orders, and ends.
            let _ = worker.thread.join();
        }
    }
}
