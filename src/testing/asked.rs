//! Checks which questions were asked.

use std::fmt::Write as _;

use super::Rehearsal;
use super::reproduce;

/// A step of an expected dialogue.
#[derive(Debug, Clone, Copy)]
pub enum ExpectedStep {
    /// `..`: any number of questions, or none.
    Anything,
    /// A question that contains these words.
    Question(&'static str),
}

/// Asserts which questions a rehearsed callback was asked, and how it answered them.
///
/// Each question is written as in the dialogue's listing, with only the words that matter:
/// `"IncludeThread"`, `"IncludeThread thread=8"`, `"IncludeThread thread=8 -> FALSE"`,
/// `"Memory -> TRUE size=256"`. `..` stands for any number of questions, or none. Without `..` at
/// the end, no further question may follow.
///
/// ```
/// use dumpwright::testing::{SimProcess, assert_asked, rehearse};
/// use dumpwright::Ask;
///
/// let rehearsal = rehearse(|_: Ask<'_>| true).on(SimProcess::new(1000));
/// assert_asked!(
///     rehearsal,
///     "IsProcessSnapshot", "VmStart", "IoStart", ..,
///     "RemoveMemory", "WriteKernelMinidump -> TRUE",
/// );
/// ```
///
/// # Panics
/// If the questions do not match. The message shows how far they match, the whole dialogue, and the
/// command that runs this test alone.
#[macro_export]
macro_rules! assert_asked {
    ($rehearsal:expr $(, $step:tt)* $(,)?) => {
        $crate::testing::assert_asked(&$rehearsal, &[$($crate::assert_asked!(@step $step)),*])
    };
    (@step ..) => { $crate::testing::ExpectedStep::Anything };
    (@step $words:literal) => { $crate::testing::ExpectedStep::Question($words) };
}

/// Implements [`assert_asked!`](crate::assert_asked!).
#[track_caller]
pub fn assert_asked(rehearsal: &Rehearsal, steps: &[ExpectedStep]) {
    let lines: Vec<_> = rehearsal
        .dialogue()
        .entries
        .iter()
        .map(ToString::to_string)
        .collect();
    if let Err(mismatch) = compare(steps, &lines) {
        panic!("{}\n{}", mismatch.text(steps, &lines), reproduce::how(false));
    }
}

/// Whether a line of a dialogue contains these words in this order. The first word must be the
/// first of the line.
pub(super) fn has_words(line: &str, words: &str) -> bool {
    let mut rest = line.split_whitespace();
    let mut words = words.split_whitespace();
    match (rest.next(), words.next()) {
        (Some(question), Some(first)) if question == first => {
            words.all(|word| rest.any(|other| other == word))
        }
        (_, first) => first.is_none(),
    }
}

/// How far steps and dialogue match.
#[derive(Debug, PartialEq, Eq)]
struct Mismatch {
    /// The number of steps that match.
    steps: usize,
    /// The number of lines that these steps cover.
    lines: usize,
}

fn compare(steps: &[ExpectedStep], lines: &[String]) -> Result<(), Mismatch> {
    // The places where the dialogue can be after the steps so far, each as the number of lines that
    // those steps cover.
    let mut places = vec![0];
    for (index, step) in steps.iter().enumerate() {
        let furthest = places.last().copied().unwrap_or(0);
        let next: Vec<usize> = match step {
            ExpectedStep::Anything => (places[0]..=lines.len()).collect(),
            ExpectedStep::Question(words) => places
                .iter()
                .copied()
                .filter(|place| lines.get(*place).is_some_and(|line| has_words(line, words)))
                .map(|place| place + 1)
                .collect(),
        };
        if next.is_empty() {
            // After `..`, `furthest` is the end of the dialogue. Report the place where the search
            // began.
            let lines = if matches!(steps.get(index.wrapping_sub(1)), Some(ExpectedStep::Anything)) {
                places[0]
            } else {
                furthest
            };
            return Err(Mismatch { steps: index, lines });
        }
        places = next;
    }
    match places.last() {
        Some(last) if *last == lines.len() => Ok(()),
        last => Err(Mismatch {
            steps: steps.len(),
            lines: last.copied().unwrap_or(0),
        }),
    }
}

impl Mismatch {
    fn text(&self, steps: &[ExpectedStep], lines: &[String]) -> String {
        let mut text = String::from("the questions do not match the expected ones\n");
        let wanted = match steps.get(self.steps) {
            Some(ExpectedStep::Question(words)) => format!("\"{words}\""),
            Some(ExpectedStep::Anything) => "..".to_owned(),
            None => "the end".to_owned(),
        };
        match self.steps {
            0 => writeln!(text, "expected first: {wanted}"),
            met => {
                let before = match steps[met - 1] {
                    ExpectedStep::Question(words) => format!("\"{words}\""),
                    ExpectedStep::Anything => "..".to_owned(),
                };
                writeln!(
                    text,
                    "expected {wanted} after {before}, step {} of {}",
                    met + 1,
                    steps.len()
                )
            }
        }
        .expect("a string takes everything");
        text.push_str("the dialogue (> marks where this step was expected):\n");
        for (index, line) in lines.iter().enumerate() {
            let mark = if index == self.lines { '>' } else { ' ' };
            writeln!(text, "{mark} {line}").expect("a string takes everything");
        }
        if self.lines >= lines.len() {
            text.push_str("> (the end)\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ExpectedStep::{Anything, Question};

    fn lines() -> Vec<String> {
        [
            "Cancel -> TRUE",
            "IncludeThread thread=7 | flags=0x17 -> TRUE",
            "IncludeThread thread=8 | flags=0x17 -> FALSE",
            "Memory -> FALSE",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    #[test]
    fn words_are_found_in_their_order() {
        let line = "IncludeThread thread=8 | flags=0x17 -> FALSE";
        assert!(has_words(line, "IncludeThread"));
        assert!(has_words(line, "IncludeThread thread=8 -> FALSE"));
        assert!(!has_words(line, "thread=8"));
        assert!(!has_words(line, "IncludeThread -> FALSE thread=8"));
        assert!(!has_words("Include", "IncludeThread"));
    }

    #[test]
    fn gaps_may_be_of_any_length() {
        for steps in [
            vec![Anything],
            vec![Question("Cancel"), Anything],
            vec![Anything, Question("Memory")],
            vec![Anything, Question("IncludeThread thread=8"), Anything],
            vec![
                Question("Cancel"),
                Question("IncludeThread"),
                Question("IncludeThread"),
                Question("Memory"),
            ],
            vec![
                Anything,
                Question("Cancel"),
                Anything,
                Anything,
                Question("Memory"),
                Anything,
            ],
        ] {
            assert_eq!(compare(&steps, &lines()), Ok(()), "{steps:?}");
        }
    }

    #[test]
    fn a_mismatch_says_how_far_it_went() {
        for (steps, met, line) in [
            (vec![Question("Memory")], 0, 0),
            (vec![Question("Cancel")], 1, 1),
            (vec![Question("Cancel"), Question("Memory")], 1, 1),
            (
                vec![Anything, Question("IncludeThread thread=7"), Question("Memory")],
                2,
                2,
            ),
            (vec![Question("Cancel"), Anything, Question("Thread")], 2, 1),
            (vec![Anything, Question("Memory"), Question("Memory")], 2, 4),
        ] {
            assert_eq!(
                compare(&steps, &lines()),
                Err(Mismatch {
                    steps: met,
                    lines: line
                }),
                "{steps:?}"
            );
        }
        let steps = [Question("Cancel"), Question("Memory")];
        let text = compare(&steps, &lines())
            .expect_err("others")
            .text(&steps, &lines());
        assert!(
            text.contains("expected \"Memory\" after \"Cancel\", step 2 of 2"),
            "{text}"
        );
        assert!(text.contains("\n> IncludeThread thread=7"), "{text}");
    }
}
