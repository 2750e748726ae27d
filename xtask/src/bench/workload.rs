//! The processes that are dumped. `bench/targets.c` builds them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// A kind of process.
pub(super) struct Workload {
    pub(super) name: &'static str,
    /// What the sizes mean.
    units: &'static [&'static str],
    sizes: &'static [u64],
    /// The sizes for `--quick`.
    quick: &'static [u64],
    /// For each of the sizes, how many KiB of memory surely exist for one of its units.
    touched_kib: &'static [u64],
}

/// All of them.
pub(super) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "small",
        units: &["threads", "MiB of heap"],
        sizes: &[8, 50],
        quick: &[8, 8],
        touched_kib: &[0, 1024],
    },
    Workload {
        name: "wide",
        units: &["threads", "KiB of stack each"],
        sizes: &[500, 240],
        quick: &[50, 100],
        touched_kib: &[0, 0],
    },
    Workload {
        name: "big",
        units: &["MiB of heap"],
        sizes: &[4096],
        quick: &[64],
        touched_kib: &[1024],
    },
    Workload {
        name: "mixed",
        units: &["MiB of heap"],
        sizes: &[1024],
        quick: &[64],
        touched_kib: &[1024],
    },
    Workload {
        name: "sparse",
        units: &["MiB mapped", "MiB of them touched"],
        sizes: &[32768, 512],
        quick: &[2048, 16],
        touched_kib: &[0, 1024],
    },
    Workload {
        name: "mappy",
        units: &["mappings of one page", "shared objects"],
        sizes: &[20_000, 200],
        quick: &[1000, 20],
        touched_kib: &[4, 0],
    },
    Workload {
        name: "churn",
        units: &["threads and one that writes", "MiB of heap"],
        sizes: &[8, 1024],
        quick: &[8, 32],
        touched_kib: &[0, 1024],
    },
    Workload {
        name: "handles",
        units: &["threads", "MiB of heap", "file descriptors"],
        sizes: &[8, 50, 5000],
        quick: &[8, 8, 500],
        touched_kib: &[0, 1024, 0],
    },
];

impl Workload {
    /// The sizes for a run.
    pub(super) fn sizes(&self, is_quick: bool, divisor: u64) -> Vec<u64> {
        let sizes = if is_quick { self.quick } else { self.sizes };
        sizes
            .iter()
            .map(|size| match size {
                // A few threads are a few threads in any scale.
                0..=8 => *size,
                _ => (size / divisor).max(1),
            })
            .collect()
    }

    /// Describes the process in words.
    pub(super) fn description(&self, sizes: &[u64]) -> String {
        let parts: Vec<_> = sizes
            .iter()
            .zip(self.units)
            .map(|(size, unit)| format!("{size} {unit}"))
            .collect();
        parts.join(", ")
    }

    /// The bytes that every dump with all memory must have.
    pub(super) fn touched(&self, sizes: &[u64]) -> u64 {
        let each = sizes.iter().zip(self.touched_kib).map(|(size, kib)| size * kib);
        each.sum::<u64>() * 1024
    }

    /// The bytes that a writer writes that does not find out which pages exist.
    pub(super) fn mapped(&self, sizes: &[u64]) -> u64 {
        match self.name {
            "sparse" => sizes[0] << 20,
            _ => self.touched(sizes),
        }
    }
}

/// A running process. Dropping this kills it.
pub(super) struct LiveTarget {
    child: Child,
    heartbeat: PathBuf,
}

/// Memory of the process, in KiB.
#[derive(Clone, Copy)]
pub(super) struct Footprint {
    pub(super) resident: u64,
    pub(super) page_tables: u64,
}

/// A process that shows no heartbeat for this long does not run.
const DEAD: Duration = Duration::from_secs(30);

impl LiveTarget {
    /// Starts the process and waits until it is built.
    pub(super) fn start(
        program: &Path,
        folder: &Path,
        objects: &Path,
        workload: &Workload,
        sizes: &[u64],
    ) -> anyhow::Result<Self> {
        let heartbeat = folder.join("heartbeat");
        fs::write(&heartbeat, [0; 24])?;
        let mut command = Command::new(program);
        command.arg(workload.name).arg(&heartbeat);
        command.args(sizes.iter().map(u64::to_string)).arg(objects);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the target")?;
        let output = child.stdout.take().context("the output is piped")?;
        let target = Self { child, heartbeat };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(
            line == "READY\n",
            "the target {} is not ready: {line:?}",
            workload.name
        );
        target.wait_for_beats()?;
        Ok(target)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The three numbers of the heartbeat: count, longest gap in ns, whether it has a real-time
    /// priority.
    fn beats(&self) -> anyhow::Result<[u64; 3]> {
        let mut bytes = [0; 24];
        File::open(&self.heartbeat)?.read_exact(&mut bytes)?;
        let word = |at: usize| u64::from_ne_bytes(std::array::from_fn(|byte| bytes[8 * at + byte]));
        Ok([word(0), word(1), word(2)])
    }

    /// Waits until the current gap has been recorded.
    fn wait_for_beats(&self) -> anyhow::Result<()> {
        const RECORDED: u64 = 3;
        let [before, ..] = self.beats()?;
        let start = Instant::now();
        while self.beats()?[0] < before + RECORDED {
            if start.elapsed() > DEAD {
                bail!("the target has shown no heartbeat for {DEAD:?}; was it left stopped?");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Forgets the gaps so far.
    pub(super) fn reset_pause(&self) -> anyhow::Result<()> {
        self.wait_for_beats()?;
        let mut file = File::options().write(true).open(&self.heartbeat)?;
        file.seek(SeekFrom::Start(8))?;
        file.write_all(&[0; 8])?;
        Ok(())
    }

    /// Returns the longest gap since the last reset, in milliseconds.
    pub(super) fn pause(&self) -> anyhow::Result<f64> {
        self.wait_for_beats()?;
        Ok(self.beats()?[1] as f64 / 1e6)
    }

    /// Whether the heartbeat has a real-time priority.
    pub(super) fn is_real_time(&self) -> anyhow::Result<bool> {
        Ok(self.beats()?[2] != 0)
    }

    pub(super) fn footprint(&self) -> anyhow::Result<Footprint> {
        let status = self.status()?;
        Ok(Footprint {
            resident: number(&status, "VmRSS:")?,
            page_tables: number(&status, "VmPTE:")?,
        })
    }

    /// Checks that no thread is stopped, and that nobody traces the process.
    pub(super) fn check_runs(&self) -> anyhow::Result<()> {
        let tracer = number(&self.status()?, "TracerPid:")?;
        ensure!(tracer == 0, "the target is still traced, by {tracer}");
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let stat = fs::read_to_string(thread?.path().join("stat"))?;
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            ensure!(
                !matches!(state, Some('T' | 't')),
                "a thread of the target was left stopped: {stat}"
            );
        }
        Ok(())
    }

    fn status(&self) -> anyhow::Result<String> {
        fs::read_to_string(format!("/proc/{}/status", self.pid())).context("the target has ended")
    }
}

impl Drop for LiveTarget {
    fn drop(&mut self) {
        // Both calls fail only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the number in a line of `/proc/PID/status`.
fn number(status: &str, key: &str) -> anyhow::Result<u64> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("/proc/PID/status has no {key}"))
}
