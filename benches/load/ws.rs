//! One WebSocket: its opening, and frames without those that only keep it alive.

use crate::die;
use crate::net::{Id, Net};
use crate::proto::{self, Frame, Opcode, Response};

pub(crate) struct Ws {
    stage: Stage,
    /// An open packet comes first.
    session: bool,
    pub(crate) pings: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    OpenPacket,
    Running,
}

/// What came.
pub(crate) enum Event<'a> {
    /// It stands: messages can be sent.
    Opened,
    Message(Opcode, &'a [u8]),
    /// A close frame.
    Closed,
}

impl Ws {
    /// `session`: the server begins with an open packet. The request is the caller's to send.
    pub(crate) fn new(session: bool) -> Self {
        Self { stage: Stage::Head, session, pings: 0 }
    }

    /// Takes the next event off `data`, and moves `at` behind it. `None`: there is no further one yet. What
    /// breaks the protocol ends the run.
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

/// Opens many connections, not too many at a time.
#[derive(Default)]
pub(crate) struct Ramp {
    pub(crate) begun: usize,
    pub(crate) ready: usize,
}

impl Ramp {
    /// Whether the next of `all` connections is to be begun.
    pub(crate) fn next(&mut self, all: usize) -> Option<usize> {
        const AT_A_TIME: usize = 100;
        let go = self.begun < all && self.begun < self.ready + AT_A_TIME;
        go.then(|| {
            self.begun += 1;
            self.begun - 1
        })
    }
}
