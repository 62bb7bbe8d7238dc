//! One WebSocket: its handshake, its messages, and automatic pongs.

use crate::args::Args;
use crate::die;
use crate::net::{Id, Net};
use crate::proto::{self, Frame, Opcode, Response};

pub(crate) struct Ws {
    stage: Stage,
    /// The first message is an open packet.
    session: bool,
    /// It probes, and takes a session over.
    upgrades: bool,
    pub(crate) pings: u64,
}

/// A WebSocket for a session that is opened elsewhere, if the arguments say so; its request.
pub(crate) fn begin(args: &Args, net: &mut Net, id: Id) {
    let sid = match &args.open {
        Some(url) => proto::open_session(url).unwrap_or_else(|error| die(&error)),
        None => String::new(),
    };
    net.out(id).extend_from_slice(&proto::upgrade(args, &sid));
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    OpenPacket,
    /// The answer to the probe of an upgrade.
    Probe,
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
        Self { stage: Stage::Head, session, upgrades: false, pings: 0 }
    }

    /// The WebSocket of [`begin`].
    pub(crate) fn of(args: &Args, session: bool) -> Self {
        Self { upgrades: session && args.open.is_some(), ..Self::new(session) }
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
            if self.upgrades {
                proto::client_packet(net.out(id), b"2probe");
                self.stage = Stage::Probe;
            } else if self.session {
                self.stage = Stage::OpenPacket;
            } else {
                self.stage = Stage::Running;
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
                (Opcode::Text, b"3probe") if self.stage == Stage::Probe => {
                    proto::client_packet(net.out(id), b"5");
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
