//! When a process is dumped, and the reasons in words.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dumpwright_target::UsageNeed;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// The time on processors since the last measurement, in percent of that time: 100 is one
    /// processor.
    CpuPercent,
    /// The memory in RAM, in bytes.
    Resident,
    /// The memory in RAM or swap, in bytes.
    Committed,
    /// The number of threads.
    Threads,
    /// The number of open handles (on Linux, file descriptors).
    Handles,
    /// The time since the heartbeat, in milliseconds.
    Heartbeat,
}

impl Metric {
    /// The name in event logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CpuPercent => "cpu",
            Self::Resident => "rss",
            Self::Committed => "memory",
            Self::Threads => "threads",
            Self::Handles => "fds",
            Self::Heartbeat => "heartbeat",
        }
    }

    /// Whether it is an amount, which stays at a level. Activity comes and goes.
    pub(super) fn is_amount(self) -> bool {
        !matches!(self, Self::CpuPercent | Self::Heartbeat)
    }

    fn text(self, value: u64) -> String {
        const MEBIBYTE: u64 = 1 << 20;
        let seconds = Duration::from_millis(value).as_secs_f64();
        match self {
            Self::CpuPercent => format!("{value} %"),
            Self::Resident | Self::Committed if value >= MEBIBYTE && value.is_multiple_of(MEBIBYTE) => {
                format!("{} MiB", value / MEBIBYTE)
            }
            Self::Resident | Self::Committed => format!("{:.1} MiB", value as f64 / MEBIBYTE as f64),
            Self::Threads | Self::Handles => value.to_string(),
            Self::Heartbeat => format!("{seconds:.1} s"),
        }
    }
}

/// How a value is compared with its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// The limit or more.
    AtLeast,
    /// Less than the limit.
    Below,
}

/// A condition of [`Rules`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) metric: Metric,
    pub(super) relation: Relation,
    /// In the order in which a rising (or, with [`Relation::Below`], falling) value reaches them.
    pub(super) limits: Vec<u64>,
}

/// When a process is dumped.
///
/// Without [`all`](Self::all), one condition is enough. A condition that holds makes the process
/// be dumped if it has held for the time of [`lasting`](Self::lasting):
///
/// * Memory, threads and handles: once for each limit that is reached; again after the value was on
///   the other side of the limit.
/// * CPU time and heartbeat: as long as it lasts, after each [`cool_down`](Self::cool_down).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub(super) conditions: Vec<Condition>,
    pub(super) all: bool,
    pub(super) lasting: Duration,
    pub(super) cool_down: Duration,
    pub(super) every: Option<Duration>,
    pub(super) most: Option<u32>,
    pub(super) heartbeat: Option<PathBuf>,
}

impl Default for Rules {
    fn default() -> Self {
        Self::new()
    }
}

impl Rules {
    /// The default of [`cool_down`](Self::cool_down): 10 seconds.
    pub const COOL_DOWN: Duration = Duration::from_secs(10);

    /// Creates rules without conditions, which never fire.
    #[must_use]
    pub fn new() -> Self {
        Self {
            conditions: Vec::new(),
            all: false,
            lasting: Duration::ZERO,
            cool_down: Self::COOL_DOWN,
            every: None,
            most: None,
            heartbeat: None,
        }
    }

    /// Adds a condition: the value is at least one of these limits.
    #[must_use]
    pub fn at_least(self, metric: Metric, limits: impl IntoIterator<Item = u64>) -> Self {
        self.condition(metric, Relation::AtLeast, limits)
    }

    /// Adds a condition: the value is below one of these limits.
    #[must_use]
    pub fn below(self, metric: Metric, limits: impl IntoIterator<Item = u64>) -> Self {
        self.condition(metric, Relation::Below, limits)
    }

    fn condition(
        mut self,
        metric: Metric,
        relation: Relation,
        limits: impl IntoIterator<Item = u64>,
    ) -> Self {
        let mut limits: Vec<_> = limits.into_iter().collect();
        limits.sort_unstable();
        limits.dedup();
        if relation == Relation::Below {
            limits.reverse();
        }
        if !limits.is_empty() {
            self.conditions.push(Condition {
                metric,
                relation,
                limits,
            });
        }
        self
    }

    /// Adds a condition: the time of the last modification of `file` has not changed for `limit`.
    /// In its name, `%p` is the process id.
    ///
    /// The time is measured from when a change was last seen, so the clock of the file system does
    /// not matter. As long as the file has never existed, the condition does not hold.
    #[must_use]
    pub fn heartbeat(mut self, file: impl Into<PathBuf>, limit: Duration) -> Self {
        self.heartbeat = Some(file.into());
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.condition(Metric::Heartbeat, Relation::AtLeast, [limit])
    }

    /// Sets that all conditions must hold at the same time. The default is that one is enough.
    #[must_use]
    pub fn all(mut self, all: bool) -> Self {
        self.all = all;
        self
    }

    /// Sets for how long a condition must hold. The default is 0: one measurement.
    ///
    /// It holds as long as every measurement says so. A CPU time counts from the measurement before
    /// the first one that says so, because it is about the time between the two.
    #[must_use]
    pub fn lasting(mut self, time: Duration) -> Self {
        self.lasting = time;
        self
    }

    /// Sets the shortest time between two dumps of one process because of conditions.
    #[must_use]
    pub fn cool_down(mut self, time: Duration) -> Self {
        self.cool_down = time;
        self
    }

    /// Sets that a process is also dumped at these intervals, whatever the conditions are.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.every = Some(interval).filter(|interval| !interval.is_zero());
        self
    }

    /// Sets how often one process is dumped at most. There is no limit by default.
    #[must_use]
    pub fn per_process(mut self, most: u32) -> Self {
        self.most = Some(most);
        self
    }

    /// Whether nothing can make these rules fire.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty() && self.every.is_none()
    }

    /// The facts that the conditions need.
    #[must_use]
    pub fn need(&self) -> UsageNeed {
        let mut need = UsageNeed::default();
        for condition in &self.conditions {
            match condition.metric {
                Metric::CpuPercent => need.cpu = true,
                Metric::Resident => need.resident = true,
                Metric::Committed => need.committed = true,
                Metric::Threads => need.threads = true,
                Metric::Handles => need.handles = true,
                Metric::Heartbeat => {}
            }
        }
        need
    }

    /// The file of the heartbeat of this process.
    pub(super) fn heartbeat_of(&self, pid: u32) -> Option<PathBuf> {
        let file = self.heartbeat.as_deref()?;
        let named = file.to_str().map(|name| name.replace("%p", &pid.to_string()));
        Some(named.map_or_else(|| Path::to_owned(file), PathBuf::from))
    }
}

/// A condition that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Crossing {
    /// What was measured.
    pub metric: Metric,
    /// How it was compared.
    pub relation: Relation,
    /// The last measurement, in the unit of the metric.
    pub value: u64,
    /// The limit, in the same unit.
    pub limit: u64,
    /// For how long it has been so.
    pub lasted: Duration,
}

impl fmt::Display for Crossing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.metric.text(self.value);
        let limit = self.metric.text(self.limit);
        match self.metric {
            Metric::CpuPercent => write!(f, "CPU time {value} of a processor")?,
            Metric::Resident => write!(f, "resident memory {value}")?,
            Metric::Committed => write!(f, "committed memory {value}")?,
            Metric::Threads => write!(f, "{value} threads")?,
            Metric::Handles => write!(f, "{value} open descriptors")?,
            Metric::Heartbeat => write!(f, "no heartbeat for {value}")?,
        }
        match self.relation {
            Relation::AtLeast => write!(f, " (limit {limit}")?,
            Relation::Below => write!(f, " (below {limit}")?,
        }
        match self.lasted {
            Duration::ZERO => f.write_str(")"),
            lasted => write!(f, ", for {:.1} s)", lasted.as_secs_f64()),
        }
    }
}

/// Why a process should be dumped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// These conditions hold.
    Conditions(Vec<Crossing>),
    /// The interval of [`Rules::every`] has passed.
    Schedule(Duration),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conditions(findings) => {
                for (number, finding) in findings.iter().enumerate() {
                    let before = if number > 0 { " and " } else { "" };
                    write!(f, "{before}{finding}")?;
                }
                Ok(())
            }
            Self::Schedule(interval) => write!(f, "schedule (every {} s)", interval.as_secs_f64()),
        }
    }
}
