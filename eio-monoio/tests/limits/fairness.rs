//! One client that sends all the time does not keep its core from the others, nor from its deadlines.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use eio_monoio::{Config, ConnectRequest, Handler, Message, Refusal, Socket};

use crate::support::app::Host;
use crate::support::matrix::everywhere;
use crate::support::wire::{CLOSE, PING, TEXT, WEBSOCKET, WebSocket, Wire, frame, opening};

/// Answers what is not a flood.
struct Sink;

impl Handler for Sink {
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
            socket.try_send(message).expect("room");
        }
        async {}
    }
}

/// While `bytes` are sent behind the opening of `first` without a pause, and what comes back is thrown away,
/// another session gets its echoes and its pings.
#[track_caller]
fn others_are_served(config: &Config, first: &[u8], bytes: &[u8]) {
    let config = config.clone().ping_interval(Duration::from_millis(100));
    let host = Host::run(config.close_timeout(Duration::from_secs(60)), |_| Sink);
    let stopped = AtomicBool::new(false);
    let stop = &stopped;
    // Gathered, so that one system call brings much.
    let gathered = bytes.repeat((256 * 1024) / bytes.len());
    thread::scope(|scope| {
        let mut stream = Wire::connect(host.addr()).stream().try_clone().expect("a handle");
        let mut back: TcpStream = stream.try_clone().expect("a handle");
        stream.set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        stream.write_all(first).expect("the server reads");
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // The server may end it; then there is no flood, and nothing to be kept from.
                _ = stream.write(&gathered);
            }
        });
        scope.spawn(move || {
            let mut void = vec![0; 256 * 1024];
            back.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
            while !stop.load(Ordering::Relaxed) {
                _ = back.read(&mut void);
            }
        });
        let served = thread::Builder::new().name(thread::current().name().unwrap_or("").into());
        let served = served.spawn_scoped(scope, || {
            let (mut socket, _) = WebSocket::open(host.addr());
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
fn messages_without_a_pause_do_not_starve_others() {
    everywhere(|config| {
        others_are_served(&config, &opening(WEBSOCKET).bytes(), &frame(TEXT, b"4flood"));
    });
}

#[test]
fn pings_without_a_pause_do_not_starve_others() {
    everywhere(|config| {
        others_are_served(&config, &opening(WEBSOCKET).bytes(), &frame(PING, b""));
    });
}

#[test]
fn a_peer_that_goes_on_sending_behind_its_close_frame_does_not_starve_others() {
    everywhere(|config| {
        let first = [opening(WEBSOCKET).bytes(), frame(CLOSE, b"")].concat();
        others_are_served(&config, &first, &frame(TEXT, b"4flood"));
    });
}

#[test]
fn pipelined_requests_without_a_pause_do_not_starve_others() {
    everywhere(|config| {
        others_are_served(&config, b"", b"GET /elsewhere HTTP/1.1\r\nHost: test\r\n\r\n");
    });
}
