//! `docs/callbacks.md`: which case shows which question, answer and ending. Made from the transcripts of the cases.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use dumpwright::callback::AskKind;
use dumpwright::protocol::{Entry, Status, Transcript};

use crate::case::{Case, asks_of};

/// Fields that no case changes, with the reason.
const WITHOUT_CASE: &[(AskKind, &str, &str)] = &[
    (
        AskKind::IncludeVmRegion,
        "allocation_base",
        "shown only: the writer does not take it from the answer, and scripts cannot change it",
    ),
    (AskKind::IncludeVmRegion, "allocation_protect", "as above"),
    (
        AskKind::VmQuery,
        "allocation_base",
        "scripts give it in Rust only, with `Script::map`",
    ),
    (AskKind::VmQuery, "allocation_protect", "as above"),
];

/// A field of the answers to a kind of question.
type Field = (AskKind, String);

/// A line of a transcript: the case, the line from 1, the text.
type Line<'c> = (&'c Case, usize, String);

/// What the document says.
pub struct Document<'c> {
    rehearsed: &'c [(Case, Transcript)],
    /// The line that shows each field best: in the case that was made for it, if there is one.
    fields: BTreeMap<Field, Line<'c>>,
}

/// [`WITHOUT_CASE`], as [`Document::without_case`] gives it.
pub fn without_case() -> BTreeSet<Field> {
    let fields = WITHOUT_CASE.iter();
    fields
        .map(|(kind, field, _)| (*kind, (*field).to_owned()))
        .collect()
}

/// The kinds that a script has rules for.
fn kinds_of(case: &Case) -> BTreeSet<AskKind> {
    let script = case.script().unwrap_or_default();
    let names = asks_of(case, &script);
    AskKind::ALL
        .into_iter()
        .filter(|kind| names.contains(kind.name()))
        .collect()
}

/// What an entry shows: what was returned, and the fields that the answer changed.
fn shown(entry: &Entry) -> Vec<String> {
    let said = match entry.ret {
        Some(true) => "return TRUE",
        Some(false) => "return FALSE",
        None => return Vec::new(),
    };
    let changed = entry
        .out
        .iter()
        .filter(|(name, value)| entry.pre.get(name) != Some(*value));
    changed
        .map(|(name, _)| name.to_owned())
        .chain([said.to_owned()])
        .collect()
}

impl<'c> Document<'c> {
    pub fn of(rehearsed: &'c [(Case, Transcript)]) -> Self {
        let mut fields: BTreeMap<Field, Line<'c>> = BTreeMap::new();
        // First the cases with a rule for the kind, then whatever there is.
        for by_rule in [true, false] {
            for (case, transcript) in rehearsed {
                let kinds = kinds_of(case);
                for entry in &transcript.entries {
                    if by_rule && !kinds.contains(&entry.ask) {
                        continue;
                    }
                    for field in shown(entry) {
                        let line = || (case, entry.n + 1, entry.to_string());
                        fields.entry((entry.ask, field)).or_insert_with(line);
                    }
                }
            }
        }
        Self { rehearsed, fields }
    }

    /// Every answer and every field that stands in a question's slot, but that no case gives or changes.
    pub fn without_case(&self) -> BTreeSet<Field> {
        let mut all = BTreeSet::new();
        for kind in AskKind::ALL {
            all.extend(["return TRUE", "return FALSE"].map(|said| (kind, said.to_owned())));
        }
        for entry in self
            .rehearsed
            .iter()
            .flat_map(|(_, transcript)| &transcript.entries)
        {
            all.extend(entry.pre.iter().map(|(name, _)| (entry.ask, name.to_owned())));
        }
        all.retain(|field| !self.fields.contains_key(field));
        all
    }

    /// The document.
    pub fn text(&self) -> String {
        let mut text = String::from(
            "# The callback questions, and the cases that show them\n\n\
             Made by `cargo xtask bless` from the transcripts in `testdata/cases`, and held against them by `tests/cases.rs`. A case\n\
             is a folder there: `case.toml` says what is done (`about`, `type`, `profile`, the case whose `scenario` is used, the `ending`, whether\n\
             the dump is `whole`, whether the script is also tried on a `live` process), `script.toml` [answers](script.md),\n\
             `scenario.toml` is the [process](scenario.md). `transcript.jsonl`, `dump.dmp` and `listing.txt` are what comes of it.\n\n\
             ## By question\n\n\
             | type | question | cases on simulated processes | of them also on a live one | a line of a transcript |\n|---|---|---|---|---|\n",
        );
        for kind in AskKind::ALL {
            self.question(&mut text, kind);
        }
        text.push_str(
            "\n## By field of the answer\n\nThe first line that shows it; behind `->` stands what the answer changed.\n\n\
             | question | field | case | line |\n|---|---|---|---|\n",
        );
        for ((kind, field), line) in &self.fields {
            let _ = writeln!(
                text,
                "| {} | {field} | {} | {} |",
                kind.name(),
                link(line),
                code(&line.2)
            );
        }
        for (kind, field, reason) in WITHOUT_CASE {
            let _ = writeln!(text, "| {} | {field} | none | {reason} |", kind.name());
        }
        text.push_str(
            "\n## By ending\n\n| ending | case | what it shows | the last question |\n|---|---|---|---|\n",
        );
        for status in [Status::Failed, Status::Partial, Status::Complete] {
            self.endings(&mut text, status);
        }
        text
    }

    fn question(&self, text: &mut String, kind: AskKind) {
        let cases: Vec<&Case> = self
            .rehearsed
            .iter()
            .map(|(case, _)| case)
            .filter(|case| kinds_of(case).contains(&kind))
            .collect();
        let names = |cases: &mut dyn Iterator<Item = &&Case>| -> String {
            let names: Vec<_> = cases.map(|case| case.name.as_str()).collect();
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        };
        let simulated = names(&mut cases.iter());
        let live = names(&mut cases.iter().filter(|case| case.facts.live));
        // What was changed tells more than what was returned.
        let fields = || self.fields.iter().filter(|((asked, _), _)| *asked == kind);
        let line = fields()
            .find(|((_, field), _)| !field.starts_with("return"))
            .or_else(|| fields().next())
            .map_or("see below".to_owned(), |(_, line)| {
                format!("{}: {}", link(line), code(&line.2))
            });
        let _ = writeln!(
            text,
            "| {} | {} | {simulated} | {live} | {line} |",
            kind as u32,
            kind.name()
        );
    }

    fn endings(&self, text: &mut String, status: Status) {
        for (case, transcript) in self
            .rehearsed
            .iter()
            .filter(|(case, _)| case.facts.ending == status)
        {
            let result = transcript.result.as_ref().expect("the end is recorded");
            let last = transcript.entries.last().expect("something is asked");
            let line = (case, last.n + 1, String::new());
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                code(&result.to_string()),
                link(&line),
                case.facts.about,
                code(&last.to_string())
            );
        }
    }
}

fn link((case, line, _): &Line<'_>) -> String {
    let name = &case.name;
    format!("[{name}:{line}](../testdata/cases/{name}/transcript.jsonl#L{line})")
}

/// As code in a cell of a table, where a bar would begin the next one. Long bytes are cut.
fn code(text: &str) -> String {
    const MOST: usize = 240;
    let cut = match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    };
    format!("`{}`", cut.replace('|', "\\|"))
}
