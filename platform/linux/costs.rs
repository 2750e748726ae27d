//! How long a process would be stopped: estimates from its size, and the choice between a stop and
//! a clone.
//!
//! The estimates are for choosing and for informing the user. The figures behind them were measured
//! on Linux 6.18; another machine may be twice as fast or as slow. The output is not considered: if
//! memory is written while the process is stopped, a slow disk makes the stop longer.

use std::time::Duration;

use dumpwright_target::{Cpu, Need};

use crate::proc_dir::{ProcDir, field, page_size};

/// To stop, examine and release a process, and how much more for each thread.
const A_STOP: Duration = Duration::from_micros(200);
const A_THREAD: Duration = Duration::from_micros(25);

/// The time for reading memory: 0.25 s for 1 GiB.
const NANOSECONDS_A_KIBIBYTE: u64 = 238;

/// To make a clone, and how much more for each page of the usual size and for each huge page.
const A_CLONE: Duration = Duration::from_micros(600);
const NANOSECONDS_A_PAGE: u64 = 100;
const NANOSECONDS_A_HUGE_PAGE: u64 = 2_000;

/// The size of a huge page in KiB.
const HUGE_PAGE: u64 = 2048;

/// A stop that is not longer is short enough.
const SHORT: Duration = Duration::from_millis(5);

/// How long a process would be stopped for a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PauseEstimate {
    /// If it is held by a stop. It is longer if the output is slow, because memory is written while
    /// the process is stopped.
    pub stop: Duration,
    /// If it is held by a clone.
    pub clone: Duration,
    /// The number of bytes of memory that are read, other than stacks.
    pub bytes: u64,
}

/// The sizes of a process that decide, in KiB.
#[derive(Debug, Clone, Copy, Default)]
struct Sizes {
    threads: u64,
    /// Its own memory in RAM.
    own: u64,
    /// How much of it consists of huge pages.
    huge: u64,
    /// What it has of files and of shared memory in RAM.
    others: u64,
    swapped: u64,
}

impl Sizes {
    /// `None` if they cannot be read.
    fn of(dir: &ProcDir) -> Option<Self> {
        let status = dir.read("status").ok()?;
        // Kernels without `CONFIG_PROC_PAGE_MONITOR` do not have it.
        let rollup = dir.read("smaps_rollup").unwrap_or_default();
        let number = |text: &[u8], name: &str| {
            let line = field(text, name)?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        Some(Self {
            threads: number(&status, "Threads")?,
            own: number(&status, "RssAnon")?,
            huge: number(&rollup, "AnonHugePages").unwrap_or(0),
            others: number(&status, "RssFile")? + number(&status, "RssShmem")?,
            swapped: number(&status, "VmSwap").unwrap_or(0),
        })
    }
}

impl PauseEstimate {
    /// Estimates how long the process would be stopped for a dump with this need. `None` if its
    /// size is not known.
    pub(crate) fn of(dir: &ProcDir, need: &Need) -> Option<Self> {
        Some(Self::from_sizes(Sizes::of(dir)?, need))
    }

    fn from_sizes(sizes: Sizes, need: &Need) -> Self {
        let private = sizes.own + sizes.swapped;
        let read = match need {
            Need {
                full_memory: true, ..
            } => private + sizes.others,
            Need {
                private_memory: true, ..
            } => private,
            _ => 0,
        };
        let huge = sizes.huge.min(sizes.own);
        let pages = (sizes.own - huge) * 1024 / page_size();
        let threads = A_THREAD.saturating_mul(u32::try_from(sizes.threads).unwrap_or(u32::MAX));
        let stop = A_STOP + threads;
        let copied = pages * NANOSECONDS_A_PAGE + huge / HUGE_PAGE * NANOSECONDS_A_HUGE_PAGE;
        Self {
            stop: stop + Duration::from_nanos(read * NANOSECONDS_A_KIBIBYTE),
            clone: stop + A_CLONE + Duration::from_nanos(copied),
            bytes: read * 1024,
        }
    }

    /// Why a stop is chosen; `None` if a clone is chosen. `limit` is the longest pause that the
    /// caller allows.
    ///
    /// A clone makes the target slower afterwards, so it has to halve the pause, unless only a
    /// clone stays within the limit.
    pub(crate) fn reason_to_stop(self, limit: Option<Duration>) -> Option<String> {
        let Self { stop, clone, bytes } = self;
        if limit.is_some_and(|limit| stop > limit && clone < stop) {
            return None;
        }
        if bytes == 0 {
            return Some("only stacks and small parts of its memory are read".to_owned());
        }
        if stop <= SHORT {
            return Some(format!("that takes about {}", milliseconds(stop)));
        }
        (clone > stop / 2).then(|| {
            format!(
                "that takes about {}, and a clone would take about {}",
                milliseconds(stop),
                milliseconds(clone)
            )
        })
    }

    /// Why a clone is chosen.
    pub(crate) fn reason_to_clone(self) -> String {
        format!(
            "it was cloned, because a stop would have taken about {}, and a clone about {}",
            milliseconds(self.stop),
            milliseconds(self.clone)
        )
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// Why `auto` does not clone a process, apart from the costs.
pub(crate) fn reason_against(dir: &ProcDir) -> Option<&'static str> {
    if dir.cpu != Cpu::Amd64 {
        return Some("it is a 32-bit process");
    }
    let locked = field(&dir.read("status").unwrap_or_default(), "VmLck");
    let is_locked = locked.is_none_or(|size| !size.starts_with("0 "));
    is_locked.then_some("it has locked memory (mlock), and would run more slowly while a clone exists")
}

/// What these tests would catch: a clone that is chosen although it gains nothing, or is not chosen
/// although it does, or only a clone stays within the limit.
#[cfg(test)]
mod tests {
    use super::*;

    const GIBIBYTE: u64 = 1 << 20;

    fn estimate(sizes: Sizes, full: bool) -> PauseEstimate {
        let need = Need {
            full_memory: full,
            ..Need::default()
        };
        PauseEstimate::from_sizes(sizes, &need)
    }

    #[test]
    fn the_costs_are_those_of_the_pages() {
        let sizes = Sizes {
            own: GIBIBYTE,
            ..Sizes::default()
        };
        let all = estimate(sizes, true);
        assert_eq!(
            (all.bytes, all.stop.as_millis(), all.clone.as_millis()),
            (1 << 30, 249, 27)
        );
        let huge = estimate(
            Sizes {
                huge: GIBIBYTE,
                ..sizes
            },
            true,
        );
        assert_eq!((huge.stop, huge.clone.as_millis()), (all.stop, 1));
        let stacks = estimate(sizes, false);
        assert_eq!((stacks.bytes, stacks.stop, stacks.clone), (0, A_STOP, all.clone));
        let need = Need {
            private_memory: true,
            ..Need::default()
        };
        let others = Sizes {
            others: GIBIBYTE,
            threads: 1000,
            ..sizes
        };
        assert_eq!(PauseEstimate::from_sizes(others, &need).bytes, 1 << 30);
        assert_eq!(estimate(others, true).bytes, 2 << 30);
        assert_eq!(estimate(others, true).clone, all.clone + 1000 * A_THREAD);
    }

    #[test]
    fn a_clone_has_to_pay() {
        let of = |own, others| {
            let sizes = Sizes {
                own,
                others,
                ..Sizes::default()
            };
            estimate(sizes, true)
        };
        let large = of(GIBIBYTE, 0);
        assert_eq!(large.reason_to_stop(None), None);
        assert!(
            large
                .reason_to_clone()
                .contains("about 249.8 ms, and a clone about 27.0 ms"),
            "{}",
            large.reason_to_clone()
        );
        let small = of(8 << 10, 0);
        assert_eq!(
            small.reason_to_stop(None).as_deref(),
            Some("that takes about 2.1 ms")
        );
        let limit = Duration::from_millis;
        // A limit that a stop keeps changes nothing.
        assert!(small.reason_to_stop(Some(limit(3))).is_some());
        assert_eq!(small.reason_to_stop(Some(limit(2))), None);
        let stacks = estimate(
            Sizes {
                own: GIBIBYTE,
                ..Sizes::default()
            },
            false,
        );
        assert!(
            stacks
                .reason_to_stop(Some(limit(1)))
                .is_some_and(|reason| reason.contains("only stacks"))
        );
        // Many threads make both slow.
        let threads = Sizes {
            own: 32 << 10,
            threads: 5000,
            ..Sizes::default()
        };
        let reason = estimate(threads, true).reason_to_stop(None);
        assert!(reason.is_some_and(|reason| reason.contains("and a clone would take about")));
    }
}
