//! Measures the cost of each step of a task: wall time, and CPU time of all programs that it runs.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// The costs of the steps so far.
pub(crate) struct Costs {
    rows: Vec<Row>,
    /// The system's load average at the start.
    load: Option<String>,
    last: Reading,
}

struct Row {
    name: String,
    wall: Duration,
    cpu: Option<Duration>,
}

/// Both clocks at one moment.
#[derive(Clone, Copy)]
struct Reading {
    wall: Instant,
    cpu: Option<Duration>,
}

impl Reading {
    fn now() -> Self {
        Self {
            wall: Instant::now(),
            cpu: cpu_time(),
        }
    }
}

impl Costs {
    /// Begins with the time that this process has already taken. `.ci/run` and cargo replace
    /// themselves with this program (exec), so that includes their time.
    pub(crate) fn begin() -> Self {
        let last = Reading::now();
        let before = Row {
            name: "before: packages, cargo, xtask".to_owned(),
            wall: age_of_this_process().unwrap_or_default(),
            cpu: last.cpu,
        };
        Self {
            rows: vec![before],
            load: std::fs::read_to_string("/proc/loadavg")
                .ok()
                .and_then(|text| Some(text.split(' ').next()?.to_owned())),
            last,
        }
    }

    /// Runs a step with this name. A step that fails is listed as well.
    pub(crate) fn step<T>(
        &mut self,
        name: &str,
        step: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        eprintln!("\n== {name}");
        let outcome = step();
        let now = Reading::now();
        self.rows.push(Row {
            name: match &outcome {
                Ok(_) => name.to_owned(),
                Err(_) => format!("{name}: FAILED"),
            },
            wall: now.wall - self.last.wall,
            cpu: now
                .cpu
                .zip(self.last.cpu)
                .map(|(now, before)| now.saturating_sub(before)),
        });
        self.last = now;
        outcome
    }

    /// Returns the table, with a row for the total.
    pub(crate) fn table(&self) -> String {
        let total = Row {
            name: "total".to_owned(),
            wall: self.rows.iter().map(|row| row.wall).sum(),
            cpu: self.rows.iter().map(|row| row.cpu).sum(),
        };
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        let mut text = format!("{:<width$}  {:>9}  {:>9}\n", "step", "wall", "CPU");
        for row in self.rows.iter().chain([&total]) {
            let cpu = row.cpu.map_or_else(|| "?".to_owned(), minutes);
            let _ = writeln!(text, "{:<width$}  {:>9}  {cpu:>9}", row.name, minutes(row.wall));
        }
        if let Some(load) = &self.load {
            let _ = writeln!(text, "The load average was {load} at the start.");
        }
        text
    }
}

/// Formats a duration as `12:34.5`.
fn minutes(duration: Duration) -> String {
    let tenths = duration.as_millis() / 100;
    format!("{}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}

/// Returns the CPU time of this process and of all its descendants that have ended.
#[cfg(unix)]
fn cpu_time() -> Option<Duration> {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;

    let mut sum = Duration::ZERO;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who).ok()?;
        for time in [usage.user_time(), usage.system_time()] {
            sum += Duration::from_micros(time.num_microseconds().try_into().ok()?);
        }
    }
    Some(sum)
}

#[cfg(not(unix))]
fn cpu_time() -> Option<Duration> {
    None
}

/// Returns how long ago this process was started, regardless of the programs that it has run since.
fn age_of_this_process() -> Option<Duration> {
    /// The unit of `starttime` in proc_pid_stat(5). Linux shows all clocks there in hundredths of a
    /// second.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let behind_name = stat.rsplit_once(") ")?.1;
    let began: f64 = behind_name.split(' ').nth(22 - 3)?.parse().ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let now: f64 = uptime.split(' ').next()?.parse().ok()?;
    Duration::try_from_secs_f64(now - began / TICKS_PER_SECOND).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_listed_in_order_with_failures_and_a_sum() {
        let mut costs = Costs {
            rows: Vec::new(),
            load: Some("0.25".to_owned()),
            last: Reading::now(),
        };
        assert_eq!(costs.step("one", || Ok(7)).unwrap(), 7);
        let failed: anyhow::Result<()> = costs.step("two", || anyhow::bail!("no"));
        assert_eq!(failed.unwrap_err().to_string(), "no");
        let table = costs.table();
        let names = table.lines().map(|line| line.split("  ").next().unwrap().trim());
        let expected = [
            "step",
            "one",
            "two: FAILED",
            "total",
            "The load average was 0.25 at the start.",
        ];
        assert_eq!(names.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn times_are_minutes_and_seconds() {
        assert_eq!(minutes(Duration::from_millis(754_560)), "12:34.5");
        assert_eq!(minutes(Duration::ZERO), "0:00.0");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_cpu_time_of_children_counts() {
        let before = cpu_time().unwrap();
        let mut child = std::process::Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"])
            .spawn()
            .unwrap();
        child.wait().unwrap();
        assert!(cpu_time().unwrap() > before);
        assert!(age_of_this_process().unwrap() > Duration::ZERO);
    }
}
