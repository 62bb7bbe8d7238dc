//! Numbers of the open packet: digits with a fraction and an exponent, rounded, without a parser of floating-point
//! numbers, which takes kilobytes of a firmware.

use super::Error;

/// Reads the number at the start of `text`: a JSON number, a string of digits, or `null`, which is `None`. A number above
/// `u32::MAX` counts as `u32::MAX`.
///
/// # Errors
/// [`Error::Type`], [`Error::Number`] and [`Error::Json`].
pub(super) fn read(text: &[u8]) -> Result<Option<u32>, Error> {
    let (number, rest) = match text {
        [b'n', b'u', b'l', b'l', rest @ ..] => (None, rest),
        [b'"', rest @ ..] => {
            let (number, rest) = digits(rest, Number::default());
            let rest = rest.strip_prefix(b"\"").ok_or(Error::Type)?;
            if number.digits == 0 {
                return Err(Error::Type);
            }
            (Some(number), rest)
        }
        [b'-', ..] => return Err(Error::Number),
        [b'0'..=b'9', ..] => {
            let (number, rest) = json_number(text)?;
            (Some(number), rest)
        }
        [] => return Err(Error::Json),
        _ => return Err(Error::Type),
    };
    match rest.trim_ascii_start() {
        [b',' | b'}', ..] => Ok(number.map(Number::rounded)),
        _ => Err(Error::Json),
    }
}

/// `mantissa * 10^exponent`.
#[derive(Clone, Copy, Default)]
struct Number {
    mantissa: u64,
    exponent: i32,
    /// How many digits were read.
    digits: u32,
}

/// `int [ frac ] [ exp ]` of RFC 8259 section 6.
fn json_number(text: &[u8]) -> Result<(Number, &[u8]), Error> {
    let (mut number, mut rest) = digits(text, Number::default());
    if number.digits > 1 && text.first() == Some(&b'0') {
        return Err(Error::Json);
    }
    if let [b'.', fraction @ ..] = rest {
        let before = number;
        (number, rest) = digits(fraction, number);
        if number.digits == before.digits {
            return Err(Error::Json);
        }
        // A digit that did not fit counts as read, and has raised the exponent.
        number.exponent = number.exponent.saturating_sub_unsigned(number.digits - before.digits);
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let (negative, exponent) = match exponent {
            [b'-', exponent @ ..] => (true, exponent),
            [b'+', exponent @ ..] => (false, exponent),
            _ => (false, exponent),
        };
        let (value, after) = digits(exponent, Number::default());
        if value.digits == 0 {
            return Err(Error::Json);
        }
        rest = after;
        let value = i32::try_from(value.rounded()).unwrap_or(i32::MAX);
        let value = if negative { -value } else { value };
        number.exponent = number.exponent.saturating_add(value);
    }
    Ok((number, rest))
}

/// Appends the digits at the start of `text` to `number`.
fn digits(text: &[u8], mut number: Number) -> (Number, &[u8]) {
    let mut rest = text;
    while let [digit @ b'0'..=b'9', tail @ ..] = rest {
        rest = tail;
        number.digits = number.digits.saturating_add(1);
        if number.mantissa < u64::MAX / 10 {
            number.mantissa = number.mantissa * 10 + u64::from(digit - b'0');
        } else {
            number.exponent = number.exponent.saturating_add(1);
        }
    }
    (number, rest)
}

impl Number {
    /// The nearest integer, at most `u32::MAX`.
    fn rounded(self) -> u32 {
        let Self { mut mantissa, mut exponent, .. } = self;
        let mut round_up = false;
        while exponent < 0 && (mantissa > 0 || round_up) {
            round_up = mantissa % 10 >= 5;
            mantissa /= 10;
            exponent += 1;
        }
        mantissa += u64::from(round_up);
        while exponent > 0 && mantissa > 0 && mantissa <= u64::from(u32::MAX) {
            mantissa *= 10;
            exponent -= 1;
        }
        u32::try_from(mantissa).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    fn value(text: &str) -> u32 {
        read(format!("{text}}}").as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn fractions_are_rounded_to_the_nearest_integer() {
        for (text, expected) in [
            ("0.4999999999999999999999999999", 0),
            ("0.5", 1),
            ("0.05", 0),
            ("0.095", 0),
            ("1.5", 2),
            ("33333.333333333336", 33_333),
            ("4294967294.5", u32::MAX),
            ("0.00000000000000000000000000000000000000001", 0),
            ("123456789012345678901234567890e-27", 123),
            ("5e-1", 1),
            ("5e-2", 0),
            ("25E3", 25_000),
            ("2.5e+4", 25_000),
            ("250000e-1", 25_000),
            ("0e99999999999", 0),
            ("1e-99999999999", 0),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn large_numbers_count_as_the_largest() {
        for text in ["4294967295", "4294967296", "1e21", "1e+21", "1e999999999999", "1.7e308"] {
            assert_eq!(value(text), u32::MAX, "{text}");
        }
        assert_eq!(value(&"9".repeat(1_000)), u32::MAX);
    }

    /// The parser of the standard library as the oracle.
    #[test]
    fn every_number_is_rounded_as_by_the_standard_library() {
        for mantissa in [0_u64, 1, 4, 5, 9, 49, 50, 51, 149, 4_999, 5_000, 12_345, 99_999] {
            for point in 0..6 {
                for exponent in -8..8_i32 {
                    let text = format!("{mantissa:06}");
                    let (int, fraction) = text.split_at(point);
                    let int = int.trim_start_matches('0');
                    let int = if int.is_empty() { "0" } else { int };
                    let text = format!("{int}.{fraction}e{exponent}");
                    let expected = text.parse::<f64>().unwrap().round().min(f64::from(u32::MAX));
                    assert_eq!(f64::from(value(&text)), expected, "{text}");
                }
            }
        }
    }
}
