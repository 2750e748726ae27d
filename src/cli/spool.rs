//! `dumpwright spool`: shows, checks and removes the dumps in a spool.

pub(super) mod facts;
pub(super) mod output;

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use dumpwright::read::{CheckOptions, Dump, Level, check_with};
use dumpwright::spool::{DumpRecord, Spool, SpoolEntry, SpoolError, SpoolProblem};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::print::{self, printable};
use super::result::counted;
use super::show::{self, quiet_on_broken_pipe};
use super::{FAILED, JSON_VERSION};

/// The end of the help of `dumpwright spool`.
pub(super) const EXAMPLES: &str = "\
Examples:
  Dump process 4711 into a spool, and list it:
      dumpwright dump 4711 --spool /var/spool/dumps
      dumpwright spool ls /var/spool/dumps
  Show the newest dump:
      dumpwright spool show /var/spool/dumps";

#[derive(Debug, Subcommand)]
pub(super) enum SpoolCommand {
    /// List the dumps, oldest first
    Ls(ListArgs),
    /// Show a dump and what is recorded about it
    Show(OneArgs),
    /// Remove dumps
    ///
    /// A dump that another program reads, for example to send it, is not removed. The exit status
    /// is 1 then.
    Rm(RemoveArgs),
    /// Check the dumps, and compare them with their records
    ///
    /// Prints what is wrong. The exit status is 1 if a dump was changed or cut off, breaks the
    /// format, or has no valid record.
    Verify(VerifyArgs),
    /// Remove dumps that are too old or beyond the limits
    ///
    /// Each new dump does the same. Use this if keep-age has to hold while there are no new dumps,
    /// or after keep-count or keep-bytes was lowered.
    Clean(ListArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// The folder of the spool
    folder: PathBuf,

    /// Print one JSON object instead of text
    ///
    /// docs/spool.md describes the object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct OneArgs {
    #[command(flatten)]
    spool: ListArgs,

    /// The name of the dump, or the eight digits in it; without it, the newest dump
    dump: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// The folder of the spool
    folder: PathBuf,

    /// The names of the dumps, or the eight digits in them
    #[arg(required_unless_present = "all")]
    dumps: Vec<String>,

    /// Remove all dumps
    #[arg(long, conflicts_with = "dumps")]
    all: bool,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    spool: ListArgs,

    /// The names of the dumps, or the eight digits in them; without them, all dumps
    dumps: Vec<String>,

    /// Write missing and invalid records again, from what the dumps say
    ///
    /// The time of such a record is that of the file, and annotations are lost.
    #[arg(long)]
    rebuild: bool,
}

/// Runs a command.
///
/// # Errors
/// The spool cannot be used, or standard output cannot be written to.
pub(super) fn run(command: &SpoolCommand) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        SpoolCommand::Ls(args) => list(args),
        SpoolCommand::Show(args) => show_one(args),
        SpoolCommand::Rm(args) => remove(args),
        SpoolCommand::Verify(args) => verify(args),
        SpoolCommand::Clean(args) => clean(args),
    }
}

fn print(text: &str) -> Result<(), Box<dyn Error>> {
    quiet_on_broken_pipe(print::output(text))
}

fn print_json(object: &Value) -> Result<(), Box<dyn Error>> {
    print(&format!("{object:#}\n"))
}

/// Returns a time in UTC, as in 2026-11-30 15:30:00.
fn time_text(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(
        |_| "?".to_owned(),
        |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// Returns a time to the millisecond, as in 2026-11-30T15:30:00.123Z.
fn time_json(time: SystemTime) -> Value {
    jiff::Timestamp::try_from(time)
        .and_then(|time| jiff::Timestamp::from_millisecond(time.as_millisecond()))
        .map_or(Value::Null, |time| time.to_string().into())
}

fn entry_json(entry: &SpoolEntry) -> Value {
    let record = entry.record.as_ref().ok();
    let facts = record.map(|record| &record.facts);
    json!({
        "name": entry.name,
        "path": entry.path.to_string_lossy(),
        "bytes": entry.bytes,
        "time": time_json(facts.map_or(entry.modified, |facts| facts.time)),
        "process": facts.and_then(|facts| facts.process.as_ref()),
        "pid": facts.and_then(|facts| facts.pid),
        "reason": facts.and_then(|facts| facts.reason.as_ref()),
        "signature": facts.and_then(|facts| facts.signature.as_ref()),
        "annotations": facts.map(|facts| &facts.annotations),
        "xxh3": record.map(|record| format!("{:032x}", record.xxh3)),
        "record_problem": entry.record.as_ref().err().map(|reason| format!("its record {reason}")),
        "seen": entry.count.map(|count| count.seen),
        "first_seen": entry.count.map_or(Value::Null, |count| time_json(count.first)),
        "last_seen": entry.count.map_or(Value::Null, |count| time_json(count.last)),
    })
}

fn list(args: &ListArgs) -> Result<ExitCode, Box<dyn Error>> {
    let spool = Spool::open(&args.folder)?;
    let settings = spool.settings();
    let entries = spool.entries()?;
    let bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
    if args.json {
        let seconds = |time: Duration| time.as_secs();
        print_json(&json!({
            "version": JSON_VERSION,
            "folder": args.folder.to_string_lossy(),
            "bytes": bytes,
            "settings": settings.as_ref().ok().map(|settings| json!({
                "keep_count": settings.keep_count,
                "keep_bytes": settings.keep_bytes,
                "keep_age_s": settings.keep_age.map(seconds),
                "keep_free": settings.keep_free,
                "keep_per_signature": settings.keep_per_signature,
                "max_rate": settings.max_rate.map(|rate| rate.to_string()),
                "max_rate_per_signature": settings.max_rate_per_signature.map(|rate| rate.to_string()),
                "signature_frames": settings.signature_frames,
            })),
            "dumps": entries.iter().map(entry_json).collect::<Vec<_>>(),
        }))?;
    } else {
        print(&lines(&entries))?;
    }
    // Dumps would be refused, so the user has to know.
    let settings = settings?;
    if !args.json {
        print(&format!(
            "{}, {} (limits: {}, {})\n",
            counted(entries.len(), "dump"),
            HumanBytes(bytes),
            settings.keep_count,
            HumanBytes(settings.keep_bytes)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns a line for each dump.
fn lines(entries: &[SpoolEntry]) -> String {
    let rows: Vec<[String; 6]> = entries
        .iter()
        .map(|entry| {
            let facts = entry.record.as_ref().map(|record| &record.facts);
            let process = facts.as_ref().ok().and_then(|facts| {
                let process = printable(facts.process.as_deref()?).into_owned();
                Some(
                    facts
                        .pid
                        .map_or_else(|| process.clone(), |pid| format!("{process} {pid}")),
                )
            });
            let reason = match &facts {
                Ok(facts) => facts
                    .reason
                    .as_deref()
                    .map_or_else(|| "-".to_owned(), |reason| printable(reason).into_owned()),
                Err(reason) => format!("(its record {})", printable(reason)),
            };
            [
                time_text(facts.map_or(entry.modified, |facts| facts.time)),
                process.unwrap_or_else(|| "-".to_owned()),
                HumanBytes(entry.bytes).to_string(),
                entry
                    .count
                    .map_or_else(|| "-".to_owned(), |count| format!("seen {}", count.seen)),
                reason,
                entry.name.clone(),
            ]
        })
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..5).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(&row[5]);
        text.push('\n');
    }
    text
}

/// Returns the name of the dump that the user means.
fn find(spool: &Spool, text: &str) -> Result<String, SpoolError> {
    let absent = || SpoolError::Absent {
        name: text.to_owned(),
    };
    spool.find(text)?.ok_or_else(absent)
}

fn show_one(args: &OneArgs) -> Result<ExitCode, Box<dyn Error>> {
    let spool = Spool::open(&args.spool.folder)?;
    let mut entries = spool.entries()?;
    let entry = match &args.dump {
        None => entries.pop().ok_or("the spool has no dumps")?,
        Some(text) => {
            let name = find(&spool, text)?;
            let entry = entries.into_iter().find(|entry| entry.name == name);
            entry.ok_or(SpoolError::Absent { name })?
        }
    };
    if args.spool.json {
        let mut object = entry_json(&entry);
        object["version"] = JSON_VERSION.into();
        print_json(&object)?;
        return Ok(ExitCode::SUCCESS);
    }
    // It is not removed meanwhile.
    let _dump = spool.share(&entry.name)?;
    print(&described(&entry))?;
    show::summarise(&entry.path)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns what is recorded about a dump.
fn described(entry: &SpoolEntry) -> String {
    let mut text = format!(
        "{}: {}\n",
        printable(&entry.path.display().to_string()),
        HumanBytes(entry.bytes)
    );
    match &entry.record {
        Err(reason) => text.push_str(&format!("  its record {}\n", printable(reason))),
        Ok(DumpRecord { facts, xxh3, .. }) => {
            let mut line = |name: &str, value: &str| {
                text.push_str(&format!("  {}: {}\n", printable(name), printable(value)));
            };
            line("time", &format!("{} UTC", time_text(facts.time)));
            if let Some(signature) = &facts.signature {
                line("signature", signature);
            }
            if let Some(count) = entry.count {
                let (first, last) = (time_text(count.first), time_text(count.last));
                line(
                    "seen",
                    &format!("{}, {first} to {last} UTC", counted(count.seen, "time")),
                );
            }
            line("xxh3", &format!("{xxh3:032x}"));
            for (name, value) in &facts.annotations {
                line(name, value);
            }
        }
    }
    text.push('\n');
    text
}

fn remove(args: &RemoveArgs) -> Result<ExitCode, Box<dyn Error>> {
    let spool = Spool::open(&args.folder)?;
    let names = match args.all {
        true => spool.entries()?.into_iter().map(|entry| entry.name).collect(),
        false => args.dumps.clone(),
    };
    let mut status = ExitCode::SUCCESS;
    for text in names {
        let removed = find(&spool, &text).and_then(|name| spool.remove(&name).map(|()| name));
        match removed {
            Ok(name) => print(&format!("{name}: removed\n"))?,
            // Another program was faster.
            Err(SpoolError::Absent { .. }) if args.all => {}
            Err(error) => {
                print::complain(error);
                status = ExitCode::from(FAILED);
            }
        }
    }
    Ok(status)
}

fn clean(args: &ListArgs) -> Result<ExitCode, Box<dyn Error>> {
    let spool = Spool::open(&args.folder)?;
    let cleaned = spool.clean()?;
    if args.json {
        print_json(&json!({
            "version": JSON_VERSION,
            "expired": cleaned.expired,
            "surplus": cleaned.surplus,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for (names, why) in [
        (&cleaned.expired, "too old"),
        (&cleaned.surplus, "beyond the limits"),
    ] {
        for name in names {
            text.push_str(&format!("{name}: removed, {why}\n"));
        }
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn verify(args: &VerifyArgs) -> Result<ExitCode, Box<dyn Error>> {
    let folder = &args.spool.folder;
    let spool = Spool::open(folder)?;
    let names = match args.dumps.is_empty() {
        true => spool.entries()?.into_iter().map(|entry| entry.name).collect(),
        false => {
            let found = args.dumps.iter().map(|text| find(&spool, text));
            found.collect::<Result<Vec<_>, _>>()?
        }
    };
    let mut out = io::stdout().lock();
    let mut results = Vec::new();
    let mut damaged = 0;
    for name in names {
        let Some(examined) = examine(&spool, &name, args.rebuild)? else {
            continue;
        };
        let Examined { problems, is_rebuilt } = examined;
        damaged += usize::from(!problems.is_empty());
        if args.spool.json {
            results.push(json!({ "name": name, "problems": problems, "rebuilt": is_rebuilt }));
            continue;
        }
        let mut text = String::new();
        if is_rebuilt {
            text.push_str(&format!("{name}: its record was written again\n"));
        }
        for problem in &problems {
            text.push_str(&format!("{name}: {}\n", printable(problem)));
        }
        if problems.is_empty() {
            text.push_str(&format!("{name}: ok\n"));
        }
        quiet_on_broken_pipe(out.write_all(text.as_bytes()))?;
    }
    if args.spool.json {
        let object = json!({
            "version": JSON_VERSION,
            "folder": folder.to_string_lossy(),
            "ok": damaged == 0,
            "dumps": results,
        });
        quiet_on_broken_pipe(writeln!(out, "{object:#}"))?;
    }
    Ok(match damaged {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(FAILED),
    })
}

/// What was found out about a dump.
struct Examined {
    /// What is wrong with it.
    problems: Vec<String>,
    /// Whether its record was written again.
    is_rebuilt: bool,
}

/// Checks a dump. Returns `None` if it was removed meanwhile.
fn examine(spool: &Spool, name: &str, rebuild: bool) -> Result<Option<Examined>, Box<dyn Error>> {
    let found = match spool.verify(name) {
        Err(SpoolError::Absent { .. }) => return Ok(None),
        found => found?,
    };
    let path = spool.path().join(name);
    let mut problems = match open_checked(&path) {
        Ok(problems) => problems,
        Err(error) => vec![error.to_string()],
    };
    let lacks_record = matches!(&found[..], [SpoolProblem::Record(_)]);
    let is_rebuilt = lacks_record && rebuild && problems.is_empty();
    if is_rebuilt {
        rebuild_record(spool, name, &path)?;
    } else {
        problems.splice(0..0, found.iter().map(SpoolProblem::to_string));
    }
    Ok(Some(Examined { problems, is_rebuilt }))
}

/// Returns which rules a dump breaks. Warnings are not listed.
fn open_checked(path: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let dump = show::open(path)?;
    // What a partial dump lacks is no damage.
    let found = check_with(&dump, CheckOptions { expect_losses: true })?;
    let errors = found
        .iter()
        .filter(|violation| violation.severity == Level::Error);
    Ok(errors.map(ToString::to_string).collect())
}

fn rebuild_record(spool: &Spool, name: &str, path: &Path) -> Result<(), Box<dyn Error>> {
    let frames = spool.settings()?.signature_frames;
    let dump = Dump::open(path)?;
    let mut facts = facts::of(&dump, frames);
    facts.time = std::fs::metadata(path)?.modified()?;
    spool.describe(name, &facts)?;
    Ok(())
}
