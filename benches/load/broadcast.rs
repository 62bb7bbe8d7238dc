//! `broadcast`: the server sends a message of the first session to every session.
//!
//! One operation is one delivery; the latencies are those of whole broadcasts, up to the last delivery.

use crate::args::Args;
use crate::die;
use crate::net::{App, Id, Net};
use crate::payload::{Framed, Payload};
use crate::proto::{self, Opcode};
use crate::window::{Phase, Tick, Window};
use crate::ws::{Event, Ramp, Ws};

pub(crate) fn run(args: Args) {
    let mut net = Net::new(&args);
    let payload = Payload::new(args.binary, args.size, 1);
    let mut broadcast = Broadcast {
        window: Window::new(args.clone()),
        message: Framed::new(payload, args.binary, [0x5a, 0x11, 0xc3, 0x7e]),
        args,
        sessions: Vec::new(),
        ramp: Ramp::default(),
        rounds: 0,
        missing: 0,
        since: 0,
    };
    net.run(&mut broadcast);
    println!("{}", broadcast.window.report().number("broadcasts", broadcast.rounds));
}

struct Broadcast {
    args: Args,
    window: Window,
    message: Framed,
    /// Each session, and the number of messages it has received.
    sessions: Vec<(Ws, u64)>,
    ramp: Ramp,
    rounds: u64,
    /// Pending deliveries of this round.
    missing: usize,
    since: u64,
}

impl Broadcast {
    fn begin(&mut self, net: &mut Net) {
        self.since = net.now;
        self.missing = self.sessions.len();
        self.message.write(self.rounds, net.out(0));
        self.rounds += 1;
    }

    fn delivered(&mut self, net: &mut Net, id: Id, message: &[u8]) {
        let received = &mut self.sessions[id].1;
        if !self.message.payload.matches(*received, message) || *received >= self.rounds {
            die(&format!("delivery {received} to session {id} differs"));
        }
        *received += 1;
        self.missing -= 1;
        if self.missing == 0 {
            self.window.done(self.sessions.len() as u64, self.since, net.now);
            if self.window.sending() {
                self.begin(net);
            }
        }
    }
}

impl App for Broadcast {
    fn opened(&mut self, net: &mut Net, id: Id) {
        net.out(id).extend_from_slice(&proto::upgrade(&self.args, ""));
    }

    fn received(&mut self, net: &mut Net, id: Id, data: &[u8]) -> usize {
        let wanted = if self.args.binary { Opcode::Binary } else { Opcode::Text };
        let mut at = 0;
        while let Some(event) = self.sessions[id].0.next(net, id, data, &mut at) {
            match event {
                Event::Opened => self.ramp.ready += 1,
                Event::Message(opcode, message) if opcode == wanted => {
                    self.delivered(net, id, message);
                }
                Event::Message(..) => die("the server changed text to binary, or binary to text"),
                Event::Closed => die("the server sent a close frame"),
            }
        }
        at
    }

    fn closed(&mut self, _: &mut Net, id: Id, why: &str) {
        die(&format!("the connection of session {id} closed: {why}"));
    }

    fn tick(&mut self, net: &mut Net) -> bool {
        if self.window.phase() == Phase::Setup {
            while self.ramp.next(self.args.connections).is_some() {
                net.connect();
                self.sessions.push((Ws::new(true), 0));
            }
        }
        let ready = self.ramp.ready == self.args.connections;
        match self.window.tick(net, ready, self.missing as u64) {
            Tick::Start => {
                self.begin(net);
                false
            }
            tick => tick == Tick::Done,
        }
    }
}
