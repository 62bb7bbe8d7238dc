//! The items that a client session writes to its POST and its WebSocket.

use super::{ClientSession, CloseReason};
use crate::packet::Packet;
use crate::session::body::Body;
use crate::session::upgrade::{ClientSocket, PROBE};
use crate::transport::Transport;

/// The next item to write to a lane of a client session. From [`ClientSession::poll_transmit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Transmit {
    /// This packet.
    Control(Packet<'static>),
    /// The next message of the driver's queue.
    Message,
    /// WebSocket only: send a close frame with [`hangup_code`](ClientSession::hangup_code), or stop connecting. The
    /// lane is detached now; the connection makes no further call for this session.
    Hangup,
}

impl ClientSession {
    pub(super) fn poll_post(&mut self, queued: bool) -> Option<Transmit> {
        const CLOSE: Transmit = Transmit::Control(Packet::Close);

        if self.ended().is_some() {
            if core::mem::take(&mut self.final_close_due) {
                return Some(CLOSE);
            }
        } else if core::mem::take(&mut self.pong_due) {
            self.post.push();
            return Some(PONG);
        } else if queued {
            self.post.push();
            return Some(Transmit::Message);
        } else if self.closing.is_some() {
            self.end(CloseReason::ClientDisconnect);
            return Some(CLOSE);
        }
        self.post.finish_started();
        None
    }

    pub(super) fn poll_websocket(&mut self, queued: bool) -> Option<Transmit> {
        match &mut self.socket {
            ClientSocket::Probing { probe_due, .. } => {
                let due = core::mem::take(probe_due);
                due.then_some(Transmit::Control(Packet::Ping(PROBE)))
            }
            // Nothing is in flight over polling, so `5` overtakes nothing.
            ClientSocket::Pausing { .. } if !self.get && self.post == Body::Absent => {
                self.socket = ClientSocket::Current;
                self.transport = Transport::WebSocket;
                self.events.upgraded();
                Some(Transmit::Control(Packet::Upgrade))
            }
            ClientSocket::Current => {
                if core::mem::take(&mut self.pong_due) {
                    Some(PONG)
                } else if queued && self.is_open() {
                    Some(Transmit::Message)
                } else if self.closing.is_some() {
                    self.end(CloseReason::ClientDisconnect);
                    self.poll_websocket(false)
                } else {
                    None
                }
            }
            ClientSocket::Closing { close_due: true } => {
                self.socket = ClientSocket::Closing { close_due: false };
                Some(Transmit::Control(Packet::Close))
            }
            ClientSocket::Closing { close_due: false } => {
                self.socket = ClientSocket::Unused;
                Some(Transmit::Hangup)
            }
            ClientSocket::Unused
            | ClientSocket::Wanted { .. }
            | ClientSocket::Connecting { .. }
            | ClientSocket::Pausing { .. } => None,
        }
    }
}

/// engine.io-client answers any ping with a bare `3`, so there is no data to repeat.
const PONG: Transmit = Transmit::Control(Packet::Pong(""));
