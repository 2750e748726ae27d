//! Measures a set of processes.

use std::path::PathBuf;
use std::time::Duration;

use dumpwright_target::{Fault, FaultKind, Gauge};

use super::monitor::{Measurement, Monitor};
use super::rules::{Reason, Rules};

/// What a [`Watcher`] has found out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEvent {
    /// This process should be dumped.
    Fired {
        /// Its id.
        process_id: u32,
        /// Why.
        reason: Reason,
    },
    /// This process has ended. It is not watched any more.
    Ended {
        /// Its id.
        process_id: u32,
    },
    /// This process cannot be measured. It is not watched any more.
    Failed {
        /// Its id.
        process_id: u32,
        /// Why.
        fault: Fault,
    },
}

/// Watches a set of processes by the same rules.
pub struct Watcher {
    rules: Rules,
    processes: Vec<WatchedProcess>,
}

struct WatchedProcess {
    gauge: Box<dyn Gauge + Send>,
    monitor: Monitor,
    heartbeat: Option<PathBuf>,
}

impl Watcher {
    /// Creates a watcher of no process yet.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            processes: Vec::new(),
        }
    }

    /// Begins to watch the process with this id at the time `now`.
    ///
    /// # Errors
    /// There is no such process.
    #[cfg(all(feature = "native", target_os = "linux"))]
    pub fn add_process(&mut self, pid: u32, now: Duration) -> Result<(), Fault> {
        let gauge = crate::native::ProcessGauge::open(pid)?;
        self.add(Box::new(gauge), now);
        Ok(())
    }

    /// Begins to watch a process that `gauge` measures, at the time `now`.
    pub fn add(&mut self, gauge: Box<dyn Gauge + Send>, now: Duration) {
        let heartbeat = self.rules.heartbeat_of(gauge.process_id());
        self.processes.push(WatchedProcess {
            gauge,
            monitor: Monitor::new(self.rules.clone(), now),
            heartbeat,
        });
    }

    /// Stops watching a process.
    pub fn remove(&mut self, pid: u32) {
        self.processes.retain(|process| process.gauge.process_id() != pid);
    }

    /// The number of processes that are watched.
    #[must_use]
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// Whether no process is watched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// Measures all processes at the time `now`, and calls `on_event` for each event.
    pub fn step(&mut self, now: Duration, on_event: &mut dyn FnMut(WatchEvent)) {
        let need = self.rules.need();
        self.processes.retain_mut(|process| {
            let process_id = process.gauge.process_id();
            let usage = match process.gauge.read(need) {
                Ok(usage) => usage,
                Err(fault) if fault.kind == FaultKind::Gone => {
                    on_event(WatchEvent::Ended { process_id });
                    return false;
                }
                Err(fault) => {
                    on_event(WatchEvent::Failed { process_id, fault });
                    return false;
                }
            };
            let modified = process.heartbeat.as_ref().map(std::fs::metadata);
            let measured = Measurement {
                usage,
                heartbeat: modified.and_then(|found| found.ok()?.modified().ok()),
            };
            if let Some(reason) = process.monitor.step(now, &measured) {
                on_event(WatchEvent::Fired { process_id, reason });
            }
            true
        });
    }

    /// Continues with a process that was dumped until the time `now`, as [`Monitor::resume`] does.
    pub fn resume(&mut self, pid: u32, now: Duration) {
        let found = self
            .processes
            .iter_mut()
            .find(|process| process.gauge.process_id() == pid);
        if let Some(process) = found {
            process.monitor.resume(now);
        }
    }
}
