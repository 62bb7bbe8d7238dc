//! [`Sid`]: a session identifier of bounded length that is safe inside a query string; [`Tag`]: the name of a server in
//! front of it.

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

    /// `<tag>.<rest>`: the identifier `rest` of a server with a tag.
    ///
    /// # Errors
    /// [`InvalidSid`], also if both together are longer than [`Sid::MAX`]
    pub fn tagged(tag: &Tag, rest: &str) -> Result<Self, InvalidSid> {
        let mut text = String::<{ Self::MAX }, u8>::new();
        for part in [tag.as_str(), ".", rest] {
            text.push_str(part).map_err(|_| InvalidSid)?;
        }
        if rest.is_empty() || !rest.bytes().all(|byte| UNRESERVED.contains(byte)) {
            return Err(InvalidSid);
        }
        Ok(Self(text))
    }

    /// The text before and after the first `.`, if the first is a legal [`Tag`] and the second is not empty.
    ///
    /// ```
    /// use eio_core::sid::Sid;
    ///
    /// assert_eq!(Sid::new("web-0.a.b")?.split_tag(), Some(("web-0", "a.b")));
    /// assert_eq!(Sid::new("lv_VI97HAXpY6yYWAAAC")?.split_tag(), None);
    /// # Ok::<(), eio_core::sid::InvalidSid>(())
    /// ```
    pub fn split_tag(&self) -> Option<(&str, &str)> {
        self.0.split_once('.').filter(|(tag, rest)| is_tag(tag) && !rest.is_empty())
    }

    /// The tag of the server that issued this identifier, if it has one.
    pub fn tag(&self) -> Option<&str> {
        self.split_tag().map(|(tag, _)| tag)
    }

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const UNRESERVED: AsciiSet = AsciiSet::alphanumeric_and(b"-._~");

/// The name of a server in the session identifiers that it issues: 1 to [`Tag::MAX`] characters of `A-Z a-z 0-9 - _`.
/// A load balancer finds the server by it, and so do the other servers of a cluster.
///
/// ```
/// use eio_core::sid::{Sid, Tag};
///
/// let tag: Tag = "web-0".parse()?;
/// assert_eq!(Sid::tagged(&tag, "lv_VI97HAXpY6yYWAAAC").unwrap().as_str(), "web-0.lv_VI97HAXpY6yYWAAAC");
/// assert!("eu.web-0".parse::<Tag>().is_err());
/// # Ok::<(), eio_core::sid::InvalidTag>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String<{ Tag::MAX }, u8>);

/// The error for text that is not a [`Tag`]: empty, longer than [`Tag::MAX`], or with another character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct InvalidTag;

impl Tag {
    /// The maximum length, in characters.
    pub const MAX: usize = 16;

    /// Checks and copies `text`.
    ///
    /// # Errors
    /// [`InvalidTag`]
    pub fn new(text: &str) -> Result<Self, InvalidTag> {
        if !is_tag(text) {
            return Err(InvalidTag);
        }
        String::try_from(text).map(Self).map_err(|_| InvalidTag)
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const TAG: AsciiSet = AsciiSet::alphanumeric_and(b"-_");

fn is_tag(text: &str) -> bool {
    (1..=Tag::MAX).contains(&text.len()) && text.bytes().all(|byte| TAG.contains(byte))
}

impl core::str::FromStr for Tag {
    type Err = InvalidTag;

    fn from_str(text: &str) -> Result<Self, InvalidTag> {
        Self::new(text)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({})", self.as_str())
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Tag {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}", self.as_str());
    }
}

impl fmt::Display for InvalidTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a tag: 1 to 16 letters, digits, hyphens and underscores")
    }
}

impl core::error::Error for InvalidTag {}

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

    #[test]
    fn tag_has_1_to_16_letters_digits_hyphens_and_underscores() {
        for good in ["a", "web-0", "_", "ABCDEFGHIJKLMNOP"] {
            assert_eq!(Tag::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "ABCDEFGHIJKLMNOPQ", "a.b", "a~", "a b", "é", "*", ">"] {
            assert_eq!(Tag::new(bad), Err(InvalidTag), "{bad:?}");
        }
    }

    #[test]
    fn tag_precedes_the_first_dot() {
        let tag = Tag::new("n1").unwrap();
        let sid = Sid::tagged(&tag, "eu.alice").unwrap();
        assert_eq!(sid.split_tag(), Some(("n1", "eu.alice")));
        assert_eq!(Sid::tagged(&tag, &"a".repeat(61)).unwrap().as_str().len(), 64);
        for bad in ["", "a b", &"a".repeat(62)] {
            assert_eq!(Sid::tagged(&tag, bad), Err(InvalidSid), "{bad:?}");
        }
        for untagged in ["n1", ".a", "n1.", "n~1.a", "ABCDEFGHIJKLMNOPQ.a"] {
            assert_eq!(Sid::new(untagged).unwrap().tag(), None, "{untagged}");
        }
    }
}
