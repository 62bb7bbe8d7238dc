//! A server session under any sequence of calls, including those that no client or driver makes.
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
    driver.run_to_end();
}

/// The state of a GET's response.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Response {
    Absent,
    Empty,
    Begun,
    /// It has its last packet, or the session has no more for it.
    Complete,
}

/// Calls the session, and keeps a model of its state to check the results.
struct Driver {
    session: ServerSession,
    timing: Timing,
    now: Instant,
    ended: Option<CloseReason>,
    closed: Option<CloseReason>,
    opened: bool,
    transport: Transport,
    get: Response,
    /// A ping is sent and its pong is not received.
    awaiting_pong: bool,
    probes: u32,
    probe_answers: u32,
    websockets: u32,
    failures: u32,
    upgrades: u32,
    /// The extensions since the last packet.
    extensions: u8,
    /// Packets on the WebSocket after the end.
    closing_packets: u32,
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
            closing_packets: 0,
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
                self.lane_closed(lane);
            }
            2 => {
                self.session.lost(lane);
                self.lane_closed(lane);
            }
            3 => self.session.fail(lane, reason),
            4 => self.receive(lane, PACKETS[usize::from(of) % PACKETS.len()]),
            5 => self.session.close(self.now),
            6 => self.session.abort(reason),
            7 => self.advance(u32::from(argument) * 4),
            8 => self.wake(),
            9 => self.extend(),
            _ => _ = self.transmit(lane, of & 1 != 0),
        }
        // Drivers drain every lane after a call; `op` decides whether this one does.
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

    fn lane_closed(&mut self, lane: Lane) {
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
                assert_eq!(message, wanted, "a message is lost or invented");
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
                    _ => assert!(!probing, "{packet:?} is not part of an upgrade"),
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

    fn advance(&mut self, millis: u32) {
        self.now = self.now.after(millis);
        self.session.handle_timeout(self.now);
        assert!(
            self.session.poll_timeout().is_none_or(|at| at > self.now),
            "a deadline that has passed"
        );
    }

    /// The timer fires at its deadline.
    fn wake(&mut self) {
        if let Some(at) = self.session.poll_timeout() {
            self.now = self.now.max(at);
            self.advance(0);
        }
    }

    /// The timer fires while received bytes are unread.
    fn extend(&mut self) {
        if let Some(at) = self.session.poll_timeout() {
            self.now = self.now.max(at);
            let extended = self.session.extend(self.now);
            assert!(!extended || self.ended.is_none());
            self.extensions += u8::from(extended);
            assert!(self.extensions <= MAX_EXTENSIONS, "unbounded extensions");
            self.advance(0);
        }
    }

    fn drain(&mut self) {
        for lane in LANES {
            for round in 0.. {
                assert!(round < 8, "unbounded packets on {lane:?}");
                if !self.transmit(lane, false) {
                    break;
                }
            }
        }
        assert!(
            self.session.ended().is_none() || !self.session.attached(Lane::WebSocket),
            "the session ended without a hang-up of its WebSocket"
        );
        assert!(
            self.session.ended().is_none() || self.get != Response::Empty,
            "a GET without a response"
        );
    }

    /// Polls once; true if there was a packet.
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
        assert!(attached && lane != Lane::Post, "{transmit:?} on a lane that is not attached");
        match lane {
            Lane::Get => {
                assert_ne!(self.get, Response::Complete, "a packet after the end of a response");
                self.get = match transmit {
                    Transmit::Control(Packet::Ping(_)) | Transmit::Message => Response::Begun,
                    _ => Response::Complete,
                };
            }
            _ => self.closing_packets += u32::from(ended),
        }
        assert!(self.closing_packets <= 2, "unbounded packets after the end");
        self.check_transmit(lane, transmit, queued, ended);
        true
    }

    fn check_transmit(&mut self, lane: Lane, transmit: Transmit, queued: bool, ended: bool) {
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
                assert!(self.probe_answers <= self.probes, "a pong without a probe");
            }
            Transmit::Control(Packet::Close) => assert!(carries && self.session.ended().is_some()),
            Transmit::Control(Packet::Noop) => assert_eq!(lane, Lane::Get),
            Transmit::Hangup => {
                assert!(lane == Lane::WebSocket && !self.session.attached(lane));
            }
            Transmit::Control(other) => panic!("a server does not send {other:?}"),
        }
    }

    /// Checks the laws that hold after every call.
    fn check(&mut self) {
        let ended = self.session.ended();
        assert!(self.ended.is_none() || ended == self.ended, "the reason changed");
        self.ended = ended;
        assert_eq!(
            self.session.poll_timeout().is_none(),
            ended.is_some(),
            "a deadline while alive only"
        );
        assert!(!self.session.is_closing() || ended.is_none());
        assert_eq!(
            self.session.transport(),
            self.transport,
            "the transport changed without an upgrade packet"
        );
        while let Some(event) = self.session.poll_event() {
            assert_eq!(self.closed, None, "{event:?} after the last event");
            match event {
                Event::Upgraded => self.upgrades += 1,
                Event::UpgradeFailed(_) => self.failures += 1,
                Event::Closed(reason) => self.closed = Some(reason),
            }
        }
        assert_eq!(self.closed, ended);
        assert!(self.upgrades <= 1 && self.upgrades + self.failures <= self.websockets);
    }

    /// Without further input the session ends at its deadline.
    fn run_to_end(&mut self) {
        let Timing { ping_interval_ms, ping_timeout_ms, .. } = self.timing;
        let bound = self.now.after(ping_interval_ms).after(ping_timeout_ms);
        for round in 0.. {
            assert!(round < 10, "repeated timeouts without an effect");
            self.drain();
            self.check();
            if self.ended.is_some() {
                break;
            }
            assert!(
                self.session.poll_timeout().is_some_and(|at| at <= bound),
                "the deadline is too late"
            );
            self.wake();
        }
        for lane in LANES {
            assert_eq!(self.session.poll_transmit(lane, true), None, "a packet after the last");
            assert_eq!(self.session.attach(lane, self.now), Err(Violation::Ended));
        }
        assert_eq!(self.session.poll_event(), None);
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::{Step, for_each_input};

    /// The usual calls of a driver, as in `dict/server_session.dict`, and any others.
    const STEPS: [Step; 15] = [
        (12, &[[1, 0], [0, 0]]),        // the next GET
        (8, &[[1, 1], [0, 1], [4, 1]]), // a POST of a message
        (8, &[[1, 1], [0, 1], [4, 4]]), // a POST of a pong
        (4, &[[0, 2], [4, 8]]),         // a WebSocket with a probe
        (1, &[[1, 2]]),                 // the WebSocket closes
        (8, &[[4, 11]]),                // an upgrade packet on the WebSocket
        (6, &[[4, 2]]),                 // a message on the WebSocket
        (6, &[[4, 5]]),                 // a pong on the WebSocket
        (8, &[[10, 3]]),                // transmit a message on the GET
        (8, &[[10, 5]]),                // transmit a message on the WebSocket
        (12, &[[7, 12]]),               // 48 ms pass
        (1, &[[8, 0]]),                 // the timer fires
        (2, &[[9, 0]]),                 // the timer fires with unread bytes
        (1, &[[5, 0]]),                 // close
        (2, &[]),
    ];

    #[test]
    fn random_calls_keep_the_laws_of_a_server_session() {
        for_each_input(11, &STEPS, super::run);
    }
}
