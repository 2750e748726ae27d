/// Parses a number with decimal digits or, after `0x`, hexadecimal digits. `_` between digits is
/// ignored.
///
/// ```
/// use dumpwright_text::number;
///
/// assert_eq!(number("4_096"), Some(4096));
/// assert_eq!(number("0xffff_ffff_ffff_ffff"), Some(u64::MAX));
/// assert_eq!(number("-1"), None);
/// ```
#[must_use]
pub fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // This check comes first because from_str_radix would accept a sign.
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    u64::from_str_radix(&digits.replace('_', ""), radix).ok()
}

const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

/// Parses a number of bytes: a [`number`] that may be followed by KiB, MiB, GiB or TiB.
///
/// ```
/// use dumpwright_text::size;
///
/// assert_eq!(size("0x1000"), Some(4096));
/// assert_eq!(size("64 KiB"), Some(65536));
/// assert_eq!(size("64 KB"), None);
/// ```
#[must_use]
pub fn size(text: &str) -> Option<u64> {
    let unit = UNITS.iter().find_map(|(unit, shift)| {
        let digits = text.trim().strip_suffix(unit)?;
        Some((digits, *shift))
    });
    let (digits, shift) = unit.unwrap_or((text, 0));
    number(digits)?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_digits_only() {
        for (text, expected) in [
            (" 77 ", Some(77)),
            ("0X1f", Some(0x1f)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("0x1_0000_0000_0000_0000", None),
            ("", None),
            ("0x", None),
            ("0x+1", None),
            ("+1", None),
            ("_1", None),
            ("1.5", None),
            ("ten", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn sizes_may_have_units() {
        for (text, expected) in [
            ("1KiB", Some(1 << 10)),
            ("0x10 MiB", Some(1 << 24)),
            ("3 GiB", Some(3 << 30)),
            ("1 TiB", Some(1 << 40)),
            ("16777216 TiB", None),
            ("KiB", None),
            ("1 kib", None),
            ("1 KiB KiB", None),
        ] {
            assert_eq!(size(text), expected, "{text}");
        }
    }
}
