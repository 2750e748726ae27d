use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use dumpwright_target::printable;

/// The number of mistakes that [`TextError`] prints.
pub const SHOWN: usize = 50;

/// A mistake in a text: its position and a message.
///
/// It is displayed on one line, as compilers do: `case.toml:3:8: expected an integer, found the
/// string "small"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub(crate) file: Arc<str>,
    /// `None` if the file could not be read as text.
    pub(crate) place: Option<Place>,
    pub(crate) message: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub line: usize,
    pub column: usize,
    /// The line, or for a long line the part around the mistake.
    pub excerpt: String,
    /// The bytes of the excerpt that the mistake is about.
    pub marked: Range<usize>,
}

impl Mistake {
    /// Returns the name of the file, as given to [`Source`](crate::Source).
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Returns the line, counted from 1, or 0 if the mistake is about the file as a whole.
    #[must_use]
    pub fn line(&self) -> usize {
        self.place.as_ref().map_or(0, |place| place.line)
    }

    /// Returns the column in characters, counted from 1, or 0 if the mistake is about the file as a
    /// whole.
    #[must_use]
    pub fn column(&self) -> usize {
        self.place.as_ref().map_or(0, |place| place.column)
    }

    /// Returns what is wrong, what was expected, and what was probably meant.
    ///
    /// The message is one line without control characters.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the line of the text with its number and with the mistake underlined, or `None` if
    /// the mistake is about the file as a whole.
    ///
    /// Control characters are replaced by visible symbols. A long line is shortened to the part
    /// around the mistake.
    #[must_use]
    pub fn excerpt(&self) -> Option<String> {
        let place = self.place.as_ref()?;
        let snippet = Snippet::source(place.excerpt.as_str())
            .line_start(place.line)
            .annotation(AnnotationKind::Primary.span(place.marked.clone()));
        let group = Group::with_level(Level::ERROR).element(snippet);
        Some(Renderer::plain().render(&[group]))
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            None => write!(f, "{}: {}", self.file, self.message),
            Some(place) => write!(
                f,
                "{}:{}:{}: {}",
                self.file, place.line, place.column, self.message
            ),
        }
    }
}

/// All mistakes of a text that cannot be used.
///
/// It is displayed as each mistake with its excerpt, at most [`SHOWN`] of them, followed by the
/// number of further mistakes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextError {
    mistakes: Vec<Mistake>,
    more: usize,
}

impl TextError {
    /// Creates an error from these mistakes, or returns `None` if there are none.
    #[must_use]
    pub fn new(mistakes: Vec<Mistake>) -> Option<Self> {
        Self::with_more(mistakes, 0)
    }

    /// Creates an error from these mistakes and a number of further mistakes that are only counted.
    pub(crate) fn with_more(mistakes: Vec<Mistake>, more: usize) -> Option<Self> {
        (!mistakes.is_empty()).then_some(Self { mistakes, more })
    }

    /// Creates the error of a file that could not be read as text.
    #[must_use]
    pub fn of_file(file: &str, message: &str) -> Self {
        Self {
            mistakes: vec![Mistake {
                file: printable(file).into(),
                place: None,
                message: printable(message).into_owned(),
            }],
            more: 0,
        }
    }

    /// Returns the mistakes in the order of the text, at least one and at most
    /// [`KEPT`](crate::KEPT).
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// Returns the number of mistakes in the text, including those that are not in
    /// [`mistakes`](Self::mistakes).
    #[must_use]
    pub fn count(&self) -> usize {
        self.mistakes.len() + self.more
    }
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().take(SHOWN).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
            if let Some(excerpt) = mistake.excerpt() {
                write!(f, "\n{excerpt}")?;
            }
        }
        match self.count().saturating_sub(SHOWN) {
            0 => Ok(()),
            1 => f.write_str("\nand one more mistake"),
            more => write!(f, "\nand {more} more mistakes"),
        }
    }
}

impl std::error::Error for TextError {}

/// Returns the first `most` characters of a text, with `…` after them if it is longer.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    fn error(count: usize) -> TextError {
        let source = Source::new("t", "a\n".repeat(count));
        let mistakes = (0..count).map(|line| (2 * line..2 * line + 1, "wrong".to_owned()));
        TextError::new(source.locate(mistakes.collect())).expect("mistakes")
    }

    #[test]
    fn the_display_is_bounded_and_counts_the_rest() {
        for (count, end) in [
            (1, "t:1:1: wrong\n  |\n1 | a\n  | ^"),
            (50, "t:50:1: wrong\n   |\n50 | a\n   | ^"),
            (51, "50 | a\n   | ^\nand one more mistake"),
            (53, "50 | a\n   | ^\nand 3 more mistakes"),
        ] {
            let text = error(count).to_string();
            assert!(text.ends_with(end), "{text:?}");
            assert_eq!(text.matches("wrong").count(), count.min(50));
        }
    }

    #[test]
    fn messages_contain_no_control_characters() {
        assert_eq!(printable("a\u{1b}[31m\n\u{202e}b"), "a\\u{1b}[31m\\n\\u{202e}b");
        let error = TextError::of_file("a\tb", "no\rgood");
        assert_eq!(error.to_string(), "a\\tb: no\\rgood");
        assert_eq!(error.mistakes()[0].excerpt(), None);
    }

    #[test]
    fn long_texts_are_shortened_at_characters() {
        assert_eq!(shorten("äöü", 3), "äöü");
        assert_eq!(shorten("äöü", 2), "äö…");
    }
}
