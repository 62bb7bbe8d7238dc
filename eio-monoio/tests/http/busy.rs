//! Busy peers, from which the server receives in another way: they must not notice the difference.

use std::thread;
use std::time::Duration;

use eio_monoio::{CloseReason, Config};

use crate::support::configs::for_each_config;
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::request::{POLLING, Request, target, upgrade_target};
use crate::support::test_server::TestServer;
use crate::support::websocket::WebSocket;

/// More exchanges than make a connection busy.
const MANY: usize = 40;

/// Makes both connections of a session busy.
#[track_caller]
fn make_busy(polling: &mut Polling) {
    for n in 0..MANY {
        let text = format!("4{n}");
        polling.start_poll();
        polling.post_ok(&text);
        assert_eq!(polling.poll_response(), text);
    }
}

fn busy(server: &TestServer) -> Polling {
    let mut polling = Polling::open(server.addr());
    make_busy(&mut polling);
    polling
}

#[test]
fn busy_peer_gets_every_echo_for_any_segmentation() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = busy(&server);
        let head = Request::post(&target(&polling.sid), "x".repeat(4000)).bytes().len() - 4000;
        // Requests around the length of one receive operation, and far beyond.
        for len in [4095 - head, 4096 - head, 4097 - head, 8192 - head, 70_000] {
            make_busy(&mut polling);
            let text = format!("4{}", "x".repeat(len - 1));
            polling.post_ok(&text);
            assert_eq!(polling.poll(), text, "{len}");
        }
        // Byte by byte, and in pieces that end anywhere.
        make_busy(&mut polling);
        for byte in Request::post(&target(&polling.sid), "4slowly").bytes() {
            polling.post.write([byte]);
        }
        polling.post.response().assert(200, "ok");
        assert_eq!(polling.poll(), "4slowly");
        make_busy(&mut polling);
        let request = Request::post(&target(&polling.sid), format!("4{}", "y".repeat(5000)));
        for piece in request.bytes().chunks(1111) {
            polling.post.write(piece);
            thread::sleep(Duration::from_millis(5));
        }
        polling.post.response().assert(200, "ok");
        assert_eq!(polling.poll().len(), 5001);
        // Many requests at once.
        make_busy(&mut polling);
        let request = |n: usize| Request::post(&target(&polling.sid), format!("4{n}")).bytes();
        polling.post.write((0..100).flat_map(request).collect::<Vec<_>>());
        (0..100).for_each(|_| polling.post.response().assert(200, "ok"));
        let mut echoes = Vec::new();
        while echoes.len() < 100 {
            echoes.extend(polling.poll().split('\x1e').map(str::to_owned));
        }
        assert_eq!(echoes, (0..100).map(|n| format!("4{n}")).collect::<Vec<_>>());
        // After a pause, and once more.
        for _ in 0..2 {
            thread::sleep(Duration::from_millis(250));
            make_busy(&mut polling);
        }
    });
}

#[test]
fn requests_during_the_held_get_of_a_busy_peer_wait_for_it() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = busy(&server);
        let others: Vec<_> = (0..4).map(|_| Polling::open(server.addr()).sid).collect();
        polling.start_poll();
        // Sessions of any worker: the connection moves to it, and nothing that was received is lost.
        let mut all = Vec::new();
        for sid in &others {
            all.extend(Request::post(&target(sid), format!("4{}", "z".repeat(3000))).bytes());
            all.extend(Request::get(&target(sid)).bytes());
        }
        for piece in all.chunks(500) {
            polling.get.write(piece);
        }
        polling.get.expect_silence(Duration::from_millis(20));
        polling.post_ok("4now");
        assert_eq!(polling.poll_response(), "4now");
        for _ in &others {
            polling.get.response().assert(200, "ok");
            assert_eq!(polling.poll_response().len(), 3001);
        }
        polling.assert_alive();
    });
}

#[test]
fn busy_connection_serves_sessions_of_every_worker() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let sessions: Vec<_> = (0..6).map(|_| Polling::open(server.addr()).sid).collect();
        let mut conn = Connection::open(server.addr());
        for round in 0..MANY {
            // Many requests in a row for one worker, then for the next one.
            for sid in sessions.iter().cycle().skip(round / 8).step_by(sessions.len()).take(2) {
                let message = format!("4{round} of {sid}");
                conn.request(&Request::post(&target(sid), &message)).assert(200, "ok");
                conn.request(&Request::get(&target(sid))).assert(200, &message);
            }
        }
        drop(conn);
        server.wait_for_counts(6, 0);
    });
}

#[test]
fn end_of_a_busy_connection_is_noticed_like_that_of_an_idle_one() {
    for_each_config(|config| {
        let server = TestServer::start(config.idle_timeout(Duration::from_millis(300)));
        // During a held GET: that ends the session.
        let mut polling = busy(&server);
        polling.start_poll();
        polling.get.expect_silence(Duration::from_millis(20));
        polling.get = Connection::open(server.addr());
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::TransportError);
        // Between two requests: by the peer, and by the server.
        let mut polling = busy(&server);
        polling.post = Connection::open(server.addr());
        polling.assert_alive();
        make_busy(&mut polling);
        polling.post.expect_closed();
        polling.get.expect_closed();
    });
}

#[test]
fn busy_peer_upgrades() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = busy(&server);
        let response = polling.post.request(&Request::upgrade(&upgrade_target(&polling.sid)));
        assert_eq!(response.status, 101, "{response:?}");
        let mut socket = WebSocket { conn: polling.post };
        socket.probe();
        socket.send("5");
        for n in 0..MANY {
            let text = format!("4{n}");
            socket.send(&text);
            assert_eq!(socket.text(), text);
        }
        drop(socket);
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::TransportClose);
    });
}

#[test]
fn shutdown_closes_busy_connections() {
    for_each_config(|config: Config| {
        let server = TestServer::start(config);
        let (mut held, mut between) = (busy(&server), busy(&server));
        held.start_poll();
        held.get.expect_silence(Duration::from_millis(20));
        let mut open = Connection::open(server.addr());
        for _ in 0..MANY {
            assert_eq!(open.request(&Request::get(POLLING)).status, 200);
        }
        server.running().shutdown();
        assert_eq!(held.poll_response(), "1");
        for conn in [&mut held.get, &mut held.post, &mut between.get, &mut open] {
            conn.expect_closed();
        }
        server.wait_until_empty();
    });
}
