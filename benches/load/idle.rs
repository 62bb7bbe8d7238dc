//! `idle`: the memory that idle sessions cost the server.

use crate::args::{Args, Mode, Transport};
use crate::die;
use crate::net::{App, Id, Net};
use crate::payload::{Framed, Payload};
use crate::procfs::{self, Cpu};
use crate::proto::{self, Response};
use crate::report::Report;
use crate::ws::{self, Event, Ramp, Ws};

pub(crate) fn run(args: Args) {
    let mut net = Net::new(&args);
    if args.open.is_some() && args.transport == Transport::Polling {
        die("--open is for WebSocket sessions in this mode");
    }
    if args.touch.is_some() && (args.transport == Transport::Polling || args.mode == Mode::IdleRaw)
    {
        die("--touch is for WebSocket sessions");
    }
    let touch =
        args.touch.map(|size| Framed::new(Payload::new(false, size, 1), false, [1, 2, 3, 4]));
    let mut idle = Idle {
        before: measure(&args),
        args,
        touch,
        connections: Vec::new(),
        ramp: Ramp::default(),
        held_since: None,
        touched: 0,
        after_setup: Reading::default(),
    };
    net.run(&mut idle);
    println!("{}", idle.report(&net).tls(&net));
}

/// The resources that the server uses.
#[derive(Clone, Copy, Default)]
struct Reading {
    resident: f64,
    cpu: f64,
    tcp_buffers: f64,
}

fn measure(args: &Args) -> Reading {
    let Some(pid) = args.pid else { die("--pid is missing: the process whose memory to read") };
    let resident = procfs::resident(pid).unwrap_or_else(|| die("the server's process has exited"));
    Reading {
        resident: resident as f64,
        cpu: Cpu::of(&pid.to_string()).unwrap_or_default().sum(),
        tcp_buffers: procfs::tcp_buffers().unwrap_or_default() as f64,
    }
}

enum Connection {
    WebSocket(Ws),
    Polling {
        /// The GET to hold, when the session is open.
        request: Vec<u8>,
        /// The POST that answers a ping: some servers ping at once.
        pong: Vec<u8>,
    },
}

struct Idle {
    args: Args,
    touch: Option<Framed>,
    /// By connection id.
    connections: Vec<Connection>,
    ramp: Ramp,
    before: Reading,
    after_setup: Reading,
    /// When all sessions were open.
    held_since: Option<u64>,
    touched: usize,
}

impl Idle {
    fn report(&self, net: &Net) -> Report {
        let now = measure(&self.args);
        let sessions = self.ramp.ready as f64;
        let pings = self.connections.iter().map(|connection| match connection {
            Connection::WebSocket(ws) => ws.pings,
            Connection::Polling { .. } => 0,
        });
        Report::new()
            .text("mode", &self.args.mode.name())
            .text(
                "transport",
                if self.args.transport == Transport::Polling { "polling" } else { "websocket" },
            )
            .number("connections", self.ramp.ready)
            .number("touch", self.args.touch.unwrap_or(0))
            .float("setup_s", self.held_since.unwrap_or(net.now) as f64 / 1e9, 2)
            .float(
                "setup_cpu_us_per_session",
                (self.after_setup.cpu - self.before.cpu) * 1e6 / sessions,
                1,
            )
            .float("hold_s", self.args.seconds, 1)
            .float("hold_cpu_s", now.cpu - self.after_setup.cpu, 2)
            .number("pings", pings.sum::<u64>())
            .float("rss_before", self.before.resident, 0)
            .float("rss_after", now.resident, 0)
            .float("rss_per_session", (now.resident - self.before.resident) / sessions, 0)
            .float("tcp_buffers_grown", now.tcp_buffers - self.before.tcp_buffers, 0)
    }

    fn handle_response(&mut self, net: &mut Net, id: Id, response: &Response<'_>) {
        let Connection::Polling { request, pong } = &mut self.connections[id] else { return };
        if response.status != 200 {
            die(&response.shown());
        }
        match &*response.body {
            _ if request.is_empty() => {
                let sid = proto::sid(&response.body).unwrap_or_else(|error| die(&error));
                let query = format!("transport=polling&sid={sid}");
                *request = proto::request(&self.args, "GET", &query);
                *pong = proto::request(&self.args, "POST", &query);
                pong.extend_from_slice(b"1\r\n\r\n3");
                self.ramp.ready += 1;
            }
            b"2" => return net.out(id).extend_from_slice(pong),
            b"ok" | b"OK" => {}
            _ => die(&format!("unexpected response to the held GET: {}", response.shown())),
        }
        net.out(id).extend_from_slice(request);
    }

    fn message(&mut self, message: &[u8]) {
        if self.touch.as_ref().is_none_or(|touch| !touch.payload.matches(0, message)) {
            die("an unexpected message, or an echo that differs");
        }
        self.touched += 1;
    }
}

impl App for Idle {
    fn opened(&mut self, net: &mut Net, id: Id) {
        match self.connections[id] {
            Connection::WebSocket(_) => ws::begin(&self.args, net, id),
            Connection::Polling { .. } => {
                let request = proto::request(&self.args, "GET", "transport=polling");
                net.out(id).extend_from_slice(&request);
            }
        }
    }

    fn received(&mut self, net: &mut Net, id: Id, data: &[u8]) -> usize {
        let mut at = 0;
        while let Connection::WebSocket(ws) = &mut self.connections[id] {
            match ws.next(net, id, data, &mut at) {
                None => return at,
                Some(Event::Opened) => self.ramp.ready += 1,
                Some(Event::Message(_, message)) => self.message(message),
                Some(Event::Closed) => die("the server sent a close frame"),
            }
        }
        let Some(response) = Response::parse(data).unwrap_or_else(|error| die(&error)) else {
            return 0;
        };
        self.handle_response(net, id, &response);
        response.len
    }

    fn closed(&mut self, _: &mut Net, id: Id, why: &str) {
        die(&format!("the connection of session {id} closed: {why}"));
    }

    fn tick(&mut self, net: &mut Net) -> bool {
        let all = self.args.connections;
        while self.ramp.next(all).is_some() {
            net.connect();
            self.connections.push(match self.args.transport {
                Transport::Polling => Connection::Polling { request: Vec::new(), pong: Vec::new() },
                Transport::Websocket => {
                    Connection::WebSocket(Ws::of(&self.args, self.args.mode == Mode::Idle))
                }
            });
        }
        if self.ramp.ready < all {
            return false;
        }
        let Some(since) = self.held_since else {
            self.held_since = Some(net.now);
            self.after_setup = measure(&self.args);
            if let Some(touch) = &self.touch {
                (0..all).for_each(|id| touch.write(0, net.out(id)));
            }
            return false;
        };
        let touched = self.touch.is_none() || self.touched == all;
        touched && (net.now - since) as f64 / 1e9 >= self.args.seconds
    }
}
