//! A client that sends without a pause does not starve other sessions of its worker, nor its deadlines.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use eio_monoio::{Config, ConnectRequest, Handler, Message, Refusal, Socket};

use crate::support::configs::for_each_config;
use crate::support::connection::Connection;
use crate::support::request::{Request, WEBSOCKET};
use crate::support::test_server::TestServer;
use crate::support::websocket::{CLOSE, PING, TEXT, WebSocket, frame};

/// Echoes every message except `flood`.
struct IgnoresFlood;

impl Handler for IgnoresFlood {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        if message != Message::Text("flood") {
            socket.try_send(message).expect("the queue has room");
        }
        async {}
    }
}

/// Another session gets its echoes and pings while a client sends `first` and then `bytes` without a pause, and discards
/// the answers.
#[track_caller]
fn others_are_served(config: &Config, first: &[u8], bytes: &[u8]) {
    let config = config.clone().ping_interval(Duration::from_millis(100));
    let server = TestServer::run(config.close_timeout(Duration::from_secs(60)), |_| IgnoresFlood);
    let stopped = AtomicBool::new(false);
    let stop = &stopped;
    // Many in one system call.
    let gathered = bytes.repeat((256 * 1024) / bytes.len());
    thread::scope(|scope| {
        let mut stream = Connection::open(server.addr()).stream().try_clone().expect("a handle");
        let mut back: TcpStream = stream.try_clone().expect("a handle");
        stream.set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        stream.write_all(first).expect("the server reads");
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // The server may close the connection, which ends the flood.
                _ = stream.write(&gathered);
            }
        });
        scope.spawn(move || {
            let mut discarded = vec![0; 256 * 1024];
            back.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
            while !stop.load(Ordering::Relaxed) {
                _ = back.read(&mut discarded);
            }
        });
        let served = thread::Builder::new().name(thread::current().name().unwrap_or("").into());
        let served = served.spawn_scoped(scope, || {
            let (mut socket, _) = WebSocket::open(server.addr());
            for _ in 0..3 {
                assert_eq!(socket.text(), "2");
                socket.send("3");
                socket.send("4still here");
                assert_eq!(socket.text(), "4still here");
            }
        });
        let served = served.expect("a thread").join();
        stop.store(true, Ordering::Relaxed);
        assert!(served.is_ok(), "others were not served");
    });
}

#[test]
fn continuous_messages_do_not_starve_other_sessions() {
    for_each_config(|config| {
        others_are_served(&config, &Request::upgrade(WEBSOCKET).bytes(), &frame(TEXT, b"4flood"));
    });
}

#[test]
fn continuous_pings_do_not_starve_other_sessions() {
    for_each_config(|config| {
        others_are_served(&config, &Request::upgrade(WEBSOCKET).bytes(), &frame(PING, b""));
    });
}

#[test]
fn data_after_a_close_frame_does_not_starve_other_sessions() {
    for_each_config(|config| {
        let first = [Request::upgrade(WEBSOCKET).bytes(), frame(CLOSE, b"")].concat();
        others_are_served(&config, &first, &frame(TEXT, b"4flood"));
    });
}

#[test]
fn continuous_requests_do_not_starve_other_sessions() {
    for_each_config(|config| {
        others_are_served(&config, b"", b"GET /elsewhere HTTP/1.1\r\nHost: test\r\n\r\n");
    });
}
