//! Parts that sessions over either transport share: limits of a response, session parameters, a decoded message.

use eio_core::open::Open;
use eio_core::packet::Message;
use eio_core::payload::SEPARATOR;
use eio_core::session::client::OpenParams;
use eio_core::transport::Transport;

use crate::error::Error;

/// The parameters of the open packet that a session needs.
pub(crate) fn open_params(open: &Open) -> OpenParams {
    OpenParams {
        ping_interval_ms: open.ping_interval_ms,
        ping_timeout_ms: open.ping_timeout_ms,
        offers_websocket: open.upgrades.contains(Transport::WebSocket),
    }
}

/// docs/protocol.md 1.9: refused over a WebSocket as well, so that the answer does not depend on an upgrade.
pub(crate) fn check_separator(message: Message<'_>) -> Result<(), Error> {
    match message {
        // Not `contains`, which is larger in flash.
        Message::Text(text) if text.bytes().any(|byte| byte == SEPARATOR) => Err(Error::Separator),
        _ => Ok(()),
    }
}

/// The position of a decoded message in the kept bytes of a receive buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageSpan {
    start: usize,
    len: usize,
    binary: bool,
}

impl MessageSpan {
    /// The span of `message`, which begins at `start`.
    pub(crate) const fn new(start: usize, message: Message<'_>) -> Self {
        Self { start, len: message.len(), binary: matches!(message, Message::Binary(_)) }
    }

    pub(crate) fn message(self, kept: &[u8]) -> Message<'_> {
        let bytes = kept.get(self.start..self.start + self.len).unwrap_or_default();
        match self.binary {
            true => Message::Binary(bytes),
            // The decoder validated it. A second check takes less memory than to remember the first.
            false => Message::Text(core::str::from_utf8(bytes).unwrap_or_default()),
        }
    }
}
