//! `dumpwright explain`: says what a dump would contain, without writing it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use dumpwright::policy::{PolicyFile, PolicySet, ProcessTexts};
use dumpwright::sim::{Scenario, ScenarioError};
use dumpwright::target::{Fault, FaultKind, Severity};
use dumpwright::{Callback, DumpType, Error, Explanation, Request, Target, explain};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::backend::{self, StopEstimate};
use super::dump::{CONTENTS, PROCESS};
use super::policy::PolicyArgs;
use super::print::{merged, printable};
use super::result::{counted, pause};
use super::{FAILED, JSON_VERSION, print, process};

/// The end of the help of `dumpwright explain`.
pub(super) const EXAMPLES: &str = "\
Examples:
  How large would a dump of all private memory be, and why?
      dumpwright explain 4711 --type heap
  What would a policy leave of it?
      dumpwright explain server --policy small.toml";

/// The most lines about what is left out.
const MOST: usize = 10;

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    source: ExplainedSource,

    /// Select what the dump contains, as for dump
    #[arg(
        long = "type",
        value_name = "LIST",
        default_value = "normal",
        value_parser = DumpType::parse,
        help_heading = CONTENTS
    )]
    dump_type: DumpType,

    #[command(flatten)]
    policy: PolicyArgs,

    /// Also count memory that the program marked "do not dump"
    #[arg(long, help_heading = CONTENTS)]
    include_dontdump: bool,

    /// Print one JSON object instead of text
    ///
    /// docs/json.md describes the object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ExplainedSource {
    /// The process: its id or its name
    #[arg(value_name = "PID|NAME", help_heading = PROCESS)]
    process: Option<String>,

    /// The live process with this id
    #[arg(short, long, value_parser = super::dump::pid, allow_negative_numbers = true, help_heading = PROCESS)]
    pid: Option<u32>,

    /// The simulated process that this scenario describes
    #[arg(long, value_name = "FILE", help_heading = PROCESS)]
    scenario: Option<PathBuf>,

    /// The process of which this core file was written, as for dump
    #[arg(long, value_name = "FILE", help_heading = PROCESS)]
    core: Option<PathBuf>,
}

/// What was found out about a process.
struct Explained {
    name: String,
    explanation: Explanation,
    estimate: Option<StopEstimate>,
    /// Whether a limit may make the dump smaller than the memory for which the stop was estimated.
    is_limited: bool,
}

/// Prints what a dump would contain.
pub(super) fn run(args: &ExplainArgs) -> ExitCode {
    let pid = match (&args.source.process, args.source.pid) {
        (Some(text), _) => match process::resolve(text).as_deref() {
            Ok([pid]) => Some(*pid),
            Ok(_) => {
                print::complain(format_args!(
                    "{text} is the name of several processes; give the id of one"
                ));
                return ExitCode::from(FAILED);
            }
            Err(why) => {
                process::complain_about(text, why, &[]);
                return ExitCode::from(FAILED);
            }
        },
        (None, pid) => pid,
    };
    let printed = examine(args, pid).map(|explained| {
        let text = match args.json {
            true => format!("{}\n", object(&explained)),
            false => text(&explained),
        };
        print::output(&text)
    });
    match printed {
        Ok(Err(error)) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            print::complain(format_args!("cannot write to standard output: {error}"));
            ExitCode::from(FAILED)
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            print::complain(error);
            ExitCode::from(FAILED)
        }
    }
}

fn examine(args: &ExplainArgs, pid: Option<u32>) -> Result<Explained, Error> {
    let policy = args.policy.load()?;
    // Nothing but stacks is read. A policy with a limit has to see all reads.
    let mut request = Request::new(args.dump_type).fetch_limit(0).find_crash(true);
    if let Some(policy) = &policy {
        request = policy.request(request);
    }
    if args.include_dontdump {
        request = request.include_dont_dump(true);
    }
    let is_limited = policy.as_ref().is_some_and(PolicyFile::limits_memory);
    let texts = match (pid, &policy) {
        (Some(pid), Some(policy)) if policy.needs_texts() => {
            ProcessTexts::of_process(pid).map_err(|error| {
                Error::InvalidRequest(format!("the texts of process {pid} cannot be read: {error}"))
            })?
        }
        _ => ProcessTexts::default(),
    };
    let mut policies = policy.map(|policy| policy.policies(&texts)).transpose()?;
    let (name, explanation, estimate) = match (pid, &args.source.core, &args.source.scenario) {
        (Some(pid), ..) => {
            let mut process = dumpwright::native::process(pid)?;
            let estimate = backend::estimate(&process, &request);
            let name = backend::name_of(pid).unwrap_or_else(|| "process".to_owned());
            let explanation = explained(&mut process, &request, policies.as_mut())?;
            (format!("{name} (process {pid})"), explanation, estimate)
        }
        (None, Some(file), _) => {
            let mut core = backend::open_core(file)?;
            let request = match core.exception.take() {
                Some(exception) => request.exception(exception),
                None => request,
            };
            let explanation = explained(&mut *core.target, &request, policies.as_mut())?;
            (file.display().to_string(), explanation, None)
        }
        (None, None, scenario) => {
            let file = scenario.as_deref().expect("one of the sources is required");
            let refused = |error: ScenarioError| {
                Fault::new(FaultKind::Malformed, "use the scenario", error.to_string())
            };
            let mut process = Scenario::load(file).map_err(refused)?;
            let explanation = explained(&mut process, &request, policies.as_mut())?;
            (file.display().to_string(), explanation, None)
        }
    };
    Ok(Explained {
        name,
        explanation,
        estimate,
        is_limited,
    })
}

fn explained(
    target: &mut dyn Target,
    request: &Request,
    mut policies: Option<&mut PolicySet>,
) -> Result<Explanation, Error> {
    let callback = policies
        .as_mut()
        .map(|policies| &mut **policies as &mut dyn Callback);
    let mut explanation = explain(target, request, callback)?;
    if let Some(policies) = policies {
        policies.conclude(&mut explanation.report);
    }
    Ok(explanation)
}

fn text(explained: &Explained) -> String {
    let Explanation {
        report,
        shares,
        table_bytes,
        ..
    } = &explained.explanation;
    let is_compressed = report.dump_type.contains(DumpType::WITH_MEMORY_COMPRESSED);
    let mut text = format!(
        "{}: a dump ({}) would have {}{}: {}, {}\n",
        printable(&explained.name),
        report.dump_type,
        HumanBytes(report.bytes),
        if is_compressed { " before compression" } else { "" },
        counted(report.threads, "thread"),
        counted(report.modules, "module"),
    );
    let mut line = |label: &str, bytes: u64, rest: &str| {
        let bytes = HumanBytes(bytes).to_string();
        let _ = writeln!(text, "{}", format!("  {label:<34}{bytes:>12}{rest}").trim_end());
    };
    for share in shares {
        let ranges = format!("   in {}", counted(share.ranges, "range"));
        line(&share.cause.to_string(), share.bytes, &ranges);
    }
    line("lists, texts and other tables", *table_bytes, "");
    if let Some(StopEstimate { stop, clone }) = explained.estimate {
        let most = if explained.is_limited { "at most " } else { "" };
        let _ = writeln!(
            text,
            "expected stop: {most}about {}, longer if the output is slow; with --hold clone, about {}",
            pause(stop),
            pause(clone)
        );
        let _ = writeln!(
            text,
            "(to find this out, the process was stopped for {})",
            pause(report.holding.pause)
        );
    }
    for (word, severity) in [("missing", Severity::Missing), ("left out", Severity::LeftOut)] {
        let of_kind = report
            .diagnostics
            .iter()
            .filter(|found| found.severity == severity);
        let pairs: Vec<_> = of_kind
            .map(|found| (found.subject.to_string(), found.reason.as_str()))
            .collect();
        let lines = merged(pairs.iter().map(|(subject, reason)| (subject.as_str(), *reason)));
        for line in lines.iter().take(MOST) {
            let _ = writeln!(text, "{word}: {}", printable(line));
        }
        if lines.len() > MOST {
            let _ = writeln!(text, "{word}: and {} more (--json lists all)", lines.len() - MOST);
        }
    }
    text
}

fn object(explained: &Explained) -> Value {
    let Explanation {
        report,
        shares,
        table_bytes,
        ..
    } = &explained.explanation;
    let diagnostics = |severity| -> Vec<Value> {
        let of_kind = report
            .diagnostics
            .iter()
            .filter(|found| found.severity == severity);
        of_kind
            .map(|found| json!({ "subject": found.subject.to_string(), "reason": found.reason }))
            .collect()
    };
    let shares: Vec<_> = shares
        .iter()
        .map(|share| json!({ "cause": share.cause.name(), "bytes": share.bytes, "ranges": share.ranges }))
        .collect();
    json!({
        "version": JSON_VERSION,
        "process_id": report.process_id,
        "type": format!("{:#x}", report.dump_type.bits()),
        "bytes": report.bytes,
        "threads": report.threads,
        "modules": report.modules,
        "memory_ranges": report.memory_ranges,
        "memory_bytes": report.memory_bytes,
        "memory": shares,
        "table_bytes": table_bytes,
        "expected_stop_us": explained.estimate.map(|estimate| estimate.stop.as_micros()),
        "expected_stop_with_clone_us": explained.estimate.map(|estimate| estimate.clone.as_micros()),
        "pause_us": report.holding.pause.as_micros(),
        "missing": diagnostics(Severity::Missing),
        "left_out": diagnostics(Severity::LeftOut),
    })
}
