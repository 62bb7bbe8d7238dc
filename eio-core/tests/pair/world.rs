//! A driver for each end, and the connections between them.
//!
//! Every connection has a number and carries bytes: WebSocket frames cut anywhere, and polling bodies. A
//! message is its own index, so "in order and once" is one comparison. What holds at every moment is asserted
//! where it happens, what holds at the end in [`World::run`].

use std::collections::{BTreeMap, HashSet};

use eio_core::session::client::{ClientSession, ClientTiming};
use eio_core::session::{CloseReason, Lane, ServerSession, Timing, Violation};
use eio_core::time::Instant;
use eio_core::transport::Transport;
use eio_core::ws::Role;

use crate::ends::{Connection, End, Machine, Socket};
use crate::plan::{Plan, Rng, Side};

pub(crate) const SERVER: Timing = Timing {
    ping_interval_ms: 300,
    ping_timeout_ms: 200,
    upgrade_timeout_ms: 100,
    close_timeout_ms: CLOSE_TIMEOUT,
};
const CLIENT: ClientTiming =
    ClientTiming { open_timeout_ms: 400, upgrade_timeout_ms: 80, close_timeout_ms: CLOSE_TIMEOUT };
pub(crate) const CLOSE_TIMEOUT: u32 = 250;
/// After this nothing new is begun.
pub(crate) const ACTIVE: u64 = 1_500;
/// How much longer one end may live than the other: pingInterval, pingTimeout and upgradeTimeout.
const BOUND: u64 = 300 + 200 + 100;
/// By then everything has happened.
const END: u64 = ACTIVE + 5 * BOUND;

#[derive(Clone, Debug)]
enum Happening {
    Tick(Side),
    Send(Side),
    Close(Side, bool),
    Leap(Side, u64),
    Stall(Side, u64),
    /// A connection breaks.
    Break,
    /// One end notices.
    Broken(Connection, Side),
    GetArrives(Connection),
    GetWritten(Connection),
    /// What came of the response, and whether that is all of it.
    GetAnswered(Connection, Option<Vec<u8>>),
    PostHead(Connection),
    PostBody(Connection, Vec<u8>),
    PostAnswered(Connection, bool),
    Dial(Connection),
    Dialed(Connection, bool),
    Bytes(Connection, Side, Vec<u8>),
}

impl Happening {
    /// Who it happens to; one who stalls notices later.
    fn at(&self) -> Option<Side> {
        match self {
            Self::Break | Self::Leap(..) | Self::Stall(..) => None,
            Self::Tick(side)
            | Self::Send(side)
            | Self::Close(side, _)
            | Self::Broken(_, side)
            | Self::Bytes(_, side, _) => Some(*side),
            Self::GetArrives(_)
            | Self::GetWritten(_)
            | Self::PostHead(_)
            | Self::PostBody(..)
            | Self::Dial(_) => Some(Side::Server),
            Self::GetAnswered(..) | Self::PostAnswered(..) | Self::Dialed(..) => Some(Side::Client),
        }
    }

    /// The connection it comes by.
    fn carrier(&self) -> Option<Connection> {
        match self {
            Self::GetArrives(id)
            | Self::GetAnswered(id, _)
            | Self::PostHead(id)
            | Self::PostBody(id, _)
            | Self::PostAnswered(id, _)
            | Self::Dial(id)
            | Self::Dialed(id, _)
            | Self::Bytes(id, ..) => Some(*id),
            _ => None,
        }
    }
}

pub(crate) struct World {
    plan: Plan,
    rng: Rng,
    trace: bool,
    now: u64,
    /// By time; at the same time first what waited for the end of a stall; then in the order of making.
    to_come: BTreeMap<(u64, bool, u64), Happening>,
    count: u64,
    connections: Connection,
    dead: HashSet<Connection>,
    /// When the last bytes each way arrive: WebSockets keep order.
    last_bytes: [u64; 2],
    /// How far the clock of each end is ahead.
    ahead: [u64; 2],
    stalled_until: [u64; 2],
    /// What the timer of each end is set to.
    armed: [Option<Instant>; 2],
    /// Whether the response to the held GET is complete.
    answered: bool,
    server: Option<End<ServerSession>>,
    client: End<ClientSession>,
}

impl World {
    pub(crate) fn new(plan: Plan, mut rng: Rng, trace: bool) -> Self {
        let transport = if plan.direct { Transport::WebSocket } else { Transport::Polling };
        let session = ClientSession::new(transport, plan.upgrade, CLIENT, Instant::from_millis(0));
        let mut acts = Vec::new();
        for _ in 0..plan.messages {
            let burst = if rng.one_in(16) { 20 } else { 1 };
            let side = *rng.pick(&[Side::Server, Side::Client]);
            let at = rng.below(ACTIVE);
            acts.extend((0..burst).map(|_| (at, Happening::Send(side))));
        }
        acts.extend(plan.breaks.iter().map(|at| (*at, Happening::Break)));
        acts.extend(plan.close.iter().map(|&(side, at, now)| (at, Happening::Close(side, now))));
        acts.extend(plan.leaps.iter().map(|&(side, at, by)| (at, Happening::Leap(side, by))));
        acts.extend(plan.stalls.iter().map(|&(side, at, time)| (at, Happening::Stall(side, time))));
        let mut world = Self {
            plan,
            rng,
            trace,
            now: 0,
            to_come: BTreeMap::new(),
            count: 0,
            connections: 0,
            dead: HashSet::new(),
            last_bytes: [0; 2],
            ahead: [0; 2],
            stalled_until: [0; 2],
            armed: [None; 2],
            answered: false,
            server: None,
            client: End::new(session),
        };
        for (at, act) in acts {
            world.at(at, act);
        }
        world
    }

    /// Lets everything happen, and checks what must hold when nothing more does.
    pub(crate) fn run(&mut self) {
        if self.trace {
            println!("{:?}", self.plan);
        }
        self.pump();
        while let Some(((at, _, _), happening)) = self.to_come.pop_first() {
            if at > END && (self.is_settled() || at > 10 * END) {
                break;
            }
            self.now = at;
            if let Some(side) = happening.at() {
                let until = self.stalled_until[side as usize];
                if until > at {
                    self.count += 1;
                    self.to_come.insert((until, false, self.count), happening);
                    continue;
                }
            }
            if self.trace {
                println!("{at:5} {happening:?}");
            }
            self.happen(happening);
            self.pump();
        }
        self.check_the_end();
    }

    /// Whether nothing is on its way any more, however slowly it went.
    fn is_settled(&self) -> bool {
        self.server.as_ref().is_none_or(|server| match (server.closed, self.client.closed) {
            (None, None) => {
                server.received == self.client.queued && self.client.received == server.queued
            }
            (one, other) => one.is_some() && other.is_some(),
        })
    }

    fn check_the_end(&self) {
        let Some(server) = &self.server else {
            return assert!(self.client.closed.is_some(), "a client that waits for nobody");
        };
        let client = &self.client;
        let (one, other) = match (server.closed, client.closed) {
            (None, None) => {
                assert_eq!(server.received, client.queued, "the server misses something");
                assert_eq!(client.received, server.queued, "the client misses something");
                return;
            }
            (Some(one), Some(other)) => (one, other),
            (one, other) => panic!("one end left behind: server {one:?}, client {other:?}"),
        };
        // Nobody can notice while they stand still, and what waited for them buys the other end a timeout.
        let stalled = self.plan.stalled();
        let slack = 3 * self.plan.delay + 2 * stalled + if stalled > 0 { 200 } else { 0 };
        let apart = one.1.abs_diff(other.1);
        assert!(apart <= BOUND + slack, "{apart} ms apart: server {one:?}, client {other:?}");
        if self.plan.is_fair() && server.session.reason().is_some() {
            self.check_a_fair_end(one.0, other.0);
        }
        // Who is told of a graceful close, and of no more than that, has everything that was sent before it.
        if let (CloseReason::ServerDisconnect, Some(sent), true, None, false) =
            (other.0, server.flushing, server.outbox.is_empty(), client.flushing, server.aborted)
        {
            assert_eq!(client.received, sent, "closed over the head of messages");
        }
        if let (CloseReason::ClientDisconnect, Some(sent), true, None, false) =
            (one.0, client.flushing, client.outbox.is_empty(), server.flushing, client.aborted)
        {
            assert_eq!(server.received, sent, "closed over the head of messages");
        }
    }

    /// Where nothing broke, somebody said goodbye.
    fn check_a_fair_end(&self, server: CloseReason, client: CloseReason) {
        assert!(!self.plan.close.is_empty(), "it ended by itself: {server:?}, {client:?}");
        let said = |reason| {
            matches!(reason, CloseReason::ServerDisconnect | CloseReason::ClientDisconnect)
        };
        assert!(said(server) || said(client), "a fault was made up: {server:?}, {client:?}");
        let told = said(server) || client != CloseReason::ClientDisconnect;
        assert!(told || !self.client.session.is_open(), "gone without a word: {server:?}");
    }

    pub(crate) fn assert_alive_and_drained(&self, upgraded: bool) {
        let server = self.server.as_ref().expect("a session");
        assert_eq!((server.closed, self.client.closed), (None, None));
        let transport =
            if upgraded || self.plan.direct { Transport::WebSocket } else { Transport::Polling };
        assert_eq!(server.session.transport(), transport);
        assert_eq!(self.client.session.transport(), transport);
    }

    fn at(&mut self, at: u64, happening: Happening) {
        if happening.carrier().is_some_and(|id| self.dead.contains(&id)) {
            return;
        }
        self.count += 1;
        self.to_come.insert((at, true, self.count), happening);
    }

    fn delay(&mut self) -> u64 {
        1 + self.rng.below(self.plan.delay)
    }

    fn later(&mut self, happening: Happening) {
        let at = self.now + self.delay();
        self.at(at, happening);
    }

    /// Over a WebSocket, towards `side`: later, and not before what was sent earlier.
    fn later_in_order(&mut self, side: Side, happening: Happening) {
        let at = (self.now + self.delay()).max(self.last_bytes[side as usize]);
        self.last_bytes[side as usize] = at;
        self.at(at, happening);
    }

    /// Bytes over a WebSocket, in one piece or two, cut anywhere.
    fn carry(&mut self, connection: Connection, side: Side, mut bytes: Vec<u8>) {
        if self.rng.one_in(2) {
            let tail = bytes.split_off(self.rng.below(bytes.len() as u64) as usize);
            if !bytes.is_empty() {
                self.later_in_order(side, Happening::Bytes(connection, side, bytes));
            }
            bytes = tail;
        }
        self.later_in_order(side, Happening::Bytes(connection, side, bytes));
    }

    fn clock(&self, side: Side) -> Instant {
        Instant::from_millis(self.now + self.ahead[side as usize])
    }

    fn is_mute(&self, happening: &Happening) -> bool {
        let from_now_on = self.plan.mute_from.is_some_and(|from| self.now >= from);
        (from_now_on && happening.carrier().is_some())
            || (self.plan.mute_websocket && matches!(happening, Happening::Bytes(..)))
    }

    fn happen(&mut self, happening: Happening) {
        if self.is_mute(&happening) {
            return;
        }
        match happening {
            Happening::Tick(side) => self.tick(side),
            Happening::Send(Side::Client) => self.client.queue(),
            Happening::Send(Side::Server) => {
                if let Some(server) = &mut self.server {
                    server.queue();
                }
            }
            Happening::Close(Side::Client, abort) => {
                self.client.leave(self.clock(Side::Client), abort);
            }
            Happening::Close(Side::Server, abort) => {
                let now = self.clock(Side::Server);
                if let Some(server) = &mut self.server {
                    server.leave(now, abort);
                }
            }
            Happening::Leap(side, by) => {
                self.ahead[side as usize] += by;
                // The timer is to be set anew.
                self.armed[side as usize] = None;
            }
            Happening::Stall(side, time) => {
                let until = &mut self.stalled_until[side as usize];
                *until = (*until).max(self.now + time);
            }
            Happening::Break => self.break_one(),
            Happening::Broken(id, Side::Client) => self.client.lose(id),
            Happening::Broken(id, Side::Server) => {
                if let Some(server) = &mut self.server {
                    server.lose(id);
                }
            }
            arrived if arrived.at() == Some(Side::Server) => self.reaches_server(arrived),
            arrived => self.reaches_client(arrived),
        }
    }

    fn tick(&mut self, side: Side) {
        // What came in time but was not looked at yet, because this end stood still.
        let waited = self.to_come.range(..(self.now, true, 0));
        let waiting = waited.map(|(_, waited)| waited).any(|waited| {
            waited.at() == Some(side) && waited.carrier().is_some() && !self.is_mute(waited)
        });
        let now = self.clock(side);
        fn turn<S: Machine>(end: &mut End<S>, now: Instant, waiting: bool) {
            end.session.turn(now, waiting);
            let next = end.session.deadline();
            assert!(next.is_none_or(|at| at > now), "it would spin");
        }
        match (side, &mut self.server) {
            (Side::Client, _) => turn(&mut self.client, now, waiting),
            (Side::Server, Some(server)) => turn(server, now, waiting),
            (Side::Server, None) => {}
        }
    }

    /// A connection breaks: of what is on its way, a part may still arrive, down to the byte.
    fn break_one(&mut self) {
        let any = 1 + self.rng.below(u64::from(self.connections)) as Connection;
        // The latest are the ones in use.
        let victim = any.max(self.connections.saturating_sub(2));
        if self.dead.contains(&victim) {
            return;
        }
        let (mut alive, mut last) = ([self.rng.below(4) > 0; 2], [self.now; 2]);
        let mut lost = Vec::new();
        // What waits for the end of a stall was sent before what has yet to arrive.
        let mut under_way: Vec<_> = self.to_come.iter_mut().collect();
        under_way.sort_by_key(|((at, fresh, count), _)| (*fresh, *at, *count));
        for (key, happening) in under_way {
            match happening {
                Happening::Bytes(id, side, bytes) if *id == victim && alive[*side as usize] => {
                    let arrives = self.rng.below(2 * bytes.len() as u64 + 1) as usize;
                    alive[*side as usize] = arrives >= bytes.len();
                    bytes.truncate(arrives);
                    last[*side as usize] = key.0;
                }
                // Half a head or half a body is none, and nothing comes behind it.
                other if other.carrier() == Some(victim) => {
                    if let Some(side) = other.at() {
                        alive[side as usize] = false;
                    }
                    lost.push(*key);
                }
                _ => {}
            }
        }
        self.dead.insert(victim);
        for key in lost {
            self.to_come.remove(&key);
        }
        for side in [Side::Server, Side::Client] {
            let at = last[side as usize] + self.delay();
            self.at(at, Happening::Broken(victim, side));
        }
    }

    fn reaches_server(&mut self, happening: Happening) {
        let now = self.clock(Side::Server);
        let fresh = |transport| End::new(ServerSession::new(transport, SERVER, now));
        match happening {
            Happening::GetArrives(id) => {
                let result = match &mut self.server {
                    Some(server) => server.session.attach(Lane::Get, now),
                    None => {
                        self.server = Some(fresh(Transport::Polling));
                        Ok(())
                    }
                };
                match result {
                    Ok(()) => {
                        self.server.as_mut().expect("a session").get = Some(id);
                        self.answered = false;
                    }
                    Err(violation) => {
                        assert_eq!(violation, Violation::Ended);
                        self.later(Happening::GetAnswered(id, None));
                    }
                }
            }
            Happening::GetWritten(id) => {
                let server = self.server.as_mut().expect("a session");
                if server.get == Some(id) {
                    server.get = None;
                    server.session.detach(Lane::Get);
                }
            }
            Happening::PostHead(id) => {
                let server = self.server.as_mut().expect("a session");
                match server.session.attach(Lane::Post, now) {
                    Ok(()) => server.post = Some(id),
                    Err(violation) => {
                        // Of the end of one POST a server may hear later than of the next.
                        let overtaken = !self.plan.breaks.is_empty();
                        assert!(
                            violation == Violation::Ended
                                || (overtaken && violation == Violation::OverlappingPost),
                            "{violation:?}"
                        );
                        self.later(Happening::PostAnswered(id, false));
                    }
                }
            }
            Happening::PostBody(id, body) => {
                let server = self.server.as_mut().expect("a session");
                if server.post != Some(id) {
                    return;
                }
                server.post = None;
                let taken = server.read_body(Lane::Post, body, now);
                server.session.detach(Lane::Post);
                self.later(Happening::PostAnswered(id, taken));
            }
            Happening::Dial(id) => {
                let result = match &mut self.server {
                    Some(server) => server.session.attach(Lane::WebSocket, now),
                    None => {
                        self.server = Some(fresh(Transport::WebSocket));
                        Ok(())
                    }
                };
                match result {
                    Ok(()) => {
                        let socket = Socket::new(id, Role::Server);
                        self.server.as_mut().expect("a session").websocket = Some(socket);
                    }
                    Err(violation) => assert_eq!(violation, Violation::Ended),
                }
                self.later_in_order(Side::Client, Happening::Dialed(id, result.is_ok()));
            }
            Happening::Bytes(id, _, bytes) => {
                // A dial that is given up may be overtaken by nothing but its own end.
                let Some(server) = &mut self.server else { return };
                if server.lane(id) == Some(Lane::WebSocket) {
                    server.read_frames(&bytes, now);
                }
            }
            other => unreachable!("{other:?} does not come here"),
        }
    }

    fn reaches_client(&mut self, happening: Happening) {
        let now = self.clock(Side::Client);
        let client = &mut self.client;
        match happening {
            Happening::GetAnswered(id, body) if client.get == Some(id) => {
                client.get = None;
                let Some(body) = body else { return client.session.lost(Lane::Get) };
                client.read_body(Lane::Get, body, now);
                client.session.detach(Lane::Get);
            }
            Happening::PostAnswered(id, ok) if client.post == Some(id) => {
                client.post = None;
                match ok {
                    true => client.session.detach(Lane::Post),
                    false => client.session.lost(Lane::Post),
                }
            }
            Happening::Dialed(id, ok) if client.lane(id) == Some(Lane::WebSocket) => {
                if ok {
                    client.session.handle_connected().expect("its hang-up was handed out");
                } else {
                    client.lose(id);
                }
            }
            Happening::Bytes(id, _, bytes) if client.lane(id) == Some(Lane::WebSocket) => {
                client.read_frames(&bytes, now);
            }
            _ => {}
        }
    }

    /// What a driver does after every call. One who stalls does nothing.
    fn pump(&mut self) {
        if self.stalled_until[Side::Server as usize] <= self.now {
            self.pump_server();
        }
        if self.stalled_until[Side::Client as usize] <= self.now {
            self.pump_client();
        }
    }

    fn pump_server(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        if let Some(id) = server.get {
            let packets = 1 + self.rng.below(6) as usize;
            let bytes = *self.rng.pick(&[60, 120, 1_000]);
            let (body, full) = server.fill(Lane::Get, packets, bytes);
            if !body.is_empty() {
                assert!(!self.answered, "more behind the end of a response");
                self.answered = !full;
                let written = self.now + self.rng.below(4);
                if full {
                    server.get = None;
                    server.session.detach(Lane::Get);
                } else {
                    self.at(written, Happening::GetWritten(id));
                }
                let arrives = written + self.delay();
                self.at(arrives, Happening::GetAnswered(id, Some(body)));
            }
        }
        if let Some(id) = server.websocket.as_ref().map(|socket| socket.id) {
            let room = 1 + self.rng.below(8);
            let (bytes, full) = server.frames(room, &mut self.rng);
            if !bytes.is_empty() {
                self.carry(id, Side::Client, bytes);
            }
            if full {
                // The connection takes no more; it will in a while.
                self.later(Happening::Tick(Side::Server));
            }
        }
        server.hear(self.now, self.clock(Side::Server), self.late());
        let next = server.session.poll_timeout();
        assert_eq!(next.is_none(), server.closed.is_some(), "a living session has a deadline");
        self.server = Some(server);
        self.arm(next, Side::Server);
    }

    fn pump_client(&mut self) {
        while let Some(lane) = self.client.session.poll_lane(!self.client.outbox.is_empty()) {
            self.connections += 1;
            let id = self.connections;
            match lane {
                Lane::Get => {
                    self.client.get = Some(id);
                    self.later(Happening::GetArrives(id));
                }
                Lane::Post => {
                    self.client.post = Some(id);
                    let packets = 1 + self.rng.below(6) as usize;
                    let bytes = *self.rng.pick(&[60, 120, 1_000]);
                    let (body, _) = self.client.fill(Lane::Post, packets, bytes);
                    assert!(!body.is_empty(), "a POST without a packet");
                    let head = self.now + self.delay();
                    self.at(head, Happening::PostHead(id));
                    let whole = head + self.rng.below(self.plan.delay);
                    self.at(whole, Happening::PostBody(id, body));
                }
                Lane::WebSocket => {
                    self.client.websocket = Some(Socket::new(id, Role::Client));
                    self.later_in_order(Side::Server, Happening::Dial(id));
                }
            }
        }
        if let Some(id) = self.client.websocket.as_ref().map(|socket| socket.id) {
            let (bytes, _) = self.client.frames(u64::MAX, &mut self.rng);
            if !bytes.is_empty() {
                self.carry(id, Side::Server, bytes);
            }
        }
        let (now, late) = (self.clock(Side::Client), self.late());
        self.client.hear(self.now, now, late);
        let next = self.client.session.poll_timeout();
        assert_eq!(next.is_none(), self.client.closed.is_some(), "a living session has a deadline");
        self.arm(next, Side::Client);
    }

    /// How late a timer may be: a little, and whatever its end stood still or its clock leapt.
    fn late(&self) -> u64 {
        let leaps: u64 = self.plan.leaps.iter().map(|(_, _, by)| by).sum();
        3 + self.plan.stalled() + leaps
    }

    fn arm(&mut self, next: Option<Instant>, side: Side) {
        if next != self.armed[side as usize] {
            self.armed[side as usize] = next;
            let Some(at) = next else { return };
            // A timer is never early and often a little late.
            let at = at.as_millis().saturating_sub(self.ahead[side as usize]).max(self.now);
            let at = at + self.rng.below(3);
            self.at(at, Happening::Tick(side));
        }
    }
}
