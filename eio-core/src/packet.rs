//! One packet: the unit both transports carry.
//!
//! Over WebSocket a packet is one message: a text frame `<type><data>`, or a binary frame that is a binary
//! message with no prefix. Over polling the same text stands between record separators
//! ([`payload`](crate::payload)) and binary becomes `b` and base64.

/// Application data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Message<'a> {
    /// UTF-8 text.
    Text(&'a str),
    /// Any bytes, also none.
    Binary(&'a [u8]),
}

impl Message<'_> {
    /// The length in bytes, without any framing.
    pub const fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether it carries nothing. An empty message is still a message.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Binary(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Message<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Binary(bytes)
    }
}

/// A packet of protocol revision 4. Only a message can be binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Packet<'a> {
    /// `0`: the handshake, with its JSON ([`open`](crate::open)).
    Open(&'a str),
    /// `1`: the sender ends the session.
    Close,
    /// `2`: from the server a heartbeat; from the client, with `probe`, the start of an upgrade.
    Ping(&'a str),
    /// `3`: the answer to a ping, with its data.
    Pong(&'a str),
    /// `4`, or binary.
    Message(Message<'a>),
    /// `5`: the client switches to the transport it probed.
    Upgrade,
    /// `6`: nothing; ends a pending poll.
    Noop,
}
