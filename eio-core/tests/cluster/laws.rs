//! The laws that each run keeps.

use std::collections::{BTreeMap, BTreeSet};

use eio_core::cluster::hello::{Hello, State};
use eio_core::cluster::members::{Channel, Event as News, NodeId, NodeState, Route};
use eio_core::sid::Sid;

use crate::world::{Event, Input, World, seen};

/// A time that has not come.
const NEVER: u64 = u64::MAX;

/// The lowest and the highest number of some messages.
type Range = Option<(u64, u64)>;

/// The record of a run that the laws need.
#[derive(Default)]
pub(crate) struct Laws {
    /// Since when links from one host to another work.
    link_since: [[Option<u64>; 7]; 7],
    /// Since when messages of one host reach another.
    bus_since: [[Option<u64>; 7]; 7],
    /// The last hello by receiving host and incarnation of the sender.
    hellos: BTreeMap<(usize, u64), u64>,
    /// When an incarnation ended, after how many faults, and whether every other process noticed it by reset links.
    deaths: BTreeMap<u64, (u64, u64, bool)>,
    /// Whose links to which known node were reset, by incarnation.
    resets: BTreeSet<(u64, u64)>,
    /// Messages that the bus lost: sender, receiver, channel, number.
    dropped: Vec<(u64, u64, Channel, u64)>,
    /// The counts from which on a receiver counts, by its incarnation and its id for the sender.
    bases: BTreeMap<(u64, NodeId), [Option<u64>; 2]>,
    /// When the first hello with such a count came.
    firsts: BTreeMap<(u64, NodeId), [Option<u64>; 2]>,
    /// The lowest and highest number of the messages that arrived before such a count.
    early: BTreeMap<(u64, NodeId), [Range; 2]>,
    /// The losses that events reported.
    reported: BTreeMap<(u64, NodeId), u64>,
    /// Since when a host's process runs, with its connection to the bus.
    able_since: [u64; 7],
}

impl Laws {
    pub(crate) fn receives(&mut self, host: usize, input: &Input, now: u64) {
        if let Input::Hello(body) | Input::Reply(_, body) = input {
            let hello = Hello::parse(body).expect("a hello");
            self.hellos.insert((host, hello.identity.incarnation), now);
        }
    }

    pub(crate) fn reset(&mut self, receiver: u64, node: u64) {
        self.resets.insert((receiver, node));
    }

    pub(crate) fn dropped(&mut self, input: &Input, receiver: Option<u64>, sender: u64) {
        if let (Input::Message(channel, stamp), Some(receiver)) = (input, receiver) {
            self.dropped.push((sender, receiver, *channel, stamp.number));
        }
    }

    pub(crate) fn base(
        &mut self,
        key: (u64, NodeId),
        counts: [Option<u64>; 2],
        settled: u64,
        now: u64,
    ) {
        let early = self.early.get(&key).copied().unwrap_or_default();
        let firsts = self.firsts.entry(key).or_default();
        let bases = self.bases.entry(key).or_default();
        for n in [0, 1] {
            let Some(count) = counts[n] else { continue };
            if *firsts[n].get_or_insert(now) <= settled && bases[n].is_none() {
                let included = early[n].filter(|&(low, _)| low <= count);
                bases[n] = Some(included.map_or(count, |(_, high)| high.max(count)));
            }
        }
    }

    /// A message arrives whose sender is known.
    pub(crate) fn arrives(&mut self, receiver: u64, sender: NodeId, channel: Channel, number: u64) {
        let early = self.early.entry((receiver, sender)).or_default();
        if self.bases.get(&(receiver, sender)).is_none_or(|bases| bases[channel as usize].is_none())
        {
            let range = &mut early[channel as usize];
            let (low, high) = range.unwrap_or((number, number));
            *range = Some((low.min(number), high.max(number)));
        }
    }
}

impl World {
    /// Notes since when links and the bus work. Called after each fault.
    pub(crate) fn refresh(&mut self) {
        let hosts = self.hosts.len();
        let runs = |world: &Self, host: usize| {
            world.hosts[host].process.as_ref().is_some_and(|process| !process.stopped)
        };
        for from in 0..hosts {
            let able = runs(self, from) && self.hosts[from].connected;
            let since = &mut self.laws.able_since[from];
            *since = if !able { NEVER } else { self.now.min(*since) };
            for to in 0..hosts {
                let both = runs(self, from) && runs(self, to);
                let link = both && !self.cut[from][to] && !self.cut[to][from];
                let bus = both && self.hears(to, from);
                let now = self.now;
                let keep = |since: Option<u64>, good: bool| good.then(|| since.unwrap_or(now));
                self.laws.link_since[from][to] = keep(self.laws.link_since[from][to], link);
                self.laws.bus_since[from][to] = keep(self.laws.bus_since[from][to], bus);
            }
        }
    }

    pub(crate) fn died(&mut self, incarnation: u64, noticed: bool) {
        self.laws.deaths.insert(incarnation, (self.now, self.faults, noticed));
        self.refresh();
        if noticed {
            // The reset, the end of a ping in flight, another; a late hello, a ping and a question: ten
            // times there or back.
            self.schedule(self.now + 10 * self.delay + 10, Event::Dead(incarnation));
        }
        self.schedule(self.now + self.time_to_lose(), Event::Dead(incarnation));
    }

    /// Without a hello, and without an answer on a link.
    fn time_to_lose(&self) -> u64 {
        u64::from(self.timing.node_timeout_ms + self.timing.link_timeout_ms) + 4 * self.delay + 4
    }

    /// A process that has ended is lost by each that could learn of it.
    pub(crate) fn check_dead(&mut self, incarnation: u64) {
        let (died, faults, noticed) = self.laws.deaths[&incarnation];
        let at_once = noticed && self.now < died + self.time_to_lose();
        if at_once && (self.faults > faults || self.had_twins) {
            return;
        }
        for host in 0..self.hosts.len() {
            let able = self.laws.able_since[host];
            let Some(process) = &self.hosts[host].process else { continue };
            let Some(node) = seen(process, incarnation) else { continue };
            let reset = self.laws.resets.contains(&(process.incarnation, incarnation));
            if able == NEVER || at_once && (able > died || !reset) {
                continue;
            }
            let due = died.max(able) + self.time_to_lose();
            if !at_once && due > self.now {
                self.schedule(due, Event::Dead(incarnation));
                return;
            }
            let state = node.state();
            assert_eq!(
                state,
                NodeState::Lost,
                "n{host} does not know that {incarnation:x} has ended"
            );
        }
    }

    pub(crate) fn check_event(&mut self, host: usize, event: News) {
        let process = self.hosts[host].process.as_ref().expect("it has an event");
        match event {
            News::Lost(id) => {
                let Some(node) = process.members.node(id) else { return };
                self.check_lost(host, node.identity().incarnation);
            }
            News::MessagesLost { node, count } => {
                assert!(count > 0);
                *self.laws.reported.entry((process.incarnation, node)).or_default() += count;
            }
            News::TagTaken => {
                assert!(self.had_twins, "n{host} meets its own tag");
                self.hosts[host].process = None;
                self.hosts[host].connected = false;
                self.refresh();
            }
            News::Full => panic!("there is a slot for each other host"),
            _ => {}
        }
    }

    /// A node is lost with reason only.
    fn check_lost(&self, host: usize, incarnation: u64) {
        let other =
            (0..self.hosts.len()).find(|&other| self.incarnation(other) == Some(incarnation));
        let Some(other) = other else { return };
        if self.hosts[other].process.as_ref().is_some_and(|process| process.finished) {
            return;
        }
        let long = u64::from(self.timing.link_timeout_ms) + 2 * self.delay + 2;
        let is_old = |since: Option<u64>| since.is_some_and(|since| since + long <= self.now);
        assert!(
            !is_old(self.laws.link_since[host][other]),
            "n{host} loses n{other}, to which its links work"
        );
        let last = self.laws.hellos.get(&(host, incarnation)).copied().unwrap_or(0);
        let fresh = last + u64::from(self.timing.node_timeout_ms) > self.now;
        let heard = is_old(self.laws.bus_since[host][other]) && fresh;
        assert!(!heard, "n{host} loses n{other}, whose hellos arrive");
    }

    /// All faults are over: each process knows each other one, and no other.
    pub(crate) fn check_agreement(&mut self) {
        let processes = || self.hosts.iter().filter_map(|host| host.process.as_ref());
        for here in processes() {
            let me = here.members.identity();
            assert_ne!(here.members.state(), State::Joining, "{me:?} has not joined");
            for there in processes().filter(|there| there.incarnation != here.incarnation) {
                let identity = there.members.identity();
                assert_ne!(identity.tag, me.tag, "two processes with one tag");
                let state = seen(here, there.incarnation).map(|node| node.state());
                let expected = match there.members.state() {
                    State::Joining => NodeState::Joining,
                    State::Up => NodeState::Up,
                    State::Leaving | State::Left => NodeState::Leaving,
                };
                assert_eq!(state, Some(expected), "{identity:?} as {me:?} sees it");
                // A request of a session goes to the process that opened it.
                let sid = Sid::tagged(&identity.tag, "session").expect("a legal sid");
                let Route::Node(node) = here.members.route(&sid) else { panic!("no way to {sid}") };
                let node = here.members.node(node).expect("a known node");
                assert_eq!(node.identity().incarnation, there.incarnation);
                assert_eq!(there.members.route(&sid), Route::Here);
            }
        }
    }

    /// Each lost message was counted, and no other, between processes that both live.
    pub(crate) fn check_accounts(&mut self) {
        if self.had_twins {
            return;
        }
        let processes = || self.hosts.iter().filter_map(|host| host.process.as_ref());
        for here in processes() {
            for node in here.members.nodes() {
                let sender = node.identity().incarnation;
                if !processes().any(|there| there.incarnation == sender) {
                    continue;
                }
                let key = (here.incarnation, node.id());
                let Some(&bases) = self.laws.bases.get(&key) else { continue };
                let lost = self.laws.dropped.iter().filter(|&&(from, to, channel, number)| {
                    let base = bases[channel as usize].unwrap_or(NEVER);
                    (from, to) == (sender, here.incarnation) && number > base
                });
                let lost = lost.count() as u64;
                assert_eq!(
                    node.messages_lost(),
                    lost,
                    "{:?} of {:?}",
                    here.members.identity(),
                    node.identity()
                );
                assert_eq!(self.laws.reported.get(&key).copied().unwrap_or(0), lost);
            }
        }
    }
}
