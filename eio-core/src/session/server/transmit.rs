//! The items that a server session writes to a held GET and to its WebSocket.

use super::{CloseReason, ServerSession};
use crate::packet::Packet;
use crate::session::body::Body;
use crate::session::upgrade::{PROBE, ServerSocket};
use crate::transport::Transport;

/// The next item to write to a lane of a server session. From [`ServerSession::poll_transmit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Transmit {
    /// The open packet. The driver composes it (see [`open`](crate::open)).
    Open,
    /// This packet.
    Control(Packet<'static>),
    /// The next message of the driver's queue.
    Message,
    /// WebSocket only: send a close frame with [`hangup_code`](ServerSession::hangup_code). The lane is detached now;
    /// the connection makes no further call for this session, even if more data arrives on it.
    Hangup,
}

impl ServerSession {
    pub(super) fn poll_get(&mut self, queued: bool) -> Option<Transmit> {
        const CLOSE: Transmit = Transmit::Control(Packet::Close);
        const NOOP: Transmit = Transmit::Control(Packet::Noop);

        if self.transport == Transport::WebSocket {
            // The client switched while this GET was held. A noop answers it; messages go over the WebSocket now.
            if self.get == Body::Empty {
                self.get.push_last();
                return Some(NOOP);
            }
        } else if let Some(reason) = self.ended() {
            self.get.push_last();
            // docs/protocol.md 2.3.8, 2.4.4, 2.5.2: the GET of a client that closed is answered with `6`, any other
            // with `1`.
            return Some(if reason == CloseReason::ClientDisconnect { NOOP } else { CLOSE });
        } else if core::mem::take(&mut self.open_due) {
            // docs/protocol.md 2.1.4: the open packet is alone in its response.
            self.get.push_last();
            return Some(Transmit::Open);
        } else if self.heartbeat.take_ping() {
            self.get.push();
            return Some(Transmit::Control(Packet::Ping("")));
        } else if queued {
            // docs/protocol.md 2.7.4: also during an upgrade. Until `5`, messages go over polling, and the upgrade
            // does not wait for an empty queue.
            self.get.push();
            return Some(Transmit::Message);
        } else if self.is_closing() && !(self.draining && self.post) {
            self.get.push_last();
            self.end(CloseReason::ServerDisconnect);
            return Some(CLOSE);
        } else if self.get == Body::Empty && matches!(self.socket, ServerSocket::Probed { .. }) {
            // docs/protocol.md 2.7.2: each GET, not only the first, or the upgrade stalls for a whole ping interval.
            self.get.push_last();
            return Some(NOOP);
        }
        self.get.finish_started();
        None
    }

    pub(super) fn poll_websocket(&mut self, queued: bool) -> Option<Transmit> {
        match &mut self.socket {
            ServerSocket::Probed { answer_due, .. } | ServerSocket::Current { answer_due }
                if *answer_due =>
            {
                *answer_due = false;
                Some(Transmit::Control(Packet::Pong(PROBE)))
            }
            ServerSocket::Current { .. } => {
                if core::mem::take(&mut self.open_due) {
                    Some(Transmit::Open)
                } else if self.heartbeat.take_ping() {
                    Some(Transmit::Control(Packet::Ping("")))
                } else if queued {
                    Some(Transmit::Message)
                } else if self.is_closing() {
                    self.end(CloseReason::ServerDisconnect);
                    self.poll_websocket(false)
                } else {
                    None
                }
            }
            ServerSocket::Closing { close_due: true } => {
                self.socket = ServerSocket::Closing { close_due: false };
                Some(Transmit::Control(Packet::Close))
            }
            ServerSocket::Closing { close_due: false } => {
                self.socket = ServerSocket::Detached;
                Some(Transmit::Hangup)
            }
            ServerSocket::Detached
            | ServerSocket::Connected { .. }
            | ServerSocket::Probed { .. } => None,
        }
    }
}
