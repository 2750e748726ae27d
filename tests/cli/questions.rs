//! The examples of `docs/questions.md`, run as the page says.
//!
//! Would catch: a callback type without a section or an example; an example that is not a valid
//! script, or whose dialogue or result is not the one on the page; an example in which the linter
//! finds a mistake that the page does not show.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::Command;

use dumpwright::callback::AskKind;

use crate::attempt::{Folder, Outcome};
use crate::documents::blocks;
use crate::support::dumper::dumpwright;
use crate::support::repository;

/// The folder of the case in which the examples run.
const CASE: &str = "my-case";

/// Writes the files of an example into the case. The first line of each block names its file.
fn write_files(folder: &Folder, section: &str) -> Result<(), String> {
    for (_, text) in blocks(section, "toml") {
        let first = text.lines().next().unwrap_or_default();
        let name = first
            .trim_start_matches("# ")
            .split(':')
            .next()
            .unwrap_or_default();
        let path = folder.file(CASE).join(name);
        if !path.is_file() {
            return Err(format!("the first line of a block names no file: {first:?}"));
        }
        // Tables are added to the scenario. The other files are replaced.
        let is_added = name == "scenario.toml";
        let mut file = OpenOptions::new()
            .write(true)
            .append(is_added)
            .truncate(!is_added)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
    Ok(())
}

/// Whether a line of the output is the one on the page, where an ellipsis stands for any text.
fn is_line(expected: &str, found: &str) -> bool {
    let pieces: Vec<_> = expected.split("...").collect();
    let [first, middle @ .., last] = &pieces[..] else {
        return expected == found;
    };
    let rest = found.strip_prefix(first);
    let rest = middle
        .iter()
        .fold(rest, |rest, piece| Some(rest?.split_once(piece)?.1));
    rest.is_some_and(|rest| rest.ends_with(last))
}

/// Runs the example of a section, and compares the output with the lines on the page.
fn run_example(kind: AskKind, section: &str) -> Result<(), String> {
    let sessions = blocks(section, "text");
    let [(_, session)] = &sessions[..] else {
        return Err(format!("{} blocks of output", sessions.len()));
    };
    let (command, expected) = session.split_once('\n').unwrap_or_default();
    let arguments = command
        .strip_prefix("$ dumpwright ")
        .ok_or_else(|| format!("not a command: {command:?}"))?;
    let folder = Folder::new();
    let run = |arguments: &str| {
        let mut program: Command = dumpwright();
        program.args(arguments.split(' ')).current_dir(folder.path());
        Outcome::of(&mut program)
    };
    run(&format!("new-case {CASE}")).expect(0);
    write_files(&folder, section)?;
    let outcome = run(arguments);
    let printed = String::from_utf8_lossy(&outcome.stdout).into_owned();
    let all = format!("{command}\n{printed}{}", outcome.stderr);

    let mut lines = printed.lines();
    for wanted in expected.lines().filter(|line| *line != "...") {
        if !lines.any(|line| is_line(wanted, line)) {
            return Err(format!("there is no line {wanted:?} in its place:\n{all}"));
        }
    }
    let answered = format!("{} ", kind.name());
    if !expected
        .lines()
        .any(|line| line.starts_with(&answered) && line.contains(" -> "))
    {
        return Err(format!("the page shows no answer to it:\n{all}"));
    }
    // A reader must not learn a mistake, unless the page shows what the linter says about it.
    let unexpected = printed
        .lines()
        .filter(|line| line.starts_with("lint: "))
        .find(|line| !expected.lines().any(|wanted| is_line(wanted, line)));
    match unexpected {
        Some(finding) => Err(format!("the page does not show: {finding}")),
        None => Ok(()),
    }
}

#[test]
fn each_callback_type_has_a_section_and_its_example_works() {
    let page = fs::read_to_string(repository().join("docs/questions.md")).unwrap();
    let sections: Vec<_> = page
        .split("\n## ")
        .skip(1)
        .map(|section| section.split_once('\n').unwrap())
        .collect();
    let mut failed = Vec::new();
    for kind in AskKind::ALL {
        let Some((_, section)) = sections.iter().find(|(heading, _)| *heading == kind.name()) else {
            failed.push(format!("{} has no section", kind.name()));
            continue;
        };
        let number = format!("\nNumber {}. ", kind as u32);
        if !section.starts_with(&number) {
            failed.push(format!(
                "{}: the section does not begin with{number}",
                kind.name()
            ));
        }
        for part in ["**When.**", "**Answer.**"] {
            if !section.contains(part) {
                failed.push(format!("{}: no paragraph {part}", kind.name()));
            }
        }
        if let Err(reason) = run_example(kind, section) {
            failed.push(format!("{}: {reason}", kind.name()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    // Besides the callback types, there is a section about the examples.
    assert_eq!(sections.len(), AskKind::ALL.len() + 1);
}
