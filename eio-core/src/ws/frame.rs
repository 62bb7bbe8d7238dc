//! The head of a frame, RFC 6455 section 5.2:
//!
//! ```text
//!  FIN RSV1-3 opcode(4) | MASK length(7) | length(16 or 64) | masking key(32) | payload
//! ```

use super::{Error, Role};

/// > All control frames MUST have a payload length of 125 bytes or less (5.5)
pub(super) const MAX_CONTROL: usize = 125;

pub(super) const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
/// The bit of permessage-deflate: the message that starts here is compressed (RFC 7692 6).
pub(super) const RSV1: u8 = 0x40;
const OPCODE: u8 = 0x0f;
pub(super) const MASK: u8 = 0x80;
const LENGTH: u8 = 0x7f;
/// The 7-bit length before a 16-bit length.
pub(super) const LENGTH_16: u8 = 126;
/// The 7-bit length before a 64-bit length.
pub(super) const LENGTH_64: u8 = 127;

/// The type of a frame (5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of a text or binary message.
    Continuation = 0x0,
    /// A text message, or its first fragment.
    Text = 0x1,
    /// A binary message, or its first fragment.
    Binary = 0x2,
    /// The sender will send nothing more.
    Close = 0x8,
    /// Requires a pong with the same payload.
    Ping = 0x9,
    /// The answer to a ping, or unsolicited.
    Pong = 0xa,
}

impl Opcode {
    /// Whether it is a close, ping or pong.
    ///
    /// > Control frames are identified by opcodes where the most significant bit of the opcode is 1. (5.5)
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }

    const fn new(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }
}

/// A head without an error that shows in the head alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    /// The length of the payload in bytes, as announced; only [`MAX_CONTROL`] was checked.
    pub(super) len: u64,
    /// Zero if the frame is not masked: unmasking with zero changes nothing.
    pub(super) key: [u8; 4],
}

/// Why there is no head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// At least this number of bytes is missing; never 0.
    Need(usize),
    Broken(Error),
}

impl Head {
    /// Parses a head sent *to* `role` and returns it with the rest of `input`. `deflate`: permessage-deflate was
    /// negotiated. Checks are made in the order of the bytes, so that the error does not depend on how they arrive.
    // Inlined into its one caller, which runs for every message: the result stays in registers.
    #[inline(always)]
    pub(super) fn parse(input: &[u8], role: Role, deflate: bool) -> Result<(&[u8], Self), Stop> {
        // Each frame has at least two bytes, so ask for both at once.
        let ([first, second], rest) = take(input)?;
        if first & RSV != 0 && !(deflate && may_be_compressed(first)) {
            return Err(Stop::Broken(Error::ReservedBits));
        }
        // > If an unknown opcode is received, the receiving endpoint MUST _Fail the WebSocket
        // > Connection_. (5.2)
        let opcode = Opcode::new(first & OPCODE).ok_or(Stop::Broken(Error::ReservedOpcode))?;
        let fin = first & FIN != 0;
        if opcode.is_control() {
            // > All control frames MUST have a payload length of 125 bytes or less and MUST NOT be
            // > fragmented. (5.5)
            if !fin {
                return Err(Stop::Broken(Error::FragmentedControl));
            }
            if usize::from(second & LENGTH) > MAX_CONTROL {
                return Err(Stop::Broken(Error::ControlTooLong));
            }
        }
        // > The server MUST close the connection upon receiving a frame that is not masked. [...] A client
        // > MUST close a connection if it detects a masked frame. (5.1)
        let masked = second & MASK != 0;
        match role {
            Role::Server if !masked => return Err(Stop::Broken(Error::Unmasked)),
            Role::Client if masked => return Err(Stop::Broken(Error::Masked)),
            _ => {}
        }
        let (rest, len) = length(rest, second & LENGTH)?;
        let (key, rest) = if masked { take(rest)? } else { ([0; 4], rest) };
        Ok((rest, Self { fin, opcode, len, key }))
    }
}

/// Whether permessage-deflate defines the reserved bits in the first byte of this frame.
///
/// > If a nonzero value is received and none of the negotiated extensions defines the meaning of such a nonzero
/// > value, the receiving endpoint MUST _Fail the WebSocket Connection_. (5.2)
///
/// > An endpoint MUST NOT set the "Per-Message Compressed" bit of control frames and non-first fragments of a data
/// > message. An endpoint receiving such a frame MUST _Fail the WebSocket Connection_. (RFC 7692 6)
#[cold]
const fn may_be_compressed(first: u8) -> bool {
    first & RSV == RSV1 && matches!(first & OPCODE, 0x1 | 0x2)
}

/// The next `N` bytes, and the rest.
#[inline(always)]
fn take<const N: usize>(input: &[u8]) -> Result<([u8; N], &[u8]), Stop> {
    match input.split_first_chunk() {
        Some((bytes, rest)) => Ok((*bytes, rest)),
        None => Err(Stop::Need(N - input.len())),
    }
}

/// > in all cases, the minimal number of bytes MUST be used to encode the length (5.2)
#[inline]
fn length(input: &[u8], short: u8) -> Result<(&[u8], u64), Stop> {
    match short {
        LENGTH_16 => {
            let (len, rest) = take(input)?;
            let len = u16::from_be_bytes(len);
            if len < u16::from(LENGTH_16) {
                return Err(Stop::Broken(Error::LengthNotMinimal));
            }
            Ok((rest, u64::from(len)))
        }
        LENGTH_64 => {
            let (len, rest) = take(input)?;
            let len = u64::from_be_bytes(len);
            // > the following 8 bytes interpreted as a 64-bit unsigned integer (the most significant bit
            // > MUST be 0) are the payload length (5.2)
            if len > u64::MAX >> 1 {
                return Err(Stop::Broken(Error::LengthTopBit));
            }
            if len <= u64::from(u16::MAX) {
                return Err(Stop::Broken(Error::LengthNotMinimal));
            }
            Ok((rest, len))
        }
        _ => Ok((input, u64::from(short))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(input: &[u8]) -> Result<Head, Stop> {
        Head::parse(input, Role::Client, false).map(|(_, head)| head)
    }

    #[test]
    fn incomplete_head_asks_for_the_missing_bytes() {
        for (input, missing) in [
            (&b""[..], 2),
            (b"\x81", 1),
            (b"\x81\x7e", 2),
            (b"\x81\x7e\x01", 1),
            (b"\x81\x7f", 8),
            (b"\x81\x7f\0\0\0\0\0\x01\0", 1),
        ] {
            assert_eq!(client(input), Err(Stop::Need(missing)), "{}", input.escape_ascii());
        }
        let server = |input| Head::parse(input, Role::Server, false).map(|(rest, _)| rest.len());
        assert_eq!(server(b"\x81\x80"), Err(Stop::Need(4)));
        assert_eq!(server(b"\x81\x81\x01\x02\x03"), Err(Stop::Need(1)));
        assert_eq!(server(b"\x81\x81\x01\x02\x03\x04\x05"), Ok(1));
    }

    #[test]
    fn opcodes_are_parsed_or_rejected() {
        for bits in 0..16 {
            match client(&[FIN | bits, 0]) {
                Ok(head) => assert_eq!(head.opcode as u8, bits),
                Err(stop) => {
                    assert_eq!(stop, Stop::Broken(Error::ReservedOpcode));
                    assert!(matches!(bits, 3..=7 | 11..=15));
                }
            }
        }
    }

    #[test]
    fn errors_are_found_before_the_head_is_complete() {
        assert_eq!(client(b"\x81\xff"), Err(Stop::Broken(Error::Masked)));
        assert_eq!(client(b"\x89\x7e"), Err(Stop::Broken(Error::ControlTooLong)));
        let server = Head::parse(b"\x81\x7f", Role::Server, false);
        assert_eq!(server, Err(Stop::Broken(Error::Unmasked)));
    }

    #[test]
    fn only_rsv1_at_the_start_of_a_negotiated_message_is_accepted() {
        for first in 0..=u8::MAX {
            if first & RSV == 0 || Opcode::new(first & OPCODE).is_none() {
                continue;
            }
            let refused = Err(Stop::Broken(Error::ReservedBits));
            assert_eq!(client(&[first, 0]), refused, "{first:#x} without negotiation");
            let head = Head::parse(&[first, 0], Role::Client, true).map(|(_, head)| head);
            match first {
                0x41 | 0x42 | 0xc1 | 0xc2 => assert!(head.is_ok()),
                _ => assert_eq!(head, refused, "{first:#x}"),
            }
        }
        assert!(Head::parse(&[0x81, 0], Role::Client, true).is_ok());
    }
}
