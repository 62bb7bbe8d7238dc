//! The WebSocket protocol, RFC 6455: frames and opening handshake, for both roles.
//!
//! [`Decoder`] decodes received bytes into whole messages and control frames, in the buffer they arrived in; [`encode`]
//! writes frames; [`handshake`] checks the HTTP request or response that opens the connection; [`deflate`] negotiates
//! compression. The driver answers pings and closes, because it knows when the output has room, and inflates messages,
//! because it has the memory.
//!
//! ```
//! use eio_core::buffer::{RecvBuffer, Writer};
//! use eio_core::ws::{self, Decoder, Event, Opcode, Role, Step};
//!
//! let mut memory = [0; 64];
//! let mut wire = Writer::new(&mut memory);
//! ws::encode(&mut wire, Opcode::Text, b"4", b"hello", Some([0x37, 0xfa, 0x21, 0x3d]))?;
//!
//! let mut rx = RecvBuffer::new([0; 64]);
//! let mut decoder = Decoder::new(Role::Server, 1_000_000);
//! for byte in wire.written() {
//!     rx.append(&[*byte])?;
//!     match decoder.poll(&mut rx)? {
//!         Step::Need(_) => {} // receive more
//!         Step::Ready(ready) => assert_eq!(decoder.event(&rx, ready)?, Event::Text("4hello")),
//!     }
//! }
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

mod close;
mod decoder;
pub mod deflate;
mod encoder;
mod extension;
mod frame;
pub mod handshake;
mod mask;
mod mismatch;

pub use close::CloseCode;
pub use decoder::{Decoder, Event, Kind, Ready, Step};
pub use encoder::{encode, encode_close, encode_compressed, encode_fragment, encoded_len};
pub use frame::Opcode;

/// The role of this endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Role {
    /// Receives masked frames only.
    Server,
    /// Receives unmasked frames only.
    Client,
}

/// How the peer broke the protocol. The connection cannot continue: send a close frame with
/// [`close_code`](Self::close_code) and close it. Numbers are sections of RFC 6455.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// RSV1, RSV2 or RSV3 is set and no extension gives it a meaning there (5.2; RFC 7692 6).
    ReservedBits,
    /// Opcode 3 to 7 or 11 to 15 (5.2).
    ReservedOpcode,
    /// A close, ping or pong without FIN (5.5).
    FragmentedControl,
    /// A close, ping or pong of more than 125 bytes (5.5).
    ControlTooLong,
    /// A client sent an unmasked frame (5.1).
    Unmasked,
    /// A server sent a masked frame (5.1).
    Masked,
    /// A length in more bytes than it needs (5.2).
    LengthNotMinimal,
    /// The most significant bit of a 64-bit length is set (5.2).
    LengthTopBit,
    /// A continuation frame without a message to continue (5.4).
    NothingToContinue,
    /// A text or binary frame before the fragmented message was complete (5.4).
    MessageUnfinished,
    /// The message is longer than the limit, as announced or after inflation.
    TooBig,
    /// A compressed message is not DEFLATE data that ends with the message (RFC 7692 7.2). Reported by the driver,
    /// which inflates it.
    NotDeflate,
    /// A text message is not UTF-8 (8.1).
    TextNotUtf8,
    /// A close frame with a payload of one byte, too short for a code (5.5.1).
    CloseTruncated,
    /// A close code that must not be sent (7.4).
    CloseCodeInvalid,
    /// The reason in a close frame is not UTF-8 (5.5.1).
    ReasonNotUtf8,
}

impl Error {
    /// The code of the close frame with which to close the connection (7.4.1).
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::TooBig => CloseCode::TOO_BIG,
            // RFC 7692 names no code. The library ws and Autobahn use this one.
            Self::TextNotUtf8 | Self::ReasonNotUtf8 | Self::NotDeflate => {
                CloseCode::INVALID_PAYLOAD
            }
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::ReservedBits => "a reserved bit of a frame is set",
            Self::ReservedOpcode => "a frame has a reserved opcode",
            Self::FragmentedControl => "a control frame is fragmented",
            Self::ControlTooLong => "a control frame is longer than 125 bytes",
            Self::Unmasked => "a frame from a client is not masked",
            Self::Masked => "a frame from a server is masked",
            Self::LengthNotMinimal => "a frame length takes more bytes than it needs",
            Self::LengthTopBit => "a frame length has its top bit set",
            Self::NothingToContinue => "a continuation frame continues nothing",
            Self::MessageUnfinished => "a message starts inside an unfinished one",
            Self::TooBig => "a message is too big",
            Self::NotDeflate => "a compressed message is not DEFLATE data",
            Self::TextNotUtf8 => "a text message is not UTF-8",
            Self::CloseTruncated => "a close frame is too short for its code",
            Self::CloseCodeInvalid => "a close frame has an invalid code",
            Self::ReasonNotUtf8 => "the reason of a close frame is not UTF-8",
        })
    }
}

impl core::error::Error for Error {}
