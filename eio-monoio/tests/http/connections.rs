//! Protocol 2.9: connections that are kept, shared by sessions, pipelined and split.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::support::app::Host;
use crate::support::matrix::{everywhere, somewhere};
use crate::support::wire::{
    POLLING, Polling, Request, UNKNOWN_SID, WEBSOCKET, WebSocket, Wire, opening, sid_of, target,
};

#[test]
fn a_kept_connection_never_ends_by_itself() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut wire = Wire::connect(host.addr());
        let sid = sid_of(wire.request(&Request::get(POLLING)).text());
        for n in 0..20 {
            let message = format!("4{n}");
            wire.request(&Request::post(&target(&sid), &message)).assert(200, "ok");
            wire.request(&Request::get(&target(&sid))).assert(200, &message);
            wire.request(&Request::get("/engine.io/")).assert(400, UNKNOWN_TRANSPORT);
            wire.request(&Request::get("/elsewhere")).assert(404, "Not Found");
        }
        host.settles_at(1, 1);
    });
}

const UNKNOWN_TRANSPORT: &str = r#"{"code":0,"message":"Transport unknown"}"#;

#[test]
fn connection_close_is_never_ignored() {
    everywhere(|config| {
        let host = Host::start(config);
        let polling = Polling::open(host.addr());
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
                    Wire::connect(host.addr()).request(&post).assert(200, "ok");
                }
                let mut wire = Wire::connect(host.addr());
                let response = wire.request(&request.clone().header("Connection", value));
                assert_eq!(response.status, status, "{request:?}");
                assert_eq!(response.header("Connection"), Some("close"), "{request:?}");
                wire.expect_eof();
            }
        }
    });
}

#[test]
fn http_1_0_never_gets_what_it_cannot_read() {
    everywhere(|config| {
        let host = Host::start(config);
        let polling = Polling::open(host.addr());
        let old = |rest: &str| format!("GET {rest} HTTP/1.0\r\n").into_bytes();
        // Without Host, and closed behind the answer.
        let mut wire = Wire::connect(host.addr());
        wire.write([&*old(POLLING), b"\r\n"].concat());
        let response = wire.response();
        assert_eq!(response.status, 200);
        assert_eq!(response.header("Connection"), Some("close"));
        assert!(response.header("Content-Length").is_some(), "not chunked: {response:?}");
        wire.expect_eof();
        // Kept when asked for, and told so.
        let mut wire = Wire::connect(host.addr());
        for _ in 0..3 {
            wire.write([&*old(POLLING), b"Connection: keep-alive\r\n\r\n"].concat());
            let response = wire.response();
            assert_eq!(response.status, 200);
            assert_eq!(response.header("Connection"), Some("keep-alive"));
        }
        // RFC 9110 10.1.1: a 100 is nothing an HTTP/1.0 client knows.
        let post = format!(
            "POST {} HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
            target(&polling.sid)
        );
        wire.write(post);
        wire.expect_silence(Duration::from_millis(30));
        wire.write("4a");
        wire.response().assert(200, "ok");
        // RFC 9110 7.8: "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request".
        let upgrade = opening(WEBSOCKET).bytes();
        let upgrade = String::from_utf8(upgrade).expect("ASCII").replace("HTTP/1.1", "HTTP/1.0");
        let mut wire = Wire::connect(host.addr());
        wire.write(upgrade);
        wire.response().assert(400, r#"{"code":3,"message":"Bad request"}"#);
    });
}

#[test]
fn pipelined_handshakes_are_never_dropped() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut wire = Wire::connect(host.addr());
        wire.write(Request::get(POLLING).bytes().repeat(50));
        let mut sids: Vec<_> = (0..50).map(|_| sid_of(wire.response().text())).collect();
        wire.expect_silence(Duration::from_millis(20));
        sids.sort();
        sids.dedup();
        assert_eq!(sids.len(), 50);
        host.settles_at(50, 1);
    });
}

#[test]
fn pipelined_requests_of_sessions_on_other_cores_are_never_answered_out_of_order() {
    everywhere(|config| {
        let host = Host::start(config);
        let sessions: Vec<_> = (0..9).map(|_| Polling::open(host.addr()).sid).collect();
        let mut all = Vec::new();
        for round in 0..3 {
            for sid in &sessions {
                let message = format!("4{round} of {sid}");
                all.extend(Request::post(&target(sid), &message).bytes());
                all.extend(Request::get("/engine.io/").bytes());
                all.extend(Request::get(&target(sid)).bytes());
                all.extend(Request::post(&target("nobody"), "").bytes());
            }
        }
        // One write, mostly one segment; and the same in pieces that end anywhere.
        for size in [all.len(), 1400, 7] {
            let mut wire = Wire::connect(host.addr());
            all.chunks(size).for_each(|piece| wire.write(piece));
            for round in 0..3 {
                for sid in &sessions {
                    wire.response().assert(200, "ok");
                    wire.response().assert(400, UNKNOWN_TRANSPORT);
                    wire.response().assert(200, &format!("4{round} of {sid}"));
                    wire.response().assert(400, UNKNOWN_SID);
                }
            }
            wire.expect_silence(Duration::from_millis(20));
        }
    });
}

#[test]
fn a_held_get_never_lets_the_request_behind_it_overtake() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        let other = Polling::open(host.addr());
        let mut both = Request::get(&target(&polling.sid)).bytes();
        both.extend(Request::post(&target(&other.sid), "4x").bytes());
        both.extend(Request::get(&target(&other.sid)).bytes());
        polling.get.write(both);
        polling.get.expect_silence(Duration::from_millis(30));
        assert_eq!(host.log.messages(&other.sid), []);
        polling.say("4now");
        assert_eq!(polling.polled(), "4now");
        polling.get.response().assert(200, "ok");
        assert_eq!(polling.polled(), "4x");
        polling.assert_alive();
    });
}

#[test]
fn one_connection_never_serves_only_the_sessions_of_its_own_core() {
    everywhere(|config| {
        let host = Host::start(config);
        let sessions: Vec<_> = (0..12).map(|_| Polling::open(host.addr()).sid).collect();
        let mut wire = Wire::connect(host.addr());
        for round in 0..5 {
            for sid in &sessions {
                let message = format!("4{round} of {sid}");
                wire.request(&Request::post(&target(sid), &message)).assert(200, "ok");
                wire.request(&Request::get(&target(sid))).assert(200, &message);
            }
        }
        drop(wire);
        host.settles_at(12, 0);
    });
}

#[test]
fn an_upgrade_on_a_kept_connection_never_fails_for_where_it_was_accepted() {
    everywhere(|config| {
        let host = Host::start(config);
        // Each on a connection that other sessions used before.
        for _ in 0..6 {
            let mut wire = Wire::connect(host.addr());
            let _other = wire.request(&Request::get(POLLING));
            let polling = Polling::open(host.addr());
            let response = wire.request(&opening(&format!("{WEBSOCKET}&sid={}", polling.sid)));
            assert_eq!(response.status, 101, "{response:?}");
            let mut socket = WebSocket { wire };
            socket.send("2probe");
            assert_eq!(socket.text(), "3probe");
            socket.send("5");
            socket.assert_alive();
        }
    });
}

#[test]
fn a_request_split_anywhere_is_never_misread() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        let whole = Request::post(&target(&polling.sid), "4split").bytes();
        for split in 1..whole.len() {
            let (one, two) = whole.split_at(split);
            polling.post.write(one);
            thread::sleep(Duration::from_micros(500));
            polling.post.write(two);
            polling.post.response().assert(200, "ok");
            assert_eq!(polling.poll(), "4split", "split at {split}");
        }
        for byte in &whole {
            polling.post.write([*byte]);
            thread::sleep(Duration::from_micros(200));
        }
        polling.post.response().assert(200, "ok");
        assert_eq!(polling.poll(), "4split");
    });
}

#[test]
fn other_methods_never_disturb_a_session() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        polling.hold_poll();
        for (method, status) in [("PUT", 405), ("DELETE", 405), ("OPTIONS", 204), ("BREW", 405)] {
            let response = polling.post.request(&Request::new(method, &target(&polling.sid)));
            assert_eq!(response.status, status, "{method}");
        }
        polling.post.send(&Request::new("HEAD", &target(&polling.sid)));
        assert_eq!(polling.post.response_to_head().status, 405);
        // The GET is still held.
        polling.say("4undisturbed");
        assert_eq!(polling.polled(), "4undisturbed");
        host.settles_at(1, 2);
    });
}

#[test]
fn a_flood_on_one_connection_never_starves_the_others() {
    everywhere(|config| {
        // One core, so that everybody shares it with the flood.
        let host = Host::start(config.workers(1));
        let mut bystander = Polling::open(host.addr());
        let flood = Wire::connect(host.addr());
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
            // Ends both, also if a test here fails.
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
fn the_path_never_decides_by_its_beginning() {
    let host = Host::start(somewhere());
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
        assert_eq!(Wire::connect(host.addr()).request(&request).status, status, "{path}");
    }
    let host = Host::start(somewhere().path("/a/b"));
    for (path, status) in [("/a/b", 200), ("/a/b/", 200), ("/a", 404), ("/engine.io/", 404)] {
        let request = Request::get(&format!("{path}?EIO=4&transport=polling"));
        assert_eq!(Wire::connect(host.addr()).request(&request).status, status, "{path}");
    }
}

#[test]
fn no_response_is_ever_without_a_date() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        polling.say("4a");
        let session = target(&polling.sid);
        let mut wire = Wire::connect(host.addr());
        for (request, status) in [
            (Request::get(POLLING), 200),
            (Request::get(&session), 200),
            (Request::post(&session, "4b"), 200),
            (Request::get("/engine.io/"), 400),
            (Request::new("OPTIONS", POLLING).header("Origin", "http://test"), 204),
            (Request::get("/elsewhere"), 404),
        ] {
            let before = SystemTime::now() - Duration::from_secs(2);
            let response = wire.request(&request);
            assert_eq!(response.status, status, "{request:?}");
            let date = response.header("Date").unwrap_or_else(|| panic!("no date: {response:?}"));
            let date = httpdate::parse_http_date(date).expect("RFC 9110 5.6.7");
            assert!((before..=SystemTime::now()).contains(&date), "{response:?}");
        }
    });
}
