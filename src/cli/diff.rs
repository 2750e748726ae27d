//! `dumpwright diff`: compares two dumps.

mod memory;
mod parts;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use self::parts::{DumpPart, parts};
use super::print::printable;
use super::result::counted;
use super::show::open;
use super::{FAILED, JSON_VERSION, USAGE, print};

/// The end of the help of `dumpwright diff`.
pub(super) const EXAMPLES: &str = "\
Examples:
  What has changed between two dumps of a process?
      dumpwright diff before.dmp after.dmp
  Is a compressed dump the same as the plain one?
      dumpwright diff plain.dmp compressed.dmp.zst && echo same";

/// The most lines that are printed without `--all`.
const SCREEN: usize = 40;
/// The longest value that is printed.
const LONGEST: usize = 60;

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// The first dump, A
    a: PathBuf,

    /// The second dump, B
    b: PathBuf,

    /// Print all differences, not only the first ones of each part
    #[arg(long)]
    all: bool,

    /// Print one JSON object with all differences
    ///
    /// docs/json.md describes the object.
    #[arg(long, conflicts_with = "all")]
    json: bool,
}

/// A difference between two dumps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct DumpDifference {
    /// Whether only one of the dumps has it.
    kind: DifferenceKind,
    /// What differs: a thread, a module, a stream, a range.
    key: String,
    /// The field that differs.
    field: Option<String>,
    /// The value in A.
    a: Option<String>,
    /// The value in B.
    b: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum DifferenceKind {
    OnlyInA,
    OnlyInB,
    Differs,
}

/// The differences in one part of two dumps.
#[derive(Serialize)]
struct PartDifferences {
    name: &'static str,
    differences: Vec<DumpDifference>,
}

/// Prints how two dumps differ. The exit status is 0 if they are the same, 1 if they differ, and 2
/// if they cannot be compared.
pub(super) fn run(args: &DiffArgs) -> ExitCode {
    match compare(args) {
        Ok(is_same) => ExitCode::from(if is_same { 0 } else { FAILED }),
        Err(error) => {
            print::complain(error);
            ExitCode::from(USAGE)
        }
    }
}

fn compare(args: &DiffArgs) -> Result<bool, Box<dyn std::error::Error>> {
    let (a, b) = (open(&args.a)?, open(&args.b)?);
    let mut found: Vec<_> = differences(parts(&a)?, parts(&b)?);
    found.push(PartDifferences {
        name: "memory",
        differences: memory::differences(&a, &b)?,
    });
    found.retain(|part| !part.differences.is_empty());
    let is_same = found.is_empty();
    let text = match args.json {
        true => format!(
            "{:#}\n",
            serde_json::json!({
                "version": JSON_VERSION,
                "a": args.a.to_string_lossy(),
                "b": args.b.to_string_lossy(),
                "same": is_same,
                "parts": found,
            })
        ),
        false => text(args, &found),
    };
    match print::output(&text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}").into())
        }
        _ => Ok(is_same),
    }
}

/// Compares the parts of two dumps, which are in the same order.
fn differences(a: Vec<DumpPart>, b: Vec<DumpPart>) -> Vec<PartDifferences> {
    let pairs = a.into_iter().zip(b);
    let compared = pairs.map(|(a, b)| {
        let keys: BTreeSet<_> = a.entries.keys().chain(b.entries.keys()).collect();
        let mut differences = Vec::new();
        for key in keys {
            match (a.entries.get(key), b.entries.get(key)) {
                (Some(left), Some(right)) => {
                    let fields: BTreeSet<_> = left.keys().chain(right.keys()).collect();
                    differences.extend(fields.into_iter().filter_map(|field| {
                        let (left, right) = (left.get(field), right.get(field));
                        (left != right).then(|| DumpDifference {
                            kind: DifferenceKind::Differs,
                            key: key.text.clone(),
                            field: Some(field.clone()),
                            a: left.cloned(),
                            b: right.cloned(),
                        })
                    }));
                }
                (left, _) => differences.push(DumpDifference {
                    kind: match left {
                        Some(_) => DifferenceKind::OnlyInA,
                        None => DifferenceKind::OnlyInB,
                    },
                    key: key.text.clone(),
                    field: None,
                    a: None,
                    b: None,
                }),
            }
        }
        PartDifferences {
            name: a.name,
            differences,
        }
    });
    compared.collect()
}

fn text(args: &DiffArgs, found: &[PartDifferences]) -> String {
    let name = |path: &PathBuf| printable(&path.display().to_string()).into_owned();
    let (a, b) = (name(&args.a), name(&args.b));
    if found.is_empty() {
        return format!("{a} and {b} have the same contents\n");
    }
    let mut text = format!("A  {a}\nB  {b}\n");
    // A screen has the two names, a heading for each part, and the last line.
    let most = match args.all {
        true => usize::MAX,
        false => (SCREEN.saturating_sub(3 + found.len()) / found.len()).max(1),
    };
    for part in found {
        let count = counted(part.differences.len(), "difference");
        let _ = writeln!(text, "{}: {count}", part.name);
        for difference in part.differences.iter().take(most) {
            let _ = writeln!(text, "  {}", line(part.name, difference));
        }
    }
    if found.iter().any(|part| part.differences.len() > most) {
        text.push_str("--all prints all differences\n");
    }
    text
}

fn line(part: &str, difference: &DumpDifference) -> String {
    let DumpDifference {
        kind,
        key,
        field,
        a,
        b,
        ..
    } = difference;
    let value = |value: &Option<String>| {
        let value = value.as_deref().unwrap_or("nothing");
        let mut short: String = value.chars().take(LONGEST).collect();
        if short.len() < value.len() {
            short.push('…');
        }
        printable(&short).into_owned()
    };
    let key = match key == part {
        // The part has only one entry, with the name of the part.
        true => "".into(),
        false => printable(key),
    };
    match kind {
        DifferenceKind::OnlyInA if key.is_empty() => "only in A".to_owned(),
        DifferenceKind::OnlyInB if key.is_empty() => "only in B".to_owned(),
        DifferenceKind::OnlyInA => format!("only in A  {key}{}", size(a)),
        DifferenceKind::OnlyInB => format!("only in B  {key}{}", size(b)),
        DifferenceKind::Differs => {
            let field = field.as_deref().unwrap_or_default();
            let what = [&*key, &*printable(field)].join(" ");
            let what = what.trim();
            match a.is_none() && b.is_none() {
                true => format!("differs    {what}"),
                false => format!("{what}: {} -> {}", value(a), value(b)),
            }
        }
    }
}

fn size(value: &Option<String>) -> String {
    value
        .as_ref()
        .map_or_else(String::new, |value| format!(" ({})", printable(value)))
}
