//! Formatting of addresses, text, sizes and times.

use std::borrow::Cow;

use dumpwright::read::Module;
use dumpwright::target::printable;

/// Formats an address and, if it lies in a module, the module's name and the offset in it.
/// `modules` must be sorted by their base addresses.
pub(in crate::cli::show) fn place(modules: &[Module], address: u64) -> String {
    let behind = modules.partition_point(|module| module.base <= address);
    match behind.checked_sub(1).map(|index| &modules[index]) {
        Some(module) if address < module.end() => {
            let shown = module
                .file_name()
                .filter(|name| !name.is_empty())
                .map_or(Cow::Borrowed("?"), name);
            format!("{address:#x} {shown}+{:#x}", address - module.base)
        }
        _ => format!("{address:#x}"),
    }
}

/// The maximum number of characters of a name that are printed. Windows and Linux have no longer
/// paths than 32,767 and 4095 characters, and few are longer than this.
const LONGEST_NAME: usize = 1024;

/// Escapes a name, and cuts it if it is very long.
pub(super) fn name(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LONGEST_NAME) {
        None => printable(text),
        Some((end, _)) => {
            let more = text[end..].chars().count();
            format!("{}… ({more} more characters)", printable(&text[..end])).into()
        }
    }
}

/// Formats a number of bytes, followed by a rounded value in a larger unit from 1 KiB up.
pub(in crate::cli::show) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = None;
    for name in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = Some(name);
    }
    match unit {
        Some(unit) => format!("{count} bytes ({value:.1} {unit})"),
        None => format!("{count} bytes"),
    }
}

/// Formats a time in units of 100 ns as seconds with two decimals.
pub(in crate::cli::show) fn seconds(units: u64) -> String {
    format!("{}.{:02}", units / 10_000_000, units / 100_000 % 100)
}

/// Formats seconds since 1970 as a date and time in UTC.
pub(in crate::cli::show) fn utc(time: u32) -> String {
    let time = jiff::Timestamp::from_second(time.into()).unwrap_or_default();
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Formats a number with a comma after each group of three digits.
pub(in crate::cli::show) fn thousands(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

/// Cuts a text to this number of characters.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => {
            let kept: String = text.chars().take(most.saturating_sub(1)).collect();
            format!("{}…", kept.trim_end())
        }
    }
}

/// Joins items to at most `most` lines of at most `width` columns. The items that do not fit are
/// replaced by `…`.
pub(super) fn wrapped(
    items: &[String],
    separator: &str,
    indent: &str,
    width: usize,
    most: usize,
) -> Vec<String> {
    let mut lines = vec![indent.to_owned()];
    let indent_width = indent.chars().count();
    for (number, item) in items.iter().enumerate() {
        let is_last = number + 1 == items.len();
        let has_room = lines.len() < most;
        let line = lines.last_mut().expect("there is always a line");
        let used = line.chars().count();
        let between = if used == indent_width { "" } else { separator };
        let length = between.chars().count() + item.chars().count();
        // Room for the separator and the mark of what does not fit.
        let reserve = if is_last { 0 } else { separator.chars().count() + 1 };
        if used == indent_width || used.saturating_add(length + reserve) <= width {
            line.push_str(between);
            line.push_str(item);
        } else if has_room {
            line.push_str(separator.trim_end());
            lines.push(format!("{indent}{item}"));
        } else {
            line.push_str(separator);
            line.push('…');
            break;
        }
    }
    lines.into_iter().map(|line| cut(&line, width)).collect()
}

#[cfg(test)]
mod tests {
    //! These tests catch wrong dates (mainly in leap years) and sizes without the exact count.

    use super::*;

    #[test]
    fn dates_are_the_same_as_from_the_date_command() {
        // Expected values from `date -u -d @N`.
        for (time, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_799, "2000-02-29 23:59:59 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (u32::MAX, "2106-02-07 06:28:15 UTC"),
        ] {
            assert_eq!(utc(time), text);
        }
    }

    #[test]
    fn sizes_start_with_the_exact_count() {
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1536), "1536 bytes (1.5 KiB)");
        assert_eq!(bytes(u64::MAX), "18446744073709551615 bytes (16777216.0 TiB)");
    }

    #[test]
    fn lists_are_cut_and_wrapped_at_the_width() {
        let items: Vec<String> = ["alpha", "beta", "gamma", "delta"].map(str::to_owned).into();
        assert_eq!(
            wrapped(&items, ", ", "  ", 80, 1),
            ["  alpha, beta, gamma, delta"]
        );
        assert_eq!(wrapped(&items, ", ", "  ", 18, 1), ["  alpha, beta, …"]);
        assert_eq!(
            wrapped(&items, ", ", "  ", 18, 2),
            ["  alpha, beta,", "  gamma, delta"]
        );
        assert_eq!(wrapped(&items, ", ", "  ", 10, 2), ["  alpha,", "  beta, …"]);
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 5), "abcd…");
    }

    #[test]
    fn cpu_times_have_two_decimals() {
        assert_eq!(seconds(12_345_678), "1.23");
    }
}
