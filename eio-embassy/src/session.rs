//! What sessions over either transport share: parameters of the open packet, and a decoded message.

use eio_core::open::Open;
use eio_core::packet::Message;
use eio_core::session::client::Figures;
use eio_core::transport::Transport;

/// More headers than a server behind a proxy sends.
pub(crate) const MAX_HEADERS: usize = 24;

/// The parameters of `open` that a session needs.
pub(crate) fn open_params(open: &Open) -> Figures {
    Figures {
        ping_interval: open.ping_interval,
        ping_timeout: open.ping_timeout,
        offers_websocket: open.upgrades.contains(Transport::WebSocket),
    }
}

/// Where a message lies in what is kept: behind its type, or at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageSpan {
    start: usize,
    len: usize,
    binary: bool,
}

impl MessageSpan {
    /// That message, which begins at `start`.
    pub(crate) const fn new(start: usize, message: Message<'_>) -> Self {
        Self { start, len: message.len(), binary: matches!(message, Message::Binary(_)) }
    }

    pub(crate) fn message(self, kept: &[u8]) -> Message<'_> {
        let bytes = kept.get(self.start..self.start + self.len).unwrap_or_default();
        match self.binary {
            true => Message::Binary(bytes),
            // It was text when it was decoded; to keep that in mind takes more memory than to look again.
            false => Message::Text(core::str::from_utf8(bytes).unwrap_or_default()),
        }
    }
}
