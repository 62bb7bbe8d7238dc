//! A link that is cut at every byte of an exchange.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use eio_monoio::CloseReason;

use crate::nats_server::NatsServer;
use crate::nodes::{options, start};
use crate::support::configs::default_config;
use crate::support::connection::Connection;
use crate::support::log::Entry;
use crate::support::polling::Polling;
use crate::support::request::{Request, target};
use crate::support::wait::eventually;

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

/// The session ends, or the client has every message: it never continues with a gap.
#[test]
fn a_link_cut_at_any_byte_leaves_no_gap_in_a_session() {
    let test = "a_link_cut_at_any_byte_leaves_no_gap_in_a_session";
    let Some(server) = NatsServer::start(test) else { return };
    let valve = Valve::start();
    let owner = start(1, default_config(), options(&server).announced_address(valve.addr));
    let link = owner.cluster().link_addresses().to_vec();
    assert_eq!(link, [valve.addr], "the announced address");
    *valve.target.lock().expect("no panic") = Some(owner.cluster().accepting_links()[0]);
    let relay =
        start(2, default_config(), options(&server).link_idle_timeout(Duration::from_secs(5)));
    eventually("the nodes know each other", || {
        [&owner, &relay].iter().all(|node| node.states().len() == 1 && node.remote().is_ready())
    });
    let (mut ended, mut continued) = (0, 0);
    for direction in [0, 1] {
        // One exchange on a link that exists is shorter than this in either direction.
        for cut in (1..400).step_by(if direction == 0 { 3 } else { 1 }) {
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
