//! A server session under any order of calls, as no client and no driver would make them.
//!
//! ```text
//! | start(1) | op, argument | op, argument | ...
//! ```

use eio_core::packet::{Message, Packet};
use eio_core::session::{
    CloseReason, Event, Lane, MAX_EXTENSIONS, ServerSession, Timing, Transmit, Violation,
};
use eio_core::time::Instant;
use eio_core::transport::Transport;

pub(crate) const LANES: [Lane; 3] = [Lane::Get, Lane::Post, Lane::WebSocket];
pub(crate) const REASONS: [CloseReason; 8] = [
    CloseReason::ClientDisconnect,
    CloseReason::ServerDisconnect,
    CloseReason::PingTimeout,
    CloseReason::TransportClose,
    CloseReason::TransportError,
    CloseReason::ParseError,
    CloseReason::PayloadTooLarge,
    CloseReason::HandlerPanicked,
];
pub(crate) const PACKETS: [Packet<'static>; 9] = [
    Packet::Message(Message::Text("a")),
    Packet::Pong(""),
    Packet::Ping("probe"),
    Packet::Upgrade,
    Packet::Close,
    Packet::Ping(""),
    Packet::Pong("probe"),
    Packet::Noop,
    Packet::Open("{}"),
];
const TIMINGS: [Timing; 4] = [
    Timing {
        ping_interval_ms: 300,
        ping_timeout_ms: 200,
        upgrade_timeout_ms: 100,
        close_timeout_ms: 400,
    },
    Timing {
        ping_interval_ms: 100,
        ping_timeout_ms: 400,
        upgrade_timeout_ms: 900,
        close_timeout_ms: 50,
    },
    Timing { ping_interval_ms: 1, ping_timeout_ms: 1, upgrade_timeout_ms: 1, close_timeout_ms: 1 },
    Timing {
        ping_interval_ms: u32::MAX,
        ping_timeout_ms: u32::MAX,
        upgrade_timeout_ms: u32::MAX,
        close_timeout_ms: u32::MAX,
    },
];

pub(crate) fn run(data: &[u8]) {
    let (start, ops) = data.split_first().unwrap_or((&0, &[]));
    let transport = if start & 1 == 0 { Transport::Polling } else { Transport::WebSocket };
    let timing = TIMINGS[usize::from(start >> 1) % TIMINGS.len()];
    let mut driver = Driver::new(transport, timing);
    for op in ops.chunks_exact(2) {
        driver.step(op[0], op[1]);
        driver.check();
    }
    driver.wait_for_the_end();
}

/// What a GET's response has come to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Response {
    Absent,
    Empty,
    Begun,
    /// It has its last packet, or was told that there is none.
    Complete,
}

/// Calls the session, and remembers enough to know what it must not do.
struct Driver {
    session: ServerSession,
    timing: Timing,
    now: Instant,
    ended: Option<CloseReason>,
    closed: Option<CloseReason>,
    opened: bool,
    transport: Transport,
    get: Response,
    /// A ping went out and no pong came.
    awaiting_pong: bool,
    probes: u32,
    probe_answers: u32,
    websockets: u32,
    failures: u32,
    upgrades: u32,
    /// Since the last packet.
    extensions: u8,
    /// After the end, on the WebSocket.
    farewells: u32,
}

impl Driver {
    fn new(transport: Transport, timing: Timing) -> Self {
        let now = Instant::from_millis(1_000);
        let get = match transport {
            Transport::Polling => Response::Empty,
            Transport::WebSocket => Response::Absent,
        };
        Self {
            session: ServerSession::new(transport, timing, now),
            timing,
            now,
            ended: None,
            closed: None,
            opened: false,
            transport,
            get,
            awaiting_pong: false,
            probes: 0,
            probe_answers: 0,
            websockets: 0,
            failures: 0,
            upgrades: 0,
            extensions: 0,
            farewells: 0,
        }
    }

    fn step(&mut self, op: u8, argument: u8) {
        let lane = LANES[usize::from(argument) % LANES.len()];
        let of = argument / 3;
        let reason = REASONS[usize::from(of) % REASONS.len()];
        match op % 11 {
            0 => self.attach(lane),
            1 => {
                self.session.detach(lane);
                self.gone(lane);
            }
            2 => {
                self.session.lost(lane);
                self.gone(lane);
            }
            3 => self.session.fail(lane, reason),
            4 => self.receive(lane, PACKETS[usize::from(of) % PACKETS.len()]),
            5 => self.session.close(self.now),
            6 => self.session.abort(reason),
            7 => self.later(u32::from(argument) * 4),
            8 => self.wake(),
            9 => self.extend(),
            _ => _ = self.transmit(lane, of & 1 != 0),
        }
        // A driver that drains every lane is the usual one; one that does not comes from `op`.
        if op & 0x80 != 0 {
            self.drain();
        }
    }

    fn attach(&mut self, lane: Lane) {
        let held = self.session.attached(lane);
        match self.session.attach(lane, self.now) {
            Ok(()) => {
                assert!(!held && self.session.attached(lane) && self.ended.is_none());
                match lane {
                    Lane::Get => self.get = Response::Empty,
                    Lane::Post => {}
                    Lane::WebSocket => self.websockets += 1,
                }
                assert!(lane == Lane::WebSocket || self.transport == Transport::Polling);
            }
            Err(Violation::Ended) => assert!(self.ended.is_some()),
            Err(Violation::OverlappingGet | Violation::OverlappingPost) => {
                assert!(held && lane != Lane::WebSocket);
                assert_eq!(self.session.ended(), Some(CloseReason::TransportError));
            }
            Err(Violation::TransportMismatch) => assert_eq!(self.transport, Transport::WebSocket),
            Err(Violation::AlreadyUpgrading) => assert!(held && lane == Lane::WebSocket),
            Err(other) => panic!("{other:?} from attach"),
        }
    }

    fn gone(&mut self, lane: Lane) {
        assert!(!self.session.attached(lane));
        if lane == Lane::Get {
            self.get = Response::Absent;
        }
    }

    fn receive(&mut self, lane: Lane, packet: Packet<'static>) {
        let (attached, closing) = (self.session.attached(lane), self.session.is_closing());
        let upgrading = self.session.is_upgrading();
        let result = self.session.handle_packet(lane, packet, self.now);
        if self.ended.is_some() {
            return assert_eq!(result, Err(Violation::Ended));
        }
        let probing = lane == Lane::WebSocket && upgrading;
        match result {
            Ok(message) => {
                assert!(attached && lane != Lane::Get);
                let wanted = match packet {
                    Packet::Message(message) if !closing => Some(message),
                    _ => None,
                };
                assert_eq!(message, wanted, "a message is lost or made up");
                if !probing {
                    self.extensions = 0;
                }
                match packet {
                    Packet::Pong(_) if !probing => self.awaiting_pong = false,
                    Packet::Ping("probe") if probing => self.probes += 1,
                    Packet::Upgrade if probing => self.transport = Transport::WebSocket,
                    Packet::Close => {
                        assert_eq!(self.session.ended(), Some(CloseReason::ClientDisconnect));
                    }
                    _ => assert!(!probing, "{packet:?} is part of no upgrade"),
                }
            }
            Err(Violation::WrongDirection) => {
                assert!(matches!(packet, Packet::Ping(_)) && !probing);
                assert_eq!(self.session.ended(), Some(CloseReason::TransportError));
            }
            Err(Violation::UnexpectedPacket) => assert!(probing && self.session.ended().is_none()),
            Err(Violation::NotAttached) => assert!(self.session.ended().is_none()),
            Err(other) => panic!("{other:?} from handle_packet"),
        }
    }

    fn later(&mut self, millis: u32) {
        self.now = self.now.after(millis);
        self.session.handle_timeout(self.now);
        assert!(self.session.poll_timeout().is_none_or(|at| at > self.now), "it would spin");
    }

    /// The timer fires, on time.
    fn wake(&mut self) {
        if let Some(at) = self.session.poll_timeout() {
            self.now = self.now.max(at);
            self.later(0);
        }
    }

    /// The timer fires while bytes wait unread.
    fn extend(&mut self) {
        if let Some(at) = self.session.poll_timeout() {
            self.now = self.now.max(at);
            let extended = self.session.extend(self.now);
            assert!(!extended || self.ended.is_none());
            self.extensions += u8::from(extended);
            assert!(self.extensions <= MAX_EXTENSIONS, "patience without end");
            self.later(0);
        }
    }

    fn drain(&mut self) {
        for lane in LANES {
            for round in 0.. {
                assert!(round < 8, "no end of words on {lane:?}");
                if !self.transmit(lane, false) {
                    break;
                }
            }
        }
        assert!(
            self.session.ended().is_none() || !self.session.attached(Lane::WebSocket),
            "a WebSocket that is never hung up"
        );
        assert!(
            self.session.ended().is_none() || self.get != Response::Empty,
            "a GET that is never answered"
        );
    }

    /// Asks once; whether there was something.
    fn transmit(&mut self, lane: Lane, queued: bool) -> bool {
        let attached = self.session.attached(lane);
        let ended = self.session.ended().is_some();
        let transmit = self.session.poll_transmit(lane, queued);
        let Some(transmit) = transmit else {
            if lane == Lane::Get && self.get == Response::Begun {
                self.get = Response::Complete;
            }
            return false;
        };
        assert!(attached && lane != Lane::Post, "{transmit:?} on a lane that is not there");
        match lane {
            Lane::Get => {
                assert_ne!(self.get, Response::Complete, "more behind the end of a response");
                self.get = match transmit {
                    Transmit::Control(Packet::Ping(_)) | Transmit::Message => Response::Begun,
                    _ => Response::Complete,
                };
            }
            _ => self.farewells += u32::from(ended),
        }
        assert!(self.farewells <= 2, "an end that does not end");
        self.legal(lane, transmit, queued, ended);
        true
    }

    fn legal(&mut self, lane: Lane, transmit: Transmit, queued: bool, ended: bool) {
        let carries = match lane {
            Lane::Get => self.transport == Transport::Polling,
            _ => self.transport == Transport::WebSocket,
        };
        match transmit {
            Transmit::Open => {
                assert!(!self.opened && carries && !ended);
                self.opened = true;
            }
            Transmit::Message => {
                assert!(queued && carries && !ended && self.opened, "a message on {lane:?}");
            }
            Transmit::Control(Packet::Ping("")) => {
                assert!(carries && !ended && self.opened && !self.awaiting_pong);
                self.awaiting_pong = true;
            }
            Transmit::Control(Packet::Pong("probe")) => {
                assert!(lane == Lane::WebSocket && !ended);
                self.probe_answers += 1;
                assert!(self.probe_answers <= self.probes, "an answer nobody asked for");
            }
            Transmit::Control(Packet::Close) => assert!(carries && self.session.ended().is_some()),
            Transmit::Control(Packet::Noop) => assert_eq!(lane, Lane::Get),
            Transmit::Hangup => {
                assert!(lane == Lane::WebSocket && !self.session.attached(lane));
            }
            Transmit::Control(other) => panic!("a server does not say {other:?}"),
        }
    }

    /// What holds whatever was called.
    fn check(&mut self) {
        let ended = self.session.ended();
        assert!(self.ended.is_none() || ended == self.ended, "one reason, the first");
        self.ended = ended;
        assert_eq!(self.session.poll_timeout().is_none(), ended.is_some(), "no deadline");
        assert!(!self.session.is_closing() || ended.is_none());
        assert_eq!(self.session.transport(), self.transport, "it moved by itself");
        while let Some(event) = self.session.poll_event() {
            assert_eq!(self.closed, None, "{event:?} behind the last event");
            match event {
                Event::Upgraded => self.upgrades += 1,
                Event::UpgradeFailed(_) => self.failures += 1,
                Event::Closed(reason) => self.closed = Some(reason),
            }
        }
        assert_eq!(self.closed, ended);
        assert!(self.upgrades <= 1 && self.upgrades + self.failures <= self.websockets);
    }

    /// Nobody says anything any more: the session ends when it promised to.
    fn wait_for_the_end(&mut self) {
        let Timing { ping_interval_ms, ping_timeout_ms, .. } = self.timing;
        let bound = self.now.after(ping_interval_ms).after(ping_timeout_ms);
        for round in 0.. {
            assert!(round < 10, "it wakes for nothing");
            self.drain();
            self.check();
            if self.ended.is_some() {
                break;
            }
            assert!(self.session.poll_timeout().is_some_and(|at| at <= bound), "it lives too long");
            self.wake();
        }
        for lane in LANES {
            assert_eq!(self.session.poll_transmit(lane, true), None, "words after the last");
            assert_eq!(self.session.attach(lane, self.now), Err(Violation::Ended));
        }
        assert_eq!(self.session.poll_event(), None);
    }
}
