use std::borrow::Cow;

/// Escapes the characters of a text that change what a terminal or a log shows apart from that
/// text: control characters (among them line ends and the start of escape sequences), line and
/// paragraph separators, and marks of writing direction. They become `\n`, `\u{1b}` and so on.
///
/// Names and texts of a target and of a dump pass through this function before they are printed:
/// whoever wrote the program or the file chose them.
///
/// ```
/// # use dumpwright_target::printable;
/// assert_eq!(printable("gr\u{fc}n\u{1b}[2J"), "gr\u{fc}n\\u{1b}[2J");
/// ```
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if is_hostile(letter) {
            escaped.extend(letter.escape_default());
        } else {
            escaped.push(letter);
        }
    }
    Cow::Owned(escaped)
}

/// Returns whether a character is not printed as it is.
fn is_hostile(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
        )
}

/// What these tests would catch: a character that reaches the terminal, and one that is escaped
/// although people write with it.
#[cfg(test)]
mod tests {
    use super::*;

    /// The characters of Unicode's category Cc and those with the property Bidi_Control.
    const ESCAPED: [std::ops::RangeInclusive<u32>; 6] = [
        0..=0x1F,
        0x7F..=0x9F,
        0x61C..=0x61C,
        0x200E..=0x200F,
        0x2028..=0x202E,
        0x2066..=0x2069,
    ];

    #[test]
    fn every_character_is_either_escaped_or_unchanged() {
        for letter in '\0'..=char::MAX {
            let text = format!("a{letter}b");
            let shown = printable(&text);
            if ESCAPED.iter().any(|range| range.contains(&letter.into())) {
                assert!(shown.bytes().all(|byte| byte.is_ascii_graphic()), "{shown}");
                assert!(shown.starts_with("a\\") && shown.ends_with('b'), "{shown}");
            } else {
                assert_eq!(shown, text);
            }
            assert_eq!(printable(&shown), shown, "what was escaped is printable");
        }
    }
}
