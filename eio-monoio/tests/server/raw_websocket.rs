//! WebSockets on other paths than Engine.IO's: RFC 6455 and nothing else.

use eio_monoio::{Config, Cors, Driver, Running, Server};

use crate::support::app::{App, Log, eventually};
use crate::support::client::{drivers, within};
use crate::support::matrix::everywhere;
use crate::support::wire::{
    BINARY, CLOSE, PING, PONG, Request, TEXT, WebSocket, Wire, frame, opening,
};
use eio_monoio::Message;
use eio_monoio::client::{self, Client};

fn start(config: Config) -> Running {
    let log = Log::default();
    Server::new(move || App::new(&log))
        .config(config)
        .plain_websockets(|socket, message| socket.send(message))
        .bind("127.0.0.1:0")
        .expect("a free port")
}

#[test]
fn a_message_above_the_high_water_mark_does_not_stop_those_behind_it() {
    everywhere(|config| {
        let running = start(config.max_payload(1 << 20).outbound_high_water(1024));
        let mut socket = WebSocket::connect(running.local_addr(), "/chat");
        for _ in 0..3 {
            let large = vec![b'x'; 300_000];
            let bytes = [frame(BINARY, &large), frame(TEXT, b"behind")].concat();
            socket.wire.write(bytes);
            assert_eq!(socket.frame().payload, large);
            assert_eq!(socket.text(), "behind");
        }
        socket.wire.write(frame(CLOSE, &1000u16.to_be_bytes()));
        assert_eq!(socket.expect_close(), Some(1000));
        drop(socket);
        eventually("the connection is gone", || running.remote().connections() == 0);
        assert_eq!(running.remote().sessions(), 0);
    });
}

#[test]
fn a_message_in_very_many_fragments_is_not_copied_for_each() {
    everywhere(|config| {
        const FRAGMENTS: usize = 65_536;
        let running = start(config.max_payload(8 << 20));
        let mut socket = WebSocket::connect(running.local_addr(), "/");
        let mut bytes = frame(0x01, &[b'x'; 64]);
        for _ in 1..FRAGMENTS - 1 {
            bytes.extend_from_slice(&frame(0x00, &[b'x'; 64]));
        }
        bytes.extend_from_slice(&frame(0x80, &[b'x'; 64]));
        socket.wire.write(bytes);
        assert_eq!(socket.text().len(), FRAGMENTS * 64);
    });
}

#[test]
fn control_frames_are_answered_and_broken_rules_are_not_forgiven() {
    everywhere(|config| {
        let running = start(config.max_payload(1000));
        let addr = running.local_addr();
        let mut socket = WebSocket::connect(addr, "/");
        socket.wire.write(frame(PING, b"are you there"));
        let pong = socket.frame();
        assert_eq!((pong.first, pong.payload.as_slice()), (PONG, &b"are you there"[..]));
        for (bytes, code) in [
            (frame(0x83, b""), 1002),
            (frame(0xc1, b""), 1002),
            (frame(TEXT, b"\xff"), 1007),
            (frame(TEXT, &[b'x'; 1001]), 1009),
        ] {
            let mut socket = WebSocket::connect(addr, "/");
            socket.wire.write(bytes);
            assert_eq!(socket.expect_close(), Some(code));
        }
    });
}

#[test]
fn a_page_of_another_origin_opens_none() {
    everywhere(|config| {
        let running = start(config.cors(Cors::SameOrigin));
        let mut wire = Wire::connect(running.local_addr());
        let response = wire.request(&opening("/").header("Origin", "http://evil.example"));
        assert_eq!(response.status, 403);
    });
}

#[test]
fn a_shutdown_says_goodbye_to_them() {
    everywhere(|config| {
        let running = start(config);
        let mut socket = WebSocket::connect(running.local_addr(), "/");
        socket.wire.write(frame(TEXT, b"hello"));
        assert_eq!(socket.text(), "hello");
        running.shutdown();
        assert_eq!(socket.expect_close(), Some(1001));
        drop(socket);
        running.join().expect("a clean end");
    });
}

#[test]
fn other_requests_for_the_same_path_are_not_taken_for_one() {
    everywhere(|config| {
        let running = start(config);
        let mut wire = Wire::connect(running.local_addr());
        assert_ne!(wire.request(&Request::get("/chat")).status, 101);
    });
}

#[test]
fn our_client_is_served_until_either_side_ends_it() {
    let log = Log::default();
    let running = Server::new(move || App::new(&log))
        .config(Config::new().workers(1))
        .plain_websockets(|socket, message| match message {
            Message::Text("close") => socket.close(),
            message => socket.send(message),
        })
        .bind("127.0.0.1:0")
        .expect("a free port");
    let url = format!("ws://{}/chat?room=1", running.local_addr());
    for driver in drivers() {
        let came = std::cell::RefCell::new(Vec::new());
        let greet = |socket: &std::rc::Rc<eio_monoio::PlainSocket>| {
            socket.send("hello");
            socket.send(&[0, 1, 0xff]);
            socket.send("");
        };
        let take = |socket: &eio_monoio::PlainSocket, message: Message<'_>| {
            came.borrow_mut().push(format!("{message:?}"));
            if message == Message::Text("") {
                socket.close();
            }
        };
        let code = within(driver, Client::connect(&url).plain_websocket(greet, take));
        assert_eq!(code.expect("a WebSocket"), None, "we closed it");
        assert_eq!(came.into_inner(), [r#"Text("hello")"#, "Binary([0, 1, 255])", r#"Text("")"#]);
        let ask = |socket: &std::rc::Rc<eio_monoio::PlainSocket>| socket.send("close");
        let code = within(driver, Client::connect(&url).plain_websocket(ask, |_, _| ()));
        assert_eq!(code.expect("a WebSocket"), Some(1000), "the server closed it");
    }
    eventually("the connections are gone", || running.remote().connections() == 0);
}

#[test]
fn a_client_that_is_dropped_leaves_no_connection_and_its_socket_is_deaf() {
    let running = start(Config::new().workers(1));
    let url = format!("ws://{}/", running.local_addr());
    for driver in drivers() {
        within(driver, async {
            let kept = std::rc::Rc::new(std::cell::RefCell::new(None));
            let (keep, stay) = (kept.clone(), Client::connect(&url));
            let mut serving = Box::pin(stay.plain_websocket(
                move |socket| *keep.borrow_mut() = Some(socket.clone()),
                |_, _| (),
            ));
            while kept.borrow().is_none() {
                let turn = std::future::poll_fn(|cx| {
                    assert!(serving.as_mut().poll(cx).is_pending());
                    std::task::Poll::Ready(())
                });
                turn.await;
                client::sleep(std::time::Duration::from_millis(5)).await;
            }
            drop(serving);
            let socket = kept.take().expect("kept");
            socket.send("into the void");
            assert_eq!(socket.queued(), 0);
        });
        eventually("the connection is gone", || running.remote().connections() == 0);
    }
}

#[test]
fn a_server_without_a_websocket_is_told_from_one_that_has_it() {
    let log = Log::default();
    let running = Server::new(move || App::new(&log))
        .config(Config::new().workers(1))
        .bind("127.0.0.1:0")
        .expect("a free port");
    let url = format!("ws://{}/", running.local_addr());
    let refused = within(Driver::Epoll, Client::connect(&url).plain_websocket(|_| (), |_, _| ()));
    let error = refused.expect_err("not served");
    assert_eq!(error.fault().and_then(client::Fault::status), Some(404), "{error}");
}
