//! Refusals and ends that depend on an option or hook of the server, and a check that every cause has a case.

use std::any::Any;
use std::borrow::Cow;
use std::time::Duration;

use eio_monoio::{
    Config, Handler, Message, ProxyProtocol, Refusal, RequestInfo, Running, Server, Socket,
};
use http::Response;

use crate::causes::{Choosy, ENDS, REFUSALS};
use crate::log;
use crate::support::configs::{brief_shutdown, default_config};
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::request::{POLLING, Request, WEBSOCKET, target, upgrade_target};
use crate::support::test_server::TestServer;
use crate::support::wait::eventually;

/// Starts a server and does what has a cause. It returns the server and the connections that the effect needs.
type Act = fn() -> Box<dyn Any>;

const BRIEF: Duration = Duration::from_millis(200);

fn start(config: Config) -> TestServer {
    TestServer::run(config, |_| Choosy)
}

/// Starts a server with hooks.
fn bind<H: Handler, F: Fn() -> H + Send + Sync + 'static>(server: Server<F>) -> Running {
    let config = brief_shutdown(default_config()).connect_timeout(BRIEF);
    server.config(config).bind("127.0.0.1:0").expect("the server starts")
}

/// A request on a connection of its own.
fn ask(running: Running, request: &Request) -> Box<dyn Any> {
    let mut conn = Connection::open(running.local_addr());
    conn.send(request);
    Box::new((running, conn))
}

/// A handler whose requests for other paths are never answered.
struct Silent;

impl Handler for Silent {
    type Session = ();

    fn message<'s>(&'s self, _: &Socket<()>, _: Message<'_>) -> impl Future<Output = ()> + use<'s> {
        async {}
    }

    async fn request(&self, _: http::Request<Vec<u8>>) -> Response<Cow<'static, [u8]>> {
        std::future::pending().await
    }
}

/// A polling session for which `bytes` are queued, in two messages.
fn polling_with_queue(config: Config, bytes: usize) -> (TestServer, Polling) {
    let server = start(config);
    let polling = Polling::open(server.addr());
    for _ in 0..2 {
        server.remote().broadcast("x".repeat(bytes).as_str()).expect("the mailbox has room");
    }
    (server, polling)
}

const CASES: [(Act, &[&str]); 20] = [
    (
        || {
            let server = start(default_config().max_handshakes_per_second(1));
            let mut conns = [(); 3].map(|()| Connection::open(server.addr()));
            conns.iter_mut().for_each(|conn| conn.send(&Request::get(POLLING)));
            Box::new((server, conns))
        },
        &["WARN", "Config::max_handshakes_per_second"],
    ),
    (
        || {
            let server = start(default_config().max_connections(1));
            let conns = [(); 2].map(|()| Connection::open(server.addr()));
            Box::new((server, conns))
        },
        &["WARN", "Config::max_connections connections are open"],
    ),
    (
        || {
            let server = start(default_config().allow_upgrades(false));
            let polling = Polling::open(server.addr());
            let mut conn = Connection::open(server.addr());
            conn.send(&Request::upgrade(&upgrade_target(&polling.sid)));
            Box::new((server, polling, conn))
        },
        &["Config::allow_upgrades"],
    ),
    (
        || {
            let server = Server::new(|| Choosy).middleware(|_| Err(Refusal::unauthorized()));
            ask(bind(server), &Request::get(POLLING))
        },
        &["by Server::middleware", "refused with status 401"],
    ),
    (
        || {
            let refuse = async |_: &RequestInfo<'_>| Err(Refusal::unauthorized());
            ask(bind(Server::new(|| Choosy).middleware_async(refuse)), &Request::get(POLLING))
        },
        &["by Server::middleware", "refused with status 401"],
    ),
    (
        || {
            let wait = async |_: &RequestInfo<'_>| std::future::pending().await;
            ask(bind(Server::new(|| Choosy).middleware_async(wait)), &Request::get(POLLING))
        },
        &["WARN", "the middlewares did not end within Config::connect_timeout"],
    ),
    (
        // Refused after the middleware, which could have refused it for another reason.
        || {
            let server =
                Server::new(|| Choosy).middleware_async(async |_: &RequestInfo<'_>| Ok(()));
            let request = Request::upgrade(WEBSOCKET).header("Content-Length", "1").body("x");
            ask(bind(server), &request)
        },
        &["a WebSocket handshake with a body", "GET /engine.io/ EIO=4 transport=websocket"],
    ),
    (
        || {
            let server = Server::new(|| Choosy).plain_websockets(|_, _| {});
            let request = Request::upgrade("/chat").header("Content-Length", "1").body("x");
            ask(bind(server), &request)
        },
        &["a WebSocket handshake with a body", "GET /chat"],
    ),
    (
        || ask(bind(Server::new(|| Silent)), &Request::get("/other")),
        &["WARN", "Handler::request did not end within Config::connect_timeout"],
    ),
    (
        || {
            let server = Server::new(|| Choosy).generate_id(|_| "not legal".parse());
            ask(bind(server), &Request::get(POLLING))
        },
        &["Server::generate_id returned no legal and unused sid"],
    ),
    (
        || {
            let server = start(default_config());
            let mut polling = Polling::open(server.addr());
            let head = format!(
                "POST {} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
                target(&polling.sid)
            );
            polling.post.write(head);
            Box::new((server, polling))
        },
        &["the framing of a body is malformed", " session "],
    ),
    (
        || {
            let config = default_config().shutdown_grace(Duration::from_secs(5));
            let running =
                Server::new(|| Choosy).config(config).bind("127.0.0.1:0").expect("starts");
            // A polling client that the shutdown waits for.
            let polling = Polling::open(running.local_addr());
            running.shutdown();
            // Each worker learns of it by a message.
            eventually("a refusal", || {
                let mut conn = Connection::open(running.local_addr());
                conn.request(&Request::get(POLLING)).status == 503
            });
            Box::new(polling)
        },
        &["session refused: the server is shutting down"],
    ),
    (
        || {
            let server = start(default_config().max_connections_per_address(1));
            let conns = [(); 2].map(|()| Connection::open(server.addr()));
            Box::new((server, conns))
        },
        &["WARN", "Config::max_connections_per_address connections of this address are open"],
    ),
    (
        || {
            let server = start(default_config().max_handshakes_per_address(1));
            let mut conns = [(); 3].map(|()| Connection::open(server.addr()));
            conns.iter_mut().for_each(|conn| conn.send(&Request::get(POLLING)));
            Box::new((server, conns))
        },
        &["WARN", "more handshakes of this address than Config::max_handshakes_per_address"],
    ),
    (
        || {
            let server = start(default_config().refused_networks(["127.0.0.0/8"]));
            Box::new((Connection::open(server.addr()), server))
        },
        &["its address is in one of Config::refused_networks", "client=127.0.0.1:"],
    ),
    (
        || {
            let server = start(default_config().memory_budget(4 << 20));
            let head = "POST /other HTTP/1.1\r\nHost: a\r\nContent-Length: 999000\r\n\r\n";
            let begin = |_| {
                let mut conn = Connection::open(server.addr());
                // Some are refused before the end.
                _ = conn.try_write([head.as_bytes(), &[b'x'; 500_000]].concat());
                conn
            };
            let conns: Vec<_> = (0..20).map(begin).collect();
            Box::new((server, conns))
        },
        &["WARN", "message refused: Config::memory_budget bytes are held for clients"],
    ),
    (
        || {
            let config = default_config().proxy_protocol(ProxyProtocol::Required);
            let server = start(config.trusted_proxies(["10.0.0.1"]));
            Box::new((Connection::open(server.addr()), server))
        },
        &["WARN", "requires that it comes from one of Config::trusted_proxies"],
    ),
    (
        || {
            let config = default_config().proxy_protocol(ProxyProtocol::Required);
            let server = start(config.trusted_proxies(["127.0.0.1"]));
            let mut conn = Connection::open(server.addr());
            conn.send(&Request::get(POLLING));
            Box::new((server, conn))
        },
        &["WARN", "no header of the PROXY protocol, which Config::proxy_protocol requires"],
    ),
    (
        || Box::new(polling_with_queue(default_config().outbound_high_water(50), 100)),
        &["message dropped: Config::outbound_high_water bytes wait for the client", " session "],
    ),
    (
        || {
            // More than the kernel buffers.
            let config = default_config().outbound_high_water(32 << 20).write_timeout(BRIEF);
            let (server, mut polling) = polling_with_queue(config, 12 << 20);
            polling.start_poll();
            Box::new((server, polling))
        },
        &["the client did not receive a response within Config::write_timeout", " session "],
    ),
];

#[cfg(feature = "tls")]
const TLS_FAILED: &[&str] = &["the TLS handshake failed (", "InvalidContentType"];
#[cfg(not(feature = "tls"))]
const TLS_FAILED: &[&str] = &["the TLS handshake failed"];

#[test]
fn refusals_by_options_and_hooks_name_their_cause() {
    let _turn = log::record();
    for (act, words) in CASES {
        let before = log::text().len();
        let held = act();
        log::expect_after(before, words);
        drop(held);
    }
}

/// A client without TLS on a port with TLS.
#[cfg(feature = "tls")]
#[test]
fn a_failed_tls_handshake_names_its_cause() {
    let _turn = log::record();
    let identity = crate::support::tls::Identity::new();
    let running = bind(Server::new(|| Choosy).tls(identity.tls()));
    let before = log::text().len();
    let held = ask(running, &Request::get(POLLING));
    log::expect_after(before, TLS_FAILED);
    drop(held);
}

/// A new cause needs a case: the words of each are those of a row in one of the tables.
#[test]
fn every_cause_has_a_case() {
    let source = include_str!("../../src/server/cause.rs");
    let (_, table) = source.split_once("\ncauses! {\n").expect("the table of causes");
    let (table, _) = table.split_once("\n}\n").expect("its end");
    // The rest of a literal that continues on the next line.
    let table = table.replace("\\\n        ", "");
    let rows = REFUSALS.iter().map(|(_, words)| *words);
    let rows = rows.chain(ENDS.iter().map(|(_, words)| *words));
    let rows: Vec<_> = rows.chain(CASES.map(|(_, words)| words)).chain([TLS_FAILED]).collect();
    // Neither a level nor the mark of a session.
    let phrases = || {
        rows.iter()
            .flat_map(|words| words.iter())
            .filter(|word| word.len() > 4 && !word.starts_with(' '))
    };
    // Those of the cluster have cases in its own tests.
    let mut lines = table.lines();
    let mut causes = Vec::new();
    while let Some(line) = lines.next() {
        match line.trim_start().starts_with("#[cfg(") {
            true => _ = lines.next(),
            false => causes.push(line),
        }
    }
    assert!(causes.len() > 40, "{table}");
    for cause in causes {
        assert!(
            phrases().any(|phrase| cause.contains(phrase.trim_end_matches([' ', '(']))),
            "{cause}"
        );
    }
}
