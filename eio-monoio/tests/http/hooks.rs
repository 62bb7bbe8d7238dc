//! Hooks of the application: connection errors, middleware and generated sids.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use eio_monoio::{Config, ConnectionError, Cors, InvalidSid, Refusal, Running, Server, Sid};

use crate::support::app::App;
use crate::support::configs::{default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::log::Log;
use crate::support::polling::{Polling, sid_of};
use crate::support::refusals::{BAD_REQUEST, UNKNOWN_SID, UNKNOWN_TRANSPORT};
use crate::support::request::{POLLING, Request, WEBSOCKET, target, upgrade_target};
use crate::support::wait::eventually;
use crate::support::websocket::WebSocket;

type Make = Box<dyn Fn() -> App + Send + Sync>;

/// Runs an [`App`] with options of the [`Server`].
fn serve(config: Config, options: impl FnOnce(Server<Make>) -> Server<Make>) -> Running {
    let log = Log::default();
    let make: Make = Box::new(move || App::new(&log));
    let server = Server::new(make).config(config);
    options(server).bind("127.0.0.1:0").expect("the server starts")
}

fn ask(addr: SocketAddr, request: &Request) -> crate::support::response::Response {
    Connection::open(addr).request(request)
}

#[test]
fn connection_error_hook_receives_every_refusal() {
    use ConnectionError::*;
    for_each_config(|config| {
        let reported = Arc::new(Mutex::new(Vec::new()));
        let reports = reported.clone();
        let running = serve(config.cors(Cors::SameOrigin), |server| {
            server.on_connection_error(move |request, refused| {
                assert!(request.target().starts_with("/engine.io/"));
                reports.lock().expect("no panic").push(refused.error());
            })
        });
        let addr = running.local_addr();
        let polling = Polling::open(addr);
        let (mut socket, websocket) = WebSocket::open(addr);
        for (request, error) in [
            (Request::get("/engine.io/?EIO=4&transport=other"), UnknownTransport),
            (Request::get(&target("unknown")), UnknownSid),
            (Request::upgrade(&format!("{WEBSOCKET}&sid=unknown")), UnknownSid),
            (Request::post(POLLING, "4a"), BadHandshakeMethod),
            (Request::get(WEBSOCKET), BadRequest),
            (Request::get(&format!("{POLLING}&j=0")), BadRequest),
            (Request::get(POLLING).header("Origin", "http://evil"), InvalidOrigin),
            (Request::get(&target(&websocket)), TransportMismatch),
            (
                Request::get(WEBSOCKET)
                    .header("Connection", "Upgrade")
                    .header("Upgrade", "websocket")
                    .header("Sec-WebSocket-Version", "99"),
                TransportHandshake,
            ),
            (Request::get(&format!("{POLLING}&refuse=forbidden")), Forbidden),
            (Request::upgrade(&format!("{WEBSOCKET}&refuse=json")), Forbidden),
            (Request::get("/engine.io/?EIO=3&transport=polling"), UnsupportedVersion),
            (Request::new("PUT", &target(&polling.sid)), MethodNotAllowed),
        ] {
            reported.lock().expect("no panic").clear();
            let response = ask(addr, &request);
            assert!(response.status >= 400, "{request:?}");
            assert_eq!(*reported.lock().expect("no panic"), [error], "{request:?}");
        }
        // Bytes that RFC 9110 5.5 allows in a field and that no origin has.
        reported.lock().expect("no panic").clear();
        let mut bytes = Request::get(POLLING).header("Origin", "http://evil").bytes();
        let at = bytes.windows(4).position(|four| four == b"evil").expect("the origin");
        bytes[at] = 0xe9;
        let mut conn = Connection::open(addr);
        conn.write(bytes);
        conn.response().assert(400, BAD_REQUEST);
        assert_eq!(*reported.lock().expect("no panic"), [InvalidOrigin]);
        reported.lock().expect("no panic").clear();
        socket.assert_alive();
        for request in [
            Request::get(POLLING),
            Request::upgrade(WEBSOCKET),
            Request::upgrade(&upgrade_target(&polling.sid)),
            Request::new("OPTIONS", POLLING).header("Origin", "http://test"),
            Request::get("/elsewhere"),
        ] {
            ask(addr, &request);
        }
        assert_eq!(*reported.lock().expect("no panic"), []);
    });
}

#[test]
fn panic_in_the_connection_error_hook_is_contained() {
    let running = serve(default_config(), |server| {
        server.on_connection_error(|_, _| panic!("expected: this test panics"))
    });
    let mut conn = Connection::open(running.local_addr());
    for _ in 0..3 {
        assert_eq!(conn.request(&Request::get("/engine.io/")).status, 400);
    }
    Polling::open(running.local_addr()).assert_alive();
}

#[test]
fn middleware_refuses_requests() {
    for_each_config(|config| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sees = seen.clone();
        let running = serve(config, |server| {
            let server = server.middleware(move |request| {
                sees.lock().expect("no panic").push(request.method().to_owned());
                Ok(())
            });
            server.middleware(|request| match request.header("x-key") {
                Some("sesame") => Ok(()),
                Some("panic") => panic!("expected: this test panics"),
                Some(_) => Err(Refusal::with_json(r#"{"why":"wrong key"}"#)),
                None => Err(Refusal::bad_request()),
            })
        });
        let addr = running.local_addr();
        let sesame = |request: Request| request.header("X-Key", "sesame");
        let sid = sid_of(ask(addr, &sesame(Request::get(POLLING))).text());
        let session = target(&sid);
        // The middleware runs once for each request, also if the session belongs to another worker.
        seen.lock().expect("no panic").clear();
        for _ in 0..6 {
            ask(addr, &sesame(Request::post(&session, "4a"))).assert(200, "ok");
        }
        assert_eq!(*seen.lock().expect("no panic"), ["POST"; 6]);
        ask(addr, &sesame(Request::get(&session))).assert(200, &["4a"; 6].join("\x1e"));
        for request in [
            Request::get(POLLING),
            Request::upgrade(WEBSOCKET),
            Request::get(&session),
            Request::post(&session, "4evil"),
            Request::upgrade(&upgrade_target(&sid)),
            Request::get(&target("unknown")),
        ] {
            ask(addr, &request).assert(400, BAD_REQUEST);
            let wrong = ask(addr, &request.clone().header("X-Key", "wrong"));
            wrong.assert(401, r#"{"why":"wrong key"}"#);
            assert_eq!(wrong.header("Content-Type"), Some("application/json"));
            let panicked = ask(addr, &request.header("X-Key", "panic"));
            panicked.assert(500, r#""Internal Server Error""#);
        }
        let mut conn = Connection::open(addr);
        conn.send(&Request::new("HEAD", &session));
        conn.response_to_head().assert(400, "");
        conn.request(&sesame(Request::get("/engine.io/"))).assert(400, UNKNOWN_TRANSPORT);
        let opened = ask(addr, &sesame(Request::upgrade(&upgrade_target(&sid))));
        assert_eq!(opened.status, 101);
        // The middleware does not run for other paths.
        ask(addr, &Request::get("/elsewhere")).assert(404, "Not Found");
        assert_eq!(running.remote().sessions(), 1);
    });
}

#[test]
fn generated_sids_reach_their_own_session() {
    for_each_config(|config| {
        let running = serve(config, |server| {
            server.generate_id(|request| match request.query("name").as_deref() {
                Some("panic") => panic!("expected: this test panics"),
                Some(name) => Sid::new(name),
                None => Err(InvalidSid),
            })
        });
        let addr = running.local_addr();
        let mut sessions: Vec<_> = (0..6)
            .map(|n| {
                let session = Polling::open_with(addr, &format!("&name=user-{n}"));
                assert_eq!(session.sid, format!("user-{n}"));
                session
            })
            .collect();
        for session in &mut sessions {
            session.assert_alive();
            // On a connection that any worker may have accepted.
            ask(addr, &Request::post(&target(&session.sid), "4again")).assert(200, "ok");
            assert_eq!(session.poll(), "4again");
        }
        let remote = running.remote();
        remote.send(&Sid::new("user-3").expect("legal"), "by name").expect("the queue has room");
        assert_eq!(sessions[3].poll(), "4by name");
        assert!(remote.send(&Sid::new("user-9").expect("legal"), "unknown").is_err());

        // A sid in use, an invalid one, an error and a panic: no session.
        for query in ["&name=user-3", "&name=a%20b", "", "&name=panic"] {
            for request in [
                Request::get(&format!("{POLLING}{query}")),
                Request::upgrade(&format!("{WEBSOCKET}{query}")),
            ] {
                ask(addr, &request).assert(400, BAD_REQUEST);
            }
        }
        assert_eq!(remote.sessions(), 6);
        let mut upgraded = WebSocket::attach(addr, "user-0");
        upgraded.probe();
        upgraded.send("5");
        upgraded.assert_alive();
        // A sid may be used again after its session has ended.
        sessions[3].post_ok("1");
        eventually("the end of a session", || remote.sessions() == 5);
        Polling::open_with(addr, "&name=user-3").assert_alive();
    });
}

#[test]
fn a_tag_precedes_the_sids_of_the_server_and_of_the_application() {
    for_each_config(|config| {
        let config = config.tag("web-0");
        let running = serve(config.clone(), |server| server);
        let addr = running.local_addr();
        let mut sessions: Vec<_> = (0..6).map(|_| Polling::open(addr)).collect();
        for session in &mut sessions {
            assert_eq!(
                session.sid.split_once('.').map(|(tag, rest)| (tag, rest.len())),
                Some(("web-0", 24))
            );
            session.assert_alive();
            // On a connection that any worker may have accepted.
            ask(addr, &Request::post(&target(&session.sid), "4again")).assert(200, "ok");
            assert_eq!(session.poll(), "4again");
        }
        let mut upgraded = WebSocket::attach(addr, &sessions[0].sid);
        upgraded.probe();
        upgraded.send("5");
        upgraded.assert_alive();
        let sid = Sid::new(&sessions[1].sid).expect("legal");
        running.remote().send(&sid, "by sid").expect("the queue has room");
        assert_eq!(sessions[1].poll(), "4by sid");
        // The same characters with another tag, or with none.
        let (_, rest) = sid.split_tag().expect("a tag");
        for other in [rest.to_owned(), format!("web-1.{rest}"), format!("web-0.web-0.{rest}")] {
            ask(addr, &Request::get(&target(&other))).assert(400, UNKNOWN_SID);
        }

        let running = serve(config, |server| {
            server.generate_id(|request| Sid::new(&request.query("name").unwrap_or_default()))
        });
        let addr = running.local_addr();
        let mut named = Polling::open_with(addr, "&name=eu.alice");
        assert_eq!(named.sid, "web-0.eu.alice");
        named.assert_alive();
        // The tag and a dot leave room for 58 of 64 characters.
        let name = |length| format!("{POLLING}&name={}", "x".repeat(length));
        assert_eq!(ask(addr, &Request::get(&name(58))).status, 200);
        ask(addr, &Request::get(&name(59))).assert(400, BAD_REQUEST);
    });
}
