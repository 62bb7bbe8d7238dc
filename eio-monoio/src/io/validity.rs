//! The validity period of a certificate (RFC 5280 section 4.1.2.5), which rustls checks for peers only.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Why a certificate in DER is not valid at `now`. `None` if it is, or if its period cannot be read.
pub(crate) fn problem(certificate: &[u8], now: SystemTime) -> Option<&'static str> {
    let (not_before, not_after) = period(certificate)?;
    if now < not_before {
        Some("it is not valid yet")
    } else if now > not_after {
        Some("it has expired")
    } else {
        None
    }
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT Version`.
const VERSION: u8 = 0xa0;

fn period(certificate: &[u8]) -> Option<(SystemTime, SystemTime)> {
    let (certificate, _) = element(SEQUENCE, certificate)?;
    let (mut rest, _) = element(SEQUENCE, certificate)?;
    if let Some((_, after)) = element(VERSION, rest) {
        rest = after;
    }
    // Serial number, signature algorithm, issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, rest) = element(tag, rest)?;
    }
    let (validity, _) = element(SEQUENCE, rest)?;
    let (not_before, rest) = time(validity)?;
    let (not_after, _) = time(rest)?;
    Some((not_before, not_after))
}

/// The content of a DER element with this tag at the start of `bytes`, and the bytes after it.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut len = usize::from(first);
    if first >= 0x80 {
        let (octets, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        // A certificate is shorter than 16 MiB.
        if octets.is_empty() || octets.len() > 3 {
            return None;
        }
        len = octets.iter().fold(0, |len, octet| len << 8 | usize::from(*octet));
        rest = after;
    }
    if found == tag { rest.split_at_checked(len) } else { None }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, the only forms that RFC 5280 allows.
fn time(bytes: &[u8]) -> Option<(SystemTime, &[u8])> {
    let (text, rest, year_digits) = match element(UTC_TIME, bytes) {
        Some((text, rest)) => (text, rest, 2),
        None => {
            let (text, rest) = element(GENERALIZED_TIME, bytes)?;
            (text, rest, 4)
        }
    };
    let digits = text.strip_suffix(b"Z").filter(|digits| digits.len() == year_digits + 10)?;
    let number = |range: std::ops::Range<usize>| -> Option<u64> {
        str::from_utf8(digits.get(range)?).ok()?.parse().ok()
    };
    let year = match (number(0..year_digits)?, year_digits) {
        (year @ 0..50, 2) => 2000 + year,
        (year, 2) => 1900 + year,
        (year, _) => year,
    };
    let two = |n: usize| number(year_digits + 2 * n..year_digits + 2 * n + 2);
    let days = days_since_epoch(year, two(0)?, two(1)?)?;
    let seconds = ((days * 24 + two(2)?) * 60 + two(3)?) * 60 + two(4)?;
    Some((UNIX_EPOCH + Duration::from_secs(seconds), rest))
}

/// The days from 1970-01-01 to a date of the Gregorian calendar; `None` if the date is earlier.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March, so that a leap day is the last day of its year.
    let (year, month) =
        if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    days.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (date, days) in [
            ((1970, 1, 1), 0),
            ((1972, 2, 29), 789),
            ((2000, 3, 1), 11_017),
            ((2026, 11, 28), 20_785),
            ((2100, 3, 1), 47_541),
        ] {
            assert_eq!(days_since_epoch(date.0, date.1, date.2), Some(days), "{date:?}");
        }
        assert_eq!(days_since_epoch(1969, 12, 31), None);
    }

    #[test]
    fn both_forms_of_time_are_read() {
        for (der, seconds) in [
            (&b"\x17\x0d700101000001Z"[..], 1),
            (b"\x18\x0f20260101000000Z", 1_767_225_600),
            (b"\x17\x0d491231235959Z", 2_524_607_999),
        ] {
            assert_eq!(time(der), Some((at(seconds), &b""[..])));
        }
        assert_eq!(time(b"\x17\x0b7001010000Z"), None);
    }

    #[test]
    fn certificate_is_expired_or_not_valid_yet() {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2060, 1, 1);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let problem_at = |seconds| problem(certificate.der(), at(seconds));
        assert_eq!(problem_at(1_577_836_799), Some("it is not valid yet"));
        assert_eq!(problem_at(1_577_836_800), None);
        assert_eq!(problem_at(2_840_140_800), None);
        assert_eq!(problem_at(2_840_140_801), Some("it has expired"));
        // A certificate that cannot be parsed causes neither a warning nor a panic.
        let der = certificate.der().to_vec();
        for len in 0..der.len() {
            problem(&der[..len], at(0));
        }
    }
}
