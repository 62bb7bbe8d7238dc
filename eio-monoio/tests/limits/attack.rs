//! What a server on the open internet has to stand: each attack on every kernel interface, with one worker and
//! with three, and a good client served at once behind it. Slow heads and bodies, unread responses and limits are
//! in `limits.rs`, smuggling in `framing.rs`, paths in `files.rs`, leaks in `churn.rs`.

use std::time::Duration;

use crate::support::app::Host;
use crate::support::matrix::everywhere;
use crate::support::wire::{
    BINARY, CLOSE, PING, POLLING, PONG, Polling, Request, TEXT, UNKNOWN_SID, WEBSOCKET, WebSocket,
    Wire, frame, opening, reset, sid_of, target,
};
use eio_monoio::CloseReason;

/// A good client, old or new, is served at once.
#[track_caller]
fn assert_serves(host: &Host, bystander: &mut Polling) {
    bystander.assert_alive();
    WebSocket::open(host.addr()).0.assert_alive();
}

/// Frames no client may send, with the section that says so and the code that is the answer.
fn forbidden_frames() -> Vec<(String, Vec<u8>, u16)> {
    let mut all = Vec::new();
    let mut add = |what: String, bytes: Vec<u8>, code: u16| all.push((what, bytes, code));
    for reserved in 1..8_u8 {
        let first = TEXT | (reserved << 4);
        add(format!("5.2: reserved bits {reserved:03b}"), frame(first, b"4a"), 1002);
    }
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        add(format!("5.2: opcode {opcode:#x}"), frame(0x80 | opcode, b""), 1002);
    }
    for (first, name) in [(TEXT, "text"), (BINARY, "binary"), (PING, "ping"), (CLOSE, "close")] {
        add(format!("5.1: an unmasked {name}"), vec![first, 0], 1002);
    }
    for (first, name) in [(CLOSE, "close"), (PING, "ping"), (PONG, "pong")] {
        add(format!("5.5: a fragmented {name}"), frame(first & 0x7f, b""), 1002);
        add(format!("5.5: a {name} of 126 bytes"), frame(first, &[0; 126]), 1002);
    }
    for (what, length, code) in [
        ("5.2: 125 in two bytes", &[0xfe, 0, 125][..], 1002),
        ("5.2: 65535 in eight bytes", &[0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], 1002),
        ("5.2: the top bit of a length", &[0xff, 0x80, 0, 0, 0, 0, 0, 0, 1], 1002),
        ("10.4: more than anyone has", &[0xff, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0], 1009),
    ] {
        // With a mask, so that the head is whole.
        add(what.into(), [&[BINARY], length, &[0; 4]].concat(), code);
    }
    add("5.4: a continuation of nothing".into(), frame(0x80, b"4a"), 1002);
    let twice = [frame(0x01, b"4"), frame(0x02, b"a")].concat();
    add("5.4: a message inside a message".into(), twice, 1002);
    let late = [frame(0x01, b"4\xe2"), frame(0x80, b"\x28\xa1")].concat();
    add("8.1: no UTF-8 over a cut".into(), late, 1007);
    add("8.1: no UTF-8 without a type".into(), frame(TEXT, b"\xfe\xff"), 1007);
    add("5.5.1: half a code".into(), frame(CLOSE, b"\x03"), 1002);
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        add(format!("7.4: code {code}"), frame(CLOSE, &code.to_be_bytes()), 1002);
    }
    add("5.5.1: a reason that is no UTF-8".into(), frame(CLOSE, b"\x03\xe8\xc3\x28"), 1007);
    all
}

#[test]
fn no_forbidden_frame_goes_unpunished_or_hurts_anyone_else() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut bystander = Polling::open(host.addr());
        for (what, bytes, code) in forbidden_frames() {
            let (mut socket, sid) = WebSocket::open(host.addr());
            // Behind a message, so that it comes where the connection is at work.
            socket.wire.write([frame(TEXT, b"4before"), bytes].concat());
            assert_eq!(socket.text(), "4before", "{what}");
            assert_eq!(socket.expect_close(), Some(code), "{what}");
            drop(socket);
            let reason = host.log.close_reason(&sid);
            let expected = match code {
                1009 => CloseReason::PayloadTooLarge,
                _ => CloseReason::ParseError,
            };
            assert_eq!(reason, expected, "{what}");
        }
        assert_serves(&host, &mut bystander);
        host.settles_at(1, 2);
    });
}

#[test]
fn no_broken_opening_is_ever_granted() {
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    everywhere(|config| {
        let host = Host::start(config);
        let mut bystander = Polling::open(host.addr());
        let ask = |lines: &[(&str, &str)]| {
            lines
                .iter()
                .fold(Request::get(WEBSOCKET), |request, (name, value)| request.header(name, value))
        };
        let upgrade = ("Upgrade", "websocket");
        let connection = ("Connection", "Upgrade");
        let version = ("Sec-WebSocket-Version", "13");
        let key = ("Sec-WebSocket-Key", KEY);
        for (what, lines) in [
            ("no Upgrade", &[connection, version, key][..]),
            ("another protocol", &[("Upgrade", "h2c"), connection, version, key]),
            ("no Connection", &[upgrade, version, key]),
            ("Connection without Upgrade", &[upgrade, ("Connection", "close"), version, key]),
            ("no version", &[upgrade, connection, key]),
            ("version 8", &[upgrade, connection, ("Sec-WebSocket-Version", "8"), key]),
            ("no key", &[upgrade, connection, version]),
            ("two keys", &[upgrade, connection, version, key, key]),
            (
                "15 bytes",
                &[upgrade, connection, version, ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j")],
            ),
            (
                "a key that is no base64",
                &[upgrade, connection, version, ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j!Q==")],
            ),
        ] {
            let mut wire = Wire::connect(host.addr());
            let response = wire.request(&ask(lines));
            assert!((400..500).contains(&response.status), "{what}: {response:?}");
            // What would be frames was never looked at.
            _ = wire.try_write(frame(TEXT, b"4a"));
        }
        assert_serves(&host, &mut bystander);
        host.settles_at(1, 2);
    });
}

/// Whole conversations of every kind, for a session over polling.
fn conversations(sid: &str) -> Vec<Vec<u8>> {
    let frames = [frame(TEXT, b"4hello"), frame(PING, b"x"), frame(CLOSE, b"\x03\xe8")].concat();
    let probe = [frame(TEXT, b"2probe"), frame(TEXT, b"5")].concat();
    vec![
        [opening(WEBSOCKET).bytes(), frames].concat(),
        [opening(&format!("{WEBSOCKET}&sid={sid}")).bytes(), probe].concat(),
        Request::post(&target(sid), "4hello").bytes(),
        Request::chunked(&target(sid), [b"4he".as_slice(), b"llo"]).bytes(),
        [Request::get(POLLING).bytes(), Request::get(&target(sid)).bytes()].concat(),
    ]
}

#[test]
fn resets_at_any_byte_leave_nothing() {
    everywhere(|config| {
        let beat = Duration::from_secs(1);
        let host = Host::start(config.ping_interval(beat).ping_timeout(beat));
        for kind in 0..5 {
            let mut n = 0;
            loop {
                let mut first = Wire::connect(host.addr());
                let sid = sid_of(first.request(&Request::get(POLLING)).text());
                let whole = conversations(&sid).swap_remove(kind);
                let mut wire = Wire::connect(host.addr());
                reset(&wire);
                wire.write(&whole[..n.min(whole.len())]);
                drop(wire);
                if n >= whole.len() {
                    break;
                }
                // Every fifth byte, and another one in every kind: whole runs would take minutes.
                n += 5;
            }
            WebSocket::open(host.addr()).0.assert_alive();
        }
        host.empties();
        Polling::open(host.addr()).assert_alive();
    });
}

#[test]
fn clients_that_fall_half_silent_are_not_kept() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut bystander = Polling::open(host.addr());
        // They will never send again, and it can be known.
        let (mut socket, sid) = WebSocket::open(host.addr());
        socket.wire.finish();
        assert_eq!(host.log.close_reason(&sid), CloseReason::TransportClose);
        socket.wire.expect_gone();
        let mut polling = Polling::open(host.addr());
        let rest = polling.begin_push("4never whole");
        assert!(!rest.is_empty());
        polling.post.finish();
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::TransportError);
        polling.post.expect_gone();
        let mut half = Wire::connect(host.addr());
        half.write("GET /engine.io/?EIO=4");
        half.finish();
        half.expect_gone();
        drop(polling);
        assert_serves(&host, &mut bystander);
        host.settles_at(1, 2);
    });
}

#[test]
fn ten_thousand_polling_clients_that_vanish_leave_nothing() {
    everywhere(|config| {
        let beat = Duration::from_secs(2);
        let host = Host::start(config.ping_interval(beat).ping_timeout(beat));
        let whole = Request::get(POLLING).bytes().repeat(100);
        let mut wire = Wire::connect(host.addr());
        for _ in 0..100 {
            wire.write(&whole);
            for _ in 0..100 {
                assert_eq!(wire.response().status, 200);
            }
        }
        WebSocket::open(host.addr()).0.assert_alive();
        drop(wire);
        host.empties();
        Polling::open(host.addr()).assert_alive();
    });
}

#[test]
fn a_flood_of_upgrades_costs_a_session_nothing() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut bystander = Polling::open(host.addr());
        let mut polling = Polling::open(host.addr());
        let mut first = WebSocket::attach(host.addr(), &polling.sid);
        // All at once; each is told that it is one too many.
        let upgrade = opening(&format!("{WEBSOCKET}&sid={}", polling.sid));
        let mut flood: Vec<_> = (0..100)
            .map(|_| {
                let mut wire = Wire::connect(host.addr());
                wire.send(&upgrade);
                wire
            })
            .collect();
        polling.assert_alive();
        for mut wire in flood.drain(..) {
            assert_eq!(wire.response().status, 101);
            WebSocket { wire }.expect_close();
        }
        // The first of them is none the worse for it.
        first.send("2probe");
        assert_eq!(first.text(), "3probe");
        first.send("5");
        first.assert_alive();
        drop(polling);
        assert_serves(&host, &mut bystander);
    });
}

#[test]
fn a_forged_sid_is_never_a_session_wherever_it_says_it_lives() {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        let mut others: Vec<_> = (0..8).map(|_| Polling::open(host.addr())).collect();
        let mut tried = 0;
        // Every single bit: another core, another slot, another secret.
        for at in 0..polling.sid.len() {
            for bit in 0..6 {
                let mut forged = polling.sid.clone().into_bytes();
                let digit =
                    ALPHABET.iter().position(|digit| *digit == forged[at]).expect("a digit");
                forged[at] = ALPHABET[digit ^ (1 << bit)];
                let forged = String::from_utf8(forged).expect("ASCII");
                let request = match tried % 3 {
                    0 => Request::get(&target(&forged)),
                    1 => Request::post(&target(&forged), "1"),
                    _ => opening(&format!("{WEBSOCKET}&sid={forged}")),
                };
                // A refused POST has a body that nobody reads, and ends its connection.
                Wire::connect(host.addr()).request(&request).assert(400, UNKNOWN_SID);
                tried += 1;
            }
        }
        // The place of one with the secret of another.
        for other in &others {
            let forged = format!("{}{}", &polling.sid[..8], &other.sid[8..]);
            let request = Request::post(&target(&forged), "1");
            Wire::connect(host.addr()).request(&request).assert(400, UNKNOWN_SID);
        }
        polling.assert_alive();
        others.iter_mut().for_each(Polling::assert_alive);
    });
}

#[test]
fn a_compressed_body_is_never_inflated() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut bystander = Polling::open(host.addr());
        // A gzip member of 4 and then 100,000 times x, made once; what it says must never be heard.
        let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut bomb, format!("4{}", "x".repeat(100_000)).as_bytes())
            .expect("memory");
        let bomb = bomb.finish().expect("memory");
        for coding in ["gzip", "deflate", "br", "identity, gzip"] {
            let mut polling = Polling::open(host.addr());
            let request = Request::post(&target(&polling.sid), &bomb);
            let response = polling.post.request(&request.header("Content-Encoding", coding));
            assert!((400..500).contains(&response.status), "{coding}: {response:?}");
            assert_eq!(host.log.messages(&polling.sid), [], "{coding}");
        }
        assert_serves(&host, &mut bystander);
    });
}
