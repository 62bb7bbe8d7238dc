//! The handshake (`docs/protocol.md` 2.1).

use std::collections::HashSet;
use std::time::Duration;

use eio_monoio::{ConnectRequest, Handler, Message, Refusal, Socket, Transport};

use crate::support::configs::{default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::log::Entry;
use crate::support::polling::{Polling, sid_of};
use crate::support::refusals::{BAD_REQUEST, FORBIDDEN, UNKNOWN_TRANSPORT};
use crate::support::request::{POLLING, Request, target};
use crate::support::response::Response;
use crate::support::test_server::TestServer;
use crate::support::websocket::WebSocket;

fn handshake(server: &TestServer, query: &str) -> Response {
    Connection::open(server.addr()).request(&Request::get(&format!("/engine.io/?{query}")))
}

/// `docs/protocol.md` 2.1.1: exactly these five keys, in the order of the reference implementation.
fn open_packet(sid: &str, upgrades: &str) -> String {
    format!(
        "0{{\"sid\":\"{sid}\",\"upgrades\":[{upgrades}],\"pingInterval\":25000,\
         \"pingTimeout\":20000,\"maxPayload\":1000000}}"
    )
}

#[test]
fn open_packet_has_exactly_five_keys() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let response = handshake(&server, "EIO=4&transport=polling");
        let sid = sid_of(response.text());
        response.assert(200, &open_packet(&sid, "\"websocket\""));
        assert_eq!(response.header("Content-Type"), Some("text/plain; charset=UTF-8"));
        assert_eq!(response.header("Cache-Control"), Some("no-store"));
        assert_eq!(
            response.header("Set-Cookie"),
            None,
            "only if configured (docs/protocol.md 2.1.4)"
        );

        let mut socket = WebSocket::connect(server.addr(), "/engine.io/?EIO=4&transport=websocket");
        let open = socket.text();
        assert_eq!(open, open_packet(&sid_of(&open), ""));
    });
}

#[test]
fn messages_sent_on_open_follow_the_handshake_response() {
    struct SendsOnOpen;

    impl Handler for SendsOnOpen {
        type Session = ();

        async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
            Ok(())
        }

        async fn open(&self, socket: &Socket<()>) {
            socket.try_send("welcome").expect("the queue has room");
        }

        fn message<'s>(
            &'s self,
            _: &Socket<()>,
            _: Message<'_>,
        ) -> impl Future<Output = ()> + use<'s> {
            async {}
        }
    }

    for_each_config(|config| {
        let server = TestServer::run(config, |_| SendsOnOpen);
        // The response holds nothing but the open packet.
        let response = handshake(&server, "EIO=4&transport=polling");
        let sid = sid_of(response.text());
        response.assert(200, &open_packet(&sid, "\"websocket\""));
        Connection::open(server.addr())
            .request(&Request::get(&target(&sid)))
            .assert(200, "4welcome");

        let (mut socket, _) = WebSocket::open(server.addr());
        assert_eq!(socket.text(), "4welcome");
    });
}

#[test]
fn disabled_transports_are_neither_announced_nor_served() {
    let server = TestServer::start(default_config().allow_upgrades(false));
    let response = handshake(&server, "EIO=4&transport=polling");
    assert_eq!(response.text(), open_packet(&sid_of(response.text()), ""));
    // An upgrade that is not announced is refused, which the reference implementations do not do.
    let request = format!("/engine.io/?EIO=4&transport=websocket&sid={}", sid_of(response.text()));
    let refused = Connection::open(server.addr()).request(&Request::upgrade(&request));
    refused.assert(400, BAD_REQUEST);

    let server = TestServer::start(default_config().transports([Transport::Polling]));
    let response = handshake(&server, "EIO=4&transport=polling");
    assert_eq!(response.text(), open_packet(&sid_of(response.text()), ""));
    let request = "/engine.io/?EIO=4&transport=websocket";
    let refused = Connection::open(server.addr()).request(&Request::upgrade(request));
    refused.assert(400, UNKNOWN_TRANSPORT);

    let server = TestServer::start(default_config().transports([Transport::WebSocket]));
    let response = handshake(&server, "EIO=4&transport=polling");
    response.assert(400, UNKNOWN_TRANSPORT);
    WebSocket::open(server.addr()).0.assert_alive();
}

#[test]
fn configured_times_and_limits_are_announced_exactly() {
    let config = default_config().ping_interval(Duration::from_millis(301)).max_payload(12_345);
    let server = TestServer::start(config.ping_timeout(Duration::from_millis(201)));
    let response = handshake(&server, "EIO=4&transport=polling");
    let announced = r#""pingInterval":301,"pingTimeout":201,"maxPayload":12345}"#;
    assert!(response.text().ends_with(announced), "{response:?}");
}

#[test]
fn query_is_accepted_in_every_form() {
    let server = TestServer::start(default_config());
    for query in [
        "EIO=4&transport=polling&t=P1abc&b64=1&token=x%20y",
        "t=P1abc&transport=polling&EIO=4",
        // Percent-encoded values, the last of two equal keys, an empty sid, empty pairs.
        "EIO=%34&transport=%70olling",
        "EIO=3&EIO=4&transport=websocket&transport=polling",
        "EIO=4&transport=polling&sid=",
        "EIO=4&transport=polling&sid",
        "&&EIO=4&=&transport=polling&&",
        "EIO=4&transport=polling&sid=unknown&sid=",
    ] {
        let response = handshake(&server, query);
        assert_eq!(response.status, 200, "{query}: {response:?}");
        sid_of(response.text());
    }
    // Without the slash, and in the absolute form of a proxy.
    for target in
        ["/engine.io?EIO=4&transport=polling", "http://a/engine.io/?EIO=4&transport=polling"]
    {
        let response = Connection::open(server.addr()).request(&Request::get(target));
        assert_eq!(response.status, 200, "{target}: {response:?}");
    }
}

#[test]
fn sids_are_unique() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut conn = Connection::open(server.addr());
        let sids: HashSet<_> =
            (0..200).map(|_| sid_of(conn.request(&Request::get(POLLING)).text())).collect();
        assert_eq!(sids.len(), 200);
        for sid in &sids {
            assert!(
                sid.len() >= 20,
                "{sid} is too short for 96 random bits (docs/protocol.md 2.1)"
            );
            assert!(sid.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{sid}");
        }
        server.wait_for_counts(200, 1);
    });
}

#[test]
fn sid_with_one_different_character_is_unknown() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        for at in 0..polling.sid.len() {
            let mut other = polling.sid.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).expect("ASCII");
            let response = polling.post.request(&Request::get(&target(&other)));
            response.assert(400, crate::support::refusals::UNKNOWN_SID);
        }
        polling.assert_alive();
    });
}

#[test]
fn open_callback_runs_once_and_not_after_a_refusal() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut conn = Connection::open(server.addr());
        let refused = conn.request(&Request::get(&format!("{POLLING}&refuse=forbidden")));
        refused.assert(403, FORBIDDEN);
        let mut polling = Polling::open(server.addr());
        polling.assert_alive();
        assert_eq!(server.log.of(&polling.sid)[0], Entry::Opened);
        let opened = server.log.all().into_iter().filter(|(_, entry)| *entry == Entry::Opened);
        assert_eq!(opened.count(), 1);
        server.wait_for_counts(1, 3);
    });
}
