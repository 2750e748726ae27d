//! `docs/callbacks.md`: which case shows which question, answer and ending. Made from the transcripts of the cases.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use dumpwright::callback::AskKind;
use dumpwright::protocol::{Entry, Status, Transcript};

use crate::case::{Case, asks_of};

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
        text.push_str(
            "\n## By ending\n\n| ending | case | what it shows | the last question |\n|---|---|---|---|\n",
        );
        for status in [Status::Failed, Status::Partial, Status::Complete] {
            self.endings(&mut text, status);
        }
        text
    }

    /// The table in the README: a case for each question, and the line that shows it best.
    pub fn summary(&self) -> String {
        const MOST_CASES: usize = 1;
        const MOST_LETTERS: usize = 90;
        let mut text =
            "| | question | simulated | live | in a transcript |\n|---|---|---|---|---|\n".to_owned();
        for kind in AskKind::ALL {
            let cases = self.cases_of(kind);
            let some = |cases: Vec<&Case>| {
                let link = |case: &&Case| format!("[{0}](testdata/cases/{0})", case.name);
                let more = match cases.len().saturating_sub(MOST_CASES) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                let links: Vec<_> = cases.iter().take(MOST_CASES).map(link).collect();
                format!("{}{more}", links.join(", "))
            };
            let live = cases.iter().copied().filter(|case| case.facts.live).collect();
            let line = self
                .best_line(kind)
                .map_or_else(String::new, |line| cut_code(&line.2, MOST_LETTERS));
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {line} |",
                kind as u32,
                kind.name(),
                some(cases),
                some(live)
            );
        }
        text
    }

    /// The cases that have rules for this question.
    fn cases_of(&self, kind: AskKind) -> Vec<&Case> {
        let cases = self.rehearsed.iter().map(|(case, _)| case);
        cases.filter(|case| kinds_of(case).contains(&kind)).collect()
    }

    /// The line that shows a question best: what was changed tells more than what was returned.
    fn best_line(&self, kind: AskKind) -> Option<&Line<'_>> {
        let fields = || self.fields.iter().filter(|((asked, _), _)| *asked == kind);
        let changed = fields().find(|((_, field), _)| !field.starts_with("return"));
        changed.or_else(|| fields().next()).map(|(_, line)| line)
    }

    fn question(&self, text: &mut String, kind: AskKind) {
        let cases = self.cases_of(kind);
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
        let line = self.best_line(kind).map_or("see below".to_owned(), |line| {
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
    cut_code(text, 240)
}

fn cut_code(text: &str, most: usize) -> String {
    let cut = match text.char_indices().nth(most) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    };
    format!("`{}`", cut.replace('|', "\\|"))
}
