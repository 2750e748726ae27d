//! Windows times: units of 100 ns since the beginning of 1601 (UTC).

/// The number of units in a second.
pub const UNITS_PER_SECOND: u64 = 10_000_000;

/// The beginning of 1970, the epoch of Unix times and of the time stamps in a minidump's header.
pub const UNIX_EPOCH: u64 = 116_444_736_000_000_000;

/// Returns the whole seconds of a duration in units of 100 ns, at most [`u32::MAX`].
#[must_use]
pub fn seconds(units: u64) -> u32 {
    u32::try_from(units / UNITS_PER_SECOND).unwrap_or(u32::MAX)
}

/// Returns the whole seconds from the beginning of 1970 to a point in time.
///
/// Earlier points give 0. Points after the year 2106 give [`u32::MAX`].
///
/// ```
/// use dumpwright_target::filetime;
///
/// let one_day_later = filetime::UNIX_EPOCH + 24 * 60 * 60 * filetime::UNITS_PER_SECOND;
/// assert_eq!(filetime::since_1970(one_day_later), 86_400);
/// ```
#[must_use]
pub fn since_1970(filetime: u64) -> u32 {
    seconds(filetime.saturating_sub(UNIX_EPOCH))
}

/// What these tests would catch: a wrong epoch or unit, and out-of-range times that wrap around.
#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the number of days of a year in the Gregorian calendar.
    fn days(year: u64) -> u64 {
        let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        365 + u64::from(is_leap)
    }

    #[test]
    fn the_epochs_are_369_years_apart() {
        let days: u64 = (1601..1970).map(days).sum();
        assert_eq!(UNIX_EPOCH, days * 24 * 60 * 60 * UNITS_PER_SECOND);
    }

    #[test]
    fn out_of_range_times_become_the_nearest_value() {
        assert_eq!(since_1970(UNIX_EPOCH - 1), 0);
        assert_eq!(since_1970(UNIX_EPOCH + UNITS_PER_SECOND - 1), 0);
        assert_eq!(since_1970(u64::MAX), u32::MAX);
        assert_eq!(seconds(3 * UNITS_PER_SECOND - 1), 2);
    }
}
