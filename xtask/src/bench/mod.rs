//! `cargo xtask bench [WORKLOAD]... [--rounds N] [--divide N] [--folder FOLDER]
//! [--without WRITER]... [--quick]`:
//! measures dumpwright, other writers, and a floor that does only the necessary system calls, on
//! the same live processes.
//!
//! `docs/performance.md` describes what is measured.

mod table;
mod tools;
mod workload;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use xshell::{Shell, cmd};

use table::{Series, table};
use tools::{Kind, Tools};
use workload::{LiveTarget, WORKLOADS, Workload};

struct Options {
    workloads: Vec<&'static Workload>,
    rounds: usize,
    /// All sizes are divided by this.
    divisor: u64,
    /// Where dumps are written.
    folder: Option<PathBuf>,
    is_quick: bool,
    /// Writers that are not run, by their names in the table.
    without: Vec<String>,
}

pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    bench(shell, &Options::parse(std::env::args().skip(2))?)
}

/// Runs the benchmark with small sizes and one round, which shows that it works. Its times mean
/// nothing.
pub(crate) fn quick(shell: &Shell) -> anyhow::Result<()> {
    bench(shell, &Options::parse(["--quick".to_owned()])?)
}

impl Options {
    fn parse(arguments: impl IntoIterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self {
            workloads: Vec::new(),
            rounds: 5,
            divisor: 1,
            folder: None,
            is_quick: false,
            without: Vec::new(),
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let value = arguments.next();
                value.with_context(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--rounds" => options.rounds = value()?.parse()?,
                "--divide" => options.divisor = value()?.parse()?,
                "--folder" => options.folder = Some(value()?.into()),
                "--without" => options.without.push(value()?),
                "--quick" => (options.is_quick, options.rounds) = (true, 1),
                name => match WORKLOADS.iter().find(|workload| workload.name == name) {
                    Some(workload) => options.workloads.push(workload),
                    None => bail!(
                        "there is no workload or option {name}; the workloads are {}",
                        WORKLOADS
                            .iter()
                            .map(|workload| workload.name)
                            .collect::<Vec<_>>()
                            .join(", ")
                    ),
                },
            }
        }
        ensure!(options.rounds > 0, "--rounds must be at least 1");
        ensure!(options.divisor > 0, "--divide must be at least 1");
        if options.workloads.is_empty() {
            options.workloads.extend(WORKLOADS);
        }
        Ok(options)
    }
}

fn bench(shell: &Shell, options: &Options) -> anyhow::Result<()> {
    let tools = Tools::build(shell, options.folder.clone())?;
    println!("{}\n", machine(shell, &tools)?);
    let rounds = options.rounds;
    println!(
        "Medians of {rounds} {}{}. Ratios are medians of pairs.",
        if rounds == 1 { "round" } else { "rounds" },
        if options.is_quick {
            ", without a warm-up"
        } else {
            " after a warm-up"
        }
    );
    for workload in &options.workloads {
        let sizes = workload.sizes(options.is_quick, options.divisor);
        println!("\n### {}: {}\n", workload.name, workload.description(&sizes));
        let target = tools.target(workload, &sizes)?;
        println!("{}\n", idle(&target)?);
        println!("{}", measure(&tools, &target, workload, &sizes, options)?);
    }
    println!("The load average was {} at the end.", load()?);
    Ok(())
}

/// Runs every tool in every round, and returns the table.
fn measure(
    tools: &Tools,
    target: &LiveTarget,
    workload: &Workload,
    sizes: &[u64],
    options: &Options,
) -> anyhow::Result<String> {
    let touched = workload.touched(sizes);
    let (mut all, mut all_unused) = (Vec::new(), Vec::new());
    for &kind in Kind::of(workload) {
        let (used, unused) = tools.for_dumps(kind, workload, sizes, options.is_quick);
        let used: Vec<_> = used
            .into_iter()
            .filter(|tool| !options.without.iter().any(|name| name == tool.name()))
            .collect();
        all_unused.extend(unused.into_iter().map(|(tool, reason)| (kind, tool, reason)));
        let mut series: Vec<_> = used
            .iter()
            .map(|tool| Series {
                tool: *tool,
                kind,
                warm_up: None,
                runs: Vec::new(),
            })
            .collect();
        if !options.is_quick {
            for one in &mut series {
                one.warm_up = Some(tools.run(one.tool, kind, target, touched, false)?);
            }
        }
        for round in 0..options.rounds {
            for at in 0..series.len() {
                // A different tool is the first one in each round.
                let at = (at + round) % series.len();
                let one = &mut series[at];
                if one.failure().is_none() {
                    one.runs
                        .push(tools.run(one.tool, kind, target, touched, options.is_quick)?);
                }
            }
        }
        for one in &series {
            if let Some(failure) = one.failure().filter(|_| !one.tool.is_peer()) {
                bail!("{} has failed on {}: {failure}", one.tool.name(), workload.name);
            }
        }
        all.extend(series);
    }
    Ok(table(&all, &all_unused))
}

/// The pause without a dump, which shows what the load of the machine adds.
fn idle(target: &LiveTarget) -> anyhow::Result<String> {
    target.reset_pause()?;
    std::thread::sleep(Duration::from_millis(500));
    let pause = target.pause()?;
    let priority = match target.is_real_time()? {
        true => "",
        false => " (it has no real-time priority)",
    };
    Ok(format!(
        "Without a dump, the longest gap of the heartbeat{priority} in 0.5 s is {pause:.2} ms."
    ))
}

fn load() -> anyhow::Result<String> {
    let text = fs::read_to_string("/proc/loadavg").context("the benchmark needs Linux")?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

/// Describes the machine.
fn machine(shell: &Shell, tools: &Tools) -> anyhow::Result<String> {
    let output = &tools.output;
    let file_system = cmd!(shell, "df --output=fstype {output}").quiet().read()?;
    let file_system = file_system.lines().last().unwrap_or_default().to_owned();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let processor = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unknown processor", |(_, name)| name);
    let cores = std::thread::available_parallelism()?;
    Ok(format!(
        "Linux {}, {cores} cores of {processor}. Dumps are written to {file_system}. The load average was {} at the start.",
        kernel.trim(),
        load()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Options> {
        Options::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn workloads_and_options_come_in_any_order() {
        let options = parse("--rounds 3 sparse --divide 4 big").unwrap();
        let names: Vec<_> = options.workloads.iter().map(|workload| workload.name).collect();
        assert_eq!(names, ["sparse", "big"]);
        assert_eq!((options.rounds, options.divisor, options.is_quick), (3, 4, false));
        assert_eq!(parse("").unwrap().workloads.len(), WORKLOADS.len());
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for text in ["tiny", "--rounds", "--rounds 0", "--divide x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_shrink_and_threads_stay() {
        let small = &WORKLOADS[0];
        assert_eq!(small.sizes(false, 5), [8, 10]);
        assert_eq!(small.sizes(true, 1), [8, 8]);
        assert_eq!(small.touched(&[8, 10]), 10 << 20);
    }
}
