//! Faults, and their effects on the world.

use crate::seeds::Rng;
use crate::world::{Event, Input, Process, World};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The process ends; its sockets are reset.
    Kill(usize),
    /// The host ends: nothing answers for it, nothing is reset.
    Silence(usize),
    /// A process starts, if the host has none.
    Start(usize),
    /// A process starts with the tag of another host.
    Twin(usize, usize),
    Stop(usize),
    Continue(usize),
    /// The process leaves, and ends a while later.
    Leave(usize),
    Finish(usize),
    /// The connection of a host to the bus.
    Disconnect(usize),
    Connect(usize),
    /// The bus itself.
    BusDown,
    BusUp,
    /// A part of the hosts is separated on the bus.
    Split(u64),
    Join,
    /// Packets of links from one host to another are dropped.
    Cut(usize, usize),
    Mend(usize, usize),
    /// Established links between two hosts are reset.
    Reset(usize, usize),
}

/// A random fault, and the end of it.
pub(crate) fn random(rng: &mut Rng, hosts: usize) -> (Fault, Option<Fault>) {
    let mut host = || rng.below(hosts as u64) as usize;
    let (a, b) = (host(), host());
    match rng.below(14) {
        0 => (Fault::Kill(a), None),
        1 => (Fault::Kill(a), Some(Fault::Start(a))),
        2 => (Fault::Silence(a), Some(Fault::Start(a))),
        3 => (Fault::Stop(a), Some(Fault::Continue(a))),
        4 => (Fault::Leave(a), Some(Fault::Finish(a))),
        5 => (Fault::Disconnect(a), Some(Fault::Connect(a))),
        6 => (Fault::BusDown, Some(Fault::BusUp)),
        7 => (Fault::Split(rng.below(1 << hosts)), Some(Fault::Join)),
        8 | 9 => (Fault::Cut(a, b), Some(Fault::Mend(a, b))),
        10 | 11 => (Fault::Reset(a, b), None),
        12 if a != b && rng.one_in(3) => (Fault::Twin(a, b), None),
        _ => (Fault::Start(a), None),
    }
}

impl World {
    pub(crate) fn apply(&mut self, fault: Fault) {
        self.note(|| format!("{fault:?}"));
        self.faults += 1;
        match fault {
            Fault::Kill(host) => self.kill(host),
            Fault::Silence(host) => {
                if let Some(process) = self.hosts[host].process.take() {
                    self.hosts[host].silent = Some(process.members.identity().tag.clone());
                    self.died(process.incarnation, false);
                }
            }
            Fault::Start(host) if self.hosts[host].process.is_none() => self.start(host, host),
            Fault::Twin(host, other) if self.hosts[host].process.is_none() => {
                self.had_twins = true;
                self.start(host, other);
            }
            Fault::Start(_) | Fault::Twin(..) => {}
            Fault::Stop(host) => {
                if let Some(process) = &mut self.hosts[host].process {
                    process.stopped = true;
                }
            }
            Fault::Continue(host) => self.proceed(host),
            Fault::Leave(host) => self.with(host, |process, _| process.members.leave()),
            Fault::Finish(host) => self.finish(host),
            Fault::Disconnect(host) => self.connect(host, false),
            Fault::Connect(host) => {
                self.hosts[host].cable = true;
                self.connect(host, self.bus_up);
            }
            Fault::BusDown => {
                self.bus_up = false;
                (0..self.hosts.len()).for_each(|host| self.connect(host, false));
            }
            Fault::BusUp => {
                self.bus_up = true;
                for host in 0..self.hosts.len() {
                    self.connect(host, true);
                }
            }
            Fault::Split(side) => self.side = side,
            Fault::Join => self.side = 0,
            Fault::Cut(from, to) => self.cut[from][to] = true,
            Fault::Mend(from, to) => self.cut[from][to] = false,
            Fault::Reset(a, b) => {
                for (from, to) in [(a, b), (b, a)] {
                    if let Some(incarnation) = self.incarnation(to) {
                        self.report_broken(from, incarnation);
                    }
                }
            }
        }
        self.refresh();
    }

    /// The sockets of the process are reset: its connection to the bus, and links.
    fn kill(&mut self, host: usize) {
        let Some(process) = self.hosts[host].process.take() else { return };
        self.hosts[host].connected = false;
        let incarnation = process.incarnation;
        let mut saw_it_all = true;
        for other in 0..self.hosts.len() {
            if !self.cut[host][other] && !self.cut[other][host] {
                self.report_broken(other, incarnation);
            } else {
                saw_it_all = false;
            }
        }
        self.died(incarnation, saw_it_all);
    }

    fn report_broken(&mut self, host: usize, incarnation: u64) {
        if let Some(receiver) = self.incarnation(host).filter(|&here| here != incarnation) {
            let at = self.later();
            self.schedule(at, Event::Input(host, receiver, Input::Broken(incarnation)));
        }
    }

    fn start(&mut self, host: usize, named: usize) {
        self.incarnations += 1;
        // The order of two incarnations says nothing about their ages.
        let incarnation = self.rng.below(1 << 20) << 32 | self.incarnations;
        let process =
            Process::new(incarnation, host, named, self.hosts.len(), self.timing, self.now);
        self.hosts[host].process = Some(process);
        (self.hosts[host].silent, self.hosts[host].cable) = (None, true);
        self.hosts[host].connected = false;
        self.hosts[host].epoch += 1;
        self.connect(host, self.bus_up);
    }

    /// A stopped process continues: first with its input, then with its timer.
    fn proceed(&mut self, host: usize) {
        let Some(process) = &mut self.hosts[host].process else { return };
        if !std::mem::take(&mut process.stopped) {
            return;
        }
        let inputs = std::mem::take(&mut process.backlog);
        let incarnation = process.incarnation;
        self.refresh();
        for input in inputs {
            self.input(host, incarnation, input);
        }
        self.input(host, incarnation, Input::Timer);
    }

    fn finish(&mut self, host: usize) {
        let Some(process) = self.hosts[host].process.as_mut() else { return };
        if process.members.state() != eio_core::cluster::hello::State::Leaving || process.stopped {
            return;
        }
        process.finished = true;
        self.with(host, |process, _| process.members.finish());
        if let Some(process) = self.hosts[host].process.take() {
            self.hosts[host].connected = false;
            self.died(process.incarnation, false);
        }
    }

    /// The connection of a host to the bus comes or goes.
    fn connect(&mut self, host: usize, up: bool) {
        let state = &mut self.hosts[host];
        if !up && self.bus_up {
            state.cable = false;
        }
        let up = up && self.bus_up && state.cable;
        if up != state.connected {
            state.connected = up;
            state.epoch += 1;
            if let Some(incarnation) = self.incarnation(host) {
                self.input(host, incarnation, Input::Bus(up));
            }
        }
    }
}
