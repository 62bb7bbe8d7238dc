//! A client session under any order of calls, facing a server that says anything at any moment.
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
/// What a server may announce, sensible or not.
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
    driver.wait_for_the_end();
}

/// What the POST in flight has come to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Request {
    Absent,
    Empty,
    Begun,
    /// It has its last packet, or was told that there is none.
    Complete,
}

/// Calls the session, and remembers enough to know what it must not do.
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
    /// Pings that came, and pongs that went.
    pings: u32,
    pongs: u32,
    probes: u32,
    /// The probe on the present WebSocket was answered.
    probed: bool,
    websockets: u32,
    upgrades: u32,
    failures: u32,
    /// Since the last packet.
    extensions: u8,
    farewells: u32,
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
            farewells: 0,
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
            10 => self.connected(),
            11 => self.open(PARAMS[usize::from(of) % PARAMS.len()]),
            _ => _ = self.transmit(lane, of & 1 != 0),
        }
        if op & 0x80 != 0 {
            self.drain();
        }
    }

    /// Asks which lane to open; whether there was one.
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
                assert!(self.ended.is_none() && self.websockets == 0, "one attempt");
                self.websockets += 1;
                self.probed = false;
            }
        }
        true
    }

    fn gone(&mut self, lane: Lane) {
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
                assert_eq!(message, wanted, "a message is lost or made up");
                if probing {
                    self.probed |= packet == Packet::Pong("probe");
                    assert!(self.probed && self.probes > 0, "{packet:?} is no answer to a probe");
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
            assert!(!extended || (self.ended.is_none() && self.params.is_some()));
            self.extensions += u8::from(extended);
            assert!(self.extensions <= MAX_EXTENSIONS, "patience without end");
            self.later(0);
        }
    }

    fn drain(&mut self) {
        for round in 0.. {
            assert!(round < 4, "no end of lanes");
            if !self.start(false) {
                break;
            }
        }
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
    }

    /// Asks once; whether there was something.
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
        assert!(attached && lane != Lane::Get, "{transmit:?} on a lane that is not there");
        if lane == Lane::Post {
            assert_ne!(self.post, Request::Complete, "more behind the end of a body");
            self.post = match transmit {
                Transmit::Control(Packet::Close) => Request::Complete,
                _ => Request::Begun,
            };
        }
        self.farewells += u32::from(ended);
        assert!(self.farewells <= 2, "an end that does not end");
        self.legal(lane, transmit, (queued, ended, polling));
        true
    }

    fn legal(&mut self, lane: Lane, transmit: Transmit, now: (bool, bool, bool)) {
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
                assert!(self.pongs <= self.pings, "an answer to no ping");
            }
            Transmit::Control(Packet::Ping("probe")) => {
                assert!(lane == Lane::WebSocket && !carries && !ended);
                self.probes += 1;
                assert!(self.probes <= self.websockets, "a second probe");
            }
            Transmit::Control(Packet::Upgrade) => {
                assert!(lane == Lane::WebSocket && !carries && !ended && self.probed);
                assert!(!polling, "what is on its way over polling would be overtaken");
                self.transport = Transport::WebSocket;
            }
            Transmit::Control(Packet::Close) => {
                assert!(carries && self.session.ended().is_some());
                // Without an open packet there is no session to name in a POST. A WebSocket is one by itself.
                assert!(lane == Lane::WebSocket || self.params.is_some());
            }
            Transmit::Hangup => {
                assert!(lane == Lane::WebSocket && !self.session.attached(lane));
            }
            Transmit::Control(other) => panic!("a client does not say {other:?}"),
        }
    }

    /// What holds whatever was called.
    fn check(&mut self) {
        let ended = self.session.ended();
        assert!(self.ended.is_none() || ended == self.ended, "one reason, the first");
        self.ended = ended;
        assert_eq!(self.session.poll_timeout().is_none(), ended.is_some(), "no deadline");
        assert!(!self.session.is_closing() || ended.is_none());
        assert_eq!(self.session.is_open(), self.params.is_some());
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
        assert!(self.upgrades + self.failures <= 1);
        assert!(self.upgrades + self.failures == 0 || self.upgrade, "nobody wanted to");
    }

    /// Nobody says anything any more: the session ends when it promised to.
    fn wait_for_the_end(&mut self) {
        let bound = match self.params {
            Some(params) => self.now.after(params.ping_interval_ms).after(params.ping_timeout_ms),
            None => self.now.after(self.timing.open_timeout_ms),
        };
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
        }
        assert_eq!(self.session.poll_lane(true), None, "a lane after the last words");
        assert_eq!(self.session.poll_event(), None);
    }
}
