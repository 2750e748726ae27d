use std::fmt;
use std::ops::Range;

/// Why a text is no script, or could not be obeyed: where, what was expected, and what might have been meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptError {
    /// The file, as it was named to the parser.
    pub file: String,
    /// Line, from 1; 0 if the file could not be read at all.
    pub line: usize,
    /// Column in characters, from 1; 0 if the file could not be read at all.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(f, "{}: {}", self.file, self.message);
        }
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

impl std::error::Error for ScriptError {}

/// The text of a script, to tell places in it.
#[derive(Debug)]
pub(super) struct Source<'t> {
    pub file: &'t str,
    pub text: &'t str,
}

impl Source<'_> {
    pub fn error(&self, span: &Range<usize>, message: impl Into<String>) -> ScriptError {
        let (line, column) = self.position(span.start);
        ScriptError {
            file: self.file.to_owned(),
            line,
            column,
            message: message.into(),
        }
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
}

/// `; did you mean "x"?`, or the known names if there are few.
pub(super) fn hint<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    const FEW: usize = 12;
    let known: Vec<_> = known.into_iter().collect();
    let wrong = wrong.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&wrong, &name.to_lowercase());
    let nearest = known.iter().map(|name| (distance(name), *name)).min();
    let limit = (wrong.chars().count() / 3).max(1);
    match nearest {
        Some((distance, name)) if distance <= limit => format!("; did you mean \"{name}\"?"),
        Some(_) if known.len() <= FEW => format!("; known are {}", known.join(", ")),
        _ => String::new(),
    }
}
