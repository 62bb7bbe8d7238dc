//! A link that is cut at every byte of an exchange.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use eio_monoio::{CloseReason, OwnedMessage};

use crate::nats_server::NatsServer;
use crate::nodes::{Node, options, start};
use crate::support::configs::default_config;
use crate::support::connection::Connection;
use crate::support::log::Entry;
use crate::support::polling::Polling;
use crate::support::request::{Request, target, upgrade_target};
use crate::support::wait::eventually;
use crate::support::websocket::{TEXT, WebSocket, frame};

/// Forwards connections, and cuts each after a number of bytes in one direction.
#[derive(Clone)]
struct Valve {
    addr: SocketAddr,
    target: Arc<Mutex<Option<SocketAddr>>>,
    /// Bytes until the cut: from the node that dials, and to it.
    left: Arc<[AtomicUsize; 2]>,
}

/// No cut.
const OPEN: usize = usize::MAX / 2;

impl Valve {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let addr = listener.local_addr().expect("an address");
        let left = Arc::new([AtomicUsize::new(OPEN), AtomicUsize::new(OPEN)]);
        let valve = Self { addr, target: Arc::default(), left };
        let accepting = valve.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let target = *accepting.target.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(server) = target.and_then(|target| TcpStream::connect(target).ok()) else {
                    continue;
                };
                for stream in [&client, &server] {
                    stream.set_nodelay(true).ok();
                }
                let pairs = [(&client, &server), (&server, &client)];
                for (direction, (from, to)) in pairs.into_iter().enumerate() {
                    let (from, to) = (from.try_clone(), to.try_clone());
                    let (Ok(from), Ok(to)) = (from, to) else { continue };
                    let valve = accepting.clone();
                    thread::spawn(move || valve.copy(direction, from, to));
                }
            }
        });
        valve
    }

    fn copy(&self, direction: usize, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            let left = self.left[direction].load(Ordering::SeqCst);
            let pass = n.min(left);
            if to.write_all(&buffer[..pass]).is_err() {
                break;
            }
            self.left[direction].fetch_sub(pass, Ordering::SeqCst);
            if pass < n || left == n {
                break;
            }
        }
        // Both directions, as a reset does.
        from.shutdown(Shutdown::Both).ok();
        to.shutdown(Shutdown::Both).ok();
    }

    fn set(&self, direction: usize, bytes: usize) {
        self.left[1 - direction].store(OPEN, Ordering::SeqCst);
        self.left[direction].store(bytes, Ordering::SeqCst);
    }
}

/// Two nodes whose links pass through a valve.
struct Nodes {
    valve: Valve,
    owner: Node,
    relay: Node,
}

impl Nodes {
    fn start(server: &NatsServer) -> Self {
        let valve = Valve::start();
        let owner = start(1, default_config(), options(server).announced_address(valve.addr));
        let link = owner.cluster().link_addresses().to_vec();
        assert_eq!(link, [valve.addr], "the announced address");
        *valve.target.lock().expect("no panic") = Some(owner.cluster().accepting_links()[0]);
        let relay =
            start(2, default_config(), options(server).link_idle_timeout(Duration::from_secs(5)));
        eventually("the nodes know each other", || {
            [&owner, &relay].iter().all(|node| node.states().len() == 1 && node.remote().is_ready())
        });
        Self { valve, owner, relay }
    }

    /// Runs `exchange` with a new session, on a link that exists, with a cut at each of these bytes of each direction.
    /// Returns how often it returned true, and how often false.
    fn cut(
        &self,
        bytes: [usize; 2],
        mut exchange: impl FnMut(Polling, &dyn Fn()) -> bool,
    ) -> [usize; 2] {
        let mut counts = [0; 2];
        for (direction, bytes) in bytes.into_iter().enumerate() {
            for cut in 1..bytes {
                let polling = Polling::open(self.owner.addr());
                Connection::open(self.relay.addr())
                    .request(&Request::post(&target(&polling.sid), "3"));
                let continues = exchange(polling, &|| self.valve.set(direction, cut));
                counts[usize::from(!continues)] += 1;
                self.valve.set(0, OPEN);
                eventually("links work", || self.relay.state_of("n1") == Some("up"));
            }
        }
        counts
    }

    /// A WebSocket through the node that does not have the session. It may learn only now that a dial of the last cut has
    /// failed, and answers 503 until it has dialled again.
    fn attach(&self, sid: &str) -> WebSocket {
        let mut attached = None;
        eventually("the WebSocket opens", || {
            let mut conn = Connection::open(self.relay.addr());
            let status = conn.request(&Request::upgrade(&upgrade_target(sid))).status;
            assert!(status == 101 || status == 503, "{status}");
            attached = (status == 101).then_some(WebSocket { conn });
            attached.is_some()
        });
        attached.expect("it is open")
    }

    /// The texts that the handler has received from a session.
    fn handled(&self, sid: &str) -> Vec<OwnedMessage> {
        self.owner.log.messages(sid)
    }

    fn has_ended(&self, sid: &str) -> bool {
        self.owner.log.of(sid).iter().any(|entry| matches!(entry, Entry::Closed(_)))
    }
}

/// A POST is handled whole or not at all, and answered 200 only if it is handled.
#[test]
fn a_post_over_a_link_cut_at_any_byte_is_handled_once_or_refused() {
    let test = "a_post_over_a_link_cut_at_any_byte_is_handled_once_or_refused";
    let Some(server) = NatsServer::start(test) else { return };
    let nodes = Nodes::start(&server);
    let both: Vec<OwnedMessage> = vec!["first".to_owned().into(), "second".to_owned().into()];
    let [answered, refused] = nodes.cut([330, 200], |mut polling, cut| {
        let mut conn = Connection::open(nodes.relay.addr());
        cut();
        conn.send(&Request::post(&target(&polling.sid), "4first\u{1e}4second"));
        let response = conn.try_response(Duration::from_secs(5));
        let answered = response.is_ok_and(|response| response.status == 200);
        // At the owner: the session continues, or has ended.
        let again = polling.try_post("4third").status;
        assert!(again == 200 || again == 400, "{again}");
        let mut handled = nodes.handled(&polling.sid);
        let third = handled.pop_if(|last| *last == OwnedMessage::from("third".to_owned()));
        assert_eq!(third.is_some(), again == 200);
        assert!(handled == both || (handled.is_empty() && !answered), "{answered}: {handled:?}");
        if again == 400 {
            eventually("the end of the session", || nodes.has_ended(&polling.sid));
        }
        answered
    });
    println!("{answered} POSTs answered, {refused} not");
    assert!(answered > 20 && refused > 100);
}

/// The session continues over polling with its message, or over the WebSocket, or it ends.
#[test]
fn an_upgrade_over_a_link_cut_at_any_byte_loses_no_message_of_a_session_that_continues() {
    let test =
        "an_upgrade_over_a_link_cut_at_any_byte_loses_no_message_of_a_session_that_continues";
    let Some(server) = NatsServer::start(test) else { return };
    let nodes = Nodes::start(&server);
    let [continued, ended] = nodes.cut([300, 240], |mut polling, cut| {
        polling.post_ok("4first");
        let mut conn = Connection::open(nodes.relay.addr());
        cut();
        conn.send(&Request::upgrade(&upgrade_target(&polling.sid)));
        let switched = conn.try_response(Duration::from_secs(5));
        let mut received = Vec::new();
        if switched.is_ok_and(|response| response.status == 101) {
            let mut socket = WebSocket { conn };
            for packet in ["2probe", "5", "4second"] {
                // The tunnel may be gone.
                _ = socket.conn.stream().write_all(&frame(TEXT, packet.as_bytes()));
            }
            while let Ok(frame) = socket.try_frame(Duration::from_millis(500)) {
                let text = String::from_utf8_lossy(&frame.payload).into_owned();
                let is_last = text == "4second";
                received.push(text);
                if is_last {
                    break;
                }
            }
            if received.last().is_some_and(|last| last == "4second") {
                assert_eq!(received, ["3probe", "4first", "4second"]);
            }
        }
        let response =
            Connection::open(nodes.owner.addr()).request(&Request::get(&target(&polling.sid)));
        if response.status == 200 && response.text() != "1" {
            assert!(response.text().starts_with("4first"), "{received:?}, {response:?}");
            assert!(!received.contains(&"4first".to_owned()), "twice: {received:?}");
            return true;
        }
        // Upgraded, and then the tunnel was cut or the client has left.
        eventually("the end of the session", || nodes.has_ended(&polling.sid));
        false
    });
    println!("{continued} sessions continued over polling, {ended} ended with their WebSocket");
    assert!(continued > 50 && ended > 50);
}

/// Each end has the first messages of the other without a gap, and the session ends.
#[test]
fn a_tunnel_cut_at_any_byte_ends_its_session() {
    const MESSAGES: usize = 20;
    let test = "a_tunnel_cut_at_any_byte_ends_its_session";
    let Some(server) = NatsServer::start(test) else { return };
    let nodes = Nodes::start(&server);
    let expected: Vec<String> = (0..MESSAGES).map(|n| format!("message {n}")).collect();
    let [whole, cut] = nodes.cut([330, 250], |polling, cut| {
        // The ping after the last cut may have been cut, too.
        eventually("links work", || {
            let post = Request::post(&target(&polling.sid), "3");
            Connection::open(nodes.relay.addr()).request(&post).status == 200
        });
        let mut socket = nodes.attach(&polling.sid);
        socket.probe();
        socket.send("5");
        socket.assert_alive();
        cut();
        let frames: Vec<u8> =
            expected.iter().flat_map(|text| frame(TEXT, format!("4{text}").as_bytes())).collect();
        _ = socket.conn.stream().write_all(&frames);
        let mut echoes = Vec::new();
        while echoes.len() < MESSAGES
            && let Ok(frame) = socket.try_frame(Duration::from_secs(5))
        {
            echoes.push(String::from_utf8_lossy(&frame.payload[1..]).into_owned());
        }
        assert!(expected.starts_with(&echoes), "{echoes:?}");
        let is_whole = echoes.len() == MESSAGES;
        drop(socket);
        eventually("the end of the session", || nodes.has_ended(&polling.sid));
        let handled = nodes.handled(&polling.sid);
        let texts: Vec<String> = handled[1..].iter().map(text_of).collect();
        assert!(expected.starts_with(&texts), "{texts:?}");
        assert!(texts.len() >= echoes.len());
        is_whole
    });
    println!("{whole} tunnels carried all messages, {cut} were cut");
    assert!(cut > 300);
}

fn text_of(message: &OwnedMessage) -> String {
    match message {
        OwnedMessage::Text(text) => text.clone(),
        OwnedMessage::Binary(bytes) => format!("{bytes:?}"),
    }
}

/// The session ends, or the client has every message: it never continues with a gap.
#[test]
fn a_link_cut_at_any_byte_leaves_no_gap_in_a_session() {
    let test = "a_link_cut_at_any_byte_leaves_no_gap_in_a_session";
    let Some(server) = NatsServer::start(test) else { return };
    let Nodes { valve, owner, relay } = Nodes::start(&server);
    let (mut ended, mut continued) = (0, 0);
    for direction in [0, 1] {
        // One exchange on a link that exists is shorter than this in either direction.
        for cut in 1..400 {
            if exchange(&owner.log, owner.addr(), relay.addr(), || valve.set(direction, cut)) {
                continued += 1;
            } else {
                ended += 1;
            }
            valve.set(0, OPEN);
            eventually("links work", || relay.state_of("n1") == Some("up"));
        }
    }
    println!("{ended} sessions ended, {continued} continued");
    assert!(ended > 100 && continued > 20);
}

/// Opens a session at its owner and polls a message through the relay, whose link is cut by `cut`. True if the session
/// continues.
fn exchange(
    log: &crate::support::log::Log,
    owner: SocketAddr,
    relay: SocketAddr,
    cut: impl FnOnce(),
) -> bool {
    let mut polling = Polling::open(owner);
    polling.post_ok("4first");
    let mut conn = Connection::open(relay);
    // The links exist, so that the cut is in the exchange.
    conn.request(&Request::post(&target(&polling.sid), "3"));
    cut();
    conn.send(&Request::get(&target(&polling.sid)));
    let response = conn.try_response(Duration::from_secs(5));
    let received = matches!(&response, Ok(response) if response.status == 200);
    if received {
        assert_eq!(response.expect("it was received").text(), "4first");
    }
    // At the owner, with a message after the one that may be lost.
    let second = polling.try_post("4second").status;
    let ended = || log.of(&polling.sid).iter().any(|entry| matches!(entry, Entry::Closed(_)));
    if second != 200 {
        eventually("the end of the session", ended);
        return false;
    }
    polling.get = Connection::open(owner);
    polling.start_poll();
    let next = polling.get.response();
    if next.status != 200 || next.text() == "1" {
        assert_eq!(log.close_reason(&polling.sid), CloseReason::TransportError);
        return false;
    }
    let expected = if received { "4second" } else { "4first\u{1e}4second" };
    assert_eq!(next.text(), expected, "a gap, or a message twice");
    true
}
