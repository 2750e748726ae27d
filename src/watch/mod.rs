//! Watches processes, and says when one of them should be dumped.
//!
//! [`Rules`] state the conditions: CPU time, memory, threads, handles, a heartbeat that stops, a
//! schedule. A [`Watcher`] measures processes and compares. It neither stops nor traces them, and
//! reads only what the rules need.
//!
//! ```
//! # #[cfg(all(feature = "native", target_os = "linux"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::{Duration, Instant};
//!
//! use dumpwright::watch::{Metric, Rules, WatchEvent, Watcher};
//!
//! let rules = Rules::new()
//!     .at_least(Metric::Resident, [1 << 30, 2 << 30])
//!     .at_least(Metric::CpuPercent, [180])
//!     .lasting(Duration::from_secs(10));
//! let mut watcher = Watcher::new(rules);
//! let started = Instant::now();
//! # let mut child = std::process::Command::new("sleep").arg("60").spawn()?;
//! # let pid = child.id();
//! watcher.add_process(pid, started.elapsed())?;
//! // Once a second, for example:
//! watcher.step(started.elapsed(), &mut |event| match event {
//!     WatchEvent::Fired { process_id, reason } => println!("dump {process_id}: {reason}"),
//!     WatchEvent::Ended { process_id } => println!("{process_id} has ended"),
//!     WatchEvent::Failed { process_id, fault } => eprintln!("{process_id}: {fault}"),
//!     _ => {}
//! });
//! # child.kill()?;
//! # child.wait()?;
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "native", target_os = "linux")))]
//! # fn main() {}
//! ```
//!
//! All times are durations since a moment that the caller chooses, so a test can use a clock of its
//! own, and a [`Monitor`] measurements of its own.

mod monitor;
mod rules;
#[cfg(test)]
mod tests;
mod watcher;

pub use monitor::{Measurement, Monitor};
pub use rules::{Crossing, Metric, Reason, Relation, Rules};
pub use watcher::{WatchEvent, Watcher};
