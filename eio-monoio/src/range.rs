//! Ranges of option values, and the text about a value outside its range.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// A timeout. It cannot be zero: what it limits would always fail.
pub(crate) const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=DAY;

/// A time that may be zero.
pub(crate) const TIME: RangeInclusive<Duration> = Duration::ZERO..=DAY;

/// A number of bytes, messages or connections that cannot be zero.
pub(crate) const SIZE: RangeInclusive<usize> = 1..=MAX_SIZE;

/// The least size from which something happens.
pub(crate) const THRESHOLD: RangeInclusive<usize> = 0..=MAX_SIZE;

const MAX_SIZE: usize = 1 << 31;

/// Checks that `range` contains `value`.
///
/// # Errors
/// The value and the range in words: "VALUE is outside LEAST to MOST".
pub(crate) fn check<T>(value: T, range: RangeInclusive<T>) -> Result<(), String>
where
    T: PartialOrd + Debug,
{
    if range.contains(&value) {
        return Ok(());
    }
    Err(format!("{value:?} is outside {:?} to {:?}", range.start(), range.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_in_range_and_errors_name_value_and_range() {
        assert_eq!(check(Duration::from_millis(10), TIMEOUT), Ok(()));
        assert_eq!(check(DAY, TIMEOUT), Ok(()));
        assert_eq!(
            check(Duration::from_millis(9), TIMEOUT),
            Err("9ms is outside 10ms to 86400s".into()),
        );
        assert_eq!(
            check(DAY + Duration::from_nanos(1), TIME),
            Err("86400.000000001s is outside 0ns to 86400s".into()),
        );
        assert_eq!(check(1, SIZE), Ok(()));
        assert_eq!(check(1 << 31, SIZE), Ok(()));
        assert_eq!(check(0, SIZE), Err("0 is outside 1 to 2147483648".into()));
        assert_eq!(check(0, THRESHOLD), Ok(()));
    }
}
