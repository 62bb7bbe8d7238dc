//! One WebSocket: its handshake, its messages, and automatic pongs.

use crate::die;
use crate::net::{Id, Net};
use crate::proto::{self, Frame, Opcode, Response};

pub(crate) struct Ws {
    stage: Stage,
    /// The first message is an open packet.
    session: bool,
    pub(crate) pings: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    OpenPacket,
    Running,
}

/// A received event.
pub(crate) enum Event<'a> {
    /// Messages can be sent.
    Opened,
    Message(Opcode, &'a [u8]),
    /// A close frame.
    Closed,
}

impl Ws {
    /// `session`: the server begins with an open packet. The caller sends the upgrade request.
    pub(crate) fn new(session: bool) -> Self {
        Self { stage: Stage::Head, session, pings: 0 }
    }

    /// Parses the next event of `data`, and moves `at` after it. `None` if there is no complete event. A violation of
    /// the protocol ends the run.
    #[inline]
    pub(crate) fn next<'d>(
        &mut self,
        net: &mut Net,
        id: Id,
        data: &'d [u8],
        at: &mut usize,
    ) -> Option<Event<'d>> {
        if self.stage == Stage::Head {
            let response = Response::parse(&data[*at..]).unwrap_or_else(|error| die(&error))?;
            if !response.switches() {
                die(&format!("the WebSocket was refused: {}", response.shown()));
            }
            *at += response.len;
            self.stage = if self.session { Stage::OpenPacket } else { Stage::Running };
            if !self.session {
                return Some(Event::Opened);
            }
        }
        loop {
            let frame = Frame::parse(&data[*at..]).unwrap_or_else(|error| die(&error))?;
            *at += frame.len;
            match (frame.opcode, frame.payload) {
                (Opcode::Text, open) if self.stage == Stage::OpenPacket => {
                    proto::sid(open).unwrap_or_else(|error| die(&error));
                    self.stage = Stage::Running;
                    return Some(Event::Opened);
                }
                (Opcode::Text, b"2") => {
                    self.pings += 1;
                    proto::client_packet(net.out(id), b"3");
                }
                (Opcode::Text | Opcode::Binary, payload) => {
                    return Some(Event::Message(frame.opcode, payload));
                }
                (Opcode::Ping, payload) => {
                    proto::client_frame(net.out(id), Opcode::Pong, payload, [1, 2, 3, 4]);
                }
                (Opcode::Pong, _) => {}
                (Opcode::Close, _) => return Some(Event::Closed),
            }
        }
    }
}

/// Opens connections, with a limit on those in progress.
#[derive(Default)]
pub(crate) struct Ramp {
    pub(crate) begun: usize,
    pub(crate) ready: usize,
}

impl Ramp {
    /// The index of the next of `all` connections to open, if it may begin now.
    pub(crate) fn next(&mut self, all: usize) -> Option<usize> {
        const AT_A_TIME: usize = 100;
        let go = self.begun < all && self.begun < self.ready + AT_A_TIME;
        go.then(|| {
            self.begun += 1;
            self.begun - 1
        })
    }
}
