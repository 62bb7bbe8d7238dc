//! Protocol 2.1: how a session begins.

use std::collections::HashSet;
use std::time::Duration;

use crate::support::app::{Entry, Host};
use crate::support::matrix::{everywhere, somewhere};
use crate::support::wire::{POLLING, Polling, Request, Response, WebSocket, Wire, sid_of, target};
use eio_monoio::{ConnectRequest, Handler, Message, Refusal, Socket, Transport};

fn handshake(host: &Host, query: &str) -> Response {
    Wire::connect(host.addr()).request(&Request::get(&format!("/engine.io/?{query}")))
}

/// 2.1.1: exactly these five keys, in this order as the reference writes them.
fn open_packet(sid: &str, upgrades: &str) -> String {
    format!(
        "0{{\"sid\":\"{sid}\",\"upgrades\":[{upgrades}],\"pingInterval\":25000,\
         \"pingTimeout\":20000,\"maxPayload\":1000000}}"
    )
}

#[test]
fn the_open_packet_never_lacks_a_key_nor_has_another() {
    everywhere(|config| {
        let host = Host::start(config);
        let response = handshake(&host, "EIO=4&transport=polling");
        let sid = sid_of(response.text());
        response.assert(200, &open_packet(&sid, "\"websocket\""));
        assert_eq!(response.header("Content-Type"), Some("text/plain; charset=UTF-8"));
        assert_eq!(response.header("Cache-Control"), Some("no-store"));
        assert_eq!(response.header("Set-Cookie"), None, "2.1.4: only if configured");

        let mut socket = WebSocket::connect(host.addr(), "/engine.io/?EIO=4&transport=websocket");
        let open = socket.text();
        assert_eq!(open, open_packet(&sid_of(&open), ""));
    });
}

#[test]
fn a_greeting_never_rides_in_the_handshake_response() {
    struct Greeter;

    impl Handler for Greeter {
        type Session = ();

        async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
            Ok(())
        }

        async fn open(&self, socket: &Socket<()>) {
            socket.try_send("welcome").expect("room");
        }

        fn message<'s>(
            &'s self,
            _: &Socket<()>,
            _: Message<'_>,
        ) -> impl Future<Output = ()> + use<'s> {
            async {}
        }
    }

    everywhere(|config| {
        let host = Host::run(config, |_| Greeter);
        // `open` fails unless the response is the open packet alone: see `open_packet`.
        let response = handshake(&host, "EIO=4&transport=polling");
        let sid = sid_of(response.text());
        response.assert(200, &open_packet(&sid, "\"websocket\""));
        Wire::connect(host.addr()).request(&Request::get(&target(&sid))).assert(200, "4welcome");

        let (mut socket, _) = WebSocket::open(host.addr());
        assert_eq!(socket.text(), "4welcome");
    });
}

#[test]
fn what_is_not_reachable_is_never_announced() {
    let host = Host::start(somewhere().allow_upgrades(false));
    let response = handshake(&host, "EIO=4&transport=polling");
    assert_eq!(response.text(), open_packet(&sid_of(response.text()), ""));
    // Not announced and not possible either: "neither refuses an upgrade that was not advertised".
    let request = format!("/engine.io/?EIO=4&transport=websocket&sid={}", sid_of(response.text()));
    let refused = Wire::connect(host.addr()).request(&crate::support::wire::opening(&request));
    refused.assert(400, r#"{"code":3,"message":"Bad request"}"#);

    let host = Host::start(somewhere().transports([Transport::Polling]));
    let response = handshake(&host, "EIO=4&transport=polling");
    assert_eq!(response.text(), open_packet(&sid_of(response.text()), ""));
    let request = "/engine.io/?EIO=4&transport=websocket";
    let refused = Wire::connect(host.addr()).request(&crate::support::wire::opening(request));
    refused.assert(400, r#"{"code":0,"message":"Transport unknown"}"#);

    let host = Host::start(somewhere().transports([Transport::WebSocket]));
    let response = handshake(&host, "EIO=4&transport=polling");
    response.assert(400, r#"{"code":0,"message":"Transport unknown"}"#);
    WebSocket::open(host.addr()).0.assert_alive();
}

#[test]
fn configured_figures_are_never_rounded() {
    let config = somewhere().ping_interval(Duration::from_millis(301)).max_payload(12_345);
    let host = Host::start(config.ping_timeout(Duration::from_millis(201)));
    let response = handshake(&host, "EIO=4&transport=polling");
    let figures = r#""pingInterval":301,"pingTimeout":201,"maxPayload":12345}"#;
    assert!(response.text().ends_with(figures), "{response:?}");
}

#[test]
fn the_form_of_the_query_never_matters() {
    let host = Host::start(somewhere());
    for query in [
        "EIO=4&transport=polling&t=P1abc&b64=1&token=x%20y",
        "t=P1abc&transport=polling&EIO=4",
        // Percent-encoded values, the last of two equal keys, an empty sid, empty pairs.
        "EIO=%34&transport=%70olling",
        "EIO=3&EIO=4&transport=websocket&transport=polling",
        "EIO=4&transport=polling&sid=",
        "EIO=4&transport=polling&sid",
        "&&EIO=4&=&transport=polling&&",
        "EIO=4&transport=polling&sid=nobody&sid=",
    ] {
        let response = handshake(&host, query);
        assert_eq!(response.status, 200, "{query}: {response:?}");
        sid_of(response.text());
    }
    // Without the slash, and as a proxy writes it.
    for target in
        ["/engine.io?EIO=4&transport=polling", "http://a/engine.io/?EIO=4&transport=polling"]
    {
        let response = Wire::connect(host.addr()).request(&Request::get(target));
        assert_eq!(response.status, 200, "{target}: {response:?}");
    }
}

#[test]
fn no_two_sessions_share_a_sid() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut wire = Wire::connect(host.addr());
        let sids: HashSet<_> =
            (0..200).map(|_| sid_of(wire.request(&Request::get(POLLING)).text())).collect();
        assert_eq!(sids.len(), 200);
        for sid in &sids {
            assert!(sid.len() >= 20, "2.1: 96 random bits or more do not fit into {sid}");
            assert!(sid.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{sid}");
        }
        host.settles_at(200, 1);
    });
}

#[test]
fn a_sid_that_differs_in_one_character_is_never_the_session() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        for at in 0..polling.sid.len() {
            let mut other = polling.sid.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).expect("ASCII");
            let response = polling.post.request(&Request::get(&target(&other)));
            response.assert(400, crate::support::wire::UNKNOWN_SID);
        }
        polling.assert_alive();
    });
}

#[test]
fn the_application_never_hears_of_a_session_twice_nor_of_a_refused_one() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut wire = Wire::connect(host.addr());
        let refused = wire.request(&Request::get(&format!("{POLLING}&refuse=forbidden")));
        refused.assert(403, r#"{"code":4,"message":"Forbidden"}"#);
        let mut polling = Polling::open(host.addr());
        polling.assert_alive();
        assert_eq!(host.log.of(&polling.sid)[0], Entry::Opened);
        let opened = host.log.all().into_iter().filter(|(_, entry)| *entry == Entry::Opened);
        assert_eq!(opened.count(), 1);
        host.settles_at(1, 3);
    });
}
