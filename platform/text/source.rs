use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use dumpwright_target::printable;
use toml::de::DeTable;

use crate::error::{Mistake, Place, TextError, shorten};
use crate::{Fields, Mistakes, Parsed};

/// The size in bytes of the largest file that is read. Scenarios of whole processes have some
/// hundred kilobytes.
const LARGEST: u64 = 256 << 20;

/// The size in bytes of the largest TOML text. The parser needs up to 100 bytes of memory for each
/// byte of the text.
const LARGEST_TOML: usize = 8 << 20;

/// The size in bytes of the largest text whose syntax errors are all reported. For larger texts
/// only the first one is reported.
///
/// The parser creates up to three errors of 100 bytes each for every two bytes of a text.
const ALL_SYNTAX: usize = 256 << 10;

/// The length in characters of the longest message.
const LONGEST_MESSAGE: usize = 2000;

/// The number of characters that an excerpt shows on each side of the start of a mistake, which is
/// more than a terminal shows.
const AROUND: usize = 200;

/// A text and the name of its file.
#[derive(Debug)]
pub struct Source {
    file: Arc<str>,
    text: String,
    /// The offset of each line; computed when a position is first needed.
    lines: OnceLock<Vec<usize>>,
}

impl Source {
    /// Creates a source. `file` is its name in messages.
    #[must_use]
    pub fn new(file: &str, text: impl Into<String>) -> Self {
        Self {
            file: printable(file).into(),
            text: text.into(),
            lines: OnceLock::new(),
        }
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// The file is not a regular file, cannot be read, is larger than 256 MiB, or is not UTF-8.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, TextError> {
        let path = path.as_ref();
        let file = path.display().to_string();
        let failed = |error: io::Error| TextError::of_file(&file, &format!("cannot be read: {error}"));
        // Opening a pipe would block, and a device may have no end.
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(TextError::of_file(&file, "is not a regular file"));
        }
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|open| open.take(LARGEST + 1).read_to_end(&mut bytes))
            .map_err(failed)?;
        if bytes.len() as u64 > LARGEST {
            let message = format!("is too large: the limit is {} MiB", LARGEST >> 20);
            return Err(TextError::of_file(&file, &message));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(&file, text)),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let mut bytes = error.into_bytes();
                let byte = bytes[valid];
                bytes.truncate(valid);
                let before = Self::new(&file, String::from_utf8(bytes).unwrap_or_default());
                let message = format!("expected UTF-8, found the byte {byte:#04x}");
                Err(before.error(valid..valid, message))
            }
        }
    }

    /// Returns the name of the file in messages.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Returns the whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Reads the text as a TOML table. `what` is the name of the table in messages, as in "a
    /// script", and `known` are its keys.
    ///
    /// # Errors
    /// The error contains every mistake that `read` reported, and every unknown key.
    ///
    /// A text of more than 8 MiB is refused.
    ///
    /// If the text is not TOML, the error contains only syntax errors, at most one per line. If the
    /// text is longer than 256 KiB, it contains only the first syntax error.
    pub fn read<T>(
        &self,
        what: &'static str,
        known: &[&str],
        read: impl FnOnce(&Fields<'_>) -> Parsed<T>,
    ) -> Result<T, TextError> {
        if self.text.len() > LARGEST_TOML {
            let message = format!("is too large: the limit is {} MiB", LARGEST_TOML >> 20);
            return Err(TextError::of_file(&self.file, &message));
        }
        let document = DeTable::parse(&self.text).map_err(|first| self.syntax(first))?;
        let mistakes = Mistakes::new(self);
        let root = Fields::new(document.get_ref(), document.span(), &mistakes, what, known);
        let outcome = read(&root);
        match mistakes.finish() {
            Some(error) => Err(error),
            None => Ok(outcome.expect("a failed read has reported a mistake")),
        }
    }

    /// Returns the syntax errors of a text that is not TOML.
    fn syntax(&self, first: toml::de::Error) -> TextError {
        let errors = if self.text.len() <= ALL_SYNTAX {
            DeTable::parse_recoverable(&self.text).1
        } else {
            vec![first]
        };
        let mistakes = Mistakes::new(self);
        let mut errors: Vec<_> = errors
            .iter()
            .map(|error| (error.span().unwrap_or(0..0), error.message()))
            .collect();
        errors.sort_by_key(|(span, _)| span.start);
        // Further errors on a line usually have the same cause.
        errors.dedup_by_key(|(span, _)| self.line(span.start));
        for (span, message) in errors {
            // This is the parser's message for `key =` without a value.
            if span.is_empty() && message.starts_with("string values must be quoted") {
                mistakes.report(span, "expected a value");
            } else {
                mistakes.report(span, message.lines().collect::<Vec<_>>().join(", "));
            }
        }
        mistakes.finish().expect("the parser found an error")
    }

    /// Returns the error of a single mistake at these bytes.
    #[must_use]
    pub fn error(&self, span: Range<usize>, message: impl Into<String>) -> TextError {
        let mistakes = self.locate(vec![(span, message.into())]);
        TextError::new(mistakes).expect("there is one")
    }

    /// Returns the line of a byte, counted from 1.
    #[must_use]
    pub fn line(&self, offset: usize) -> usize {
        self.lines().partition_point(|start| *start <= offset)
    }

    /// Converts byte ranges with messages into mistakes, in the order of the text. Duplicates are
    /// removed.
    #[must_use]
    pub fn locate(&self, mut found: Vec<(Range<usize>, String)>) -> Vec<Mistake> {
        found.sort_by_key(|(span, _)| span.start);
        let mut mistakes: Vec<Mistake> = Vec::with_capacity(found.len());
        // Columns are counted from the previous mistake, so that many mistakes on one long line
        // cost only one pass over it.
        let (mut line, mut counted, mut column) = (0, 0, 1);
        // The messages at the current position.
        let (mut here_at, mut here) = (usize::MAX, Vec::new());
        for (span, message) in found {
            let start = self.boundary(span.start);
            let this = self.line(start);
            if this != line {
                (line, counted, column) = (this, self.lines()[this - 1], 1);
            }
            column += self.text[counted..start].chars().count();
            counted = start;
            if here_at != start {
                here_at = start;
                here.clear();
            }
            if here.contains(&message) {
                continue;
            }
            here.push(message.clone());
            let (excerpt, marked) = self.excerpt(line, start, span.end);
            mistakes.push(Mistake {
                file: self.file.clone(),
                place: Some(Place {
                    line,
                    column,
                    excerpt,
                    marked,
                }),
                message: printable(&shorten(&message, LONGEST_MESSAGE)).into_owned(),
            });
        }
        mistakes
    }

    fn lines(&self) -> &[usize] {
        self.lines.get_or_init(|| {
            let ends = self.text.match_indices('\n');
            [0].into_iter().chain(ends.map(|(at, _)| at + 1)).collect()
        })
    }

    /// Returns the part of a line around a mistake, and the bytes of the mistake in that part.
    fn excerpt(&self, line: usize, start: usize, end: usize) -> (String, Range<usize>) {
        let line_start = self.lines()[line - 1];
        let line_end = self.lines().get(line).map_or(self.text.len(), |next| next - 1);
        let left = &self.text[line_start..start.min(line_end)];
        let right = &self.text[start.min(line_end)..line_end];
        let right = right.strip_suffix('\r').unwrap_or(right);
        let first = left.char_indices().rev().take(AROUND).last();
        let left = &left[first.map_or(left.len(), |(at, _)| at)..];
        let cut = right.char_indices().nth(AROUND);
        let right = &right[..cut.map_or(right.len(), |(at, _)| at)];
        let end = self.boundary(end).clamp(start, start + right.len());
        (format!("{left}{right}"), left.len()..left.len() + (end - start))
    }

    /// Returns the character boundary at or before an offset.
    fn boundary(&self, offset: usize) -> usize {
        let mut at = offset.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn positions_are_lines_and_characters() {
        let source = Source::new("t", "ab\näöü x\n\nend");
        let at = |offset| {
            let mistake = source.error(offset..offset + 1, "no").mistakes()[0].clone();
            (mistake.line(), mistake.column())
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(2), (1, 3), "the line break belongs to the line before it");
        assert_eq!(at(3), (2, 1));
        assert_eq!(at(8), (2, 3), "inside of ü");
        assert_eq!(at(10), (2, 5));
        assert_eq!(at(12), (3, 1));
        assert_eq!(at(99), (4, 4), "after the end");
        assert_eq!(
            Source::new("t", "").error(0..0, "empty").to_string(),
            "t:1:1: empty\n  |\n1 |\n  | ^"
        );
    }

    #[test]
    fn mistakes_are_sorted_and_duplicates_removed() {
        let source = Source::new("t", "one two three");
        let found = vec![
            (4..7, "b".to_owned()),
            (8..13, "c".to_owned()),
            (4..7, "a".to_owned()),
            (0..3, "a".to_owned()),
            (4..7, "b".to_owned()),
        ];
        let all: Vec<_> = source.locate(found).iter().map(ToString::to_string).collect();
        assert_eq!(all, ["t:1:1: a", "t:1:5: b", "t:1:5: a", "t:1:9: c"]);
    }

    #[test]
    fn excerpts_are_of_one_line_and_short() {
        let source = Source::new(
            "t",
            format!("{} here {}\r\nnext", "a".repeat(5000), "b".repeat(5000)),
        );
        let excerpt = source.error(5001..5005, "no").mistakes()[0].excerpt().unwrap();
        assert!(excerpt.len() < 500, "{excerpt}");
        let [_, line, marks] = excerpt.lines().collect::<Vec<_>>()[..] else {
            panic!("{excerpt}")
        };
        assert_eq!(line.find(" here ").map(|at| at + 1), marks.find("^^^^"));
        assert!(marks.ends_with(" ^^^^"), "{marks}");
        // A mistake that spans several lines is underlined on the first one.
        let source = Source::new("t", "a = [\r\n1,\r\n2]");
        let excerpt = source.error(4..14, "no").mistakes()[0].excerpt().unwrap();
        assert_eq!(excerpt, "  |\n1 | a = [\n  |     ^");
        // An excerpt contains no control characters that would move the terminal's cursor.
        let source = Source::new("t", "a\u{1b}[2Jb");
        assert!(!source.error(0..1, "no").to_string().contains('\u{1b}'));
    }

    #[test]
    fn the_first_syntax_error_of_each_line_is_reported() {
        let text = "a = \nb = 1\nb = 2\nc = 1 2 3\n= 5\nd = 1\n";
        let error = Source::new("t", text)
            .read("a text", &["a"], |_| Ok(()))
            .unwrap_err();
        let lines: Vec<_> = error.mistakes().iter().map(Mistake::line).collect();
        assert_eq!(lines, [1, 3, 4, 5], "{error}");
        assert_eq!(error.mistakes()[0].to_string(), "t:1:5: expected a value");
    }

    #[test]
    fn errors_of_files_that_are_not_text_name_the_file() {
        let folder = std::env::temp_dir().join(format!("dumpwright-text-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("latin1.toml");
        std::fs::write(&path, b"a = 1\nb = \"\xe4\"\n").unwrap();
        let error = Source::load(&path).unwrap_err();
        std::fs::remove_dir_all(&folder).unwrap();
        let mistake = &error.mistakes()[0];
        assert_eq!((mistake.line(), mistake.column()), (2, 6));
        assert_eq!(mistake.message(), "expected UTF-8, found the byte 0xe4");
        let error = Source::load(&path).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("{}: cannot be read: ", path.display())),
            "{error}"
        );
        assert_eq!((error.mistakes()[0].line(), error.mistakes()[0].column()), (0, 0));
    }

    #[test]
    fn what_is_no_regular_file_is_refused_before_it_is_opened() {
        // To read it would have no end.
        for path in ["/dev/zero", "/"] {
            let error = Source::load(path).unwrap_err();
            assert_eq!(error.to_string(), format!("{path}: is not a regular file"));
        }
    }

    #[test]
    fn toml_has_a_limit() {
        let text = |size: usize| {
            let mut text = "a = 1\n".to_owned();
            text.extend(std::iter::repeat_n('#', size - text.len()));
            Source::new("t", text)
        };
        let read = |source: Source| source.read("a table", &["a"], |_| Ok(()));
        read(text(LARGEST_TOML)).unwrap();
        let error = read(text(LARGEST_TOML + 1)).unwrap_err();
        assert_eq!(error.to_string(), "t: is too large: the limit is 8 MiB");
    }

    proptest! {
        #[test]
        fn every_span_of_every_text_has_a_place_and_an_excerpt(
            text in "[a-zä漢\\r\\n\\t\u{1b} ]{0,300}",
            start in 0..400_usize,
            len in 0..400_usize,
        ) {
            let source = Source::new("t", text.clone());
            let error = source.error(start..start + len, "no");
            let mistake = &error.mistakes()[0];
            let before: Vec<_> = text.char_indices().filter(|(at, c)| at + c.len_utf8() <= start).map(|(_, c)| c).collect();
            prop_assert_eq!(mistake.line(), before.iter().filter(|c| **c == '\n').count() + 1);
            prop_assert_eq!(mistake.column(), before.iter().rev().take_while(|c| **c != '\n').count() + 1);
            prop_assert!(mistake.excerpt().unwrap().contains('^'));
        }
    }
}
