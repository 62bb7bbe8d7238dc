//! Why a session ends ([`CloseReason`]), and the WebSocket close code that belongs to each reason and error.
//!
//! Every driver takes its codes from here, so that servers and clients close alike.

use core::fmt;

use crate::packet;
use crate::ws::{self, CloseCode};

/// Why a session ended. A session has exactly one reason: the first.
///
/// `Display` gives the words that python-engineio passes to its `disconnect` handler; reasons that it does not have
/// use engine.io's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CloseReason {
    /// The client closed the session.
    ClientDisconnect,
    /// The server closed the session.
    ServerDisconnect,
    /// The peer was silent for longer than the heartbeat allows.
    PingTimeout,
    /// The WebSocket was lost or closed without a close packet.
    TransportClose,
    /// The peer broke a rule of the protocol, or a polling request failed.
    TransportError,
    /// The peer sent bytes that are not a packet.
    ParseError,
    /// The peer sent a message above the limit over a WebSocket. A server answers a larger POST 413, and the session
    /// continues; a client ends at a larger polling response with [`TransportError`](Self::TransportError).
    PayloadTooLarge,
    /// The application's own code panicked.
    HandlerPanicked,
}

impl CloseReason {
    /// The code of the close frame with which an endpoint closes the WebSocket of a session that ended for this
    /// reason (RFC 6455 section 7.4.1). `shutting_down` says that the whole endpoint stops.
    ///
    /// engine.io sends an empty close frame in most of these cases, and RFC 6455 permits both. eio always sends a
    /// code, because it tells the person who debugs the peer which endpoint gave up and why, and costs two bytes.
    /// Where the cause is a [`ws::Error`] or a [`packet::Error`], its own `close_code` is more exact.
    pub const fn close_code(self, shutting_down: bool) -> CloseCode {
        match self {
            Self::ServerDisconnect if shutting_down => CloseCode::GOING_AWAY,
            Self::ClientDisconnect | Self::ServerDisconnect | Self::TransportClose => {
                CloseCode::NORMAL
            }
            Self::PingTimeout => CloseCode::GOING_AWAY,
            Self::TransportError | Self::ParseError => CloseCode::PROTOCOL_ERROR,
            Self::PayloadTooLarge => CloseCode::TOO_BIG,
            Self::HandlerPanicked => CloseCode::INTERNAL_ERROR,
        }
    }
}

/// The code of the close frame for [`Transmit::Hangup`](super::Transmit::Hangup): that of the reason, or, where the
/// session did not end and only its upgrade failed, 1000 (1001 while the endpoint is `shutting_down`).
pub(super) const fn hangup_code(ended: Option<CloseReason>, shutting_down: bool) -> CloseCode {
    match ended {
        Some(reason) => reason.close_code(shutting_down),
        None if shutting_down => CloseCode::GOING_AWAY,
        None => CloseCode::NORMAL,
    }
}

impl packet::Error {
    /// The code of the close frame that answers a WebSocket message with this error: 1007 for text that is not UTF-8
    /// (RFC 6455 section 8.1), otherwise 1002.
    ///
    /// engine.io sends an empty close frame for all of these but the first. RFC 6455 permits both; servers and
    /// clients of eio send the code, see [`CloseReason::close_code`].
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Utf8 => CloseCode::INVALID_PAYLOAD,
            Self::Empty | Self::UnknownType | Self::Base64 => self.close_reason().close_code(false),
        }
    }

    /// Why a session ends whose peer sent this: always [`CloseReason::ParseError`].
    pub const fn close_reason(self) -> CloseReason {
        CloseReason::ParseError
    }
}

impl ws::Error {
    /// Why a session ends whose peer sent this: [`CloseReason::PayloadTooLarge`] for [`TooBig`](Self::TooBig),
    /// otherwise [`CloseReason::ParseError`].
    pub const fn close_reason(self) -> CloseReason {
        match self {
            Self::TooBig => CloseReason::PayloadTooLarge,
            _ => CloseReason::ParseError,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientDisconnect => "client disconnect",
            Self::ServerDisconnect => "server disconnect",
            Self::PingTimeout => "ping timeout",
            Self::TransportClose => "transport close",
            Self::TransportError => "transport error",
            Self::ParseError => "parse error",
            Self::PayloadTooLarge => "payload too large",
            Self::HandlerPanicked => "handler panicked",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::packet::Error as PacketError;
    use crate::ws::Error as WsError;

    /// Reason, words, close code, and close code while shutting down.
    const REASONS: [(CloseReason, &str, u16, u16); 8] = [
        (CloseReason::ClientDisconnect, "client disconnect", 1000, 1000),
        (CloseReason::ServerDisconnect, "server disconnect", 1000, 1001),
        (CloseReason::PingTimeout, "ping timeout", 1001, 1001),
        (CloseReason::TransportClose, "transport close", 1000, 1000),
        (CloseReason::TransportError, "transport error", 1002, 1002),
        (CloseReason::ParseError, "parse error", 1002, 1002),
        (CloseReason::PayloadTooLarge, "payload too large", 1009, 1009),
        (CloseReason::HandlerPanicked, "handler panicked", 1011, 1011),
    ];

    const PACKET_ERRORS: [(PacketError, u16); 4] = [
        (PacketError::Empty, 1002),
        (PacketError::UnknownType, 1002),
        (PacketError::Utf8, 1007),
        (PacketError::Base64, 1002),
    ];

    const WS_ERRORS: [(WsError, u16, CloseReason); 16] = [
        (WsError::ReservedBits, 1002, CloseReason::ParseError),
        (WsError::ReservedOpcode, 1002, CloseReason::ParseError),
        (WsError::FragmentedControl, 1002, CloseReason::ParseError),
        (WsError::ControlTooLong, 1002, CloseReason::ParseError),
        (WsError::Unmasked, 1002, CloseReason::ParseError),
        (WsError::Masked, 1002, CloseReason::ParseError),
        (WsError::LengthNotMinimal, 1002, CloseReason::ParseError),
        (WsError::LengthTopBit, 1002, CloseReason::ParseError),
        (WsError::NothingToContinue, 1002, CloseReason::ParseError),
        (WsError::MessageUnfinished, 1002, CloseReason::ParseError),
        (WsError::TooBig, 1009, CloseReason::PayloadTooLarge),
        (WsError::NotDeflate, 1007, CloseReason::ParseError),
        (WsError::TextNotUtf8, 1007, CloseReason::ParseError),
        (WsError::CloseTruncated, 1002, CloseReason::ParseError),
        (WsError::CloseCodeInvalid, 1002, CloseReason::ParseError),
        (WsError::ReasonNotUtf8, 1007, CloseReason::ParseError),
    ];

    /// A new variant does not compile until it is listed here; it then belongs into [`WS_ERRORS`], too.
    fn index(error: WsError) -> usize {
        match error {
            WsError::ReservedBits => 0,
            WsError::ReservedOpcode => 1,
            WsError::FragmentedControl => 2,
            WsError::ControlTooLong => 3,
            WsError::Unmasked => 4,
            WsError::Masked => 5,
            WsError::LengthNotMinimal => 6,
            WsError::LengthTopBit => 7,
            WsError::NothingToContinue => 8,
            WsError::MessageUnfinished => 9,
            WsError::TooBig => 10,
            WsError::NotDeflate => 11,
            WsError::TextNotUtf8 => 12,
            WsError::CloseTruncated => 13,
            WsError::CloseCodeInvalid => 14,
            WsError::ReasonNotUtf8 => 15,
        }
    }

    #[test]
    fn every_reason_has_the_words_of_the_references_and_a_close_code() {
        for (reason, words, code, shutting_down) in REASONS {
            assert_eq!(reason.to_string(), words);
            assert_eq!(reason.close_code(false).get(), code, "{reason}");
            assert_eq!(reason.close_code(true).get(), shutting_down, "{reason}");
            assert_eq!(hangup_code(Some(reason), false), reason.close_code(false));
            assert_eq!(hangup_code(Some(reason), true), reason.close_code(true));
        }
        assert_eq!((hangup_code(None, false).get(), hangup_code(None, true).get()), (1000, 1001));
    }

    #[test]
    fn every_error_has_a_close_code_and_a_reason() {
        for (error, code) in PACKET_ERRORS {
            assert_eq!(error.close_code().get(), code, "{error}");
            assert_eq!(error.close_reason(), CloseReason::ParseError, "{error}");
        }
        for (at, (error, code, reason)) in WS_ERRORS.into_iter().enumerate() {
            assert_eq!(index(error), at, "{error}");
            assert_eq!((error.close_code().get(), error.close_reason()), (code, reason), "{error}");
        }
    }
}
