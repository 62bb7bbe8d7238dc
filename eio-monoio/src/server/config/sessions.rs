//! [`Config`]: opening, upgrading and closing sessions, and the order of messages.

use std::time::Duration;

use eio_core::transport::{Transport, TransportSet};

use super::{Config, Dispatch};
use crate::message::AsMessage;

/// # Sessions
///
/// How sessions open, upgrade and close, and in which order the handler receives messages.
impl Config {
    /// The transports that are served.
    ///
    /// **Default:** both. **Range:** at least one. A request for another transport is answered 400 with code 0.
    ///
    /// Engine.IO, python-engineio: `transports`.
    #[must_use]
    pub fn transports(mut self, transports: impl IntoIterator<Item = Transport>) -> Self {
        self.transports = transports.into_iter().fold(TransportSet::EMPTY, TransportSet::with);
        self
    }

    /// Whether a polling session may upgrade to WebSocket.
    ///
    /// **Default:** true. If false, the open packet announces no upgrades, and a request to upgrade is answered 400
    /// with code 3.
    ///
    /// Engine.IO: `allowUpgrades`. python-engineio: `allow_upgrades`.
    #[must_use]
    pub fn allow_upgrades(mut self, allow: bool) -> Self {
        self.allow_upgrades = allow;
        self
    }

    /// The time from the acceptance of a probing WebSocket to the client's upgrade packet.
    ///
    /// **Default:** 10 s. **Range:** 10 ms to 24 h. After it the WebSocket is closed with 1000 and the session
    /// continues over polling.
    ///
    /// Engine.IO: `upgradeTimeout`.
    #[must_use]
    pub fn upgrade_timeout(mut self, timeout: Duration) -> Self {
        self.upgrade_timeout = timeout;
        self
    }

    /// The time that [`Handler::connect`](crate::Handler::connect) and
    /// [`Handler::request`](crate::Handler::request) have to answer; each read of a static file has the same time.
    ///
    /// **Default:** 30 s. **Range:** 10 ms to 24 h. After it the future is dropped and the request is answered 503. If
    /// the response has begun, which only happens with a file, the connection is closed.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The time that a close may take: from [`Socket::disconnect`](crate::Socket::disconnect) until the peer has
    /// received the queued messages and the close packet, and then for the closing handshake of a WebSocket.
    ///
    /// **Default:** 10 s. **Range:** 10 ms to 24 h. After it the session ends, queued messages are dropped and the
    /// WebSocket's connection is closed.
    #[must_use]
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// A message for every new session, before all others and over polling in the response to the handshake. Some
    /// clients, rust_engineio among them, cannot parse such a response.
    ///
    /// **Default:** none. **Range:** text without U+001E, or binary, of at most [`max_payload`](Self::max_payload)
    /// bytes.
    ///
    /// Engine.IO: `initialPacket`.
    #[must_use]
    pub fn initial_packet(mut self, message: impl AsMessage) -> Self {
        self.initial_packet = Some(message.into_owned_message());
        self
    }

    /// Whether text with U+001E is sent to sessions that a WebSocket carries. Polling cannot carry it: that character
    /// separates the packets of a body.
    ///
    /// **Default:** false: [`SendError::Separator`](crate::SendError::Separator) over every transport, so that the answer
    /// does not depend on an upgrade. If true, only sessions that polling carries refuse it; a broadcast skips them, and
    /// that is logged. Such text is received over a WebSocket in any case.
    ///
    /// Engine.IO: true, and a client receives such text as several packets over polling.
    #[must_use]
    pub fn separator_over_websocket(mut self, send: bool) -> Self {
        self.separator_over_websocket = send;
        self
    }

    /// How the messages of a session reach the handler.
    ///
    /// **Default:** [`Dispatch::InOrder`].
    ///
    /// python-engineio: `async_handlers`, which is [`Dispatch::Concurrent`] and the default there.
    #[must_use]
    pub fn dispatch(mut self, dispatch: Dispatch) -> Self {
        self.dispatch = dispatch;
        self
    }

    /// The time that `open` and `message` of a [`Handler`](crate::Handler) have to complete after their session has ended.
    ///
    /// **Default:** 5 s. **Range:** 0 to 24 h. After it their futures are dropped, with the messages that were not handled,
    /// and [`Handler::disconnect`](crate::Handler::disconnect) is called. A shutdown shortens it to the rest of
    /// [`shutdown_grace`](Self::shutdown_grace) and 250 ms.
    #[must_use]
    pub fn handler_grace(mut self, grace: Duration) -> Self {
        self.handler_grace = grace;
        self
    }

    /// The name of this server in its sids, which become `<tag>.<24 characters>`: a load balancer in front of several
    /// servers finds the one that has a session. It is also put before the sids of
    /// [`Server::generate_id`](crate::Server::generate_id). Every server behind one balancer needs another tag.
    ///
    /// **Default:** none; sids have 24 characters. **Range:** 1 to 16 of `A-Z a-z 0-9 - _`. A generated sid that is longer
    /// than 64 characters with its tag is answered as an illegal one.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Whether the request that opens a session is kept for the life of the session, for
    /// [`Socket::request`](crate::Socket::request).
    ///
    /// **Default:** false. If true, a session takes the memory of its request head in addition: about 1 KiB, at most
    /// three times [`max_head_size`](Self::max_head_size).
    ///
    /// Engine.IO: `socket.request`, always. python-engineio: `environ`, always.
    #[must_use]
    pub fn keep_request(mut self, keep: bool) -> Self {
        self.keep_request = keep;
        self
    }
}
