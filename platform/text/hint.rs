use std::fmt;

use crate::error::shorten;

/// The number of names that a message lists.
const LISTED: usize = 24;
/// The length in characters of the longest name that is listed or compared.
const LONGEST: usize = 64;
/// The number of names with which a misspelled one is compared. No list written by a person is
/// longer.
const COMPARED: usize = 1000;

/// Returns the known name that `wrong` was probably meant to be.
///
/// This is the name with the fewest differences, of which there may be one, or a third of the
/// number of characters of `wrong` if that is more. Upper and lower case count as equal, and two
/// adjacent letters in the wrong order count as one difference.
///
/// ```
/// assert_eq!(dumpwright_text::nearest("retrun", ["return", "read"]), Some("return"));
/// assert_eq!(dumpwright_text::nearest("stop", ["return", "read"]), None);
/// ```
pub fn nearest<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    near(wrong, known).map(|(name, _)| name)
}

/// Returns the nearest name, and whether no other name is equally near.
pub(crate) fn near<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> Option<(&'n str, bool)> {
    let length = wrong.chars().take(LONGEST + 1).count();
    if length > LONGEST {
        return None;
    }
    let limit = (length / 3).max(1);
    let wrong = wrong.to_lowercase();
    let mut names: Vec<_> = known
        .into_iter()
        .filter(|name| name.chars().take(length + limit + 1).count().abs_diff(length) <= limit)
        .take(COMPARED)
        .map(|name| (strsim::osa_distance(&wrong, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    names.sort_unstable();
    let (distance, name) = *names.first()?;
    let others = names
        .iter()
        .filter(|other| other.0 == distance && other.1 != name);
    Some((name, others.count() == 0))
}

/// Returns the end of a message about an unknown name.
///
/// This is `; did you mean "return"?` if a known name is near, `; known names: ask, index` if no
/// name is near, and empty if there are no known names. The names are compared when the hint is
/// displayed.
pub fn hint<'n, N>(wrong: &str, known: N) -> impl fmt::Display
where
    N: IntoIterator<Item = &'n str> + Clone,
{
    Hint { wrong, known }
}

struct Hint<'w, N> {
    wrong: &'w str,
    known: N,
}

impl<'n, N: IntoIterator<Item = &'n str> + Clone> fmt::Display for Hint<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = nearest(self.wrong, self.known.clone()) {
            return write!(f, "; did you mean \"{name}\"?");
        }
        match self.known.clone().into_iter().next() {
            None => Ok(()),
            Some(_) => write!(f, "; known names: {}", list(self.known.clone())),
        }
    }
}

/// Returns names separated by commas. A long list is shortened to its first names and the number of
/// the others.
///
/// The list is formatted when it is displayed.
///
/// ```
/// assert_eq!(dumpwright_text::list([7, 8]).to_string(), "7, 8");
/// assert_eq!(dumpwright_text::list(1..=100).to_string().split(", ").count(), 24);
/// ```
pub fn list<N>(names: N) -> impl fmt::Display
where
    N: IntoIterator<Item: fmt::Display> + Clone,
{
    WordList { names }
}

struct WordList<N> {
    names: N,
}

impl<N: IntoIterator<Item: fmt::Display> + Clone> fmt::Display for WordList<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = self.names.clone().into_iter();
        for (index, name) in names.by_ref().take(LISTED).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", shorten(&name.to_string(), LONGEST))?;
        }
        match names.count() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_the_nearest_or_the_known() {
        for (wrong, known, expected) in [
            ("heep", &["heap", "stack"][..], "; did you mean \"heap\"?"),
            (
                "INCLUDETHREAD",
                &["IncludeThread"],
                "; did you mean \"IncludeThread\"?",
            ),
            ("stakc", &["stack", "stock"], "; did you mean \"stack\"?"),
            ("x", &["stack", "heap"], "; known names: stack, heap"),
            ("x", &[], ""),
        ] {
            assert_eq!(
                hint(wrong, known.iter().copied()).to_string(),
                expected,
                "{wrong}"
            );
        }
    }

    #[test]
    fn long_names_and_long_lists_cost_little() {
        let long = "x".repeat(10_000_000);
        assert_eq!(nearest(&long, [long.as_str()]), None);
        assert_eq!(nearest("x", [long.as_str()]), None);
        let names: Vec<_> = (0..100_000).map(|number| format!("name{number:06}")).collect();
        let hint = hint("something", names.iter().map(String::as_str)).to_string();
        assert!(
            hint.starts_with("; known names: name000000, name000001, "),
            "{hint}"
        );
        assert!(hint.ends_with("name000023 and 99976 more"), "{hint}");
        let hint = list([long.as_str()]).to_string();
        assert_eq!(hint.chars().count(), LONGEST + 1);
    }
}
