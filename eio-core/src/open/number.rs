//! Numbers of the open packet: digits with a fraction and an exponent, rounded, in arithmetic of 32 bits. A parser of
//! floating-point numbers takes kilobytes of a firmware.

use super::Error;

/// Reads the number at the start of `text`: a JSON number, a string of digits, or `null`, which is `None`. A number above
/// `u32::MAX` counts as `u32::MAX`, and the fraction of one above `u32::MAX / 10` is cut.
///
/// # Errors
/// [`Error::Type`], [`Error::Number`] and [`Error::Json`].
pub(super) fn read(text: &[u8]) -> Result<Option<u32>, Error> {
    let mut rest = text;
    let number = match text {
        [b'n', b'u', b'l', b'l', after @ ..] => {
            rest = after;
            None
        }
        [b'"', after @ ..] => {
            rest = after;
            let mut number = Number::default();
            let digits = number.append(&mut rest);
            rest = rest.strip_prefix(b"\"").filter(|_| digits > 0).ok_or(Error::Type)?;
            Some(number)
        }
        [b'-', ..] => return Err(Error::Number),
        [b'0'..=b'9', ..] => Some(json_number(&mut rest)?),
        [] => return Err(Error::Json),
        _ => return Err(Error::Type),
    };
    match trimmed(rest) {
        [b',' | b'}', ..] => Ok(number.map(Number::rounded)),
        _ => Err(Error::Json),
    }
}

/// `text` without white space at its start. Three callers: not inlined, for the size of firmware.
#[inline(never)]
pub(super) fn trimmed(text: &[u8]) -> &[u8] {
    text.trim_ascii_start()
}

/// `mantissa * 10^exponent`.
#[derive(Clone, Copy, Default)]
struct Number {
    mantissa: u32,
    exponent: i32,
    /// Digits were left out, because `mantissa` has no room: with them it would exceed `u32::MAX`.
    cut: bool,
}

/// `int [ frac ] [ exp ]` of RFC 8259 section 6.
fn json_number(rest: &mut &[u8]) -> Result<Number, Error> {
    let mut number = Number::default();
    let leading_zero = rest.first() == Some(&b'0');
    if number.append(rest) > 1 && leading_zero {
        return Err(Error::Json);
    }
    if skip(rest, b".") {
        let digits = number.append(rest);
        if digits == 0 {
            return Err(Error::Json);
        }
        // A digit that was left out has raised the exponent.
        number.exponent = number.exponent.saturating_sub(digits);
    }
    if skip(rest, b"eE") {
        let negative = rest.first() == Some(&b'-');
        skip(rest, b"+-");
        let mut exponent = Number::default();
        if exponent.append(rest) == 0 {
            return Err(Error::Json);
        }
        let value = if exponent.cut { u32::MAX } else { exponent.mantissa };
        let value = i32::try_from(value).unwrap_or(i32::MAX);
        let value = if negative { -value } else { value };
        number.exponent = number.exponent.saturating_add(value);
    }
    Ok(number)
}

/// Skips one byte if it is one of `bytes`.
#[inline(never)]
fn skip(rest: &mut &[u8], bytes: &[u8]) -> bool {
    match *rest {
        [first, after @ ..] if bytes.contains(first) => {
            *rest = after;
            true
        }
        _ => false,
    }
}

fn times_ten(mantissa: u32, digit: u8) -> Option<u32> {
    mantissa.checked_mul(10)?.checked_add(u32::from(digit))
}

impl Number {
    /// Appends the digits at the start of `rest`, and returns how many they are. Not inlined: there are four callers, and
    /// it would take 600 B of a firmware.
    #[inline(never)]
    fn append(&mut self, rest: &mut &[u8]) -> i32 {
        let mut digits = 0_i32;
        while let [digit @ b'0'..=b'9', after @ ..] = *rest {
            *rest = after;
            digits = digits.saturating_add(1);
            match times_ten(self.mantissa, digit - b'0') {
                Some(mantissa) if !self.cut => self.mantissa = mantissa,
                _ => {
                    self.cut = true;
                    self.exponent = self.exponent.saturating_add(1);
                }
            }
        }
        digits
    }

    /// The nearest integer, at most `u32::MAX`.
    fn rounded(self) -> u32 {
        let Self { mut mantissa, mut exponent, cut } = self;
        if cut && exponent > 0 {
            return u32::MAX;
        }
        let mut round_up = false;
        while exponent < 0 && (mantissa > 0 || round_up) {
            let tenth = mantissa / 10;
            round_up = mantissa - tenth * 10 >= 5;
            mantissa = tenth;
            exponent += 1;
        }
        mantissa += u32::from(round_up);
        while exponent > 0 && mantissa > 0 {
            let Some(product) = times_ten(mantissa, 0) else { return u32::MAX };
            mantissa = product;
            exponent -= 1;
        }
        mantissa
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
            ("429496728.5", 429_496_729),
            ("4294967294.5", u32::MAX - 1),
            ("4294967295.5", u32::MAX),
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
