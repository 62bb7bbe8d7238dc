//! Fair shares: limits for each address, and refused networks.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use eio_monoio::{
    Config, ConnectRequest, Handler, Message, ProxyProtocol, Refusal, RefusedConnection, Socket,
    Transport,
};

use crate::support::configs::{default_config, drivers, for_each_config};
use crate::support::connection::Connection;
use crate::support::polling::sid_of;
use crate::support::request::{POLLING, Request, WEBSOCKET};
use crate::support::test_server::TestServer;
use crate::support::wait::{TIMEOUT, eventually};
use crate::support::websocket::WebSocket;

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn refused(server: &TestServer, reason: RefusedConnection) -> u64 {
    server.remote().metrics().total().connections_refused(reason)
}

fn status(conn: &mut Connection, request: &Request) -> u16 {
    conn.request(request).status
}

/// Serves a request, so that the connection is counted.
fn connected(local: Ipv4Addr, addr: SocketAddr) -> Connection {
    let mut conn = Connection::open_from(local, addr);
    assert_eq!(status(&mut conn, &Request::get("/")), 404);
    conn
}

#[test]
fn connections_above_the_share_of_an_address_are_refused() {
    for_each_config(|config| {
        let server = TestServer::start(config.max_connections_per_address(2));
        let held = [(); 2].map(|()| connected(ONE, server.addr()));
        let mut third = Connection::open_from(ONE, server.addr());
        let response = third.response();
        assert_eq!((response.status, response.header("Retry-After")), (429, Some("5")));
        third.expect_eof();
        assert_eq!(refused(&server, RefusedConnection::AddressLimit), 1);
        assert_eq!(server.remote().metrics().total().refusals(429), 1);
        connected(OTHER, server.addr());
        // A connection that ends leaves its share.
        drop(held);
        server.wait_until_empty();
        connected(ONE, server.addr());
    });
}

/// A WebSocket, and a connection that moves to the worker of its session, are counted until they end.
#[test]
fn a_connection_is_counted_until_it_ends() {
    for_each_config(|config| {
        let server = TestServer::start(config.max_connections_per_address(3));
        let mut ws = WebSocket::over(Connection::open_from(ONE, server.addr()), WEBSOCKET);
        assert!(ws.text().starts_with('0'));
        let mut get = Connection::open_from(ONE, server.addr());
        let sid = sid_of(get.request(&Request::get(POLLING)).text());
        let mut post = Connection::open_from(ONE, server.addr());
        let target = crate::support::request::target(&sid);
        post.request(&Request::post(&target, "4a")).assert(200, "ok");
        assert_eq!(Connection::open_from(ONE, server.addr()).response().status, 429);
        drop(post);
        server.wait_for_counts(2, 2);
        connected(ONE, server.addr());
        drop((ws, get));
        eventually("the end of both", || server.remote().connections() == 0);
        let held = [(); 3].map(|()| connected(ONE, server.addr()));
        assert_eq!(Connection::open_from(ONE, server.addr()).response().status, 429);
        drop(held);
    });
}

#[test]
fn handshakes_above_the_share_of_an_address_are_refused() {
    let server = TestServer::start(default_config().max_handshakes_per_address(5));
    let mut conn = Connection::open_from(ONE, server.addr());
    let opened = (0..30).filter(|_| {
        let response = conn.request(&Request::get(POLLING));
        let retry = response.header("Retry-After");
        assert!(matches!((response.status, retry), (200, None) | (429, Some("1"))), "{response:?}");
        response.status == 200
    });
    // The second may end once in between.
    assert!((5..=10).contains(&opened.count()));
    let mut other = Connection::open_from(OTHER, server.addr());
    assert_eq!(status(&mut other, &Request::get(POLLING)), 200);
    // Other requests of the address are served.
    assert_eq!(status(&mut conn, &Request::get("/")), 404);
}

/// Behind a trusted proxy the client is the forwarded address, and the proxy's own connections are not limited.
#[test]
fn shares_are_those_of_the_clients_of_a_trusted_proxy() {
    let config = default_config().trusted_proxies(["127.0.0.1"]).refused_networks(["192.0.2.0/24"]);
    let config = config.max_connections_per_address(1).max_handshakes_per_address(1);
    let server = TestServer::start(config);
    let mut held = [(); 3].map(|()| connected(ONE, server.addr()));
    let from = |address: &str| Request::get(POLLING).header("X-Forwarded-For", address);
    let opened = |address: &str, held: &mut [Connection; 3]| {
        (0..6).filter(|n| status(&mut held[n % 3], &from(address)) == 200).count()
    };
    for address in ["203.0.113.1", "203.0.113.2", "2001:db8::1"] {
        assert!((1..=2).contains(&opened(address, &mut held)), "{address}");
    }
    // The same /64, unless the second is over.
    assert!(opened("2001:db8::2", &mut held) <= 1);
    assert_eq!(status(&mut held[0], &from("192.0.2.9")), 403);
    let post = Request::post("/", "body").header("X-Forwarded-For", "192.0.2.9");
    assert_eq!(status(&mut held[0], &post), 403);
    held[0].expect_eof();
    assert_eq!(status(&mut held[1], &from("198.51.100.1")), 200);
}

#[test]
fn shares_are_those_of_the_clients_of_the_proxy_protocol() {
    let config = default_config().trusted_proxies(["127.0.0.1"]).refused_networks(["192.0.2.0/24"]);
    let config = config.proxy_protocol(ProxyProtocol::Required).max_connections_per_address(1);
    let server = TestServer::start(config);
    let open = |source: &str| {
        let mut conn = Connection::open(server.addr());
        conn.write(format!("PROXY TCP4 {source} 10.0.0.1 1 2\r\n"));
        conn
    };
    let mut first = open("203.0.113.1");
    assert_eq!(status(&mut first, &Request::get("/")), 404);
    let response = open("203.0.113.1").response();
    assert_eq!((response.status, response.header("Retry-After")), (429, Some("5")));
    assert_eq!(status(&mut open("203.0.113.2"), &Request::get("/")), 404);
    open("192.0.2.1").expect_closed();
    assert_eq!(refused(&server, RefusedConnection::RefusedNetwork), 1);
    drop(first);
    eventually("the share", || status(&mut open("203.0.113.1"), &Request::get("/")) == 404);
}

#[test]
fn refused_networks_are_closed_when_accepted() {
    for_each_config(|config| {
        let server = TestServer::start(config.refused_networks(["127.0.0.2", "10.0.0.0/8"]));
        Connection::open_from(OTHER, server.addr()).expect_closed();
        connected(ONE, server.addr());
        assert_eq!(refused(&server, RefusedConnection::RefusedNetwork), 1);
        let text = server.remote().metrics().to_string();
        assert!(text.contains("reason=\"refused_network\"} 1"), "{text}");
    });
}

/// One address that connects and opens sessions without a pause has its share, and a hundred others keep their service.
#[test]
fn one_address_at_its_limit_leaves_the_others_their_service() {
    const OTHERS: u8 = 100;
    let limits =
        |config: Config| config.max_connections_per_address(10).max_handshakes_per_address(10);
    // The attacker alone could use up both.
    let config = limits(default_config()).max_connections(300).max_handshakes_per_second(600);
    let server = TestServer::start(config);
    let others = (1..=OTHERS).map(|n| Ipv4Addr::new(127, 0, 1, n));
    let mut others: Vec<_> = others
        .map(|local| {
            let mut ws = WebSocket::over(Connection::open_from(local, server.addr()), WEBSOCKET);
            assert!(ws.text().starts_with('0'));
            (local, ws)
        })
        .collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut held = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let mut conn = Connection::open_from(OTHER, server.addr());
                    _ = conn.try_write(Request::get(POLLING).bytes());
                    if held.len() < 300 {
                        held.push(conn);
                    }
                }
            });
        }
        let served = scope.spawn(|| {
            eventually("the limit", || refused(&server, RefusedConnection::AddressLimit) > 300);
            for round in 0..3 {
                for (local, ws) in &mut others {
                    ws.send("4hi");
                    assert_eq!(ws.text(), "4hi");
                    let mut conn = Connection::open_from(*local, server.addr());
                    assert_eq!(status(&mut conn, &Request::get(POLLING)), 200, "{local} {round}");
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        let served = served.join();
        stop.store(true, Ordering::Relaxed);
        assert!(served.is_ok(), "others were not served");
    });
    let sessions = server.remote().metrics().total().sessions(Transport::WebSocket);
    assert_eq!(sessions, u64::from(OTHERS));
}

/// For `block`, blocks its worker until the sender sends; for other messages, notes how many connections are refused.
struct Notes {
    unblock: Mutex<Receiver<()>>,
    notes: Sender<u64>,
}

impl Handler for Notes {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        let metrics = socket.server().remote().metrics().total();
        if message == Message::Text("block") {
            self.notes.send(0).expect("the test waits");
            _ = self.unblock.lock().expect("one worker").recv_timeout(TIMEOUT);
        } else {
            let refused = metrics.connections_refused(RefusedConnection::AddressLimit);
            self.notes.send(refused).expect("the test waits");
        }
        async {}
    }
}

/// A worker with a full backlog refuses only a few connections before its sessions are served again.
#[test]
fn sessions_are_served_between_refused_connections() {
    const WAITING: usize = 200;
    for driver in drivers() {
        let (unblock, blocked) = mpsc::channel();
        let (notes, noted) = mpsc::channel();
        let handler = Mutex::new(Some(Notes { unblock: Mutex::new(blocked), notes }));
        let config = default_config().driver(driver).workers(1).max_connections_per_address(1);
        let server = TestServer::run(config, move |_| {
            handler.lock().expect("one worker").take().expect("one worker")
        });
        let mut sessions: Vec<_> = (1..=20)
            .map(|n| {
                let local = Ipv4Addr::new(127, 0, 1, n);
                let conn = Connection::open_from(local, server.addr());
                WebSocket::over(conn, WEBSOCKET)
            })
            .collect();
        sessions.iter_mut().for_each(|session| assert!(session.text().starts_with('0')));
        let _held = connected(OTHER, server.addr());
        sessions[0].send("4block");
        assert_eq!(noted.recv_timeout(TIMEOUT), Ok(0));
        let waiting: Vec<_> =
            (0..WAITING).map(|_| Connection::open_from(OTHER, server.addr())).collect();
        sessions[1..].iter_mut().for_each(|session| session.send("4note"));
        unblock.send(()).expect("the worker waits");
        let noted: Vec<_> =
            sessions[1..].iter().map(|_| noted.recv_timeout(TIMEOUT).expect("a note")).collect();
        // The tasks of sessions that were ready at the same time run before the next connections are accepted.
        assert!(noted.iter().all(|refused| *refused <= 8), "{driver}: {noted:?} of {WAITING}");
        let all = || refused(&server, RefusedConnection::AddressLimit) == WAITING as u64;
        eventually("the end of the backlog", all);
        drop(waiting);
    }
}
