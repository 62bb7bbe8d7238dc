//! Persistent connections: shared by sessions, pipelined and split (`docs/protocol.md` 2.9).

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::support::configs::{default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::polling::{Polling, sid_of};
use crate::support::refusals::{BAD_REQUEST, UNKNOWN_SID, UNKNOWN_TRANSPORT};
use crate::support::request::{POLLING, Request, WEBSOCKET, target, upgrade_target};
use crate::support::test_server::TestServer;
use crate::support::websocket::WebSocket;

#[test]
fn keep_alive_connection_stays_open() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut conn = Connection::open(server.addr());
        let sid = sid_of(conn.request(&Request::get(POLLING)).text());
        for n in 0..20 {
            let message = format!("4{n}");
            conn.request(&Request::post(&target(&sid), &message)).assert(200, "ok");
            conn.request(&Request::get(&target(&sid))).assert(200, &message);
            conn.request(&Request::get("/engine.io/")).assert(400, UNKNOWN_TRANSPORT);
            conn.request(&Request::get("/elsewhere")).assert(404, "Not Found");
        }
        server.wait_for_counts(1, 1);
    });
}

/// RFC 9112 9.3.1: a client must not repeat a POST, so it has to know how long it may use a connection.
#[test]
fn persistent_responses_announce_the_idle_timeout() {
    for (idle, announced) in [(2_999, "timeout=2"), (65_000, "timeout=65"), (500, "timeout=0")] {
        let config = default_config().idle_timeout(Duration::from_millis(idle));
        let server = TestServer::start(config);
        let polling = Polling::open(server.addr());
        let post = Request::post(&target(&polling.sid), "4a");
        for request in [
            post.clone(),
            Request::get(&target(&polling.sid)),
            Request::get("/engine.io/"),
            Request::new("OPTIONS", POLLING),
            Request::get("/elsewhere"),
        ] {
            let response = Connection::open(server.addr()).request(&request);
            assert_eq!(response.header("Keep-Alive"), Some(announced), "{response:?}");
            assert_eq!(response.header("Connection"), Some("keep-alive"), "{response:?}");
            if response.status != 200 {
                let close = request.header("Connection", "close");
                let response = Connection::open(server.addr()).request(&close);
                assert_eq!(response.header("Keep-Alive"), None, "{response:?}");
                assert_eq!(response.header("Connection"), Some("close"), "{response:?}");
            }
        }
        let upgrade = Connection::open(server.addr()).request(&Request::upgrade(WEBSOCKET));
        assert_eq!((upgrade.status, upgrade.header("Keep-Alive")), (101, None));
    }
}

#[test]
fn connection_close_is_obeyed() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let polling = Polling::open(server.addr());
        let post = Request::post(&target(&polling.sid), "4a");
        for (request, status) in [
            (Request::get(POLLING), 200),
            (post.clone(), 200),
            (Request::get(&target(&polling.sid)), 200),
            (Request::get("/engine.io/"), 400),
            (Request::new("OPTIONS", POLLING), 204),
            (Request::get("/elsewhere"), 404),
            (Request::new("PUT", &target(&polling.sid)), 405),
        ] {
            for value in ["close", "Close", "keep-alive, close"] {
                if request.bytes().starts_with(b"GET") && status == 200 {
                    Connection::open(server.addr()).request(&post).assert(200, "ok");
                }
                let mut conn = Connection::open(server.addr());
                let response = conn.request(&request.clone().header("Connection", value));
                assert_eq!(response.status, status, "{request:?}");
                assert_eq!(response.header("Connection"), Some("close"), "{request:?}");
                conn.expect_eof();
            }
        }
    });
}

#[test]
fn http_1_0_client_gets_no_http_1_1_features() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let polling = Polling::open(server.addr());
        let old = |rest: &str| format!("GET {rest} HTTP/1.0\r\n").into_bytes();
        // Without Host, and closed after the response.
        let mut conn = Connection::open(server.addr());
        conn.write([&*old(POLLING), b"\r\n"].concat());
        let response = conn.response();
        assert_eq!(response.status, 200);
        assert_eq!(response.header("Connection"), Some("close"));
        assert!(response.header("Content-Length").is_some(), "not chunked: {response:?}");
        conn.expect_eof();
        // Persistent on request, which the response confirms.
        let mut conn = Connection::open(server.addr());
        for _ in 0..3 {
            conn.write([&*old(POLLING), b"Connection: keep-alive\r\n\r\n"].concat());
            let response = conn.response();
            assert_eq!(response.status, 200);
            assert_eq!(response.header("Connection"), Some("keep-alive"));
        }
        // RFC 9110 10.1.1: an HTTP/1.0 client does not know the status 100.
        let post = format!(
            "POST {} HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
            target(&polling.sid)
        );
        conn.write(post);
        conn.expect_silence(Duration::from_millis(30));
        conn.write("4a");
        conn.response().assert(200, "ok");
        // RFC 9110 7.8: "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request".
        let upgrade = Request::upgrade(WEBSOCKET).bytes();
        let upgrade = String::from_utf8(upgrade).expect("ASCII").replace("HTTP/1.1", "HTTP/1.0");
        let mut conn = Connection::open(server.addr());
        conn.write(upgrade);
        conn.response().assert(400, BAD_REQUEST);
    });
}

#[test]
fn pipelined_handshakes_are_all_answered() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut conn = Connection::open(server.addr());
        conn.write(Request::get(POLLING).bytes().repeat(50));
        let mut sids: Vec<_> = (0..50).map(|_| sid_of(conn.response().text())).collect();
        conn.expect_silence(Duration::from_millis(20));
        sids.sort();
        sids.dedup();
        assert_eq!(sids.len(), 50);
        server.wait_for_counts(50, 1);
    });
}

#[test]
fn pipelined_requests_for_other_workers_are_answered_in_order() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let sessions: Vec<_> = (0..9).map(|_| Polling::open(server.addr()).sid).collect();
        let mut all = Vec::new();
        for round in 0..3 {
            for sid in &sessions {
                let message = format!("4{round} of {sid}");
                all.extend(Request::post(&target(sid), &message).bytes());
                all.extend(Request::get("/engine.io/").bytes());
                all.extend(Request::get(&target(sid)).bytes());
                all.extend(Request::post(&target("unknown"), "").bytes());
            }
        }
        // In one write, which is mostly one segment, and in pieces of any size.
        for size in [all.len(), 1400, 7] {
            let mut conn = Connection::open(server.addr());
            all.chunks(size).for_each(|piece| conn.write(piece));
            for round in 0..3 {
                for sid in &sessions {
                    conn.response().assert(200, "ok");
                    conn.response().assert(400, UNKNOWN_TRANSPORT);
                    conn.response().assert(200, &format!("4{round} of {sid}"));
                    conn.response().assert(400, UNKNOWN_SID);
                }
            }
            conn.expect_silence(Duration::from_millis(20));
        }
    });
}

#[test]
fn request_after_a_held_get_waits_for_it() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        let other = Polling::open(server.addr());
        let mut both = Request::get(&target(&polling.sid)).bytes();
        both.extend(Request::post(&target(&other.sid), "4x").bytes());
        both.extend(Request::get(&target(&other.sid)).bytes());
        polling.get.write(both);
        polling.get.expect_silence(Duration::from_millis(30));
        assert_eq!(server.log.messages(&other.sid), []);
        polling.post_ok("4now");
        assert_eq!(polling.poll_response(), "4now");
        polling.get.response().assert(200, "ok");
        assert_eq!(polling.poll_response(), "4x");
        polling.assert_alive();
    });
}

#[test]
fn one_connection_serves_sessions_of_every_worker() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let sessions: Vec<_> = (0..12).map(|_| Polling::open(server.addr()).sid).collect();
        let mut conn = Connection::open(server.addr());
        for round in 0..5 {
            for sid in &sessions {
                let message = format!("4{round} of {sid}");
                conn.request(&Request::post(&target(sid), &message)).assert(200, "ok");
                conn.request(&Request::get(&target(sid))).assert(200, &message);
            }
        }
        drop(conn);
        server.wait_for_counts(12, 0);
    });
}

#[test]
fn upgrade_works_on_a_connection_of_another_worker() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        // Each on a connection that other sessions used before.
        for _ in 0..6 {
            let mut conn = Connection::open(server.addr());
            let _other = conn.request(&Request::get(POLLING));
            let polling = Polling::open(server.addr());
            let response = conn.request(&Request::upgrade(&upgrade_target(&polling.sid)));
            assert_eq!(response.status, 101, "{response:?}");
            let mut socket = WebSocket { conn };
            socket.probe();
            socket.send("5");
            socket.assert_alive();
        }
    });
}

#[test]
fn request_may_be_split_at_any_byte() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        let bytes = Request::post(&target(&polling.sid), "4split").bytes();
        for split in 1..bytes.len() {
            let (one, two) = bytes.split_at(split);
            polling.post.write(one);
            thread::sleep(Duration::from_micros(500));
            polling.post.write(two);
            polling.post.response().assert(200, "ok");
            assert_eq!(polling.poll(), "4split", "split at {split}");
        }
        for byte in &bytes {
            polling.post.write([*byte]);
            thread::sleep(Duration::from_micros(200));
        }
        polling.post.response().assert(200, "ok");
        assert_eq!(polling.poll(), "4split");
    });
}

#[test]
fn other_methods_do_not_disturb_a_session() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        polling.hold_poll();
        for (method, status) in [("PUT", 405), ("DELETE", 405), ("OPTIONS", 204), ("BREW", 405)] {
            let response = polling.post.request(&Request::new(method, &target(&polling.sid)));
            assert_eq!(response.status, status, "{method}");
        }
        polling.post.send(&Request::new("HEAD", &target(&polling.sid)));
        assert_eq!(polling.post.response_to_head().status, 405);
        // The GET is still held.
        polling.post_ok("4undisturbed");
        assert_eq!(polling.poll_response(), "4undisturbed");
        server.wait_for_counts(1, 2);
    });
}

#[test]
fn request_flood_does_not_starve_other_connections() {
    for_each_config(|config| {
        // One worker, which serves the flood and the others.
        let server = TestServer::start(config.workers(1));
        let mut bystander = Polling::open(server.addr());
        let flood = Connection::open(server.addr());
        let flooding = |mut stream: &TcpStream| {
            let requests = Request::get("/engine.io/").bytes().repeat(1000);
            while stream.write_all(&requests).is_ok() {}
        };
        let draining = |mut stream: &TcpStream| {
            let mut answers = [0; 64 * 1024];
            while stream.read(&mut answers).is_ok_and(|n| n > 0) {}
        };
        thread::scope(|scope| {
            scope.spawn(|| flooding(flood.stream()));
            scope.spawn(|| draining(flood.stream()));
            // Ends both threads, also if an assertion fails.
            let _end = OnDrop(|| {
                _ = flood.stream().shutdown(Shutdown::Both);
            });
            thread::sleep(Duration::from_millis(50));
            for _ in 0..10 {
                bystander.assert_alive();
            }
        });
    });
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn path_must_match_completely() {
    let server = TestServer::start(default_config());
    for (path, status) in [
        ("/engine.io/", 200),
        ("/engine.io", 200),
        ("/engine.io/x", 404),
        ("/engine.iox", 404),
        ("/engine.io//", 404),
        ("//engine.io/", 404),
        ("/ENGINE.IO/", 404),
        ("/x/engine.io/", 404),
        ("/", 404),
    ] {
        let request = Request::get(&format!("{path}?EIO=4&transport=polling"));
        assert_eq!(Connection::open(server.addr()).request(&request).status, status, "{path}");
    }
    let server = TestServer::start(default_config().path("/a/b"));
    for (path, status) in [("/a/b", 200), ("/a/b/", 200), ("/a", 404), ("/engine.io/", 404)] {
        let request = Request::get(&format!("{path}?EIO=4&transport=polling"));
        assert_eq!(Connection::open(server.addr()).request(&request).status, status, "{path}");
    }
}

#[test]
fn every_response_has_a_date() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4a");
        let session = target(&polling.sid);
        let mut conn = Connection::open(server.addr());
        for (request, status) in [
            (Request::get(POLLING), 200),
            (Request::get(&session), 200),
            (Request::post(&session, "4b"), 200),
            (Request::get("/engine.io/"), 400),
            (Request::new("OPTIONS", POLLING).header("Origin", "http://test"), 204),
            (Request::get("/elsewhere"), 404),
        ] {
            let before = SystemTime::now() - Duration::from_secs(2);
            let response = conn.request(&request);
            assert_eq!(response.status, status, "{request:?}");
            let date =
                response.header("Date").unwrap_or_else(|| panic!("without a date: {response:?}"));
            let date = httpdate::parse_http_date(date).expect("RFC 9110 5.6.7");
            assert!((before..=SystemTime::now()).contains(&date), "{response:?}");
        }
    });
}
