//! A driver for each end, and the connections between them.
//!
//! Each connection has a number and carries bytes: WebSocket frames split anywhere, and polling bodies. A message
//! contains its index, so "in order and exactly once" is one comparison. Invariants are asserted where events happen,
//! conditions on the outcome in [`Simulation::run`].

use std::collections::{BTreeMap, HashSet};

use eio_core::session::client::{ClientSession, ClientTiming};
use eio_core::session::{Lane, ServerSession, Timing};
use eio_core::time::Instant;
use eio_core::transport::Transport;
use eio_core::ws::Role;

use crate::endpoint::{Connection, Endpoint, Session, Socket};
use crate::event::SimEvent;
use crate::plan::{Plan, Side};
use crate::seeds::Rng;

mod checks;
mod deliver;

pub(crate) const SERVER: Timing = Timing {
    ping_interval_ms: 300,
    ping_timeout_ms: 200,
    upgrade_timeout_ms: 100,
    close_timeout_ms: CLOSE_TIMEOUT,
};
const CLIENT: ClientTiming =
    ClientTiming { open_timeout_ms: 400, upgrade_timeout_ms: 80, close_timeout_ms: CLOSE_TIMEOUT };
pub(crate) const CLOSE_TIMEOUT: u32 = 250;
/// No new activity starts after this time, in milliseconds.
pub(crate) const ACTIVE: u64 = 1_500;
/// The maximum difference between the ends of both sessions: pingInterval, pingTimeout and upgradeTimeout.
const BOUND: u64 = 300 + 200 + 100;
/// The time by which all events have happened.
const END: u64 = ACTIVE + 5 * BOUND;

pub(crate) struct Simulation {
    plan: Plan,
    rng: Rng,
    trace: bool,
    now: u64,
    /// By time; at the same time, events delayed by a stall come first; then in the order of creation.
    pending: BTreeMap<(u64, bool, u64), SimEvent>,
    count: u64,
    connections: Connection,
    dead: HashSet<Connection>,
    /// The arrival time of the last bytes in each direction, because a WebSocket preserves order.
    last_bytes: [u64; 2],
    /// How far the clock of each end is ahead.
    ahead: [u64; 2],
    stalled_until: [u64; 2],
    /// The timer of each end.
    armed: [Option<Instant>; 2],
    /// Whether the response to the held GET is complete.
    answered: bool,
    server: Option<Endpoint<ServerSession>>,
    client: Endpoint<ClientSession>,
}

impl Simulation {
    pub(crate) fn new(plan: Plan, mut rng: Rng, trace: bool) -> Self {
        let transport = if plan.direct { Transport::WebSocket } else { Transport::Polling };
        let session = ClientSession::new(transport, plan.upgrade, CLIENT, Instant::from_millis(0));
        let mut acts = Vec::new();
        for _ in 0..plan.messages {
            let burst = if rng.one_in(16) { 20 } else { 1 };
            let side = *rng.pick(&[Side::Server, Side::Client]);
            let at = rng.below(ACTIVE);
            acts.extend((0..burst).map(|_| (at, SimEvent::Send(side))));
        }
        acts.extend(plan.breaks.iter().map(|at| (*at, SimEvent::Break)));
        acts.extend(plan.close.iter().map(|&(side, at, now)| (at, SimEvent::Close(side, now))));
        acts.extend(plan.jumps.iter().map(|&(side, at, by)| (at, SimEvent::Jump(side, by))));
        acts.extend(plan.stalls.iter().map(|&(side, at, time)| (at, SimEvent::Stall(side, time))));
        let mut simulation = Self {
            plan,
            rng,
            trace,
            now: 0,
            pending: BTreeMap::new(),
            count: 0,
            connections: 0,
            dead: HashSet::new(),
            last_bytes: [0; 2],
            ahead: [0; 2],
            stalled_until: [0; 2],
            armed: [None; 2],
            answered: false,
            server: None,
            client: Endpoint::new(session),
        };
        for (at, act) in acts {
            simulation.at(at, act);
        }
        simulation
    }

    /// Runs all events, and checks the outcome.
    pub(crate) fn run(&mut self) {
        if self.trace {
            println!("{:?}", self.plan);
        }
        self.pump();
        while let Some(((at, _, _), event)) = self.pending.pop_first() {
            if at > END && (self.is_settled() || at > 10 * END) {
                break;
            }
            self.now = at;
            if let Some(side) = event.at() {
                let until = self.stalled_until[side as usize];
                if until > at {
                    self.count += 1;
                    self.pending.insert((until, false, self.count), event);
                    continue;
                }
            }
            if self.trace {
                println!("{at:5} {event:?}");
            }
            self.apply(event);
            self.pump();
        }
        self.check_end();
    }

    fn at(&mut self, at: u64, event: SimEvent) {
        if event.connection().is_some_and(|id| self.dead.contains(&id)) {
            return;
        }
        self.count += 1;
        self.pending.insert((at, true, self.count), event);
    }

    fn delay(&mut self) -> u64 {
        1 + self.rng.below(self.plan.delay)
    }

    fn later(&mut self, event: SimEvent) {
        let at = self.now + self.delay();
        self.at(at, event);
    }

    /// Schedules an event of a WebSocket towards `side`: later, but not before events scheduled earlier.
    fn later_in_order(&mut self, side: Side, event: SimEvent) {
        let at = (self.now + self.delay()).max(self.last_bytes[side as usize]);
        self.last_bytes[side as usize] = at;
        self.at(at, event);
    }

    /// Sends bytes over a WebSocket, in one piece or two.
    fn carry(&mut self, connection: Connection, side: Side, mut bytes: Vec<u8>) {
        if self.rng.one_in(2) {
            let tail = bytes.split_off(self.rng.below(bytes.len() as u64) as usize);
            if !bytes.is_empty() {
                self.later_in_order(side, SimEvent::Bytes(connection, side, bytes));
            }
            bytes = tail;
        }
        self.later_in_order(side, SimEvent::Bytes(connection, side, bytes));
    }

    fn clock(&self, side: Side) -> Instant {
        Instant::from_millis(self.now + self.ahead[side as usize])
    }

    fn is_mute(&self, event: &SimEvent) -> bool {
        let from_now_on = self.plan.mute_from.is_some_and(|from| self.now >= from);
        (from_now_on && event.connection().is_some())
            || (self.plan.mute_websocket && matches!(event, SimEvent::Bytes(..)))
    }

    fn apply(&mut self, event: SimEvent) {
        if self.is_mute(&event) {
            return;
        }
        match event {
            SimEvent::Tick(side) => self.tick(side),
            SimEvent::Send(Side::Client) => self.client.queue(),
            SimEvent::Send(Side::Server) => {
                if let Some(server) = &mut self.server {
                    server.queue();
                }
            }
            SimEvent::Close(Side::Client, abort) => {
                self.client.close(self.clock(Side::Client), abort);
            }
            SimEvent::Close(Side::Server, abort) => {
                let now = self.clock(Side::Server);
                if let Some(server) = &mut self.server {
                    server.close(now, abort);
                }
            }
            SimEvent::Jump(side, by) => {
                self.ahead[side as usize] += by;
                // The timer has to be set again.
                self.armed[side as usize] = None;
            }
            SimEvent::Stall(side, time) => {
                let until = &mut self.stalled_until[side as usize];
                *until = (*until).max(self.now + time);
            }
            SimEvent::Break => self.break_one(),
            SimEvent::Broken(id, Side::Client) => self.client.lose(id),
            SimEvent::Broken(id, Side::Server) => {
                if let Some(server) = &mut self.server {
                    server.lose(id);
                }
            }
            arrived if arrived.at() == Some(Side::Server) => self.reaches_server(arrived),
            arrived => self.reaches_client(arrived),
        }
    }

    fn tick(&mut self, side: Side) {
        // Whether data arrived in time but was not handled, because this end stalled.
        let waited = self.pending.range(..(self.now, true, 0));
        let waiting = waited.map(|(_, waited)| waited).any(|waited| {
            waited.at() == Some(side) && waited.connection().is_some() && !self.is_mute(waited)
        });
        let now = self.clock(side);
        fn turn<S: Session>(end: &mut Endpoint<S>, now: Instant, waiting: bool) {
            end.session.handle_time(now, waiting);
            let next = end.session.deadline();
            assert!(
                next.is_none_or(|at| at > now),
                "the deadline has passed, the driver would spin"
            );
        }
        match (side, &mut self.server) {
            (Side::Client, _) => turn(&mut self.client, now, waiting),
            (Side::Server, Some(server)) => turn(server, now, waiting),
            (Side::Server, None) => {}
        }
    }

    /// A connection breaks. A part of the data in flight may still arrive, split at any byte.
    fn break_one(&mut self) {
        let any = 1 + self.rng.below(u64::from(self.connections)) as Connection;
        // Prefer the latest connections, which are in use.
        let victim = any.max(self.connections.saturating_sub(2));
        if self.dead.contains(&victim) {
            return;
        }
        let (mut alive, mut last) = ([self.rng.below(4) > 0; 2], [self.now; 2]);
        let mut lost = Vec::new();
        // Events delayed by a stall were sent before those that have yet to arrive.
        let mut under_way: Vec<_> = self.pending.iter_mut().collect();
        under_way.sort_by_key(|((at, fresh, count), _)| (*fresh, *at, *count));
        for (key, event) in under_way {
            match event {
                SimEvent::Bytes(id, side, bytes) if *id == victim && alive[*side as usize] => {
                    let arrives = self.rng.below(2 * bytes.len() as u64 + 1) as usize;
                    alive[*side as usize] = arrives >= bytes.len();
                    bytes.truncate(arrives);
                    last[*side as usize] = key.0;
                }
                // An incomplete head or body does not arrive, and nothing arrives after it.
                other if other.connection() == Some(victim) => {
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
            self.pending.remove(&key);
        }
        for side in [Side::Server, Side::Client] {
            let at = last[side as usize] + self.delay();
            self.at(at, SimEvent::Broken(victim, side));
        }
    }

    /// The work of a driver after each call. A stalled end does nothing.
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
                assert!(!self.answered, "data after the end of a response");
                self.answered = !full;
                let written = self.now + self.rng.below(4);
                if full {
                    server.get = None;
                    server.session.detach(Lane::Get);
                } else {
                    self.at(written, SimEvent::GetWritten(id));
                }
                let arrives = written + self.delay();
                self.at(arrives, SimEvent::GetAnswered(id, Some(body)));
            }
        }
        if let Some(id) = server.websocket.as_ref().map(|socket| socket.id) {
            let room = 1 + self.rng.below(8);
            let (bytes, full) = server.frames(room, &mut self.rng);
            if !bytes.is_empty() {
                self.carry(id, Side::Client, bytes);
            }
            if full {
                // The connection takes no more now, but will later.
                self.later(SimEvent::Tick(Side::Server));
            }
        }
        server.poll_events(self.now, self.clock(Side::Server), self.late());
        let next = server.session.poll_timeout();
        assert_eq!(
            next.is_none(),
            server.closed.is_some(),
            "a session that has not ended has a deadline"
        );
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
                    self.later(SimEvent::GetArrives(id));
                }
                Lane::Post => {
                    self.client.post = Some(id);
                    let packets = 1 + self.rng.below(6) as usize;
                    let bytes = *self.rng.pick(&[60, 120, 1_000]);
                    let (body, _) = self.client.fill(Lane::Post, packets, bytes);
                    assert!(!body.is_empty(), "a POST without a packet");
                    let head = self.now + self.delay();
                    self.at(head, SimEvent::PostHead(id));
                    let whole = head + self.rng.below(self.plan.delay);
                    self.at(whole, SimEvent::PostBody(id, body));
                }
                Lane::WebSocket => {
                    self.client.websocket = Some(Socket::new(id, Role::Client));
                    self.later_in_order(Side::Server, SimEvent::Dial(id));
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
        self.client.poll_events(self.now, now, late);
        let next = self.client.session.poll_timeout();
        assert_eq!(
            next.is_none(),
            self.client.closed.is_some(),
            "a session that has not ended has a deadline"
        );
        self.arm(next, Side::Client);
    }

    /// The maximum delay of a timer: a little, plus all stalls and clock jumps.
    fn late(&self) -> u64 {
        let jumps: u64 = self.plan.jumps.iter().map(|(_, _, by)| by).sum();
        3 + self.plan.stalled() + jumps
    }

    fn arm(&mut self, next: Option<Instant>, side: Side) {
        if next != self.armed[side as usize] {
            self.armed[side as usize] = next;
            let Some(at) = next else { return };
            // A timer is never early and often a little late.
            let at = at.as_millis().saturating_sub(self.ahead[side as usize]).max(self.now);
            let at = at + self.rng.below(3);
            self.at(at, SimEvent::Tick(side));
        }
    }
}
