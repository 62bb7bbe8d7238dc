//! The hosts, the bus and the links, and the driver of each node.

use std::collections::BTreeMap;
use std::rc::Rc;

use eio_core::buffer::Writer;
use eio_core::cluster::bus::Stamp;
use eio_core::cluster::hello::{Hello, Identity};
use eio_core::cluster::members::{self, Action, Channel, Members, NodeId, Peer, Timing};
use eio_core::sid::Tag;
use eio_core::time::Instant;

use crate::fault::{self, Fault};
use crate::laws::Laws;
use crate::seeds::Rng;

/// Faults happen until then.
const ACTIVE: u64 = 1_400;

/// The maximum length of a hello here.
const HELLO_MAX: usize = 512;

pub(crate) struct Process {
    pub(crate) incarnation: u64,
    pub(crate) members: Members<Vec<Peer>>,
    pub(crate) stopped: bool,
    /// It has said its last hello.
    pub(crate) finished: bool,
    /// Input that waits while the process is stopped.
    pub(crate) backlog: Vec<Input>,
    /// The time of its timer.
    timer: Option<u64>,
}

impl Process {
    pub(crate) fn new(
        incarnation: u64,
        host: usize,
        named: usize,
        hosts: usize,
        timing: Timing,
        now: u64,
    ) -> Self {
        let link = format!("127.0.0.1:{}", host + 1).parse().expect("an address");
        let mut links = eio_core::cluster::hello::Links::new();
        links.push(link).expect("there is room for one");
        let identity = Identity { tag: tag(named), incarnation, key: [host as u8; 32], links };
        let members = Members::new(
            identity,
            timing,
            vec![Peer::default(); hosts - 1],
            Instant::from_millis(now),
        );
        Self {
            incarnation,
            members,
            stopped: false,
            finished: false,
            backlog: Vec::new(),
            timer: None,
        }
    }
}

pub(crate) fn tag(host: usize) -> Tag {
    Tag::new(&format!("n{host}")).expect("a legal tag")
}

pub(crate) struct Host {
    pub(crate) process: Option<Process>,
    /// The host itself is off, with a process of this tag: nothing is refused, nothing answers.
    pub(crate) silent: Option<Tag>,
    /// Whether a connection to the bus is possible.
    pub(crate) cable: bool,
    pub(crate) connected: bool,
    /// Counts connections to the bus: a message on the way to an older one is lost.
    pub(crate) epoch: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Input {
    Timer,
    Bus(bool),
    Hello(Rc<[u8]>),
    Message(Channel, Stamp),
    /// The question of a host about a node, which is answered to it.
    Ask(usize, NodeId),
    Reply(NodeId, Rc<[u8]>),
    NoResponders(NodeId),
    Link(NodeId, bool),
    /// A link from the node with this incarnation.
    Incoming(u64),
    Broken(u64),
}

pub(crate) enum Event {
    Input(usize, u64, Input),
    /// Over the bus: to a host, its connection, and from which incarnation.
    Bus(usize, u64, u64, Input),
    /// A dial of a node: from host and incarnation to host and incarnation, and when it is given up.
    Ping {
        from: (usize, u64),
        to: (usize, u64),
        node: NodeId,
        deadline: u64,
    },
    Fault(Fault),
    /// Nodes publish messages.
    Talk,
    /// The death of an incarnation has to be known.
    Dead(u64),
    Agreed,
    End,
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    pub(crate) timing: Timing,
    /// The maximum delay of a message.
    pub(crate) delay: u64,
    /// The bus loses one message in this number; 0: none.
    loss: u64,
    pub(crate) hosts: Vec<Host>,
    pub(crate) bus_up: bool,
    /// Bit n: host n is on the other side of the bus.
    pub(crate) side: u64,
    pub(crate) cut: [[bool; 7]; 7],
    pub(crate) incarnations: u64,
    pub(crate) had_twins: bool,
    pub(crate) faults: u64,
    pub(crate) laws: Laws,
    queue: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    /// The arrival of the last message by sender, receiver and subscription: messages do not overtake each other.
    last_arrival: BTreeMap<(usize, usize, u8), u64>,
    trace: bool,
}

impl World {
    pub(crate) fn new(mut rng: Rng, trace: bool) -> Self {
        let hosts = *rng.pick(&[2, 3, 3, 4, 4, 5, 7]);
        let delay = 1 + rng.below(12);
        let timing = Timing {
            heartbeat_ms: 100,
            node_timeout_ms: 200 + rng.below(300) as u32,
            link_timeout_ms: 60,
            answer_jitter_ms: 20,
            settle_ms: 30,
        };
        let host = || Host { process: None, silent: None, cable: true, connected: false, epoch: 0 };
        let loss = *rng.pick(&[0, 0, 50, 10]);
        Self {
            now: 0,
            rng,
            timing,
            delay,
            loss,
            hosts: (0..hosts).map(|_| host()).collect(),
            bus_up: true,
            side: 0,
            cut: [[false; 7]; 7],
            incarnations: 0,
            had_twins: false,
            faults: 0,
            laws: Laws::default(),
            queue: BTreeMap::new(),
            scheduled: 0,
            last_arrival: BTreeMap::new(),
            trace,
        }
    }

    pub(crate) fn run(&mut self) {
        for host in 0..self.hosts.len() {
            let at = self.rng.below(150);
            self.schedule(at, Event::Fault(Fault::Start(host)));
        }
        for _ in 0..self.rng.below(8) {
            let (fault, end) = fault::random(&mut self.rng, self.hosts.len());
            let at = 200 + self.rng.below(ACTIVE - 200);
            self.schedule(at, Event::Fault(fault));
            if let Some(end) = end {
                let at = at + *self.rng.pick(&[20, 100, 400, 900]);
                self.schedule(at.min(ACTIVE), Event::Fault(end));
            }
        }
        for _ in 0..self.rng.below(30) {
            let at = self.rng.below(ACTIVE + 400);
            self.schedule(at, Event::Talk);
        }
        self.heal();
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = at;
            if matches!(event, Event::End) {
                self.check_accounts();
                return;
            }
            self.handle(event);
        }
    }

    /// The end of all faults, and when the nodes have to agree. Hosts that are off stay so.
    fn heal(&mut self) {
        let hosts = self.hosts.len();
        self.schedule(ACTIVE, Event::Fault(Fault::BusUp));
        self.schedule(ACTIVE, Event::Fault(Fault::Join));
        for host in 0..hosts {
            self.schedule(ACTIVE, Event::Fault(Fault::Connect(host)));
            self.schedule(ACTIVE, Event::Fault(Fault::Continue(host)));
            for other in 0..hosts {
                self.schedule(ACTIVE, Event::Fault(Fault::Mend(host, other)));
            }
        }
        let Timing { heartbeat_ms, node_timeout_ms, link_timeout_ms, .. } = self.timing;
        let agreed = ACTIVE + u64::from(2 * heartbeat_ms + link_timeout_ms) + 6 * self.delay;
        self.schedule(agreed, Event::Agreed);
        let end = agreed + u64::from(node_timeout_ms + 2 * heartbeat_ms + link_timeout_ms);
        self.schedule(end, Event::Agreed);
        self.schedule(end + 1, Event::End);
    }

    pub(crate) fn schedule(&mut self, at: u64, event: Event) {
        self.scheduled += 1;
        self.queue.insert((at, self.scheduled), event);
    }

    pub(crate) fn later(&mut self) -> u64 {
        self.now + 1 + self.rng.below(self.delay)
    }

    pub(crate) fn note(&self, text: impl Fn() -> String) {
        if self.trace {
            eprintln!("{:6} {}", self.now, text());
        }
    }

    pub(crate) fn incarnation(&self, host: usize) -> Option<u64> {
        self.hosts[host].process.as_ref().map(|process| process.incarnation)
    }

    /// Whether messages of one host reach another over the bus.
    pub(crate) fn hears(&self, from: usize, to: usize) -> bool {
        let connected = |host: usize| self.hosts[host].connected;
        let side = |host: usize| self.side >> host & 1;
        self.bus_up && connected(from) && connected(to) && side(from) == side(to)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Input(host, incarnation, input) => self.input(host, incarnation, input),
            Event::Bus(host, epoch, sender, input) => {
                let up = self.hosts[host].connected && self.hosts[host].epoch == epoch;
                match self.incarnation(host).filter(|_| up) {
                    Some(incarnation) => self.input(host, incarnation, input),
                    None => self.laws.dropped(&input, self.incarnation(host), sender),
                }
            }
            Event::Ping { from, to, node, deadline } => self.ping_arrives(from, to, node, deadline),
            Event::Fault(fault) => self.apply(fault),
            Event::Talk => self.talk(),
            Event::Dead(incarnation) => self.check_dead(incarnation),
            Event::Agreed => self.check_agreement(),
            Event::End => {}
        }
    }

    fn ping_arrives(&mut self, from: (usize, u64), to: (usize, u64), node: NodeId, deadline: u64) {
        let target = &self.hosts[to.0];
        let silent = target.silent.is_some() || self.cut[from.0][to.0] || self.cut[to.0][from.0];
        let stopped = target.process.as_ref().is_some_and(|process| process.stopped);
        let there = self.incarnation(to.0) == Some(to.1);
        let alive = there && !silent && !stopped;
        let at = if silent || there && stopped { deadline } else { self.later().min(deadline) };
        if alive {
            self.input(to.0, to.1, Input::Incoming(from.1));
        }
        self.schedule(at, Event::Input(from.0, from.1, Input::Link(node, alive)));
    }

    /// Gives a process one input, and performs the actions that follow.
    pub(crate) fn input(&mut self, host: usize, incarnation: u64, input: Input) {
        let Some(process) = self.hosts[host].process.as_mut() else { return };
        if process.incarnation != incarnation {
            return;
        }
        if process.stopped {
            process.backlog.push(input);
            return;
        }
        if let Input::Timer = input
            && process.timer.is_none_or(|timer| timer > self.now)
        {
            return;
        }
        self.note(|| format!("n{host} {input:?}"));
        if let Input::Ask(asker, node) = input {
            let hello = self.hello_of(host);
            self.publish(host, asker, 3, Input::Reply(node, hello));
            return;
        }
        self.laws.receives(host, &input, self.now);
        let random = self.rng.below(1 << 32) as u32;
        self.with(host, |process, now| feed(&mut process.members, &input, random, now));
        self.counts(host, &input);
    }

    /// Calls `f` with the process of a host, and performs the actions that follow.
    pub(crate) fn with(&mut self, host: usize, f: impl FnOnce(&mut Process, Instant)) {
        let now = Instant::from_millis(self.now);
        let Some(process) = self.hosts[host].process.as_mut().filter(|process| !process.stopped)
        else {
            return;
        };
        f(process, now);
        for round in 0.. {
            assert!(round < 100, "the driver spins");
            let Some(process) = self.hosts[host].process.as_mut() else { return };
            if let Some(action) = process.members.poll_action(now) {
                self.perform(host, action);
            } else if let Some(event) = process.members.poll_event() {
                self.note(|| format!("n{host} {event:?}"));
                self.check_event(host, event);
            } else {
                break;
            }
        }
        self.set_timer(host);
    }

    fn set_timer(&mut self, host: usize) {
        let Some(process) = self.hosts[host].process.as_mut() else { return };
        let next = process.members.poll_timeout().map(Instant::as_millis);
        if next != process.timer {
            process.timer = next;
            let incarnation = process.incarnation;
            if let Some(next) = next {
                self.schedule(next.max(self.now), Event::Input(host, incarnation, Input::Timer));
            }
        }
    }

    fn hello_of(&self, host: usize) -> Rc<[u8]> {
        let mut memory = [0; HELLO_MAX];
        let mut out = Writer::new(&mut memory);
        let process = self.hosts[host].process.as_ref().expect("it says hello");
        process.members.write_hello(&mut out).expect("a hello of seven nodes fits");
        out.written().into()
    }

    fn perform(&mut self, host: usize, action: Action) {
        self.note(|| format!("n{host} -> {action:?}"));
        match action {
            Action::Hello => {
                let hello = self.hello_of(host);
                for other in 0..self.hosts.len() {
                    self.publish(host, other, 0, Input::Hello(hello.clone()));
                }
            }
            Action::HelloTo(tag) => {
                let hello = self.hello_of(host);
                for other in self.named(&tag) {
                    self.publish(host, other, 1, Input::Hello(hello.clone()));
                }
            }
            Action::Ask(node) => self.ask(host, node),
            Action::Ping(node) => self.ping(host, node),
            _ => unreachable!("no other action"),
        }
    }

    /// The hosts with a process of this tag.
    fn named(&self, tag: &Tag) -> Vec<usize> {
        let has = |host: &usize| {
            let process = self.hosts[*host].process.as_ref();
            process.is_some_and(|process| process.members.identity().tag == *tag)
        };
        (0..self.hosts.len()).filter(has).collect()
    }

    fn ask(&mut self, host: usize, node: NodeId) {
        let process = self.hosts[host].process.as_ref().expect("it asks");
        let incarnation = process.incarnation;
        let Some(peer) = process.members.node(node) else { return };
        if !self.hosts[host].connected {
            return;
        }
        let tag = peer.tag().clone();
        let named = self.named(&tag);
        let mut heard = named.iter().copied().filter(|&other| self.hears(host, other)).peekable();
        // The connection of a host that is off exists until the bus closes it.
        let off = |host: &Host| host.connected && host.silent.as_ref() == Some(&tag);
        if heard.peek().is_none() && !self.hosts.iter().any(off) {
            let at = self.later();
            self.schedule(at, Event::Input(host, incarnation, Input::NoResponders(node)));
            return;
        }
        for other in heard.collect::<Vec<_>>() {
            self.publish(host, other, 1, Input::Ask(host, node));
        }
    }

    fn ping(&mut self, host: usize, node: NodeId) {
        let process = self.hosts[host].process.as_ref().expect("it pings");
        let Some(peer) = process.members.node(node) else { return };
        let to = (usize::from(peer.links()[0].port()) - 1, peer.identity().incarnation);
        let from = (host, process.incarnation);
        let deadline = self.now + u64::from(self.timing.link_timeout_ms);
        let at = self.later();
        self.schedule(at, Event::Ping { from, to, node, deadline });
    }

    /// Messages of random nodes to others, and requests over links.
    fn talk(&mut self) {
        let from = self.rng.below(self.hosts.len() as u64) as usize;
        let Some(process) = self.hosts[from].process.as_mut().filter(|process| !process.stopped)
        else {
            return;
        };
        let nodes: Vec<(NodeId, Tag)> =
            process.members.nodes().map(|node| (node.id(), node.tag().clone())).collect();
        let all = self.rng.one_in(3);
        let burst = 1 + self.rng.below(4);
        if all && process.members.may_publish_all() {
            for _ in 0..burst {
                let process = self.hosts[from].process.as_mut().expect("it talks");
                let stamp = process.members.stamp_all();
                for other in 0..self.hosts.len() {
                    self.publish(from, other, 2, Input::Message(Channel::All, stamp.clone()));
                }
            }
        } else if !nodes.is_empty() {
            let (node, tag) = self.rng.pick(&nodes).clone();
            self.ping(from, node);
            for _ in 0..burst {
                let process = self.hosts[from].process.as_mut().expect("it talks");
                if !process.members.may_publish_to(node) {
                    return;
                }
                let stamp = process.members.stamp_to(node).expect("a known node");
                for other in self.named(&tag) {
                    self.publish(from, other, 1, Input::Message(Channel::Direct, stamp.clone()));
                }
            }
        }
    }

    /// Publishes a message of one host to another, which the bus may lose.
    fn publish(&mut self, from: usize, to: usize, subscription: u8, input: Input) {
        if from == to {
            return;
        }
        let sender = self.incarnation(from).expect("it publishes");
        let lost = self.loss > 0 && self.now < ACTIVE && self.rng.one_in(self.loss);
        if lost || !self.hears(from, to) {
            self.note(|| format!("dropped for n{to}: {input:?}"));
            self.laws.dropped(&input, self.incarnation(to), sender);
            return;
        }
        let at = self.later();
        let last = self.last_arrival.entry((from, to, subscription)).or_default();
        *last = at.max(*last);
        let at = *last;
        self.schedule(at, Event::Bus(to, self.hosts[to].epoch, sender, input));
    }

    /// Notes from which number on the receiver of a message or a hello counts.
    fn counts(&mut self, host: usize, input: &Input) {
        if let Input::Message(channel, stamp) = input
            && let Some(process) = self.hosts[host].process.as_ref()
            && let Some(node) = seen(process, stamp.incarnation)
        {
            self.laws.arrives(process.incarnation, node.id(), *channel, stamp.number);
        }
        if let Input::Broken(incarnation) = input
            && let Some(process) = self.hosts[host].process.as_ref()
            && seen(process, *incarnation).is_some()
        {
            self.laws.reset(process.incarnation, *incarnation);
        }
        let (Input::Hello(body) | Input::Reply(_, body)) = input else { return };
        let hello = Hello::parse(body).expect("a hello");
        let Some(process) = self.hosts[host].process.as_ref() else { return };
        let (tag, incarnation) = (&hello.identity.tag, hello.identity.incarnation);
        let known = process.members.find(tag.as_str());
        if let Some(node) = known.filter(|node| node.identity().incarnation == incarnation)
            && process.members.is_bus_up()
        {
            let direct = hello.sent_to(process.incarnation);
            let settled = self.now.saturating_sub(u64::from(self.timing.settle_ms));
            let key = (process.incarnation, node.id());
            self.laws.base(key, [direct, Some(hello.sent_all)], settled, self.now);
        }
    }
}

fn feed(members: &mut Members<Vec<Peer>>, input: &Input, random: u32, now: Instant) {
    let with = |members: &Members<Vec<Peer>>, incarnation: u64| {
        let mut nodes = members.nodes();
        nodes.find(|node| node.identity().incarnation == incarnation).map(|node| node.id())
    };
    match input {
        Input::Timer => {
            members.handle_timeout(now);
        }
        Input::Bus(up) => members.handle_bus(*up, now),
        Input::Hello(body) => {
            members.handle_hello(&Hello::parse(body).expect("a hello"), random, now)
        }
        Input::Reply(node, body) => {
            members.handle_reply(*node, &Hello::parse(body).expect("a hello"), now);
        }
        Input::Message(channel, stamp) => _ = members.handle_stamp(*channel, stamp),
        Input::NoResponders(node) => members.handle_no_responders(*node, now),
        Input::Link(node, true) => members.handle_link_alive(*node, now),
        Input::Link(node, false) => members.handle_link_failed(*node, now),
        Input::Incoming(incarnation) => {
            if let Some(node) = with(members, *incarnation) {
                members.handle_link_incoming(node, now);
            }
        }
        Input::Broken(incarnation) => {
            if let Some(node) = with(members, *incarnation) {
                members.handle_link_broken(node, now);
            }
        }
        Input::Ask(..) => {}
    }
}

/// The state of a node as another sees it.
pub(crate) fn seen(process: &Process, incarnation: u64) -> Option<members::Node<'_>> {
    process.members.nodes().find(|node| node.identity().incarnation == incarnation)
}
