//! `polling-echo`: sessions with two connections each; an operation is a POST, and GETs until all its echoes are
//! received. `http-hello`: GETs without a session.

use std::collections::VecDeque;

use crate::args::{Args, Mode};
use crate::die;
use crate::net::{App, Id, Net};
use crate::payload::Payload;
use crate::proto::{self, Response};
use crate::window::{Phase, Tick, Window};
use crate::ws::Ramp;

pub(crate) fn run(args: Args) {
    let mut net = Net::new(&args);
    net.spin = args.rate.is_some();
    let mut polling = Polling {
        window: Window::new(args.clone()),
        args,
        sessions: Vec::new(),
        owners: Vec::new(),
        ramp: Ramp::default(),
        next: 0,
        gets: 0,
        posts: 0,
    };
    net.run(&mut polling);
    let report = polling.window.report();
    println!("{}", report.number("gets_total", polling.gets).number("posts_total", polling.posts));
}

struct Session {
    get: Id,
    post: Id,
    payload: Payload,
    /// A GET is in flight; the same for a POST.
    getting: bool,
    posting: bool,
    pong_due: bool,
    requests: Requests,
    body: Vec<u8>,
    /// The round trip in progress: its start time, its pending echoes, and whether its POST has a response.
    trip: Option<u64>,
    missing: usize,
    posted: bool,
    trips: u64,
    /// The due times of an open loop's round trips that wait for this one.
    waiting: VecDeque<u64>,
}

/// The constant parts of a session's requests.
#[derive(Default)]
struct Requests {
    get: Vec<u8>,
    post: Vec<u8>,
}

struct Polling {
    args: Args,
    window: Window,
    sessions: Vec<Session>,
    /// By connection id: its session, and whether it is for POSTs.
    owners: Vec<(usize, bool)>,
    ramp: Ramp,
    next: usize,
    gets: u64,
    posts: u64,
}

impl Session {
    fn new(args: &Args, index: usize, get: Id) -> Self {
        Self {
            get,
            post: Id::MAX,
            payload: Payload::new(false, args.size, index as u64 + 1),
            getting: false,
            posting: false,
            pong_due: false,
            requests: Requests::default(),
            body: Vec::new(),
            trip: None,
            missing: 0,
            posted: false,
            trips: 0,
            waiting: VecDeque::new(),
        }
    }

    /// The sequence number of the next echo. Messages of one round trip differ in the last two digits.
    fn number(&self, batch: usize) -> u64 {
        (self.trips << 8) + (batch - self.missing) as u64
    }
}

impl Polling {
    fn set_owner(&mut self, id: Id, owner: (usize, bool)) {
        if self.owners.len() <= id {
            self.owners.resize(id + 1, (usize::MAX, false));
        }
        self.owners[id] = owner;
    }

    fn get(&mut self, net: &mut Net, index: usize) {
        let session = &mut self.sessions[index];
        if !session.getting {
            session.getting = true;
            self.gets += 1;
            net.out(session.get).extend_from_slice(&session.requests.get);
        }
    }

    /// Posts the session's body.
    fn post(&mut self, net: &mut Net, index: usize) {
        let session = &mut self.sessions[index];
        session.posting = true;
        self.posts += 1;
        let out = net.out(session.post);
        out.extend_from_slice(&session.requests.post);
        out.extend_from_slice(format!("{}\r\n\r\n", session.body.len()).as_bytes());
        out.extend_from_slice(&session.body);
    }

    fn begin(&mut self, net: &mut Net, index: usize, since: u64) {
        let batch = self.args.batch;
        let session = &mut self.sessions[index];
        session.trip = Some(since);
        if self.args.mode == Mode::HttpHello {
            return self.get(net, index);
        }
        session.trips += 1;
        session.posted = false;
        session.body.clear();
        for left in (1..=batch).rev() {
            session.missing = left;
            if left < batch {
                session.body.push(0x1e);
            }
            session.payload.write(session.number(batch), &mut session.body);
        }
        session.missing = batch;
        // The GET is sent first, so that the server holds it when the messages arrive, as with a real client.
        self.get(net, index);
        self.post(net, index);
    }

    /// Sends the next request of a session, or completes its round trip.
    fn advance(&mut self, net: &mut Net, index: usize) {
        let session = &mut self.sessions[index];
        if session.pong_due && !session.posting {
            session.pong_due = false;
            session.body.clear();
            session.body.push(b'3');
            return self.post(net, index);
        }
        match session.trip {
            Some(_) if session.missing > 0 => self.get(net, index),
            Some(since) if session.posted && !session.posting => {
                session.trip = None;
                self.window.done(1, since, net.now);
                self.next_trip(net, index);
            }
            _ => {}
        }
    }

    fn next_trip(&mut self, net: &mut Net, index: usize) {
        if self.window.closed_loop() {
            if self.window.sending() {
                self.begin(net, index, net.now);
            }
        } else if let Some(due) = self.sessions[index].waiting.pop_front() {
            self.begin(net, index, due);
        }
    }

    fn opened_session(&mut self, net: &mut Net, index: usize, open: &[u8]) {
        let sid = proto::sid(open).unwrap_or_else(|error| die(&error));
        self.use_session(net, index, &sid);
    }

    /// Prepares the requests of a session, and opens its connection for POSTs.
    fn use_session(&mut self, net: &mut Net, index: usize, sid: &str) {
        let query = format!("transport=polling&sid={sid}");
        let post = net.connect();
        self.set_owner(post, (index, true));
        let session = &mut self.sessions[index];
        session.post = post;
        session.requests = Requests {
            get: proto::request(&self.args, "GET", &query),
            post: proto::request(&self.args, "POST", &query),
        };
    }

    /// Handles the body of a response to a GET.
    fn handle_poll(&mut self, net: &mut Net, index: usize, body: &[u8]) {
        let session = &mut self.sessions[index];
        session.getting = false;
        for packet in body.split(|byte| *byte == 0x1e) {
            match packet {
                [b'4', ..] => {
                    let number = session.number(self.args.batch);
                    if session.missing == 0 || !session.payload.matches(number, packet) {
                        let shown = String::from_utf8_lossy(&packet[..packet.len().min(48)]);
                        die(&format!("an echo of session {index} differs: {shown:?}"));
                    }
                    session.missing -= 1;
                }
                b"2" => session.pong_due = true,
                b"6" => {}
                _ => die(&format!("unexpected packet: {:?}", String::from_utf8_lossy(packet))),
            }
        }
        self.advance(net, index);
    }

    fn handle_response(&mut self, net: &mut Net, id: Id, response: &Response<'_>) {
        let (index, is_post) = self.owners[id];
        let session = &mut self.sessions[index];
        if response.status != 200 {
            die(&response.shown());
        }
        if self.args.mode == Mode::HttpHello {
            session.getting = false;
            (session.posted, session.missing) = (true, 0);
            self.advance(net, index);
        } else if is_post {
            // python-engineio writes it in upper case.
            if !response.body.eq_ignore_ascii_case(b"ok") {
                die(&format!("unexpected response to a POST: {}", response.shown()));
            }
            (session.posting, session.posted) = (false, true);
            self.advance(net, index);
        } else if session.requests.get.is_empty() {
            self.opened_session(net, index, &response.body);
        } else {
            self.handle_poll(net, index, &response.body);
        }
    }
}

impl App for Polling {
    fn opened(&mut self, net: &mut Net, id: Id) {
        let (index, is_post) = self.owners[id];
        if self.args.mode == Mode::HttpHello {
            let Args { url, .. } = &self.args;
            self.sessions[index].requests.get = format!(
                "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n",
                url.path, url.host
            )
            .into_bytes();
        } else if let (false, Some(url)) = (is_post, &self.args.open) {
            let sid = proto::open_session(url).unwrap_or_else(|error| die(&error));
            return self.use_session(net, index, &sid);
        } else if !is_post {
            let request = proto::request(&self.args, "GET", "transport=polling");
            return net.out(id).extend_from_slice(&request);
        }
        self.ramp.ready += 1;
    }

    fn received(&mut self, net: &mut Net, id: Id, data: &[u8]) -> usize {
        let mut at = 0;
        while at < data.len() {
            let Some(response) = Response::parse(&data[at..]).unwrap_or_else(|error| die(&error))
            else {
                break;
            };
            at += response.len;
            self.handle_response(net, id, &response);
        }
        at
    }

    fn closed(&mut self, _: &mut Net, id: Id, why: &str) {
        die(&format!("connection {id} of session {} closed: {why}", self.owners[id].0));
    }

    fn tick(&mut self, net: &mut Net) -> bool {
        if self.window.phase() == Phase::Setup {
            while let Some(index) = self.ramp.next(self.args.connections) {
                let id = net.connect();
                self.set_owner(id, (index, false));
                self.sessions.push(Session::new(&self.args, index, id));
            }
        }
        while let Some(due) = self.window.due(net.now) {
            let index = self.next % self.sessions.len();
            self.next += 1;
            if self.sessions[index].trip.is_some() {
                self.sessions[index].waiting.push_back(due);
            } else {
                self.begin(net, index, due);
            }
        }
        let outstanding =
            self.sessions.iter().map(|s| u64::from(s.trip.is_some()) + s.waiting.len() as u64);
        let outstanding = outstanding.sum();
        match self.window.tick(net, self.ramp.ready == self.args.connections, outstanding) {
            Tick::Start if self.window.closed_loop() => {
                (0..self.sessions.len()).for_each(|index| self.begin(net, index, net.now));
                false
            }
            tick => tick == Tick::Done,
        }
    }
}
