//! What an application decides about requests, and what it hears of those that are refused.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::app::{App, Log, eventually};
use crate::support::matrix::{everywhere, somewhere};
use crate::support::wire::{
    POLLING, Polling, Request, WEBSOCKET, WebSocket, Wire, opening, sid_of, target,
};
use eio_monoio::{Config, ConnectionError, Cors, InvalidSid, Refusal, Running, Server, Sid};

const UNKNOWN_TRANSPORT: &str = r#"{"code":0,"message":"Transport unknown"}"#;

type Make = Box<dyn Fn() -> App + Send + Sync>;

/// Runs an [`App`] with more of a [`Server`].
fn serve(config: Config, options: impl FnOnce(Server<Make>) -> Server<Make>) -> Running {
    let log = Log::default();
    let make: Make = Box::new(move || App::new(&log));
    let server = Server::new(make).config(config.shutdown_timeout(Duration::from_millis(100)));
    options(server).bind("127.0.0.1:0").expect("a server")
}

fn ask(addr: SocketAddr, request: &Request) -> crate::support::wire::Response {
    Wire::connect(addr).request(request)
}

#[test]
fn no_refusal_is_ever_kept_from_the_application_or_told_for_another() {
    use ConnectionError::*;
    everywhere(|config| {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = heard.clone();
        let running = serve(config.cors(Cors::SameOrigin), |server| {
            server.on_connection_error(move |request, error| {
                assert!(request.target().starts_with("/engine.io/"));
                hears.lock().expect("no panic").push(error);
            })
        });
        let addr = running.local_addr();
        let polling = Polling::open(addr);
        let (mut socket, websocket) = WebSocket::open(addr);
        for (request, error) in [
            (Request::get("/engine.io/?EIO=4&transport=carrier-pigeon"), UnknownTransport),
            (Request::get(&target("nobody")), UnknownSid),
            (opening(&format!("{WEBSOCKET}&sid=nobody")), UnknownSid),
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
            (opening(&format!("{WEBSOCKET}&refuse=json")), Forbidden),
            (Request::get("/engine.io/?EIO=3&transport=polling"), UnsupportedVersion),
            (Request::new("PUT", &target(&polling.sid)), MethodNotAllowed),
        ] {
            heard.lock().expect("no panic").clear();
            let response = ask(addr, &request);
            assert!(response.status >= 400, "{request:?}");
            assert_eq!(*heard.lock().expect("no panic"), [error], "{request:?}");
        }
        heard.lock().expect("no panic").clear();
        socket.assert_alive();
        for request in [
            Request::get(POLLING),
            opening(WEBSOCKET),
            opening(&format!("{WEBSOCKET}&sid={}", polling.sid)),
            Request::new("OPTIONS", POLLING).header("Origin", "http://test"),
            Request::get("/elsewhere"),
        ] {
            ask(addr, &request);
        }
        assert_eq!(*heard.lock().expect("no panic"), []);
    });
}

#[test]
fn a_panic_over_a_refusal_never_harms_anybody() {
    let running = serve(somewhere(), |server| server.on_connection_error(|_, _| panic!("as told")));
    let mut wire = Wire::connect(running.local_addr());
    for _ in 0..3 {
        assert_eq!(wire.request(&Request::get("/engine.io/")).status, 400);
    }
    Polling::open(running.local_addr()).assert_alive();
}

#[test]
fn no_request_ever_passes_a_middleware_that_says_no() {
    everywhere(|config| {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let asks = asked.clone();
        let running = serve(config, |server| {
            let server = server.middleware(move |request| {
                asks.lock().expect("no panic").push(request.method().to_owned());
                Ok(())
            });
            server.middleware(|request| match request.header("x-key") {
                Some("sesame") => Ok(()),
                Some("panic") => panic!("as told"),
                Some(_) => Err(Refusal::with_json(r#"{"why":"wrong key"}"#)),
                None => Err(Refusal::bad_request()),
            })
        });
        let addr = running.local_addr();
        let sesame = |request: Request| request.header("X-Key", "sesame");
        let sid = sid_of(ask(addr, &sesame(Request::get(POLLING))).text());
        let session = target(&sid);
        // Sessions of other cores, too: each request is asked about once, wherever it came in.
        asked.lock().expect("no panic").clear();
        for _ in 0..6 {
            ask(addr, &sesame(Request::post(&session, "4a"))).assert(200, "ok");
        }
        assert_eq!(*asked.lock().expect("no panic"), ["POST"; 6]);
        ask(addr, &sesame(Request::get(&session))).assert(200, &["4a"; 6].join("\x1e"));
        for request in [
            Request::get(POLLING),
            opening(WEBSOCKET),
            Request::get(&session),
            Request::post(&session, "4evil"),
            opening(&format!("{WEBSOCKET}&sid={sid}")),
            Request::get(&target("nobody")),
        ] {
            ask(addr, &request).assert(400, r#"{"code":3,"message":"Bad request"}"#);
            let wrong = ask(addr, &request.clone().header("X-Key", "wrong"));
            wrong.assert(401, r#"{"why":"wrong key"}"#);
            assert_eq!(wrong.header("Content-Type"), Some("application/json"));
            let panicked = ask(addr, &request.header("X-Key", "panic"));
            panicked.assert(500, r#""Internal Server Error""#);
        }
        let mut wire = Wire::connect(addr);
        wire.send(&Request::new("HEAD", &session));
        wire.response_to_head().assert(400, "");
        wire.request(&sesame(Request::get("/engine.io/"))).assert(400, UNKNOWN_TRANSPORT);
        let opened = ask(addr, &sesame(opening(&format!("{WEBSOCKET}&sid={sid}"))));
        assert_eq!(opened.status, 101);
        // What is not Engine.IO's is not asked about.
        ask(addr, &Request::get("/elsewhere")).assert(404, "Not Found");
        assert_eq!(running.remote().sessions(), 1);
    });
}

#[test]
fn a_made_sid_never_leads_to_another_core_or_session() {
    everywhere(|config| {
        let running = serve(config, |server| {
            server.generate_id(|request| match request.query("name") {
                Some("panic") => panic!("as told"),
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
            // On a connection that any core may have accepted.
            ask(addr, &Request::post(&target(&session.sid), "4again")).assert(200, "ok");
            assert_eq!(session.poll(), "4again");
        }
        let remote = running.remote();
        remote.send(&Sid::new("user-3").expect("legal"), "by name").expect("room");
        assert_eq!(sessions[3].poll(), "4by name");
        assert!(remote.send(&Sid::new("user-9").expect("legal"), "nobody").is_err());

        // In use, illegal, none, and a panic: no session, and no harm.
        for query in ["&name=user-3", "&name=a%20b", "", "&name=panic"] {
            for request in [
                Request::get(&format!("{POLLING}{query}")),
                opening(&format!("{WEBSOCKET}{query}")),
            ] {
                ask(addr, &request).assert(400, r#"{"code":3,"message":"Bad request"}"#);
            }
        }
        assert_eq!(remote.sessions(), 6);
        let mut upgraded = WebSocket::attach(addr, "user-0");
        upgraded.send("2probe");
        assert_eq!(upgraded.text(), "3probe");
        upgraded.send("5");
        upgraded.assert_alive();
        // The name is free again when its session has ended.
        sessions[3].say("1");
        eventually("the end of a session", || remote.sessions() == 5);
        Polling::open_with(addr, "&name=user-3").assert_alive();
    });
}
