//! The writers that are compared, and one run of one of them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use xshell::{Shell, cmd};

use super::workload::{LiveTarget, Workload};
use crate::ci::executable;
use crate::packages::target_folder;

/// What a dump contains.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Threads, modules and stacks.
    Normal,
    /// The same, and the open handles.
    Handles,
    /// All memory.
    Full,
    /// All memory, compressed inside the dump.
    Compressed,
    /// The same, from a clone of the process, for the pause.
    CompressedClone,
}

impl Kind {
    /// The kinds for a workload.
    pub(super) fn of(workload: &Workload) -> &'static [Self] {
        match workload.name {
            "handles" => &[Self::Handles, Self::Full],
            "big" | "sparse" => &[Self::Normal, Self::Full, Self::Compressed, Self::CompressedClone],
            // Other dumps of it are as those of `big`.
            "mixed" => &[Self::Compressed, Self::CompressedClone],
            _ => &[Self::Normal, Self::Full],
        }
    }

    /// Whether the dumps have compressed memory.
    pub(super) fn is_compressed(self) -> bool {
        matches!(self, Self::Compressed | Self::CompressedClone)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Handles => "handles",
            Self::Full => "full",
            Self::Compressed => "compressed",
            Self::CompressedClone => "compressed, clone",
        }
    }
}

/// A writer of dumps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    Dumpwright,
    /// dumpwright with `--hold clone`.
    Clone,
    /// dumpwright with `--compress zstd`.
    Zstd,
    /// dumpwright without compression.
    Plain,
    /// The same, and `lz4 -1` on its file, with one thread.
    PlainThenLz4,
    /// `bench/floor.c`.
    Floor,
    /// The crate minidump-writer.
    MinidumpWriter,
    /// The core writer of gdb.
    Gcore,
    Lldb,
}

impl Tool {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dumpwright => "dumpwright",
            Self::Clone => "clone",
            Self::Zstd => "zstd",
            Self::Plain => "plain",
            Self::PlainThenLz4 => "plain, lz4",
            Self::Floor => "floor",
            Self::MinidumpWriter => "minidump-writer",
            Self::Gcore => "gcore",
            Self::Lldb => "LLDB",
        }
    }

    /// Whether it is somebody else's writer.
    pub(super) fn is_peer(self) -> bool {
        !self.is_dumpwright() && !matches!(self, Self::PlainThenLz4 | Self::Floor)
    }

    /// Whether it is dumpwright, with any options.
    pub(super) fn is_dumpwright(self) -> bool {
        matches!(self, Self::Dumpwright | Self::Clone | Self::Zstd | Self::Plain)
    }

    /// Whether it makes dumps of this kind.
    fn makes(self, kind: Kind) -> bool {
        match self {
            Self::Dumpwright => true,
            Self::Clone | Self::Floor => !kind.is_compressed(),
            Self::Plain => kind.is_compressed(),
            Self::PlainThenLz4 => kind == Kind::Compressed,
            // It always writes the handles.
            Self::MinidumpWriter => matches!(kind, Kind::Normal | Kind::Handles),
            Self::Gcore | Self::Zstd => kind == Kind::Full,
            Self::Lldb => matches!(kind, Kind::Normal | Kind::Full),
        }
    }

    /// Whether it reads or writes pages that do not exist.
    fn handles_absent_pages(self) -> bool {
        matches!(self, Self::Gcore | Self::Lldb | Self::PlainThenLz4)
    }

    /// Whether its dumps of this kind have at least the size of the memory.
    fn writes_plain_memory(self, kind: Kind) -> bool {
        (kind == Kind::Full && self != Self::Zstd) || self == Self::Plain
    }
}

/// A writer that reads absent pages is not run if there are more bytes of them.
const MOST_ABSENT: u64 = 4 << 30;
/// How many seconds a run may take.
const SECONDS: u64 = 300;

/// The programs of this machine, and where they write.
pub(super) struct Tools {
    /// The folder for what is built.
    build: PathBuf,
    /// The folder for dumps.
    pub(super) output: PathBuf,
    dumpwright: PathBuf,
    minidump_writer: Option<PathBuf>,
    gcore: bool,
    lz4: bool,
    lldb: Option<&'static str>,
    /// The limit for the address space of a tool, in MiB.
    memory: u64,
}

/// The figures of one run.
#[derive(Clone, Copy)]
pub(super) struct Figures {
    /// Wall time in milliseconds.
    pub(super) wall: f64,
    /// CPU time in milliseconds.
    pub(super) cpu: f64,
    /// The peak resident memory in MiB.
    pub(super) peak: f64,
    /// The size of the file in MiB.
    pub(super) size: f64,
    /// The MiB that the file takes on disk.
    pub(super) blocks: f64,
    /// The longest gap of the heartbeat in milliseconds.
    pub(super) pause: f64,
}

/// What a run has shown.
pub(super) struct Run {
    /// The figures, or why there are none.
    pub(super) figures: Result<Figures, String>,
    /// How much resident memory and page tables of the target have grown, in KiB.
    pub(super) growth: [u64; 2],
    /// Further facts for the table.
    pub(super) note: Option<String>,
}

impl Tools {
    /// Builds what is built here, and looks for the rest.
    pub(super) fn build(shell: &Shell, output: Option<PathBuf>) -> anyhow::Result<Self> {
        let build = target_folder(shell).join("bench");
        shell.create_dir(&build)?;
        for program in ["targets", "floor", "measure"] {
            let (source, into) = (format!("bench/{program}.c"), build.join(program));
            cmd!(
                shell,
                "gcc -std=gnu11 -O2 -Wall -Wextra -pthread -o {into} {source} -ldl"
            )
            .quiet()
            .run()?;
        }
        let dumpwright = executable(
            cmd!(
                shell,
                "cargo build --release --bin dumpwright --message-format json"
            ),
            "dumpwright",
        )?;
        let built = cmd!(
            shell,
            "cargo build --release --locked --manifest-path bench/Cargo.toml --message-format json"
        )
        .env("CARGO_TARGET_DIR", build.join("cargo"));
        let minidump_writer = executable(built, "minidump-writer")
            .inspect_err(|error| eprintln!("bench: without minidump-writer: {error:#}"))
            .ok();
        let found = |program: &str| {
            cmd!(shell, "{program} --version")
                .quiet()
                .ignore_stdout()
                .ignore_stderr()
                .run()
                .is_ok()
        };
        let output = output.unwrap_or_else(|| build.join("dumps"));
        shell.create_dir(&output)?;
        Ok(Self {
            output: output.canonicalize()?,
            dumpwright: dumpwright.into(),
            minidump_writer: minidump_writer.map(PathBuf::from),
            gcore: found("gdb"),
            lz4: found("lz4"),
            lldb: ["lldb-19", "lldb"].into_iter().find(|name| found(name)),
            memory: available_memory()? / 2,
            build,
        })
    }

    /// The program of a workload.
    pub(super) fn target(&self, workload: &Workload, sizes: &[u64]) -> anyhow::Result<LiveTarget> {
        let objects = self.build.join("objects");
        if workload.name == "mappy" {
            self.make_objects(&objects, sizes[1])?;
        }
        LiveTarget::start(
            &self.build.join("targets"),
            &self.build,
            &objects,
            workload,
            sizes,
        )
    }

    /// Makes shared objects that differ in their build ids.
    fn make_objects(&self, folder: &Path, count: u64) -> anyhow::Result<()> {
        const BUILD_ID: [u8; 20] = *b"benchmark of objects";
        fs::create_dir_all(folder)?;
        let first = folder.join("first.so");
        let hex: String = BUILD_ID.iter().map(|byte| format!("{byte:02x}")).collect();
        let shell = Shell::new()?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/object.c");
        let build_id = format!("-Wl,--build-id=0x{hex}");
        cmd!(shell, "gcc -O2 -shared -fPIC {build_id} -o {first} {source}")
            .quiet()
            .run()?;
        let mut bytes = fs::read(&first)?;
        let at = bytes
            .windows(BUILD_ID.len())
            .position(|window| window == BUILD_ID)
            .context("the shared object has no build id")?;
        for index in 0..count {
            bytes[at..at + 8].copy_from_slice(&index.to_le_bytes());
            fs::write(folder.join(format!("{index}.so")), &bytes)?;
        }
        Ok(())
    }

    /// The tools of this machine for dumps of a kind, and the reasons why others are not run.
    pub(super) fn for_dumps(
        &self,
        kind: Kind,
        workload: &Workload,
        sizes: &[u64],
        is_quick: bool,
    ) -> (Vec<Tool>, Vec<(Tool, String)>) {
        let (mut used, mut unused) = (vec![Tool::Dumpwright], Vec::new());
        for tool in [
            Tool::Clone,
            Tool::Zstd,
            Tool::Plain,
            Tool::PlainThenLz4,
            Tool::MinidumpWriter,
            Tool::Gcore,
            Tool::Lldb,
            Tool::Floor,
        ] {
            if !tool.makes(kind) {
                continue;
            }
            let is_there = match tool {
                Tool::Dumpwright | Tool::Clone | Tool::Zstd | Tool::Plain | Tool::Floor => true,
                Tool::PlainThenLz4 => self.lz4,
                Tool::MinidumpWriter => self.minidump_writer.is_some(),
                Tool::Gcore => self.gcore,
                Tool::Lldb => self.lldb.is_some(),
            };
            let absent = workload.mapped(sizes) - workload.touched(sizes);
            if !is_there {
                unused.push((tool, "not installed".to_owned()));
            } else if kind != Kind::Normal && tool.handles_absent_pages() && absent > MOST_ABSENT {
                let gib = absent >> 30;
                unused.push((tool, format!("not run: would read {gib} GiB of absent pages")));
            } else if is_quick && matches!(tool, Tool::Gcore | Tool::Lldb) && workload.name != "small" {
                // Debuggers take seconds for a dump.
                unused.push((tool, "not run with --quick".to_owned()));
            } else {
                used.push(tool);
            }
        }
        (used, unused)
    }

    fn command(&self, tool: Tool, kind: Kind, pid: u32, file: &Path) -> Vec<String> {
        let (pid, file) = (pid.to_string(), file.display().to_string());
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        match tool {
            Tool::Dumpwright | Tool::Clone | Tool::Zstd | Tool::Plain => {
                let types = match kind {
                    Kind::Normal => "normal",
                    Kind::Handles => "normal,with-handle-data",
                    Kind::Compressed | Kind::CompressedClone if tool == Tool::Dumpwright => {
                        "full,with-memory-compressed"
                    }
                    Kind::Full | Kind::Compressed | Kind::CompressedClone => "full",
                };
                let program = self.dumpwright.display().to_string();
                let options: &[&str] = match tool {
                    Tool::Clone => &["--hold", "clone"],
                    Tool::Zstd => &["--compress", "zstd"],
                    _ if kind == Kind::CompressedClone => &["--hold", "clone"],
                    _ => &[],
                };
                let dump = ["dump", "--pid", &pid, "--type", types, "-o", &file];
                words(&[&[program.as_str()], &dump[..], options].concat())
            }
            Tool::PlainThenLz4 => {
                let program = self.dumpwright.display().to_string();
                let plain = plain_file(&file);
                let script = r#""$0" dump --pid "$1" --type full -o "$2" && lz4 -1 -q "$2" "$3""#;
                words(&["sh", "-c", script, &program, &pid, &plain, &file])
            }
            Tool::Floor => {
                let program = self.build.join("floor").display().to_string();
                words(&[&program, kind.name(), &pid, &file])
            }
            Tool::MinidumpWriter => {
                let program = self.minidump_writer.as_deref().unwrap_or(Path::new("")).display();
                words(&[&program.to_string(), &pid, &file])
            }
            // It adds the process id.
            Tool::Gcore => words(&["gcore", "-o", file.trim_end_matches(&format!(".{pid}")), &pid]),
            Tool::Lldb => {
                let style = if kind == Kind::Full { "full" } else { "stack" };
                let save = format!("process save-core --plugin-name=minidump --style={style} {file}");
                let program = self.lldb.unwrap_or("lldb");
                words(&[
                    program,
                    "--no-lldbinit",
                    "--batch",
                    "-p",
                    &pid,
                    "-o",
                    &save,
                    "-o",
                    "detach",
                ])
            }
        }
    }

    /// Runs a tool once and checks what it has left behind.
    pub(super) fn run(
        &self,
        tool: Tool,
        kind: Kind,
        target: &LiveTarget,
        touched: u64,
        check: bool,
    ) -> anyhow::Result<Run> {
        let file = self.output.join(format!("dump.{}", target.pid()));
        let (result, complaints) = (self.build.join("result"), self.build.join("complaints"));
        fs::write(&result, "")?;
        let before = target.footprint()?;
        target.reset_pause()?;
        let status = Command::new(self.build.join("measure"))
            .arg(&result)
            .args([SECONDS.to_string(), self.memory.to_string()])
            .args(self.command(tool, kind, target.pid(), &file))
            // gdb and LLDB would ask the network for symbols.
            .env_remove("DEBUGINFOD_URLS")
            // lz4 1.10 would use all processors.
            .env("LZ4_NBWORKERS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&complaints)?)
            .status()?;
        ensure!(status.success(), "bench/measure.c has failed: {status}");
        let pause = target.pause()?;
        target.check_runs()?;
        let after = target.footprint()?;
        let result = fs::read_to_string(&result)?;
        let numbers: Vec<f64> = result.split_whitespace().flat_map(str::parse).collect();
        let &[wall, user, system, peak, exit, left] = numbers.as_slice() else {
            anyhow::bail!("bench/measure.c has written {result:?}");
        };
        let written = fs::metadata(&file).ok();
        let said = fs::read_to_string(&complaints).unwrap_or_default();
        let last = said.lines().last().unwrap_or_default().to_owned();
        let mut note = (left > 0.0).then(|| format!("left {left} processes"));
        let figures = match written {
            // dumpwright reports with 3 that something is missing.
            Some(written) if exit == 0.0 || (tool.is_dumpwright() && exit == 3.0) => {
                if exit == 3.0 {
                    note = Some("partial".to_owned());
                }
                Ok(Figures {
                    wall: wall / 1e3,
                    cpu: (user + system) / 1e3,
                    peak: peak / 1024.0,
                    size: mebibytes(written.len()),
                    blocks: mebibytes(on_disk(&written)),
                    pause,
                })
            }
            _ if exit == 137.0 => Err(format!("killed after {:.0} s", wall / 1e6)),
            _ => Err(format!("failed with {exit}: {last}")),
        };
        if let Ok(figures) = &figures {
            ensure!(
                !tool.writes_plain_memory(kind) || figures.size >= mebibytes(touched),
                "the full dump of {} has only {} MiB",
                tool.name(),
                figures.size
            );
        }
        if check && tool.is_dumpwright() {
            let shell = Shell::new()?;
            let dumpwright = &self.dumpwright;
            cmd!(shell, "{dumpwright} check {file}")
                .quiet()
                .ignore_stdout()
                .run()?;
        }
        for left in [&file, Path::new(&plain_file(&file.display().to_string()))] {
            if left.exists() {
                fs::remove_file(left)?;
            }
        }
        // What earlier runs have written must not slow down later ones.
        let output = &self.output;
        let shell = Shell::new()?;
        cmd!(shell, "sync -f {output}").quiet().run()?;
        Ok(Run {
            figures,
            growth: [
                after.resident.saturating_sub(before.resident),
                after.page_tables.saturating_sub(before.page_tables),
            ],
            note,
        })
    }
}

/// The file that is compressed into `file`.
fn plain_file(file: &str) -> String {
    format!("{file}.plain")
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(unix)]
fn on_disk(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

#[cfg(not(unix))]
fn on_disk(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}

/// The memory that programs can use now, in MiB.
fn available_memory() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("the benchmark needs Linux")?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next());
    let kib: u64 = kib.context("/proc/meminfo has no MemAvailable")?.parse()?;
    Ok(kib / 1024)
}
