//! What both drivers keep, and what passes between a session and its connections.

use std::collections::VecDeque;

use eio_core::packet::{Message, Packet};
use eio_core::session::client::{self, ClientSession, Figures};
use eio_core::session::{CloseReason, Event, Lane, ServerSession, Transmit, Violation};
use eio_core::time::Instant;

use crate::world::SERVER;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Wire {
    Open,
    Control(Packet<'static>),
    Message(u32),
    Hangup,
}

impl Wire {
    fn packet(self, bytes: &mut [u8; 4]) -> Packet<'_> {
        match self {
            Self::Control(packet) => packet,
            Self::Message(index) => {
                *bytes = index.to_be_bytes();
                Packet::Message(Message::Binary(bytes))
            }
            Self::Open | Self::Hangup => unreachable!("not a packet that comes here"),
        }
    }
}

pub(crate) type Connection = u32;

/// What both drivers keep.
pub(crate) struct End<S> {
    pub(crate) session: S,
    pub(crate) outbox: VecDeque<u32>,
    pub(crate) queued: u32,
    pub(crate) received: u32,
    pub(crate) get: Option<Connection>,
    pub(crate) post: Option<Connection>,
    pub(crate) websocket: Option<Connection>,
    pub(crate) closed: Option<(CloseReason, u64)>,
    /// Told to close gracefully, with this many messages queued by then.
    pub(crate) flushing: Option<u32>,
}

impl<S> End<S> {
    pub(crate) fn new(session: S) -> Self {
        Self {
            session,
            outbox: VecDeque::new(),
            queued: 0,
            received: 0,
            get: None,
            post: None,
            websocket: None,
            closed: None,
            flushing: None,
        }
    }

    pub(crate) fn queue(&mut self) {
        if self.closed.is_none() && self.flushing.is_none() {
            self.outbox.push_back(self.queued);
            self.queued += 1;
        }
    }

    pub(crate) fn receive(&mut self, message: Option<Message<'_>>) {
        if let Some(Message::Binary(bytes)) = message {
            let index = u32::from_be_bytes(bytes.try_into().unwrap());
            assert_eq!(index, self.received, "lost, doubled or out of order");
            self.received += 1;
        }
    }

    pub(crate) fn take(&mut self) -> Wire {
        Wire::Message(self.outbox.pop_front().expect("asked for a message there is not"))
    }

    pub(crate) fn hear(&mut self, event: Event, now: u64) {
        if let Event::Closed(reason) = event {
            assert_eq!(self.closed.replace((reason, now)), None, "told twice");
        }
    }

    /// The lane this connection serves here, if it still does.
    pub(crate) fn lane(&self, connection: Connection) -> Option<Lane> {
        [(Lane::Get, self.get), (Lane::Post, self.post), (Lane::WebSocket, self.websocket)]
            .into_iter()
            .find_map(|(lane, serving)| (serving == Some(connection)).then_some(lane))
    }

    pub(crate) fn forget(&mut self, lane: Lane) {
        match lane {
            Lane::Get => self.get = None,
            Lane::Post => self.post = None,
            Lane::WebSocket => self.websocket = None,
        }
    }
}

/// Whether the server took it.
pub(crate) fn server_hears(
    server: &mut End<ServerSession>,
    lane: Lane,
    wire: Wire,
    now: Instant,
) -> bool {
    match server.session.handle_packet(lane, wire.packet(&mut [0; 4]), now) {
        Ok(message) => server.receive(message),
        Err(violation) => {
            assert_eq!(violation, Violation::Ended);
            return server.session.ended() == Some(CloseReason::ClientDisconnect);
        }
    }
    true
}

pub(crate) fn server_says(server: &mut End<ServerSession>, lane: Lane) -> Option<Wire> {
    let over = server.session.ended().is_some();
    let transmit = server.session.poll_transmit(lane, !server.outbox.is_empty())?;
    let last =
        matches!(transmit, Transmit::Control(Packet::Close | Packet::Noop) | Transmit::Hangup);
    assert!(last || !over, "{transmit:?} after the end");
    Some(match transmit {
        Transmit::Open => Wire::Open,
        Transmit::Control(packet) => Wire::Control(packet),
        Transmit::Message => server.take(),
        Transmit::Hangup => Wire::Hangup,
    })
}

pub(crate) fn client_says(client: &mut End<ClientSession>, lane: Lane) -> Option<Wire> {
    let over = client.session.ended().is_some();
    let transmit = client.session.poll_transmit(lane, !client.outbox.is_empty())?;
    let last =
        matches!(transmit, client::Transmit::Control(Packet::Close) | client::Transmit::Hangup);
    assert!(last || !over, "{transmit:?} after the end");
    Some(match transmit {
        client::Transmit::Control(packet) => Wire::Control(packet),
        client::Transmit::Message => client.take(),
        client::Transmit::Hangup => Wire::Hangup,
    })
}

pub(crate) fn client_hears(client: &mut End<ClientSession>, lane: Lane, wire: Wire, now: Instant) {
    if let Wire::Open = wire {
        let figures = Figures {
            ping_interval: SERVER.ping_interval,
            ping_timeout: SERVER.ping_timeout,
            offers_websocket: lane == Lane::Get,
        };
        let opened = client.session.handle_open(figures, now);
        return assert!(opened.is_ok() || client.session.ended().is_some());
    }
    match client.session.handle_packet(lane, wire.packet(&mut [0; 4]), now) {
        Ok(message) => client.receive(message),
        Err(violation) => assert_eq!(violation, Violation::Ended),
    }
}
