//! A driver for each end, and the connections between them.
//!
//! Every connection has a number. A message is its own index, so "in order and once" is one comparison.
//! What holds at every moment is asserted where it happens, what holds at the end in [`World::run`].

use std::collections::{BTreeMap, HashSet};

use eio_core::session::client::{ClientSession, ClientTiming};
use eio_core::session::{CloseReason, Lane, ServerSession, Timing, Violation};
use eio_core::time::Instant;
use eio_core::transport::Transport;

use crate::ends::{Connection, End, Wire, client_hears, client_says, server_hears, server_says};
use crate::plan::{Plan, Rng, Side};

pub(crate) const SERVER: Timing =
    Timing { ping_interval: 300, ping_timeout: 200, upgrade_timeout: 100, close_timeout: 250 };
const CLIENT: ClientTiming =
    ClientTiming { open_timeout: 400, upgrade_timeout: 80, close_timeout: 250 };
/// After this nothing new is begun.
pub(crate) const ACTIVE: u64 = 1_500;
/// How much longer one end may live than the other: all deadlines in a row, and the slowest way.
const BOUND: u64 = 300 + 200 + 100 + 250 + 200;

#[derive(Clone, Debug)]
enum Happening {
    Tick(Side),
    Send(Side),
    Close(Side, bool),
    /// A random connection breaks.
    Break,
    /// One end notices.
    Broken(Connection, Side),
    GetArrives(Connection),
    GetWritten(Connection),
    GetAnswered(Connection, Option<Vec<Wire>>),
    PostHead(Connection),
    PostBody(Connection, Vec<Wire>),
    PostAnswered(Connection, bool),
    Dial(Connection),
    Dialed(Connection, bool),
    Frame(Connection, Side, Wire),
}

pub(crate) struct World {
    plan: Plan,
    rng: Rng,
    trace: bool,
    now: u64,
    to_come: BTreeMap<(u64, u64), Happening>,
    count: u64,
    connections: Connection,
    dead: HashSet<Connection>,
    /// When the last frame each way arrives: WebSockets keep order.
    last_frame: [u64; 2],
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
            let burst = if rng.one_in(8) { 20 } else { 1 };
            let side = *rng.pick(&[Side::Server, Side::Client]);
            let at = rng.below(ACTIVE);
            acts.extend((0..burst).map(|_| (at, Happening::Send(side))));
        }
        for _ in 0..plan.breaks {
            acts.push((rng.below(ACTIVE), Happening::Break));
        }
        for &(side, at, abort) in &plan.close {
            acts.push((at, Happening::Close(side, abort)));
        }
        let mut world = Self {
            plan,
            rng,
            trace,
            now: 0,
            to_come: BTreeMap::new(),
            count: 0,
            connections: 0,
            dead: HashSet::new(),
            last_frame: [0; 2],
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
        while let Some(((at, _), happening)) = self.to_come.pop_first() {
            if at > ACTIVE + 2 * BOUND {
                break;
            }
            self.now = at;
            if self.trace {
                println!("{at:5} {happening:?}");
            }
            self.happen(happening);
            self.pump();
        }
        let Some(server) = &self.server else {
            return assert!(self.client.closed.is_some(), "a client that waits for nobody");
        };
        match (server.closed, self.client.closed) {
            (None, None) => {}
            (Some((_, one)), Some((_, other))) => assert!(one.abs_diff(other) <= BOUND),
            (one, other) => panic!("one end left behind: server {one:?}, client {other:?}"),
        }
        // Who is told of a graceful close has everything that was sent before it.
        let said = |end: Option<(CloseReason, u64)>| end.map(|(reason, _)| reason);
        if let (Some(CloseReason::ServerDisconnect), Some(sent), true, None) = (
            said(self.client.closed),
            server.flushing,
            server.outbox.is_empty(),
            self.client.flushing,
        ) {
            assert_eq!(self.client.received, sent, "closed over the head of messages");
        }
        if let (Some(CloseReason::ClientDisconnect), Some(sent), true, None) = (
            said(server.closed),
            self.client.flushing,
            self.client.outbox.is_empty(),
            server.flushing,
        ) {
            assert_eq!(server.received, sent, "closed over the head of messages");
        }
    }

    pub(crate) fn assert_alive_and_drained(&self, upgraded: bool) {
        let server = self.server.as_ref().expect("a session");
        assert_eq!((server.closed, self.client.closed), (None, None));
        let transport =
            if upgraded || self.plan.direct { Transport::WebSocket } else { Transport::Polling };
        assert_eq!(server.session.transport(), transport);
        assert_eq!(self.client.session.transport(), transport);
        assert_eq!(server.received, self.client.queued);
        assert_eq!(self.client.received, server.queued);
    }

    fn at(&mut self, at: u64, happening: Happening) {
        self.count += 1;
        self.to_come.insert((at, self.count), happening);
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
        let at = (self.now + self.delay()).max(self.last_frame[side as usize]);
        self.last_frame[side as usize] = at;
        self.at(at, happening);
    }

    fn frame(&mut self, connection: Connection, side: Side, wire: Wire) {
        self.later_in_order(side, Happening::Frame(connection, side, wire));
    }

    fn carried(&self, connection: Connection) -> bool {
        !self.dead.contains(&connection) && self.plan.mute_from.is_none_or(|from| self.now < from)
    }

    fn happen(&mut self, happening: Happening) {
        let now = Instant::from_millis(self.now);
        match happening {
            Happening::Tick(Side::Client) => {
                self.client.session.handle_timeout(now);
                let next = self.client.session.poll_timeout();
                assert!(next.is_none_or(|at| at > now), "the client would spin");
            }
            Happening::Tick(Side::Server) => {
                let Some(server) = &mut self.server else { return };
                server.session.handle_timeout(now);
                let next = server.session.poll_timeout();
                assert!(next.is_none_or(|at| at > now), "the server would spin");
            }
            Happening::Send(Side::Client) => self.client.queue(),
            Happening::Send(Side::Server) => {
                if let Some(server) = &mut self.server {
                    server.queue();
                }
            }
            Happening::Close(Side::Client, abort) => {
                let client = &mut self.client;
                match abort {
                    true => client.session.abort(CloseReason::ClientDisconnect),
                    false => client.session.close(now),
                }
                if !abort && client.session.is_closing() {
                    client.flushing.get_or_insert(client.queued);
                }
            }
            Happening::Close(Side::Server, abort) => {
                let Some(server) = &mut self.server else { return };
                match abort {
                    true => server.session.abort(CloseReason::ServerDisconnect),
                    false => server.session.close(now),
                }
                if !abort && server.session.is_closing() {
                    server.flushing.get_or_insert(server.queued);
                }
            }
            Happening::Break => {
                let victim = 1 + self.rng.below(u64::from(self.connections)) as Connection;
                // The latest are the ones in use.
                let victim = victim.max(self.connections.saturating_sub(2));
                self.dead.insert(victim);
                self.later(Happening::Broken(victim, Side::Server));
                self.later(Happening::Broken(victim, Side::Client));
            }
            Happening::Broken(connection, side) => self.broken(connection, side),
            Happening::GetArrives(id)
            | Happening::GetAnswered(id, _)
            | Happening::PostHead(id)
            | Happening::PostBody(id, _)
            | Happening::PostAnswered(id, _)
            | Happening::Dial(id)
            | Happening::Dialed(id, _)
                if !self.carried(id) => {}
            Happening::Frame(id, _, _) if !self.carried(id) || self.plan.mute_websocket => {}
            Happening::GetWritten(id) => {
                let server = self.server.as_mut().expect("a session");
                if server.get == Some(id) {
                    server.get = None;
                    server.session.detach(Lane::Get);
                }
            }
            carried => self.arrive(carried, now),
        }
    }

    fn broken(&mut self, connection: Connection, side: Side) {
        match (side, &mut self.server) {
            (Side::Server, Some(server)) => {
                if let Some(lane) = server.lane(connection) {
                    server.forget(lane);
                    server.session.lost(lane);
                }
            }
            (Side::Server, None) => {}
            (Side::Client, _) => {
                if let Some(lane) = self.client.lane(connection) {
                    self.client.forget(lane);
                    self.client.session.lost(lane);
                }
            }
        }
    }

    /// Something reached the other end.
    fn arrive(&mut self, happening: Happening, now: Instant) {
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
            Happening::PostHead(id) => {
                let server = self.server.as_mut().expect("a session");
                match server.session.attach(Lane::Post, now) {
                    Ok(()) => server.post = Some(id),
                    Err(violation) => {
                        assert_eq!(violation, Violation::Ended);
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
                let taken =
                    body.into_iter().all(|wire| server_hears(server, Lane::Post, wire, now));
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
                    Ok(()) => self.server.as_mut().expect("a session").websocket = Some(id),
                    Err(violation) => assert_eq!(violation, Violation::Ended),
                }
                self.later_in_order(Side::Client, Happening::Dialed(id, result.is_ok()));
            }
            Happening::Frame(id, Side::Server, wire) => {
                let server = self.server.as_mut().expect("a session");
                if server.websocket == Some(id) {
                    if let Wire::Hangup = wire {
                        server.websocket = None;
                        server.session.lost(Lane::WebSocket);
                    } else {
                        server_hears(server, Lane::WebSocket, wire, now);
                    }
                }
            }
            Happening::GetAnswered(id, body) if self.client.get == Some(id) => {
                self.client.get = None;
                let Some(body) = body else { return self.client.session.lost(Lane::Get) };
                for wire in body {
                    client_hears(&mut self.client, Lane::Get, wire, now);
                }
                self.client.session.detach(Lane::Get);
            }
            Happening::PostAnswered(id, ok) if self.client.post == Some(id) => {
                self.client.post = None;
                match ok {
                    true => self.client.session.detach(Lane::Post),
                    false => self.client.session.lost(Lane::Post),
                }
            }
            Happening::Dialed(id, ok) if self.client.websocket == Some(id) => {
                if !ok {
                    self.client.websocket = None;
                    self.client.session.lost(Lane::WebSocket);
                } else {
                    self.client.session.handle_connected().expect("its hang-up was handed out");
                }
            }
            Happening::Frame(id, Side::Client, wire) if self.client.websocket == Some(id) => {
                if let Wire::Hangup = wire {
                    self.client.websocket = None;
                    self.client.session.lost(Lane::WebSocket);
                } else {
                    client_hears(&mut self.client, Lane::WebSocket, wire, now);
                }
            }
            _ => {}
        }
    }

    /// What a driver does after every call.
    fn pump(&mut self) {
        self.pump_server();
        self.pump_client();
    }

    fn pump_server(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let mut body = Vec::new();
        let room = 1 + self.rng.below(6) as usize;
        if let Some(id) = server.get {
            while let Some(wire) = server_says(&mut server, Lane::Get) {
                assert!(!self.answered, "more behind the end of a response");
                body.push(wire);
                if body.len() == room {
                    // The response is full: to ask again would be to append.
                    break;
                }
            }
            if !body.is_empty() {
                self.answered = body.len() < room;
                let written = self.now + self.rng.below(4);
                if body.len() == room {
                    server.get = None;
                    server.session.detach(Lane::Get);
                } else {
                    self.at(written, Happening::GetWritten(id));
                }
                let arrives = written + self.delay();
                self.at(arrives, Happening::GetAnswered(id, Some(body)));
            }
        }
        if let Some(id) = server.websocket {
            let mut room = 1 + self.rng.below(8);
            while room > 0 {
                let Some(wire) = server_says(&mut server, Lane::WebSocket) else { break };
                self.frame(id, Side::Client, wire);
                if let Wire::Hangup = wire {
                    server.websocket = None;
                }
                room -= 1;
            }
            if room == 0 {
                // The connection takes no more; it will in a while.
                self.later(Happening::Tick(Side::Server));
            }
        }
        while let Some(event) = server.session.poll_event() {
            server.hear(event, self.now);
        }
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
                    let body = self.post_body();
                    let head = self.now + self.delay();
                    self.at(head, Happening::PostHead(id));
                    let whole = head + self.rng.below(self.plan.delay);
                    self.at(whole, Happening::PostBody(id, body));
                }
                Lane::WebSocket => {
                    self.client.websocket = Some(id);
                    self.later_in_order(Side::Server, Happening::Dial(id));
                }
            }
        }
        if let Some(id) = self.client.websocket {
            while let Some(wire) = client_says(&mut self.client, Lane::WebSocket) {
                self.frame(id, Side::Server, wire);
                if let Wire::Hangup = wire {
                    self.client.websocket = None;
                }
            }
        }
        while let Some(event) = self.client.session.poll_event() {
            self.client.hear(event, self.now);
        }
        let next = self.client.session.poll_timeout();
        assert_eq!(next.is_none(), self.client.closed.is_some(), "a living session has a deadline");
        self.arm(next, Side::Client);
    }

    fn post_body(&mut self) -> Vec<Wire> {
        let mut body = Vec::new();
        let room = 1 + self.rng.below(6) as usize;
        while body.len() < room {
            let Some(wire) = client_says(&mut self.client, Lane::Post) else { break };
            body.push(wire);
        }
        assert!(!body.is_empty(), "a POST without a packet");
        body
    }

    fn arm(&mut self, next: Option<Instant>, side: Side) {
        if next != self.armed[side as usize] {
            self.armed[side as usize] = next;
            let Some(at) = next else { return };
            // A timer is never early and often a little late.
            let at = at.as_millis() + self.rng.below(3);
            self.at(at, Happening::Tick(side));
        }
    }
}
