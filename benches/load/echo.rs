//! `ws-echo`, `raw-ws-echo`, `tcp-echo`, `mixed`: messages on persistent connections.

use std::collections::VecDeque;

use crate::args::{Args, Mode};
use crate::die;
use crate::net::{App, Id, Net};
use crate::payload::{Framed, Payload};
use crate::proto::Opcode;
use crate::window::{Phase, Tick, Window};
use crate::ws::{self, Event, Ramp, Ws};

pub(crate) fn run(args: Args) {
    let mut net = Net::new(&args);
    net.spin = args.rate.is_some();
    let idle = if args.mode == Mode::Mixed { args.idle } else { 0 };
    let senders = (0..args.connections).map(|i| Sender::new(&args, i)).collect();
    let mut echo = Echo {
        window: Window::new(args.clone()),
        all: args.connections + idle,
        args,
        senders,
        sockets: Vec::new(),
        ramp: Ramp::default(),
        next: 0,
    };
    net.run(&mut echo);
    println!("{}", echo.window.report().number("idle", idle).tls(&net));
}

/// A connection that sends messages.
struct Sender {
    id: Id,
    message: Framed,
    sent: u64,
    received: u64,
    /// The start times of the messages in flight.
    since: VecDeque<u64>,
}

struct Echo {
    args: Args,
    window: Window,
    /// The number of sending and idle connections.
    all: usize,
    senders: Vec<Sender>,
    /// By connection id. Connections are never closed, so ids follow the order in which they were opened.
    sockets: Vec<Ws>,
    ramp: Ramp,
    /// The sender that an open loop uses next.
    next: usize,
}

impl Sender {
    fn new(args: &Args, index: usize) -> Self {
        let salt = index as u64 + 1;
        let mask = match args.mode {
            Mode::TcpEcho => [0; 4],
            _ => ((salt as u32).wrapping_mul(2_654_435_761) | 0x0101_0101).to_be_bytes(),
        };
        let message = Framed::new(Payload::new(args.binary, args.size, salt), args.binary, mask);
        Self { id: Id::MAX, message, sent: 0, received: 0, since: VecDeque::new() }
    }

    #[inline]
    fn send(&mut self, net: &mut Net, since: u64) {
        self.since.push_back(since);
        self.message.write(self.sent, net.out(self.id));
        self.sent += 1;
    }

    #[inline]
    fn check(&mut self, echo: &[u8]) -> u64 {
        let since = self.since.pop_front();
        let (Some(since), true) = (since, self.message.payload.matches(self.received, echo)) else {
            let shown = String::from_utf8_lossy(&echo[..echo.len().min(48)]);
            die(&format!(
                "echo {} of {} differs: {} bytes, {shown:?}",
                self.received,
                self.sent,
                echo.len()
            ));
        };
        self.received += 1;
        since
    }
}

impl Echo {
    #[inline]
    fn echoed(&mut self, net: &mut Net, id: Id, echo: &[u8]) {
        let Some(sender) = self.senders.get_mut(id) else { die("a message on an idle session") };
        let since = sender.check(echo);
        self.window.done(1, since, net.now);
        if self.window.closed_loop() && self.window.sending() {
            sender.send(net, net.now);
        }
    }

    /// TCP: the server returns the client's bytes. The mask is zero, so that they contain the payload unchanged.
    fn received_bytes(&mut self, net: &mut Net, id: Id, data: &[u8]) -> usize {
        let message = &self.senders[id].message;
        let (whole, head) = (message.len(), message.head().to_vec());
        let mut frames = data.chunks_exact(whole);
        for frame in &mut frames {
            let Some(echo) = frame.strip_prefix(&*head) else { die("the head of a frame differs") };
            self.echoed(net, id, echo);
        }
        data.len() - frames.remainder().len()
    }
}

impl App for Echo {
    fn opened(&mut self, net: &mut Net, id: Id) {
        if self.args.mode == Mode::TcpEcho {
            self.ramp.ready += 1;
            return;
        }
        ws::begin(&self.args, net, id);
    }

    fn received(&mut self, net: &mut Net, id: Id, data: &[u8]) -> usize {
        if self.args.mode == Mode::TcpEcho {
            return self.received_bytes(net, id, data);
        }
        let wanted = if self.args.binary { Opcode::Binary } else { Opcode::Text };
        let mut at = 0;
        while let Some(event) = self.sockets[id].next(net, id, data, &mut at) {
            match event {
                Event::Opened => self.ramp.ready += 1,
                Event::Message(opcode, echo) if opcode == wanted => self.echoed(net, id, echo),
                Event::Message(..) => die("the server changed text to binary, or binary to text"),
                Event::Closed => self.window.error("the server sent a close frame"),
            }
        }
        at
    }

    fn closed(&mut self, _: &mut Net, id: Id, why: &str) {
        die(&format!("connection {id} closed: {why}"));
    }

    fn tick(&mut self, net: &mut Net) -> bool {
        if self.window.phase() == Phase::Setup {
            while let Some(index) = self.ramp.next(self.all) {
                let id = net.connect();
                self.sockets.push(Ws::of(&self.args, self.args.mode != Mode::RawWsEcho));
                if let Some(sender) = self.senders.get_mut(index) {
                    sender.id = id;
                }
            }
        }
        while let Some(due) = self.window.due(net.now) {
            let index = self.next % self.senders.len();
            self.senders[index].send(net, due);
            self.next += 1;
        }
        let outstanding = self.senders.iter().map(|sender| sender.sent - sender.received).sum();
        match self.window.tick(net, self.ramp.ready == self.all, outstanding) {
            Tick::Start if self.window.closed_loop() => {
                for sender in &mut self.senders {
                    (0..self.args.in_flight).for_each(|_| sender.send(net, net.now));
                }
                false
            }
            tick => tick == Tick::Done,
        }
    }
}
