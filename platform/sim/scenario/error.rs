use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Why a text is no scenario: where, what was expected, and what might have been meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioError {
    /// The file, as it was named to the parser.
    pub file: String,
    /// Line, from 1; 0 if the file could not be read at all.
    pub line: usize,
    /// Column in characters, from 1; 0 if the file could not be read at all.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(f, "{}: {}", self.file, self.message);
        }
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

impl std::error::Error for ScenarioError {}

/// The text of a scenario, to tell places in it.
#[derive(Debug)]
pub(super) struct Source {
    file: String,
    text: String,
}

impl Source {
    pub fn new(text: &str, file: &str) -> Arc<Self> {
        Arc::new(Self {
            file: file.to_owned(),
            text: text.to_owned(),
        })
    }

    /// Line and column of a byte offset, both from 1.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )
    }

    pub fn error(&self, span: &Range<usize>, message: impl Into<String>) -> ScenarioError {
        let (line, column) = self.position(span.start);
        ScenarioError {
            file: self.file.clone(),
            line,
            column,
            message: message.into(),
        }
    }
}

/// The name that `wrong` was probably meant to be.
pub(crate) fn nearest<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let limit = (wrong.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| {
            (
                strsim::damerau_levenshtein(&wrong.to_lowercase(), &name.to_lowercase()),
                name,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// `"; did you mean "x"?"`, or what else is known.
pub(super) fn hint<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str> + Clone) -> String {
    if let Some(name) = nearest(wrong, known.clone()) {
        return format!("; did you mean \"{name}\"?");
    }
    let names: Vec<_> = known.into_iter().collect();
    if names.is_empty() {
        String::new()
    } else {
        format!("; known are {}", names.join(", "))
    }
}
