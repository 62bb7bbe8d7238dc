//! The close frame, RFC 6455 sections 5.5.1 and 7.4.

use super::Error;
use super::frame::MAX_CONTROL;
use crate::text;

/// The maximum length of a reason after the code, in bytes.
pub(super) const MAX_REASON: usize = MAX_CONTROL - size_of::<CloseCode>();

/// The code of a close frame. Only codes that may be sent can be created: 1005, 1006 and 1015 are reserved for local
/// use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the endpoint goes away, such as a server that shuts down or a page that is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of data that the endpoint cannot accept, such as binary.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1007: data that does not match its type, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: a message violates a policy, and no other code applies.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message is too big.
    pub const TOO_BIG: Self = Self(1009);
    /// 1010: the server did not negotiate an extension that the client requires.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: an unexpected condition in the endpoint.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the service is overloaded.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway received an invalid response from upstream.
    pub const BAD_GATEWAY: Self = Self(1014);

    /// The code with this number, if it may be sent.
    ///
    /// > Status codes in the range 0-999 are not used. [...] 1000-2999 are reserved for definition by this
    /// > protocol [...] 3000-3999 [...] by libraries, frameworks, and applications. [...] 4000-4999 [...]
    /// > private use (7.4.2)
    ///
    /// 1012 to 1014 were registered with IANA after the RFC.
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl core::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

/// The code and reason of a close frame with this payload.
pub(super) fn parse(payload: &[u8]) -> Result<(Option<CloseCode>, &str), Error> {
    if payload.is_empty() {
        return Ok((None, ""));
    }
    // > If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer (5.5.1)
    let (code, reason) = payload.split_first_chunk().ok_or(Error::CloseTruncated)?;
    let code = CloseCode::new(u16::from_be_bytes(*code)).ok_or(Error::CloseCodeInvalid)?;
    let reason = text::utf8(reason).ok_or(Error::ReasonNotUtf8)?;
    Ok((Some(code), reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_may_be_sent_can_be_created() {
        for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, u16::MAX] {
            assert_eq!(CloseCode::new(code), None, "{code}");
            assert_eq!(parse(&code.to_be_bytes()), Err(Error::CloseCodeInvalid), "{code}");
        }
        for code in [1000, 1003, 1007, 1014, 3000, 3999, 4000, 4999] {
            assert_eq!(CloseCode::new(code).map(CloseCode::get), Some(code));
            assert_eq!(parse(&code.to_be_bytes()), Ok((CloseCode::new(code), "")), "{code}");
        }
    }

    #[test]
    fn empty_close_has_no_code() {
        assert_eq!(parse(b""), Ok((None, "")));
    }

    #[test]
    fn payload_of_one_byte_is_rejected() {
        assert_eq!(parse(&[3]), Err(Error::CloseTruncated));
    }

    #[test]
    fn reason_that_is_not_utf8_is_rejected() {
        assert_eq!(parse(b"\x03\xe8b\xffye"), Err(Error::ReasonNotUtf8));
        assert_eq!(parse(b"\x03\xe8bye \xc3"), Err(Error::ReasonNotUtf8));
        assert_eq!(parse(b"\x03\xe8bye"), Ok((Some(CloseCode::NORMAL), "bye")));
    }
}
