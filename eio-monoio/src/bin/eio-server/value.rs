//! Parses the text forms of values: times, sizes, counts and switches.

use std::time::Duration;

const TIME_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZE_UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// A time such as `25s`, `500ms`, `1m`, `12h` or `0`.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let invalid = || "not a time such as 25s, 500ms, 2m or 12h".to_owned();
    match split(text) {
        (0, "") => Ok(Duration::ZERO),
        (_, "") => Err("a time needs a unit: ms, s, m, h or d".into()),
        (number, unit) => {
            let scale = unit_of(unit, &TIME_UNITS).ok_or_else(invalid)?;
            number.checked_mul(scale).map(Duration::from_millis).ok_or_else(invalid)
        }
    }
}

/// A number of bytes such as `1000000`, `64KiB` or `1MB`.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let invalid = || "not a size such as 1000000, 64KiB or 16MB".to_owned();
    let (number, unit) = split(text);
    let scale = if unit.is_empty() { Some(1) } else { unit_of(unit, &SIZE_UNITS) };
    let bytes = scale.and_then(|scale| number.checked_mul(scale)).ok_or_else(invalid)?;
    usize::try_from(bytes).map_err(|_| invalid())
}

/// A whole number.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "not a whole number".into())
}

pub(crate) fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "neither true nor false".into())
}

/// The value that has this name.
pub(crate) fn one_of<T: Copy>(text: &str, values: &[(&str, T)]) -> Result<T, String> {
    let found = values.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| "no such value".into())
}

/// The number that a text begins with, and its unit. A text without a number has no unit that exists.
fn split(text: &str) -> (u64, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    number.parse().map_or((0, "?"), |number| (number, unit.trim_start()))
}

fn unit_of(unit: &str, units: &[(&str, u64)]) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit_unless_they_are_zero() {
        let parsed = ["0", "10ms", "25s", "2 m", "24h", "1d"].map(|text| time(text).unwrap());
        let millis = parsed.map(|time| time.as_millis());
        assert_eq!(millis, [0, 10, 25_000, 120_000, 86_400_000, 86_400_000]);
        for text in ["", "s", "25", "-1s", "1.5s", "25 seconds", "1S", "99999999999999999999s"] {
            assert!(time(text).is_err(), "{text:?}");
        }
        assert!(time("18446744073709551615d").is_err());
        assert_eq!(time("25"), Err("a time needs a unit: ms, s, m, h or d".into()));
    }

    #[test]
    fn sizes_are_bytes_unless_they_have_a_unit() {
        let parsed = ["0", "7", "64KiB", "1MB", "2GiB"].map(|text| bytes(text).unwrap());
        assert_eq!(parsed, [0, 7, 65_536, 1_000_000, 1 << 31]);
        for text in ["", "KiB", "1k", "1Mib", "-1", "1.5MiB", "18446744073709551615GiB"] {
            assert!(bytes(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn counts_and_switches_have_one_form() {
        assert_eq!((count("16"), switch("true"), switch("false")), (Ok(16), Ok(true), Ok(false)));
        for text in ["", "-1", "1.0", "yes", "1_000"] {
            assert!(count(text).is_err() && switch(text).is_err(), "{text:?}");
        }
    }
}
