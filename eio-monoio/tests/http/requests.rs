//! Requests as applications need them: decoded queries, refusals, response headers, middlewares and sids that await,
//! and the request of the handshake for the life of the session.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eio_monoio::{
    AsyncHandler, Config, ConnectRequest, ConnectionError, InvalidSid, OwnedMessage, Refusal,
    RequestInfo, Running, Server, Sid, Socket, sleep,
};
use http::StatusCode;

use crate::support::configs::{default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::polling::{Polling, sid_of};
use crate::support::request::{POLLING, Request, WEBSOCKET, target, upgrade_target};
use crate::support::response::Response;
use crate::support::websocket::WebSocket;

/// The user that a middleware found.
#[derive(Clone, Debug, Default, PartialEq)]
struct User(String);

/// Answers messages with what it knows about the request of the session.
struct Requests;

impl AsyncHandler for Requests {
    type Session = User;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<User, Refusal> {
        sleep(Duration::from_millis(1)).await;
        for (name, value) in request.query_pairs() {
            if let Some(name) = name.strip_prefix("add-") {
                request.add_response_header(name, &*value);
            }
        }
        let refusal = match request.query("refuse").as_deref() {
            None => return Ok(request.get::<User>().unwrap_or_default()),
            Some("message") => Refusal::forbidden().message("Thou shall not pass"),
            Some("text") => Refusal::new(StatusCode::PAYMENT_REQUIRED).text("p\u{e4}y"),
            Some("html") => Refusal::new(StatusCode::NOT_FOUND)
                .content("text/html; charset=utf-8", &b"<h1>no</h1>"[..]),
            Some("busy") => Refusal::new(StatusCode::TOO_MANY_REQUESTS)
                .json(r#"{"busy":true}"#)
                .header("retry-after", "5")
                .header("set-cookie", "a=1")
                .header("set-cookie", "b=2")
                .header("content-length", "1")
                .header("not a name", "x")
                .with_reason("more than 100 requests"),
            Some("moved") => Refusal::new(StatusCode::SEE_OTHER).header("location", "/login"),
            Some("nothing") => Refusal::new(StatusCode::NO_CONTENT).text("not sent"),
            Some(_) => Refusal::new(StatusCode::SWITCHING_PROTOCOLS),
        };
        Err(refusal)
    }

    async fn message(&self, socket: Socket<User>, message: OwnedMessage) {
        let OwnedMessage::Text(name) = message else { return };
        let answer = match (name.as_str(), socket.request()) {
            ("user", _) => socket.data().0.clone(),
            (_, None) => "not kept".into(),
            ("agent", Some(request)) => request.header("user-agent").unwrap_or("none").into(),
            ("attached", Some(request)) => format!("{:?}", request.extensions().get::<User>()),
            ("method", Some(request)) => format!("{} {}", request.method(), request.uri().path()),
            (name, Some(request)) => request.query(name).unwrap_or("absent".into()).into_owned(),
        };
        socket.send(answer.as_str()).await.expect("an open session");
    }
}

type Make = fn() -> Requests;

fn serve(config: Config, options: impl FnOnce(Server<Make>) -> Server<Make>) -> Running {
    let server = Server::new((|| Requests) as Make).config(config);
    options(server).bind("127.0.0.1:0").expect("the server starts")
}

fn ask(addr: SocketAddr, request: &Request) -> Response {
    Connection::open(addr).request(request)
}

fn values<'r>(response: &'r Response, name: &str) -> Vec<&'r str> {
    let headers = response.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
    headers.map(|(_, value)| value.as_str()).collect()
}

#[test]
fn refusal_has_any_status_body_and_headers_and_its_reason_is_reported() {
    for_each_config(|config| {
        let reported = Arc::new(Mutex::new(Vec::new()));
        let reports = reported.clone();
        let running = serve(config, |server| {
            server.on_connection_error(move |_, refused| {
                let reason = refused.reason().map(str::to_owned);
                reports.lock().expect("no panic").push((refused.error(), reason));
            })
        });
        for (kind, status, body, media_type, reason) in [
            (
                "message",
                403,
                r#"{"code":4,"message":"Thou shall not pass"}"#,
                Some("application/json"),
                Some("Thou shall not pass"),
            ),
            ("text", 402, "p\u{e4}y", Some("text/plain; charset=utf-8"), Some("p\u{e4}y")),
            ("html", 404, "<h1>no</h1>", Some("text/html; charset=utf-8"), Some("<h1>no</h1>")),
            (
                "busy",
                429,
                r#"{"busy":true}"#,
                Some("application/json"),
                Some("more than 100 requests"),
            ),
            ("moved", 303, "", None, None),
            ("nothing", 204, "", None, Some("not sent")),
            ("interim", 500, "", None, None),
        ] {
            for request in [
                Request::get(&format!("{POLLING}&refuse={kind}")),
                Request::upgrade(&format!("{WEBSOCKET}&refuse={kind}")),
            ] {
                let mut conn = Connection::open(running.local_addr());
                let response = conn.request(&request);
                response.assert(status, body);
                assert_eq!(response.header("Content-Type"), media_type, "{response:?}");
                let report = (ConnectionError::Forbidden, reason.map(str::to_owned));
                assert_eq!(*reported.lock().expect("no panic"), [report]);
                reported.lock().expect("no panic").clear();
                match kind {
                    "busy" => {
                        assert_eq!(response.header("Retry-After"), Some("5"));
                        assert_eq!(values(&response, "Set-Cookie"), ["a=1", "b=2"]);
                    }
                    "moved" => assert_eq!(response.header("Location"), Some("/login")),
                    _ => {}
                }
                // The connection is in step.
                sid_of(conn.request(&Request::get(POLLING)).text());
            }
        }
    });
}

#[test]
fn headers_from_connect_are_in_its_response_only() {
    for_each_config(|config| {
        let running = serve(config, |server| server);
        let addr = running.local_addr();
        let query = "&add-set-cookie=a%3D1;%20HttpOnly&add-set-cookie=b%3D2&add-bad=%0d%0ax:y";
        let mut conn = Connection::open(addr);
        let opened = conn.request(&Request::get(&format!("{POLLING}{query}")));
        assert_eq!(values(&opened, "Set-Cookie"), ["a=1; HttpOnly", "b=2"]);
        assert_eq!(values(&opened, "bad"), [""; 0]);
        let sid = sid_of(opened.text());
        let pushed = conn.request(&Request::post(&target(&sid), "4user"));
        assert_eq!(values(&pushed, "Set-Cookie"), [""; 0]);
        for (request, status) in [
            (Request::upgrade(&format!("{WEBSOCKET}{query}")), 101),
            (Request::get(&format!("{POLLING}{query}&refuse=text")), 402),
        ] {
            let response = ask(addr, &request);
            assert_eq!(response.status, status);
            assert_eq!(values(&response, "Set-Cookie"), ["a=1; HttpOnly", "b=2"]);
        }
    });
}

/// A middleware that awaits, as one that looks up a session cookie.
async fn look_up(request: &RequestInfo<'_>) -> Result<(), Refusal> {
    sleep(Duration::from_millis(1)).await;
    match request.header("cookie") {
        Some("panic") => panic!("expected: this test panics"),
        Some("forever") => std::future::pending().await,
        Some("thief") => Err(Refusal::new(StatusCode::SEE_OTHER)
            .header("location", "/login")
            .with_reason("a stolen cookie")),
        Some(cookie) => {
            request.insert(User(cookie.to_owned()));
            Ok(())
        }
        None => {
            request.add_response_header("set-cookie", "visitor=new");
            Ok(())
        }
    }
}

#[test]
fn middleware_that_awaits_decides_about_every_request() {
    for_each_config(|config| {
        let reported = Arc::new(Mutex::new(Vec::new()));
        let reports = reported.clone();
        let running = serve(config.connect_timeout(Duration::from_millis(100)), |server| {
            let server = server.middleware_async(look_up).middleware(|request| {
                // In the order in which they were added.
                match request.get::<User>() {
                    Some(User(name)) if name == "second" => Err(Refusal::unauthorized()),
                    _ => Ok(()),
                }
            });
            server.on_connection_error(move |_, refused| {
                reports.lock().expect("no panic").push(refused.to_string());
            })
        });
        let addr = running.local_addr();
        let with = |request: &Request, cookie| request.clone().header("Cookie", cookie);
        // A value reaches the session, over both transports.
        let opened = ask(addr, &with(&Request::get(POLLING), "ada"));
        let sid = sid_of(opened.text());
        ask(addr, &Request::post(&target(&sid), "4user")).assert(200, "ok");
        ask(addr, &Request::get(&target(&sid))).assert(200, "4ada");
        let mut conn = Connection::open(addr);
        assert_eq!(conn.request(&with(&Request::upgrade(WEBSOCKET), "bob")).status, 101);
        let mut socket = WebSocket { conn };
        socket.text();
        socket.send("4user");
        assert_eq!(socket.text(), "4bob");
        assert_eq!(*reported.lock().expect("no panic"), [""; 0]);

        for request in [
            Request::get(POLLING),
            Request::upgrade(WEBSOCKET),
            Request::get(&target(&sid)),
            Request::post(&target(&sid), "4evil"),
            Request::upgrade(&upgrade_target(&sid)),
            Request::get(&target("unknown")),
        ] {
            for (cookie, status, report) in [
                ("thief", 303, "Bad request (MIDDLEWARE_FAILURE): a stolen cookie"),
                ("second", 401, "Bad request (MIDDLEWARE_FAILURE): \"Unauthorized\""),
                ("panic", 500, "Bad request (MIDDLEWARE_FAILURE): \"Internal Server Error\""),
                ("forever", 503, "Service unavailable: \"Service Unavailable\""),
            ] {
                let response = ask(addr, &with(&request, cookie));
                assert_eq!(response.status, status, "{cookie} {response:?}");
                assert_eq!(*reported.lock().expect("no panic"), [report]);
                reported.lock().expect("no panic").clear();
            }
        }
        ask(addr, &Request::get(&target("unknown")))
            .assert(400, crate::support::refusals::UNKNOWN_SID);
        assert_eq!(*reported.lock().expect("no panic"), ["Session ID unknown"]);
        // Responses to sessions carry its headers, and pipelined requests stay in order.
        let mut conn = Connection::open(addr);
        let post = Request::post(&target(&sid), "4user").bytes();
        let get = Request::get(&target(&sid)).bytes();
        conn.write([&*post, &*post, &*get].concat());
        for _ in 0..2 {
            let response = conn.response();
            response.assert(200, "ok");
            assert_eq!(response.header("Set-Cookie"), Some("visitor=new"));
        }
        conn.response().assert(200, "4ada\x1e4ada");
    });
}

#[test]
fn sid_may_be_generated_by_a_function_that_awaits() {
    for_each_config(|config| {
        let running = serve(config.connect_timeout(Duration::from_millis(100)), |server| {
            server.generate_id_async(async |request: &ConnectRequest<'_>| {
                sleep(Duration::from_millis(1)).await;
                match request.query("name").as_deref() {
                    Some("panic") => panic!("expected: this test panics"),
                    Some("forever") => std::future::pending().await,
                    Some(name) => Sid::new(name),
                    None => Err(InvalidSid),
                }
            })
        });
        let addr = running.local_addr();
        let mut session = Polling::open_with(addr, "&name=user-1");
        assert_eq!(session.sid, "user-1");
        session.post_ok("4agent");
        assert_eq!(session.poll(), "4not kept");
        for query in ["&name=user-1", "&name=a%20b", "", "&name=panic", "&name=forever"] {
            let request = Request::get(&format!("{POLLING}{query}"));
            ask(addr, &request).assert(400, crate::support::refusals::BAD_REQUEST);
        }
        assert_eq!(running.remote().sessions(), 1);
    });
}

#[test]
fn kept_request_lasts_as_long_as_the_session() {
    let config = default_config().keep_request(true);
    let running = serve(config, |server| server.middleware_async(look_up));
    let addr = running.local_addr();
    let query = "&do=a%3Ab&do=last+one&bare";
    let request = Request::upgrade(&format!("{WEBSOCKET}{query}"));
    let request = request.header("User-Agent", "a test").header("Cookie", "ada");
    let mut conn = Connection::open(addr);
    assert_eq!(conn.request(&request).status, 101);
    let mut socket = WebSocket { conn };
    socket.text();
    for (question, answer) in [
        ("do", "last one"),
        ("bare", ""),
        ("none", "absent"),
        ("agent", "a test"),
        ("attached", r#"Some(User("ada"))"#),
        ("method", "GET /engine.io/"),
    ] {
        socket.send(&format!("4{question}"));
        assert_eq!(socket.text(), format!("4{answer}"));
    }
}
