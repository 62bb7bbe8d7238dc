//! permessage-deflate on the wire, RFC 7692.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use eio_core::ws;
use eio_core::ws::handshake::{Mismatch, accept_key};
use eio_monoio::client::Fault;
use eio_monoio::{CloseReason, Config, Driver, OwnedMessage, PerMessageDeflate, Server, Transport};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use support::app::{App, Host, Log};
use support::client::{by, end, message, within};
use support::matrix::{everywhere, somewhere};
use support::wire::{
    BINARY, CLOSE, Frame, PING, PONG, Polling, Response, TEXT, WEBSOCKET, WebSocket, Wire, frame,
    opening, sid_of,
};

const RSV1: u8 = 0x40;

fn deflate() -> PerMessageDeflate {
    PerMessageDeflate::new()
}

/// A deflating end with zlib-like streams of its own, that may refer to what came before.
struct Peer {
    compress: Compress,
    decompress: Decompress,
}

impl Peer {
    fn new() -> Self {
        let compress = Compress::new(Compression::best(), false);
        Self { compress, decompress: Decompress::new(false) }
    }

    fn compress(&mut self, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(data.len() + 1000);
        self.compress.compress_vec(data, &mut out, FlushCompress::Sync).expect("room");
        assert_eq!(out.split_off(out.len() - 4), [0, 0, 0xff, 0xff]);
        out
    }

    fn inflate(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(2_000_000);
        for part in [payload, &[0, 0, 0xff, 0xff]] {
            self.decompress.decompress_vec(part, &mut out, FlushDecompress::Sync).expect("DEFLATE");
        }
        out
    }

    /// The message in a frame, which must be compressed.
    #[track_caller]
    fn read(&mut self, frame: &Frame, opcode: u8) -> Vec<u8> {
        assert_eq!(frame.first, opcode | RSV1, "{frame:?}");
        self.inflate(&frame.payload)
    }
}

fn ask(addr: SocketAddr, target: &str, offer: &str) -> (Wire, Response) {
    let mut wire = Wire::connect(addr);
    let response = wire.request(&opening(target).header("Sec-WebSocket-Extensions", offer));
    (wire, response)
}

/// A session over a WebSocket that is compressed.
#[track_caller]
fn open(host: &Host, offer: &str) -> (WebSocket, String) {
    let (wire, response) = ask(host.addr(), WEBSOCKET, offer);
    assert_eq!(response.status, 101);
    assert!(response.header("Sec-WebSocket-Extensions").is_some(), "{response:?}");
    let mut socket = WebSocket { wire };
    // The open packet is never compressed.
    let sid = sid_of(&socket.text());
    (socket, sid)
}

#[test]
fn an_offer_is_answered_by_what_the_server_wishes_for() {
    let alone = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let takeover = || deflate().server_no_context_takeover(false).client_no_context_takeover(false);
    for (wishes, offer, answer) in [
        (None, "permessage-deflate; client_max_window_bits", None),
        // Nobody looks at it.
        (None, "permessage-deflate;;;", None),
        (Some(deflate()), "permessage-deflate; client_max_window_bits", Some(alone)),
        (Some(deflate()), "x, permessage-deflate;bad, permessage-deflate", Some(alone)),
        (Some(deflate()), "x-webkit-deflate-frame", None),
        (Some(deflate()), "permessage-deflate; server_max_window_bits=7", None),
        (Some(takeover()), "permessage-deflate", Some("permessage-deflate")),
        (
            Some(takeover().server_max_window_bits(10).client_max_window_bits(11)),
            "permessage-deflate; client_max_window_bits; server_max_window_bits=\"12\"",
            Some("permessage-deflate; server_max_window_bits=10; client_max_window_bits=11"),
        ),
        (Some(takeover().client_max_window_bits(11)), "permessage-deflate", None),
    ] {
        let config = Config::new().workers(1);
        let config = match wishes {
            Some(wishes) => config.per_message_deflate(wishes),
            None => config,
        };
        let host = Host::start(config);
        let (wire, response) = ask(host.addr(), WEBSOCKET, offer);
        assert_eq!(response.status, 101, "{offer}");
        assert_eq!(response.header("Sec-WebSocket-Extensions"), answer, "{offer}");
        WebSocket { wire }.text();
        // An upgrade is answered in the same way.
        let session = Polling::open(host.addr());
        let target = format!("{WEBSOCKET}&sid={}", session.sid);
        let (_wire, response) = ask(host.addr(), &target, offer);
        assert_eq!(response.status, 101, "{offer}");
        assert_eq!(response.header("Sec-WebSocket-Extensions"), answer, "{offer}");
    }
}

#[test]
fn a_malformed_offer_opens_nothing() {
    let host = Host::start(somewhere().per_message_deflate(deflate()));
    for offer in ["permessage-deflate;", "permessage-deflate, ;", "a b", "a;b=\"c d\""] {
        let (_wire, response) = ask(host.addr(), WEBSOCKET, offer);
        assert_eq!(response.status, 400, "{offer}");
    }
    host.empties();
}

#[test]
fn long_messages_come_back_compressed_and_short_ones_do_not() {
    everywhere(|config| {
        let host = Host::start(config.per_message_deflate(deflate()));
        let (mut socket, sid) = open(&host, "permessage-deflate; client_max_window_bits");
        for len in [1, 1022, 1023, 1024, 70_000, 999_999] {
            let text = format!(
                "4{}",
                "\u{e9}t\u{e9} ".repeat(len).chars().take(len / 2).collect::<String>()
            );
            let compressed = Peer::new().compress(text.as_bytes());
            // A client may compress whatever it likes, or not at all.
            for wire in [frame(TEXT | RSV1, &compressed), frame(TEXT, text.as_bytes())] {
                socket.wire.write(wire);
                let echo = socket.frame();
                if text.len() < 1024 {
                    assert_eq!((echo.first, &*echo.payload), (TEXT, text.as_bytes()));
                } else {
                    assert!(echo.payload.len() < text.len() / 10);
                    assert!(Peer::new().read(&echo, TEXT) == text.as_bytes());
                }
            }
        }
        let bytes = vec![7; 5000];
        socket.wire.write(frame(BINARY | RSV1, &Peer::new().compress(&bytes)));
        let echo = socket.frame();
        assert!(Peer::new().read(&echo, BINARY) == bytes);
        assert_eq!(host.log.messages(&sid).len(), 13);
        // What does not become smaller goes as it is.
        let mut noise = vec![0; 5000];
        getrandom::fill(&mut noise).expect("random bytes");
        socket.wire.write(frame(BINARY | RSV1, &Peer::new().compress(&noise)));
        assert!(socket.binary() == noise);
    });
}

#[test]
fn a_compressed_message_may_be_fragmented_with_control_frames_in_between() {
    everywhere(|config| {
        let host = Host::start(config.per_message_deflate(deflate()));
        let (mut socket, _) = open(&host, "permessage-deflate");
        let text = format!("4{}", "hello ".repeat(1000));
        let compressed = Peer::new().compress(text.as_bytes());
        for size in [1, 7, compressed.len() / 2 + 1] {
            let mut wire = Vec::new();
            for (n, piece) in compressed.chunks(size).enumerate() {
                let fin = if (n + 1) * size >= compressed.len() { 0x80 } else { 0 };
                let opcode = if n == 0 { 0x01 | RSV1 } else { 0 };
                wire.extend(frame(fin | opcode, piece));
                if fin == 0 {
                    wire.extend(frame(PING, b"between"));
                }
            }
            let pings = compressed.len().div_ceil(size) - 1;
            socket.wire.write(wire);
            for _ in 0..pings {
                let pong = socket.frame();
                assert_eq!((pong.first, &*pong.payload), (PONG, &b"between"[..]));
            }
            let echo = socket.frame();
            assert_eq!(Peer::new().read(&echo, TEXT), text.as_bytes());
        }
    });
}

#[test]
fn messages_refer_to_each_other_where_that_was_agreed() {
    everywhere(|config| {
        let wishes = deflate()
            .server_no_context_takeover(false)
            .client_no_context_takeover(false)
            .threshold(10);
        let host = Host::start(config.per_message_deflate(wishes));
        let (mut socket, _) = open(&host, "permessage-deflate");
        let mut peer = Peer::new();
        let mut sizes = Vec::new();
        for n in 0..20 {
            let text =
                format!("4{{\"user\":\"somebody\",\"text\":\"this is message {n} of twenty\"}}");
            let compressed = peer.compress(text.as_bytes());
            socket.wire.write(frame(TEXT | RSV1, &compressed));
            let echo = socket.frame();
            assert_eq!(peer.read(&echo, TEXT), text.as_bytes());
            sizes.push((compressed.len(), echo.payload.len()));
        }
        assert!(sizes[19].0 < 20 && sizes[19].1 < 20, "{sizes:?}");
        // A client that asks the server to forget is obeyed.
        let (mut socket, _) = open(&host, "permessage-deflate; server_no_context_takeover");
        let text = format!("4{}", "a".repeat(65));
        for _ in 0..3 {
            socket.send(&text);
            let echo = socket.frame();
            assert_eq!(Peer::new().read(&echo, TEXT), text.as_bytes());
        }
    });
}

/// Expects to be closed with this code; the session ends for this reason.
#[track_caller]
fn ends(host: &Host, bytes: &[u8], code: u16, reason: CloseReason) {
    let (mut socket, sid) = open(host, "permessage-deflate; client_max_window_bits");
    socket.wire.write(bytes);
    let close = socket.frame();
    let shown = bytes[..bytes.len().min(40)].escape_ascii();
    assert_eq!((close.first, &*close.payload), (CLOSE, &code.to_be_bytes()[..]), "{shown}");
    socket.wire.finish();
    socket.wire.expect_eof();
    assert_eq!(host.log.close_reason(&sid), reason, "{shown}");
    assert_eq!(host.log.messages(&sid), [], "{shown}");
}

#[test]
fn a_bomb_is_closed_with_1009_and_a_message_of_exactly_the_limit_is_not() {
    everywhere(|config| {
        let host = Host::start(config.max_payload(100_000).per_message_deflate(deflate()));
        let (mut socket, _) = open(&host, "permessage-deflate");
        let limit = vec![0; 100_000];
        socket.wire.write(frame(BINARY | RSV1, &Peer::new().compress(&limit)));
        let echo = socket.frame();
        assert!(Peer::new().read(&echo, BINARY) == limit);
        // Also noise, which is larger when it is compressed.
        let mut noise = limit.clone();
        getrandom::fill(&mut noise).expect("random bytes");
        let compressed = Peer::new().compress(&noise);
        assert!(compressed.len() > noise.len());
        socket.wire.write(frame(BINARY | RSV1, &compressed));
        assert!(socket.binary() == noise);
        for size in [100_001, 100_000_000] {
            let bomb = Peer::new().compress(&vec![0; size]);
            let reason = CloseReason::PayloadTooLarge;
            ends(&host, &frame(BINARY | RSV1, &bomb), 1009, reason);
            let (front, back) = bomb.split_at(bomb.len() / 2);
            let halves = [frame(0x02 | RSV1, front), frame(0x80, back)].concat();
            ends(&host, &halves, 1009, reason);
        }
    });
}

#[test]
fn what_is_no_deflate_data_is_closed_with_1007_and_so_is_text_that_is_not_utf8() {
    everywhere(|config| {
        let host = Host::start(config.per_message_deflate(deflate()));
        let reason = CloseReason::ParseError;
        for payload in [&b"4not compressed"[..], b"\xff\xff\xff", b"", b"\x00\x05\x00\xfa\xff"] {
            ends(&host, &frame(TEXT | RSV1, payload), 1007, reason);
        }
        let whole = Peer::new().compress(&[b'4'; 1000]);
        ends(&host, &frame(TEXT | RSV1, &whole[..whole.len() - 3]), 1007, reason);
        for text in [&b"4\xff"[..], b"4abc\xe2\x82"] {
            ends(&host, &frame(TEXT | RSV1, &Peer::new().compress(text)), 1007, reason);
        }
        // A message may not refer to another unless that was agreed.
        let mut peer = Peer::new();
        let text = b"4the same again and again";
        let first = frame(TEXT | RSV1, &peer.compress(text));
        let second = frame(TEXT | RSV1, &peer.compress(text));
        let (mut socket, sid) = open(&host, "permessage-deflate");
        socket.wire.write([first, second].concat());
        assert_eq!(socket.text().as_bytes(), text);
        assert_eq!(socket.expect_close(), Some(1007));
        drop(socket);
        assert_eq!(host.log.close_reason(&sid), reason);
    });
}

#[test]
fn rsv1_where_it_has_no_meaning_is_closed_with_1002() {
    everywhere(|config| {
        let host = Host::start(config.per_message_deflate(deflate()));
        let hello = Peer::new().compress(b"4hello");
        for bytes in [
            frame(PING | RSV1, b""),
            frame(CLOSE | RSV1, b""),
            [frame(0x01 | RSV1, &hello[..2]), frame(0x80 | RSV1, &hello[2..])].concat(),
            [frame(0x01, b"4a"), frame(0x80 | RSV1, b"b")].concat(),
            frame(TEXT | 0x20, b"4a"),
            frame(TEXT | RSV1 | 0x10, &hello),
        ] {
            ends(&host, &bytes, 1002, CloseReason::ParseError);
        }
        // Nor where the client did not offer it.
        let (mut socket, _) = WebSocket::open(host.addr());
        socket.wire.write(frame(TEXT | RSV1, &hello));
        assert_eq!(socket.expect_close(), Some(1002));
    });
}

#[test]
fn a_broadcast_reaches_those_who_take_it_compressed_and_those_who_do_not() {
    everywhere(|config| {
        let host =
            Host::start(config.per_message_deflate(deflate().server_no_context_takeover(false)));
        let mut compressed: Vec<_> = (0..4)
            .map(|n| {
                let forget = if n % 2 == 0 { "; server_no_context_takeover" } else { "" };
                open(&host, &format!("permessage-deflate{forget}")).0
            })
            .collect();
        let (mut plain, _) = WebSocket::open(host.addr());
        let text = "to everybody ".repeat(500);
        let expected = format!("4{text}");
        host.remote().broadcast(text.as_str()).expect("the server runs");
        for socket in &mut compressed {
            let frame = socket.frame();
            assert_eq!(Peer::new().read(&frame, TEXT), expected.as_bytes());
        }
        assert_eq!(plain.text(), expected);
    });
}

#[test]
fn an_upgraded_session_is_compressed_too() {
    everywhere(|config| {
        let host = Host::start(config.per_message_deflate(deflate()));
        let mut session = Polling::open(host.addr());
        let target = format!("{WEBSOCKET}&sid={}", session.sid);
        let (wire, response) = ask(host.addr(), &target, "permessage-deflate");
        assert!(response.header("Sec-WebSocket-Extensions").is_some());
        let mut socket = WebSocket { wire };
        socket.send("2probe");
        assert_eq!(socket.text(), "3probe");
        assert_eq!(session.poll(), "6");
        socket.send("5");
        let text = format!("4{}", "x".repeat(5000));
        socket.wire.write(frame(TEXT | RSV1, &Peer::new().compress(text.as_bytes())));
        let echo = socket.frame();
        assert_eq!(Peer::new().read(&echo, TEXT), text.as_bytes());
    });
}

#[test]
fn a_plain_websocket_is_compressed_too() {
    let log = Log::default();
    let running = Server::new(move || App::new(&log))
        .config(somewhere().per_message_deflate(deflate()))
        .plain_websockets(|socket, message| socket.send(message))
        .bind("127.0.0.1:0")
        .expect("a free port");
    let (wire, response) = ask(running.local_addr(), "/chat", "permessage-deflate");
    assert_eq!(response.status, 101);
    let mut socket = WebSocket { wire };
    let text = "x".repeat(5000);
    socket.wire.write(frame(TEXT | RSV1, &Peer::new().compress(text.as_bytes())));
    let echo = socket.frame();
    assert_eq!(Peer::new().read(&echo, TEXT), text.as_bytes());
    socket.wire.write(frame(TEXT | RSV1, &Peer::new().compress(b"\xff")));
    assert_eq!(socket.expect_close(), Some(1007));
}

#[test]
fn our_own_ends_agree_on_any_terms() {
    let modes = [(true, true), (true, false), (false, true), (false, false)];
    let wishes = |(server, client)| {
        deflate()
            .threshold(10)
            .server_no_context_takeover(server)
            .client_no_context_takeover(client)
    };
    for server in modes {
        let host = Host::start(somewhere().per_message_deflate(wishes(server)));
        let url = format!("http://{}/", host.addr());
        for client in modes {
            within(Driver::Auto, async {
                let offer = wishes(client).client_max_window_bits(12);
                let client = by(&url, Some(Transport::WebSocket)).per_message_deflate(offer).await;
                let client = client.expect("connects");
                for n in 0..50 {
                    let text = format!("{n} {}", "again and again ".repeat(n * 20));
                    client.send(text.as_str()).await.expect("queued");
                    assert_eq!(message(&client).await, OwnedMessage::Text(text));
                }
            });
        }
    }
}

/// A server that opens a WebSocket with this line in its answer, sends these bytes and waits for the end.
fn scripted(extensions: &'static str, bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a request");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("ASCII");
        let key = head.split("Sec-WebSocket-Key: ").nth(1).expect("a key");
        let accept = accept_key(key.split("\r\n").next().expect("its end"));
        let accept = str::from_utf8(&accept).expect("base64");
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{extensions}\r\n"
        );
        stream.write_all(answer.as_bytes()).expect("the client reads");
        _ = stream.write_all(&bytes);
        _ = stream.read_to_end(&mut Vec::new());
    });
    url
}

/// A short frame as a server sends it.
fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).ok().filter(|len| *len < 126).expect("short");
    [&[first, len], payload].concat()
}

#[test]
fn a_client_takes_no_answer_that_does_not_keep_to_its_offer() {
    for (offers, answer) in [
        (false, "Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        (true, "Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        (true, "Sec-WebSocket-Extensions: x-webkit-deflate-frame\r\n"),
        (true, "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; x\r\n"),
        (true, "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover;\r\n"),
    ] {
        let url = scripted(answer, Vec::new());
        within(Driver::Auto, async {
            let connect = by(&url, Some(Transport::WebSocket));
            let connect = if offers { connect.per_message_deflate(deflate()) } else { connect };
            let error = connect.await.expect_err("no session");
            assert_eq!(error.fault(), Some(&Fault::Handshake(Mismatch::Extension)), "{answer}");
        });
    }
}

#[test]
fn a_server_cannot_bomb_a_client_nor_send_it_what_is_no_deflate_data() {
    let open = br#"0{"sid":"abc","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}"#;
    let open = [&[TEXT, open.len() as u8][..], open].concat();
    let answer = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";
    let bomb = Peer::new().compress(&[0; 100_001]);
    for (bytes, expected) in [
        (unmasked(BINARY | RSV1, &bomb), ws::Error::TooBig),
        (unmasked(BINARY | RSV1, &bomb[..bomb.len() - 9]), ws::Error::NotDeflate),
        (unmasked(TEXT | RSV1, &[0xff; 100]), ws::Error::NotDeflate),
        (unmasked(PING | RSV1, b""), ws::Error::ReservedBits),
    ] {
        let limit = if expected == ws::Error::TooBig { 100_000 } else { 200_000 };
        let url = scripted(answer, [&*open, &*bytes].concat());
        within(Driver::Auto, async {
            let connect = by(&url, Some(Transport::WebSocket)).max_payload(limit);
            let client = connect.per_message_deflate(deflate()).await.expect("connects");
            assert_eq!(end(&client).await.detail, Some(Fault::WebSocket(expected)));
        });
    }
}
