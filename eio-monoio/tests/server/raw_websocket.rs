//! WebSockets without Engine.IO, on other paths: only RFC 6455.

use eio_monoio::{Config, Cors, Running, Server};

use crate::support::app::App;
use crate::support::configs::for_each_config;
use crate::support::connection::Connection;
use crate::support::log::Log;
use crate::support::request::Request;
use crate::support::wait::eventually;
use crate::support::websocket::{BINARY, CLOSE, PING, PONG, TEXT, WebSocket, frame};

fn start(config: Config) -> Running {
    let log = Log::default();
    Server::new(move || App::new(&log))
        .config(config)
        .plain_websockets(|socket, message| socket.send(message))
        .bind("127.0.0.1:0")
        .expect("the server starts")
}

#[test]
fn message_above_the_high_water_mark_does_not_block_later_ones() {
    for_each_config(|config| {
        let running = start(config.max_payload(1 << 20).outbound_high_water(1024));
        let mut socket = WebSocket::connect(running.local_addr(), "/chat");
        for _ in 0..3 {
            let large = vec![b'x'; 300_000];
            let bytes = [frame(BINARY, &large), frame(TEXT, b"next")].concat();
            socket.conn.write(bytes);
            assert_eq!(socket.frame().payload, large);
            assert_eq!(socket.text(), "next");
        }
        socket.conn.write(frame(CLOSE, &1000u16.to_be_bytes()));
        assert_eq!(socket.expect_close(), Some(1000));
        drop(socket);
        eventually("the end of the connection", || running.remote().connections() == 0);
        assert_eq!(running.remote().sessions(), 0);
    });
}

#[test]
fn message_of_many_fragments_is_not_copied_for_each() {
    for_each_config(|config| {
        const FRAGMENTS: usize = 65_536;
        let running = start(config.max_payload(8 << 20));
        let mut socket = WebSocket::connect(running.local_addr(), "/");
        let mut bytes = frame(0x01, &[b'x'; 64]);
        for _ in 1..FRAGMENTS - 1 {
            bytes.extend_from_slice(&frame(0x00, &[b'x'; 64]));
        }
        bytes.extend_from_slice(&frame(0x80, &[b'x'; 64]));
        socket.conn.write(bytes);
        assert_eq!(socket.text().len(), FRAGMENTS * 64);
    });
}

#[test]
fn control_frames_are_answered_and_violations_close() {
    for_each_config(|config| {
        let running = start(config.max_payload(1000));
        let addr = running.local_addr();
        let mut socket = WebSocket::connect(addr, "/");
        socket.conn.write(frame(PING, b"are you there"));
        let pong = socket.frame();
        assert_eq!((pong.first, pong.payload.as_slice()), (PONG, &b"are you there"[..]));
        for (bytes, code) in [
            (frame(0x83, b""), 1002),
            (frame(0xc1, b""), 1002),
            (frame(TEXT, b"\xff"), 1007),
            (frame(TEXT, &[b'x'; 1001]), 1009),
        ] {
            let mut socket = WebSocket::connect(addr, "/");
            socket.conn.write(bytes);
            assert_eq!(socket.expect_close(), Some(code));
        }
    });
}

#[test]
fn foreign_origin_is_refused() {
    for_each_config(|config| {
        let running = start(config.cors(Cors::SameOrigin));
        let mut conn = Connection::open(running.local_addr());
        let response = conn.request(&Request::upgrade("/").header("Origin", "http://evil.example"));
        assert_eq!(response.status, 403);
    });
}

#[test]
fn shutdown_closes_with_1001() {
    for_each_config(|config| {
        let running = start(config);
        let mut socket = WebSocket::connect(running.local_addr(), "/");
        socket.conn.write(frame(TEXT, b"hello"));
        assert_eq!(socket.text(), "hello");
        running.shutdown();
        assert_eq!(socket.expect_close(), Some(1001));
        drop(socket);
        running.join().expect("a clean shutdown");
    });
}

#[test]
fn ordinary_request_is_not_upgraded() {
    for_each_config(|config| {
        let running = start(config);
        let mut conn = Connection::open(running.local_addr());
        assert_ne!(conn.request(&Request::get("/chat")).status, 101);
    });
}
