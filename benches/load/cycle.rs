//! `connect` and `upgrade`: each slot opens a session, uses it, closes it, and repeats.

use crate::args::{Args, Mode, Transport};
use crate::die;
use crate::net::{App, Id, Net};
use crate::proto::{self, Opcode, Response, client_frame, client_packet};
use crate::window::{Tick, Window};
use crate::ws::{Event, Ws};

pub(crate) fn run(args: Args) {
    let mut net = Net::new(&args);
    let mut cycle = Cycle {
        window: Window::new(args.clone()),
        slots: (0..args.connections).map(|_| Slot::default()).collect(),
        args,
        owners: Vec::new(),
        echoes: 0,
        slow_closes: 0,
    };
    net.run(&mut cycle);
    let report = cycle.window.report().number("echoes_total", cycle.echoes);
    let report = report.number("slow_closes", cycle.slow_closes);
    println!("{}", report.tls(&net));
}

const HELLO: &[u8] = b"4hello after upgrade";
/// Nanoseconds after which an operation counts as failed.
const STUCK: u64 = 2_000_000_000;

#[derive(Default)]
struct Slot {
    stage: Stage,
    since: u64,
    http: Option<Id>,
    ws: Option<(Id, Ws)>,
    upgrade: Upgrade,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    /// The handshake is in progress; in an upgrade also that of the WebSocket.
    Opening,
    /// `2probe` is sent.
    Probing,
    Echoing,
    /// The POST with the close packet, or the close frame, is sent.
    Closing,
}

/// The state of an upgrade.
#[derive(Default)]
struct Upgrade {
    probed: bool,
    /// The held GET has its response.
    poll_done: bool,
    pong_due: bool,
    echoes_left: usize,
}

struct Cycle {
    args: Args,
    window: Window,
    slots: Vec<Slot>,
    /// The slot of each connection.
    owners: Vec<usize>,
    echoes: u64,
    slow_closes: u64,
}

impl Cycle {
    fn connect(&mut self, net: &mut Net, index: usize) -> Id {
        let id = net.connect();
        if self.owners.len() <= id {
            self.owners.resize(id + 1, usize::MAX);
        }
        self.owners[id] = index;
        id
    }

    fn begins_with_websocket(&self) -> bool {
        self.args.mode == Mode::Connect && self.args.transport == Transport::Websocket
    }

    fn begin(&mut self, net: &mut Net, index: usize) {
        let id = self.connect(net, index);
        let mut slot = Slot { stage: Stage::Opening, since: net.now, ..Slot::default() };
        if self.begins_with_websocket() {
            slot.ws = Some((id, Ws::new(true)));
        } else {
            slot.http = Some(id);
        }
        self.slots[index] = slot;
    }

    fn finish(&mut self, net: &mut Net, index: usize) {
        self.window.done(1, self.slots[index].since, net.now);
        self.end(net, index);
    }

    fn end(&mut self, net: &mut Net, index: usize) {
        let slot = &mut self.slots[index];
        slot.stage = Stage::Idle;
        let ids = [slot.http.take(), slot.ws.take().map(|(id, _)| id)];
        ids.into_iter().flatten().for_each(|id| net.close(id));
        if self.window.sending() {
            self.begin(net, index);
        }
    }

    fn handle_response(&mut self, net: &mut Net, index: usize, id: Id, response: &Response<'_>) {
        if response.status != 200 {
            die(&response.shown());
        }
        let slot = &mut self.slots[index];
        match (slot.stage, &slot.ws) {
            (Stage::Opening, None) => {
                let sid = proto::sid(&response.body).unwrap_or_else(|error| die(&error));
                let query = format!("transport=polling&sid={sid}");
                if self.args.mode == Mode::Connect {
                    slot.stage = Stage::Closing;
                    net.out(id).extend_from_slice(&proto::request(&self.args, "POST", &query));
                    return net.out(id).extend_from_slice(b"1\r\n\r\n1");
                }
                // A GET is held while the upgrade runs, as with the JavaScript client.
                net.out(id).extend_from_slice(&proto::request(&self.args, "GET", &query));
                let ws = self.connect(net, index);
                net.out(ws).extend_from_slice(&proto::upgrade(&self.args, &sid));
                self.slots[index].ws = Some((ws, Ws::new(false)));
            }
            (Stage::Closing, None) => self.finish(net, index),
            _ => {
                for packet in response.body.split(|byte| *byte == 0x1e) {
                    match packet {
                        // Some servers ping at once; the pong is sent over the WebSocket.
                        b"2" => slot.upgrade.pong_due = true,
                        b"6" => {}
                        _ => die(&format!(
                            "unexpected response to the held GET: {}",
                            response.shown()
                        )),
                    }
                }
                slot.upgrade.poll_done = true;
                self.switch(net, index);
            }
        }
    }

    /// Sends `5` when the probe is answered and no GET is held, as the JavaScript client does.
    fn switch(&mut self, net: &mut Net, index: usize) {
        let slot = &mut self.slots[index];
        let Some((id, _)) = slot.ws else { return };
        if slot.stage != Stage::Probing || !slot.upgrade.probed || !slot.upgrade.poll_done {
            return;
        }
        slot.stage = Stage::Echoing;
        slot.upgrade.echoes_left = self.args.messages;
        client_packet(net.out(id), b"5");
        if slot.upgrade.pong_due {
            client_packet(net.out(id), b"3");
        }
        client_packet(net.out(id), HELLO);
    }

    fn close(&mut self, net: &mut Net, index: usize, id: Id) {
        self.slots[index].stage = Stage::Closing;
        client_frame(net.out(id), Opcode::Close, &1000u16.to_be_bytes(), [9, 8, 7, 6]);
    }

    fn message(&mut self, net: &mut Net, index: usize, id: Id, message: &[u8]) {
        let slot = &mut self.slots[index];
        match (slot.stage, message) {
            (Stage::Closing, _) | (_, b"6") => {}
            (Stage::Probing, b"3probe") => {
                slot.upgrade.probed = true;
                self.switch(net, index);
            }
            (Stage::Echoing, HELLO) => {
                self.echoes += 1;
                slot.upgrade.echoes_left -= 1;
                if slot.upgrade.echoes_left == 0 {
                    self.close(net, index, id);
                } else {
                    client_packet(net.out(id), HELLO);
                }
            }
            (stage, _) => {
                let shown = String::from_utf8_lossy(&message[..message.len().min(48)]);
                die(&format!("unexpected message {shown:?} in stage {stage:?}"));
            }
        }
    }

    /// Processes frames of a WebSocket while its slot uses it.
    fn received_frames(&mut self, net: &mut Net, index: usize, id: Id, data: &[u8]) -> usize {
        let mut at = 0;
        loop {
            let Some((own, ws)) = &mut self.slots[index].ws else { return data.len() };
            if *own != id {
                return data.len();
            }
            let Some(event) = ws.next(net, id, data, &mut at) else { return at };
            match event {
                Event::Opened if self.args.mode == Mode::Connect => self.close(net, index, id),
                Event::Opened => {
                    self.slots[index].stage = Stage::Probing;
                    client_packet(net.out(id), b"2probe");
                }
                Event::Message(_, message) => self.message(net, index, id, message),
                Event::Closed if self.slots[index].stage == Stage::Closing => {
                    self.finish(net, index);
                    return data.len();
                }
                Event::Closed => {
                    self.window.error("the server sent a close frame");
                    self.end(net, index);
                    return data.len();
                }
            }
        }
    }
}

impl App for Cycle {
    fn opened(&mut self, net: &mut Net, id: Id) {
        let index = self.owners[id];
        if self.slots[index].http == Some(id) {
            let request = proto::request(&self.args, "GET", "transport=polling");
            net.out(id).extend_from_slice(&request);
        } else if self.begins_with_websocket() {
            net.out(id).extend_from_slice(&proto::upgrade(&self.args, ""));
        }
    }

    fn received(&mut self, net: &mut Net, id: Id, data: &[u8]) -> usize {
        let index = self.owners[id];
        if self.slots[index].http != Some(id) {
            return self.received_frames(net, index, id, data);
        }
        let mut at = 0;
        while at < data.len() && self.slots[index].http == Some(id) {
            let Some(response) = Response::parse(&data[at..]).unwrap_or_else(|error| die(&error))
            else {
                return at;
            };
            at += response.len;
            self.handle_response(net, index, id, &response);
        }
        data.len()
    }

    fn closed(&mut self, net: &mut Net, id: Id, why: &str) {
        let index = self.owners[id];
        let slot = &mut self.slots[index];
        if slot.http == Some(id) {
            slot.http = None;
            // After the upgrade the session does not depend on this connection.
            if matches!(slot.stage, Stage::Echoing)
                || slot.ws.is_some() && slot.stage == Stage::Closing
            {
                return;
            }
        } else {
            slot.ws = None;
            if slot.stage == Stage::Closing {
                return self.finish(net, index);
            }
        }
        let stage = slot.stage;
        self.window.error(&format!("a connection closed in stage {stage:?}: {why}"));
        self.end(net, index);
    }

    fn tick(&mut self, net: &mut Net) -> bool {
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            if slot.stage != Stage::Idle && net.now - slot.since > STUCK {
                if slot.stage == Stage::Closing {
                    self.slow_closes += 1;
                } else {
                    let stage = slot.stage;
                    self.window.error(&format!("a session timed out in stage {stage:?}"));
                }
                self.end(net, index);
            }
        }
        let busy = self.slots.iter().filter(|slot| slot.stage != Stage::Idle).count();
        match self.window.tick(net, true, busy as u64) {
            Tick::Start => {
                (0..self.slots.len()).for_each(|index| self.begin(net, index));
                false
            }
            tick => tick == Tick::Done,
        }
    }
}
