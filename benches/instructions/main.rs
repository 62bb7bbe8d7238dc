//! `eio-instructions ROW TIMES` repeats one operation of eio-core, for callgrind to count.
//!
//! Instruction counts do not depend on the load of the machine. `run.sh` counts each row at two numbers of repetitions,
//! takes the difference, and compares it with the recorded baseline. `--list` prints the names of the rows.

use std::hint::black_box;
use std::mem::MaybeUninit;

use eio_core::buffer::{RecvBuffer, Writer};
use eio_core::http::{HeadScanner, RequestHead, Target, response};
use eio_core::open::{OPEN_MAX, OpenTail};
use eio_core::packet::{Message, Packet};
use eio_core::payload;
use eio_core::request::classify;
use eio_core::session::{Event, Lane, ServerSession, Timing, Transmit};
use eio_core::sid::Sid;
use eio_core::time::Instant;
use eio_core::transport::{Transport, TransportSet};
use eio_core::ws::handshake::check_request;
use eio_core::ws::{self, Decoder, Opcode, Role, Step};

/// A name, and the operation that it repeats.
type Row = (&'static str, fn(u32));

const ROWS: &[Row] = &[
    ("packet_text_parse_32B", packet_text_parse),
    ("packet_text_encode_32B", packet_text_encode),
    ("packet_base64_parse_1KB", packet_base64_parse),
    ("packet_base64_encode_1KB", packet_base64_encode),
    ("payload_decode_64x64B", payload_decode),
    ("payload_encode_64x64B", payload_encode),
    ("ws_decode_32B", |n| ws_decode(n, 32)),
    ("ws_decode_1KB", |n| ws_decode(n, 1024)),
    ("ws_decode_64KB", |n| ws_decode(n, 65_536)),
    ("ws_decode_16x32B", ws_decode_burst),
    ("ws_encode_32B", |n| ws_encode(n, 32)),
    ("ws_encode_64KB", |n| ws_encode(n, 65_536)),
    ("http_head", http_head),
    ("http_answer", http_answer),
    ("open_encode", open_encode),
    ("ws_session_open_close", ws_session_open_close),
    ("ws_session_echo_32B", |n| ws_session_echo(n, 32)),
    ("ws_session_echo_64KB", |n| ws_session_echo(n, 65_536)),
    ("polling_session_trip_32B", polling_session_trip),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (name, times) = (arguments.next().unwrap_or_default(), arguments.next());
    if name == "--list" {
        ROWS.iter().for_each(|(name, _)| println!("{name}"));
        return;
    }
    let row = ROWS.iter().find(|(row, _)| *row == name);
    let times = times.and_then(|times| times.parse().ok());
    let (Some((_, row)), Some(times)) = (row, times) else {
        eprintln!("usage: eio-instructions --list | ROW TIMES");
        std::process::exit(2);
    };
    row(times);
}

const NOW: Instant = Instant::from_millis(0);
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn ascii_text(len: usize) -> String {
    (0..len).map(|i| char::from(b'a' + (i * 7 % 26) as u8)).collect()
}

fn packet_text_parse(times: u32) {
    let mut record = format!("4{}", ascii_text(32)).into_bytes();
    for _ in 0..times {
        let _ = black_box(Packet::parse_text(black_box(&mut record)));
    }
}

fn packet_text_encode(times: u32) {
    let (text, mut out) = (ascii_text(32), [0; 64]);
    for _ in 0..times {
        let packet = Packet::Message(Message::Text(black_box(&text)));
        let _ = black_box(packet.encode_text(&mut Writer::new(black_box(&mut out))));
    }
}

fn packet_base64_parse(times: u32) {
    let (data, mut out) = ([0x5a; 1024], [0; 2048]);
    let mut writer = Writer::new(&mut out);
    let _ = Packet::parse_binary(&data).encode_text(&mut writer);
    let record = writer.written().to_vec();
    let mut own = record.clone();
    for _ in 0..times {
        own.copy_from_slice(&record);
        let _ = black_box(Packet::parse_text(black_box(&mut own)));
    }
}

fn packet_base64_encode(times: u32) {
    let (data, mut out) = ([0x5a; 1024], [0; 2048]);
    for _ in 0..times {
        let packet = Packet::parse_binary(black_box(&data));
        let _ = black_box(packet.encode_text(&mut Writer::new(black_box(&mut out))));
    }
}

fn payload_decode(times: u32) {
    let record = format!("4{}", ascii_text(64));
    let mut body = vec![record; 64].join("\x1e").into_bytes();
    for _ in 0..times {
        let packets = payload::Decoder::new(black_box(&mut body));
        black_box(packets.filter(Result::is_ok).count());
    }
}

fn payload_encode(times: u32) {
    let (text, mut out) = (ascii_text(64), vec![0; 8192]);
    for _ in 0..times {
        let mut writer = Writer::new(black_box(&mut out));
        let mut encoder = payload::Encoder::new(1_000_000, 64);
        for _ in 0..64 {
            let packet = Packet::Message(Message::Text(black_box(&text)));
            let _ = black_box(encoder.push(&mut writer, &packet));
        }
    }
}

/// A text packet in a masked frame.
fn frame(len: usize) -> Vec<u8> {
    let mut out = vec![0; len + 16];
    let mut writer = Writer::new(&mut out);
    let _ = ws::encode(&mut writer, Opcode::Text, b"4", ascii_text(len).as_bytes(), Some(KEY));
    writer.written().to_vec()
}

/// Decodes every frame of `input` as a packet.
fn read_all(rx: &mut RecvBuffer<Vec<u8>>, decoder: &mut Decoder, input: &[u8]) {
    let _ = rx.append(black_box(input));
    while let Ok(Step::Ready(ready)) = decoder.poll(rx) {
        let _ = black_box(Packet::parse_text(decoder.payload_mut(rx, ready)));
    }
}

fn ws_decode(times: u32, len: usize) {
    let frame = frame(len);
    let mut rx = RecvBuffer::new(vec![0; frame.len()]);
    let mut decoder = Decoder::new(Role::Server, 1_000_000);
    (0..times).for_each(|_| read_all(&mut rx, &mut decoder, &frame));
}

fn ws_decode_burst(times: u32) {
    let frames = frame(32).repeat(16);
    let mut rx = RecvBuffer::new(vec![0; frames.len()]);
    let mut decoder = Decoder::new(Role::Server, 1_000_000);
    (0..times).for_each(|_| read_all(&mut rx, &mut decoder, &frames));
}

fn ws_encode(times: u32, len: usize) {
    let (text, mut out) = (ascii_text(len), vec![0; len + 16]);
    for _ in 0..times {
        let mut writer = Writer::new(black_box(&mut out));
        let payload = black_box(text.as_bytes());
        let _ = black_box(ws::encode(&mut writer, Opcode::Text, b"4", payload, None));
    }
}

const HEAD: &[u8] =
    b"GET /engine.io/?EIO=4&transport=polling&sid=lv_VI97HAXpY6yYWAAAC HTTP/1.1\r\n\
    Host: 127.0.0.1:3000\r\nAccept: */*\r\nUser-Agent: x\r\nAccept-Encoding: identity\r\n\
    Connection: keep-alive\r\n\r\n";

/// Parses a request head, from its bytes to its meaning.
fn parse_request(input: &[u8]) -> bool {
    let mut slots = [const { MaybeUninit::uninit() }; 24];
    let Ok(Some(len)) = HeadScanner::new().poll(input, 8192) else { return false };
    let Ok(head) = RequestHead::parse_scanned(&input[..len], &mut slots) else { return false };
    let Ok(target) = Target::parse(head.target) else { return false };
    let known = classify(head.method, target.query, head.is_upgrade(), TransportSet::ALL).is_ok();
    known && head.framing().is_ok() && head.keep_alive()
}

fn http_head(times: u32) {
    // On the heap, aligned: the alignment of a constant depends on other constants, and changes the count by 1 %.
    let head = HEAD.to_vec();
    assert!(parse_request(&head), "the row must measure the success path");
    for _ in 0..times {
        black_box(parse_request(black_box(&head)));
    }
}

fn write_response(out: &mut Writer<'_>, len: usize) -> Option<()> {
    let head = response(out, 200).ok()?;
    let head = head.header("Content-Type", "text/plain; charset=UTF-8").ok()?;
    let head = head.header("Cache-Control", "no-store").ok()?;
    head.number("Content-Length", len as u64).ok()?.end().ok()
}

fn http_answer(times: u32) {
    let mut out = [0; 512];
    for _ in 0..times {
        black_box(write_response(&mut Writer::new(black_box(&mut out)), black_box(33)));
    }
}

/// What a server prepares once, and what it makes for each session.
fn open_packet() -> (OpenTail, Sid) {
    let upgrades = TransportSet::EMPTY.with(Transport::WebSocket);
    let sid = "lv_VI97HAXpY6yYWAAAC".parse().expect("a sid");
    (OpenTail::new(upgrades, 25_000, 20_000, 1_000_000), sid)
}

fn open_encode(times: u32) {
    let ((tail, sid), mut memory) = (open_packet(), [0; OPEN_MAX]);
    for _ in 0..times {
        black_box(black_box(&tail).json_bytes(black_box(&sid), &mut memory));
    }
}

const UPGRADE: &[u8] = b"GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\n\
    Host: 127.0.0.1:3000\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// The work of eio-core for a session that opens over WebSocket and is closed by a close frame.
fn ws_session_open_close(times: u32) {
    let (head, mut out, mut close) = (UPGRADE.to_vec(), vec![0; 512], vec![0; 16]);
    let mut writer = Writer::new(&mut close);
    let _ = ws::encode(&mut writer, Opcode::Close, b"", &1000_u16.to_be_bytes(), Some(KEY));
    let close = writer.written().to_vec();
    let mut rx = RecvBuffer::new(vec![0; 64]);
    let (tail, sid) = open_packet();
    let mut cycle = || {
        let mut slots = [const { MaybeUninit::uninit() }; 24];
        let len = HeadScanner::new().poll(black_box(&head), 8192).ok()??;
        let head = RequestHead::parse_scanned(&head[..len], &mut slots).ok()?;
        let target = Target::parse(head.target).ok()?;
        classify(head.method, target.query, head.is_upgrade(), TransportSet::ALL).ok()?;
        let (method, minor) = (head.method, head.minor_version);
        let offer = check_request(method, minor, head.headers.iter()).ok()?;
        black_box(offer.accept_bytes());
        let mut session = ServerSession::new(Transport::WebSocket, Timing::default(), NOW);
        if session.poll_transmit(Lane::WebSocket, false) != Some(Transmit::Open) {
            return None;
        }
        let mut writer = Writer::new(black_box(&mut out));
        let mut memory = [0; OPEN_MAX];
        let json = black_box(&tail).json_bytes(black_box(&sid), &mut memory);
        ws::encode(&mut writer, Opcode::Text, b"0", json, None).ok()?;
        let mut decoder = Decoder::new(Role::Server, 1_000_000);
        rx.append(black_box(&close)).ok()?;
        let Ok(Step::Ready(_)) = decoder.poll(&mut rx) else { return None };
        session.lost(Lane::WebSocket);
        rx.clear();
        matches!(session.poll_event(), Some(Event::Closed(_))).then_some(())
    };
    for _ in 0..times {
        assert!(cycle().is_some(), "the row must measure the success path");
    }
}

/// The whole work of eio-core for an echo over WebSocket.
fn ws_session_echo(times: u32, len: usize) {
    let frame = frame(len);
    let mut out = vec![0; len + 16];
    let mut rx = RecvBuffer::new(vec![0; frame.len()]);
    let mut decoder = Decoder::new(Role::Server, 1_000_000);
    let mut session = ServerSession::new(Transport::WebSocket, Timing::default(), NOW);
    assert_eq!(session.poll_transmit(Lane::WebSocket, false), Some(Transmit::Open));
    let mut echo = || {
        rx.append(black_box(&frame)).ok()?;
        let Ok(Step::Ready(ready)) = decoder.poll(&mut rx) else { return None };
        let packet = Packet::parse_text(decoder.payload_mut(&mut rx, ready)).ok()?;
        let message = session.handle_packet(Lane::WebSocket, packet, NOW).ok()??;
        if session.poll_transmit(Lane::WebSocket, true) != Some(Transmit::Message) {
            return None;
        }
        let packet = Packet::Message(message).frame();
        let mut writer = Writer::new(black_box(&mut out));
        ws::encode(&mut writer, Opcode::Text, packet.prefix, packet.data, None).ok()?;
        let _ = decoder.poll(&mut rx);
        Some(())
    };
    for _ in 0..times {
        assert!(echo().is_some(), "the row must measure the success path");
    }
}

/// The whole work of eio-core for a POST with a message and the GET that returns its echo.
fn polling_session_trip(times: u32) {
    let body = format!("4{}", ascii_text(32)).into_bytes();
    let (mut own, mut out, head) = (body.clone(), vec![0; 512], HEAD.to_vec());
    let mut session = ServerSession::new(Transport::Polling, Timing::default(), NOW);
    assert_eq!(session.poll_transmit(Lane::Get, false), Some(Transmit::Open));
    session.detach(Lane::Get);
    let mut trip = || {
        let heads = parse_request(black_box(&head)) && parse_request(black_box(&head));
        session.attach(Lane::Get, NOW).ok()?;
        session.attach(Lane::Post, NOW).ok()?;
        own.copy_from_slice(&body);
        let mut writer = Writer::new(black_box(&mut out));
        write_response(&mut writer, body.len())?;
        for packet in payload::Decoder::new(&mut own) {
            let message = session.handle_packet(Lane::Post, packet.ok()?, NOW).ok()??;
            if session.poll_transmit(Lane::Get, true) != Some(Transmit::Message) {
                return None;
            }
            let mut encoder = payload::Encoder::new(1_000_000, 64);
            let _ = encoder.push(&mut writer, &Packet::Message(message)).ok()?;
        }
        session.detach(Lane::Get);
        write_response(&mut writer, 2)?;
        session.detach(Lane::Post);
        heads.then_some(())
    };
    for _ in 0..times {
        assert!(trip().is_some(), "the row must measure the success path");
    }
}
