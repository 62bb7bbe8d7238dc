//! [`Sid`]: a session identifier of bounded length that is safe inside a query string.

use core::fmt;

use heapless::String;

use crate::text::AsciiSet;

/// A session identifier: 1 to [`Sid::MAX`] characters of `A-Z a-z 0-9 - _ . ~` (the unreserved characters of RFC 3986
/// section 2.3), so that it needs no escaping in a query, a cookie or a log line.
///
/// ```
/// use eio_core::sid::Sid;
///
/// let sid: Sid = "lv_VI97HAXpY6yYWAAAC".parse()?;
/// assert_eq!(sid.as_str(), "lv_VI97HAXpY6yYWAAAC");
/// assert!("no spaces".parse::<Sid>().is_err());
/// # Ok::<(), eio_core::sid::InvalidSid>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid(String<{ Sid::MAX }, u8>);

/// The error for text that is not a [`Sid`]: empty, longer than [`Sid::MAX`], or with a character outside the
/// unreserved set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct InvalidSid;

impl Sid {
    /// The maximum length, in characters. Other implementations use 16 (engineioxide), 20 (engine.io,
    /// python-engineio) and 36 (UUIDs).
    pub const MAX: usize = 64;

    /// Checks and copies `text`.
    ///
    /// # Errors
    /// [`InvalidSid`]
    pub fn new(text: &str) -> Result<Self, InvalidSid> {
        if text.is_empty() || !text.bytes().all(|byte| UNRESERVED.contains(byte)) {
            return Err(InvalidSid);
        }
        String::try_from(text).map(Self).map_err(|_| InvalidSid)
    }

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const UNRESERVED: AsciiSet = AsciiSet::alphanumeric_and(b"-._~");

impl core::str::FromStr for Sid {
    type Err = InvalidSid;

    fn from_str(text: &str) -> Result<Self, InvalidSid> {
        Self::new(text)
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sid({})", self.as_str())
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Sid {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}", self.as_str());
    }
}

impl fmt::Display for InvalidSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a session identifier: 1 to 64 unreserved characters")
    }
}

impl core::error::Error for InvalidSid {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sids_are_ordered_as_text() {
        let sid = |text| Sid::new(text).unwrap();
        assert!(sid("a") < sid("ab") && sid("ab") < sid("b") && sid("Z") < sid("a"));
    }

    #[test]
    fn sid_has_1_to_64_unreserved_characters() {
        assert!(Sid::new(&"a".repeat(64)).is_ok());
        for bad in ["", &"a".repeat(65), "a b", "a&b", "a\r\nb", "é", "a%41", "a\"b"] {
            assert_eq!(Sid::new(bad), Err(InvalidSid), "{bad:?}");
        }
    }
}
