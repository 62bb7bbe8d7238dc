//! Connections of the server over TLS: moves between workers, upgrades, timeouts and shutdown.

use std::net::SocketAddr;
use std::time::Duration;

use eio_monoio::{Config, Running, Server, Tls};

use crate::support::configs::{default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::echo::Echo;
use crate::support::polling::{Polling, sid_of};
use crate::support::request::{POLLING, Request, target};
use crate::support::tls::{Identity, originate};
use crate::support::websocket::WebSocket;

fn serve(config: Config, tls: Tls) -> Running {
    let server = Server::new(Echo::<()>::new).config(config).tls(tls);
    server.bind("127.0.0.1:0").expect("the server starts")
}

/// A server, and the address of a relay that reaches it without TLS.
fn serve_and_originate(config: Config) -> (Running, SocketAddr, Identity) {
    let identity = Identity::new();
    let running = serve(config, identity.tls());
    let address = originate(identity.pki.client(None), running.local_addr());
    (running, address, identity)
}

#[test]
fn connection_moves_between_workers_over_tls() {
    for_each_config(|config| {
        let (running, address, _identity) = serve_and_originate(config);
        let sessions: Vec<_> = (0..6).map(|_| Polling::open(address)).collect();
        let mut conns: Vec<_> = (0..6).map(|_| Connection::open(address)).collect();
        let large = "x".repeat(300_000);
        for (n, conn) in conns.iter_mut().enumerate() {
            // Each connection serves every session: with three workers it has to move.
            for Polling { sid, .. } in &sessions {
                let text = format!("message {n}");
                conn.request(&Request::post(&target(sid), format!("4{text}"))).assert(200, "ok");
                conn.request(&Request::get(&target(sid))).assert(200, &format!("4{text}"));
            }
        }
        let Polling { sid, .. } = &sessions[3];
        for conn in &mut conns {
            conn.request(&Request::post(&target(sid), format!("4{large}"))).assert(200, "ok");
            conn.request(&Request::get(&target(sid))).assert(200, &format!("4{large}"));
        }
        // Pipelined requests move with the connection.
        let conn = &mut conns[0];
        let pipelined: Vec<u8> = sessions
            .iter()
            .flat_map(|Polling { sid, .. }| {
                let post = Request::post(&target(sid), "4pipelined").bytes();
                [post, Request::get(&target(sid)).bytes()].concat()
            })
            .collect();
        conn.write(pipelined);
        for _ in &sessions {
            conn.response().assert(200, "ok");
            conn.response().assert(200, "4pipelined");
        }
        assert_eq!(running.remote().sessions(), sessions.len());
    });
}

#[test]
fn session_upgrades_over_tls() {
    for_each_config(|config| {
        let (running, address, _identity) = serve_and_originate(config);
        for _ in 0..4 {
            let mut session = Polling::open(address);
            let mut socket = WebSocket::attach(address, &session.sid);
            socket.probe();
            session.start_poll();
            session.get.response().assert(200, "6");
            socket.send("5");
            let large = format!("4{}", "x".repeat(200_000));
            for text in ["4hello", &large, "4again"] {
                socket.send(text);
                assert_eq!(socket.text(), text);
            }
            // The upgrade moves a connection to the worker of its session, where it may become busy.
            (0..40).for_each(|_| socket.assert_alive());
        }
        running.shutdown();
        running.join().expect("a clean shutdown");
    });
}

#[test]
fn missing_tls_handshake_times_out() {
    for_each_config(|config| {
        let identity = Identity::new();
        let tls = identity.tls().handshake_timeout(Duration::from_millis(200));
        let running = serve(config, tls);
        let mut silent = Connection::open(running.local_addr());
        let mut begun = Connection::open(running.local_addr());
        begun.write(b"\x16\x03\x01\x01\x00");
        let mut plain = Connection::open(running.local_addr());
        plain.send(&Request::get(POLLING));
        for conn in [&mut silent, &mut begun, &mut plain] {
            conn.expect_closed();
        }
        // Other clients are served.
        let mut conn = Connection::open(originate(identity.pki.client(None), running.local_addr()));
        sid_of(conn.request(&Request::get(POLLING)).text());
    });
}

#[test]
fn shutdown_closes_sessions_and_aborts_handshakes() {
    for_each_config(|config| {
        let identity = Identity::new();
        let long = Duration::from_secs(3600);
        let server = Server::new(Echo::<()>::new).config(config.shutdown_timeout(long));
        let tls = identity.tls().handshake_timeout(long);
        let running = server.tls(tls).bind("127.0.0.1:0").expect("the server starts");
        let mut silent = Connection::open(running.local_addr());
        let (mut socket, _) =
            WebSocket::open(originate(identity.pki.client(None), running.local_addr()));
        socket.assert_alive();
        running.shutdown();
        silent.expect_closed();
        assert_eq!(socket.text(), "1");
        assert_eq!(socket.expect_close(), Some(1001));
        socket.conn.expect_eof();
        running.join().expect("a clean shutdown");
    });
}

#[test]
fn excess_connection_is_closed_without_plain_text() {
    let identity = Identity::new();
    let running = serve(default_config().max_connections(1), identity.tls());
    let mut first = Connection::open(originate(identity.pki.client(None), running.local_addr()));
    sid_of(first.request(&Request::get(POLLING)).text());
    let mut second = Connection::open(running.local_addr());
    second.expect_eof();
}
