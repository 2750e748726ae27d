//! Formatting of addresses, text, sizes and times.

use std::borrow::Cow;

use dumpwright::read::Module;
use dumpwright::target::printable;

/// Formats an address and, if it lies in a module, the module's name and the offset in it.
/// `modules` must be sorted by their base addresses.
pub(super) fn place(modules: &[Module], address: u64) -> String {
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
pub(super) fn bytes(count: u64) -> String {
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
pub(super) fn seconds(units: u64) -> String {
    format!("{}.{:02}", units / 10_000_000, units / 100_000 % 100)
}

/// Formats seconds since 1970 as a date and time in UTC. The Gregorian calendar repeats after 400
/// years, which have 146,097 days.
pub(super) fn utc(time: u32) -> String {
    let (days, rest) = (u64::from(time) / 86_400, time % 86_400);
    // Days since 1 March of year 0. Years that start in March have the leap day as their last day.
    let days = days + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year_of_cycle = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = cycle * 400 + year_of_cycle + u64::from(month <= 2);
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year}-{month:02}-{day_of_month:02} {hours:02}:{minutes:02}:{seconds:02} UTC")
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
    fn cpu_times_have_two_decimals() {
        assert_eq!(seconds(12_345_678), "1.23");
    }
}
