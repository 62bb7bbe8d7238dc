//! A client session under any sequence of calls, with a server that sends anything at any time.
//!
//! ```text
//! | start(1) | op, argument | op, argument | ...
//! ```

use eio_core::packet::Packet;
use eio_core::session::client::{ClientSession, ClientTiming, OpenParams, Transmit};
use eio_core::session::{CloseReason, Event, Lane, MAX_EXTENSIONS, Violation};
use eio_core::time::Instant;
use eio_core::transport::Transport;

use super::server_session::{LANES, PACKETS, REASONS};

const TIMINGS: [ClientTiming; 3] = [
    ClientTiming { open_timeout_ms: 400, upgrade_timeout_ms: 100, close_timeout_ms: 250 },
    ClientTiming { open_timeout_ms: 1, upgrade_timeout_ms: 1, close_timeout_ms: 1 },
    ClientTiming {
        open_timeout_ms: u32::MAX,
        upgrade_timeout_ms: u32::MAX,
        close_timeout_ms: u32::MAX,
    },
];
/// Parameters that a server can announce, including useless ones.
const PARAMS: [OpenParams; 4] = [
    OpenParams { ping_interval_ms: 300, ping_timeout_ms: 200, offers_websocket: true },
    OpenParams { ping_interval_ms: 300, ping_timeout_ms: 200, offers_websocket: false },
    OpenParams { ping_interval_ms: 0, ping_timeout_ms: 1, offers_websocket: true },
    OpenParams { ping_interval_ms: u32::MAX, ping_timeout_ms: u32::MAX, offers_websocket: true },
];

pub(crate) fn run(data: &[u8]) {
    let (start, ops) = data.split_first().unwrap_or((&0, &[]));
    let transport = if start & 1 == 0 { Transport::Polling } else { Transport::WebSocket };
    let timing = TIMINGS[usize::from(start >> 2) % TIMINGS.len()];
    let mut driver = Driver::new(transport, start & 2 == 0, timing);
    for op in ops.chunks_exact(2) {
        driver.step(op[0], op[1]);
        driver.check();
    }
    driver.run_to_end();
}

/// The state of the POST in flight.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Request {
    Absent,
    Empty,
    Begun,
    /// It has its last packet, or the session has no more for it.
    Complete,
}

/// Calls the session, and keeps a model of its state to check the results.
struct Driver {
    session: ClientSession,
    timing: ClientTiming,
    upgrade: bool,
    now: Instant,
    params: Option<OpenParams>,
    ended: Option<CloseReason>,
    closed: Option<CloseReason>,
    transport: Transport,
    post: Request,
    /// Pings received, and pongs sent.
    pings: u32,
    pongs: u32,
    probes: u32,
    /// The probe on the current WebSocket has its pong.
    probed: bool,
    websockets: u32,
    upgrades: u32,
    failures: u32,
    /// The extensions since the last packet.
    extensions: u8,
    closing_packets: u32,
}

impl Driver {
    fn new(transport: Transport, upgrade: bool, timing: ClientTiming) -> Self {
        let now = Instant::from_millis(1_000);
        Self {
            session: ClientSession::new(transport, upgrade, timing, now),
            timing,
            upgrade,
            now,
            params: None,
            ended: None,
            closed: None,
            transport,
            post: Request::Absent,
            pings: 0,
            pongs: 0,
            probes: 0,
            probed: false,
            websockets: 0,
            upgrades: 0,
            failures: 0,
            extensions: 0,
            closing_packets: 0,
        }
    }

    fn step(&mut self, op: u8, argument: u8) {
        let lane = LANES[usize::from(argument) % LANES.len()];
        let of = argument / 3;
        let reason = REASONS[usize::from(of) % REASONS.len()];
        match op % 13 {
            0 => _ = self.start(of & 1 != 0),
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
            10 => self.connected(),
            11 => self.open(PARAMS[usize::from(of) % PARAMS.len()]),
            _ => _ = self.transmit(lane, of & 1 != 0),
        }
        if op & 0x80 != 0 {
            self.drain();
        }
    }

    /// Polls for a lane to open; true if there was one.
    fn start(&mut self, queued: bool) -> bool {
        let held = LANES.map(|lane| self.session.attached(lane));
        let Some(lane) = self.session.poll_lane(queued) else { return false };
        assert!(self.session.attached(lane));
        let index = LANES.iter().position(|one| *one == lane).expect("one of three");
        assert!(!held[index], "a second {lane:?}");
        match lane {
            Lane::Get => {
                assert!(self.ended.is_none() && self.transport == Transport::Polling);
            }
            Lane::Post => {
                assert!(self.params.is_some() && self.transport == Transport::Polling);
                self.post = Request::Empty;
            }
            Lane::WebSocket => {
                assert!(self.ended.is_none() && self.websockets == 0, "a second attempt");
                self.websockets += 1;
                self.probed = false;
            }
        }
        true
    }

    fn lane_closed(&mut self, lane: Lane) {
        assert!(!self.session.attached(lane));
        if lane == Lane::Post {
            self.post = Request::Absent;
        }
    }

    fn connected(&mut self) {
        let attached = self.session.attached(Lane::WebSocket);
        match self.session.handle_connected() {
            Ok(()) => assert!(attached && self.ended.is_none()),
            Err(Violation::Ended) => assert!(self.ended.is_some()),
            Err(Violation::NotAttached) => {}
            Err(other) => panic!("{other:?} from handle_connected"),
        }
    }

    fn open(&mut self, params: OpenParams) {
        let result = self.session.handle_open(params, self.now);
        assert_eq!(result.is_err(), self.ended.is_some());
        if result.is_ok() {
            assert!(self.session.is_open());
            self.params.get_or_insert(params);
        }
    }

    fn receive(&mut self, lane: Lane, packet: Packet<'static>) {
        let (attached, closing) = (self.session.attached(lane), self.session.is_closing());
        let probing = lane == Lane::WebSocket && self.session.is_upgrading();
        let result = self.session.handle_packet(lane, packet, self.now);
        if self.ended.is_some() {
            return assert_eq!(result, Err(Violation::Ended));
        }
        match result {
            Ok(message) => {
                assert!(attached && lane != Lane::Post);
                let wanted = match packet {
                    Packet::Message(message) if !closing => Some(message),
                    _ => None,
                };
                assert_eq!(message, wanted, "a message is lost or invented");
                if probing {
                    self.probed |= packet == Packet::Pong("probe");
                    assert!(self.probed && self.probes > 0, "{packet:?} does not answer a probe");
                    return;
                }
                self.extensions = 0;
                match packet {
                    Packet::Ping(_) => self.pings += 1,
                    Packet::Close => {
                        assert_eq!(self.session.ended(), Some(CloseReason::ServerDisconnect));
                    }
                    _ => {}
                }
            }
            Err(Violation::NotOpened) => {
                assert!(self.params.is_none());
                assert_eq!(self.session.ended(), Some(CloseReason::ParseError));
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
            assert!(!extended || (self.ended.is_none() && self.params.is_some()));
            self.extensions += u8::from(extended);
            assert!(self.extensions <= MAX_EXTENSIONS, "unbounded extensions");
            self.advance(0);
        }
    }

    fn drain(&mut self) {
        for round in 0.. {
            assert!(round < 4, "unbounded lanes");
            if !self.start(false) {
                break;
            }
        }
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
    }

    /// Polls once; true if there was a packet.
    fn transmit(&mut self, lane: Lane, queued: bool) -> bool {
        let attached = self.session.attached(lane);
        let polling = self.session.attached(Lane::Get) || self.session.attached(Lane::Post);
        let ended = self.session.ended().is_some();
        let Some(transmit) = self.session.poll_transmit(lane, queued) else {
            if lane == Lane::Post && self.post == Request::Begun {
                self.post = Request::Complete;
            }
            return false;
        };
        assert!(attached && lane != Lane::Get, "{transmit:?} on a lane that is not attached");
        if lane == Lane::Post {
            assert_ne!(self.post, Request::Complete, "a packet after the end of a body");
            self.post = match transmit {
                Transmit::Control(Packet::Close) => Request::Complete,
                _ => Request::Begun,
            };
        }
        self.closing_packets += u32::from(ended);
        assert!(self.closing_packets <= 2, "unbounded packets after the end");
        self.check_transmit(lane, transmit, (queued, ended, polling));
        true
    }

    fn check_transmit(&mut self, lane: Lane, transmit: Transmit, now: (bool, bool, bool)) {
        let (queued, ended, polling) = now;
        let carries = match lane {
            Lane::Post => self.transport == Transport::Polling,
            _ => self.transport == Transport::WebSocket,
        };
        match transmit {
            Transmit::Message => {
                assert!(queued && carries && !ended && self.params.is_some(), "on {lane:?}");
            }
            Transmit::Control(Packet::Pong("")) => {
                assert!(carries && !ended);
                self.pongs += 1;
                assert!(self.pongs <= self.pings, "a pong without a ping");
            }
            Transmit::Control(Packet::Ping("probe")) => {
                assert!(lane == Lane::WebSocket && !carries && !ended);
                self.probes += 1;
                assert!(self.probes <= self.websockets, "a second probe");
            }
            Transmit::Control(Packet::Upgrade) => {
                assert!(lane == Lane::WebSocket && !carries && !ended && self.probed);
                assert!(!polling, "the upgrade would overtake packets in flight over polling");
                self.transport = Transport::WebSocket;
            }
            Transmit::Control(Packet::Close) => {
                assert!(carries && self.session.ended().is_some());
                // Without an open packet there is no sid for a POST. A WebSocket does not need one.
                assert!(lane == Lane::WebSocket || self.params.is_some());
            }
            Transmit::Hangup => {
                assert!(lane == Lane::WebSocket && !self.session.attached(lane));
            }
            Transmit::Control(other) => panic!("a client does not send {other:?}"),
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
        assert_eq!(self.session.is_open(), self.params.is_some());
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
        assert!(self.upgrades + self.failures <= 1);
        assert!(self.upgrades + self.failures == 0 || self.upgrade, "an upgrade that is disabled");
    }

    /// Without further input the session ends at its deadline.
    fn run_to_end(&mut self) {
        let bound = match self.params {
            Some(params) => self.now.after(params.ping_interval_ms).after(params.ping_timeout_ms),
            None => self.now.after(self.timing.open_timeout_ms),
        };
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
        }
        assert_eq!(self.session.poll_lane(true), None, "a lane after the last packet");
        assert_eq!(self.session.poll_event(), None);
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::{Step, for_each_input};

    /// The usual calls of a driver, as in `dict/client_session.dict`, and any others.
    const STEPS: [Step; 17] = [
        (4, &[[0, 0], [11, 0]]), // a GET, and an open packet that offers an upgrade
        (1, &[[0, 0], [11, 3]]), // a GET, and an open packet without an offer
        (12, &[[0, 0]]),         // open the next lane
        (6, &[[0, 3]]),          // open the next lane, with a queued message
        (8, &[[10, 0]]),         // the WebSocket is connected
        (6, &[[4, 15], [1, 0]]), // a ping on the GET, which ends
        (6, &[[4, 0], [1, 0]]),  // a message on the GET, which ends
        (8, &[[1, 1]]),          // the POST ends
        (8, &[[4, 20]]),         // a probe's pong on the WebSocket
        (6, &[[4, 17]]),         // a ping on the WebSocket
        (6, &[[4, 2]]),          // a message on the WebSocket
        (8, &[[12, 4]]),         // transmit a message on the POST
        (8, &[[12, 5]]),         // transmit a message on the WebSocket
        (6, &[[7, 6]]),          // 24 ms pass
        (1, &[[8, 0]]),          // the timer fires
        (1, &[[5, 0]]),          // close
        (2, &[]),
    ];

    #[test]
    fn random_calls_keep_the_laws_of_a_client_session() {
        for_each_input(13, &STEPS, super::run);
    }
}
