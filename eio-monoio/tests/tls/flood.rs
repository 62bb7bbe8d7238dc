//! Peers that send records without application data, and handshake messages without an end.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use eio_monoio::{CloseReason, Config, ConnectRequest, Handler, Message, Refusal, Server, Socket};
use rustls::ContentType;

use crate::crafted::Crafted;
use crate::support::app::App;
use crate::support::configs::{brief_shutdown, drivers};
use crate::support::log::Log;
use crate::support::polling::sid_of;
use crate::support::request::{POLLING, Request, WEBSOCKET, target};
use crate::support::test_server::TestServer;
use crate::support::tls::{Identity, SecureWebSocket};
use crate::support::wait::{TIMEOUT, eventually};
use crate::support::websocket::{TEXT, frame};

/// Notes its messages in their order. The message `gate` blocks the worker until the test opens the gate.
struct Ordered {
    log: Log,
    reached: Sender<()>,
    gate: Arc<Mutex<Receiver<()>>>,
}

impl Handler for Ordered {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        _: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        match message {
            Message::Text("gate") => {
                self.reached.send(()).expect("the test waits");
                let gate = self.gate.lock().expect("no panic");
                gate.recv_timeout(TIMEOUT).expect("the test opens the gate");
            }
            Message::Text(note) => self.log.note(note),
            Message::Binary(_) => {}
        }
        async {}
    }

    async fn disconnect(&self, _: &Socket<()>, reason: CloseReason) {
        self.log.note(&format!("closed: {reason:?}"));
    }
}

/// Much more than a worker receives at a time. Rustls accepts 32 empty records in a row, and 32 key updates.
fn records_without_data(peer: &mut Crafted) -> Vec<u8> {
    let mut records = Vec::new();
    while records.len() < 1_000_000 {
        (0..32).for_each(|_| records.extend(peer.data(b"")));
        records.extend(peer.key_update());
    }
    records
}

/// While a worker is blocked, a peer sends [`records_without_data`] where the server waits for the input of `begin`, and
/// then another peer sends a message. It is handled before the data that ends the flood, which `begin` returns.
fn others_are_served(name: &str, begin: impl Fn(&mut Crafted) -> Vec<u8>) {
    for driver in drivers() {
        let config = brief_shutdown(Config::new()).driver(driver).workers(1);
        let (identity, log) = (Identity::new(), Log::default());
        let ((reached, at_gate), (open_gate, gate)) = (channel(), channel());
        let (shared, gate) = (log.clone(), Arc::new(Mutex::new(gate)));
        let make =
            move || Ordered { log: shared.clone(), reached: reached.clone(), gate: gate.clone() };
        let running = Server::new(make).config(config).tls(identity.tls()).bind("127.0.0.1:0");
        let server = TestServer::of(running.expect("the server starts"), log);
        let (mut blocking, _) = SecureWebSocket::open(server.addr(), &identity);
        let (mut other, _) = SecureWebSocket::open(server.addr(), &identity);
        let mut flooding = Crafted::open(server.addr(), &identity);
        let end = begin(&mut flooding);
        let mut flood = records_without_data(&mut flooding);
        flood.extend(flooding.data(&end));
        blocking.write(&frame(TEXT, b"4gate"));
        at_gate.recv_timeout(TIMEOUT).expect("the worker is blocked");
        let mut stream = flooding.peer.stream.try_clone().expect("a handle");
        stream.write_all(&flood[..1000]).expect("the kernel has room");
        let writing = thread::spawn(move || stream.write_all(&flood[1000..]));
        other.write(&frame(TEXT, b"4other"));
        open_gate.send(()).expect("the worker waits");
        eventually("both notes", || server.log.notes().len() == 2);
        assert_eq!(server.log.notes(), ["other", "end"], "{name}, {driver}");
        writing.join().expect("no panic").expect("the server reads all of it");
    }
}

#[test]
fn records_without_data_do_not_starve_other_sessions() {
    others_are_served("a WebSocket", |peer| {
        peer.write(&Request::upgrade(WEBSOCKET).bytes());
        peer.peer.opened();
        frame(TEXT, b"4end")
    });
    others_are_served("the body of a POST", |peer| {
        let post = Request::post(&target(&open_polling(peer)), "4end").bytes();
        let (head, body) = post.split_at(post.len() - 4);
        peer.write(head);
        body.to_vec()
    });
}

/// Opens a polling session, and returns its sid.
fn open_polling(peer: &mut Crafted) -> String {
    peer.write(&Request::get(POLLING).bytes());
    sid_of(&peer.peer.response().1)
}

/// Begins a handshake message of the largest size that rustls accepts, which the server keeps until it is complete.
const UNFINISHED: [u8; 4] = [1, 0, 0xff, 0xff];

/// The server closes a connection that has sent `records`, of much more than 64 KiB.
#[track_caller]
fn expect_close(mut stream: TcpStream, records: &[u8]) {
    stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    // The server may close it before all are written.
    _ = stream.write_all(records);
    let end = stream.read_to_end(&mut Vec::new());
    let reset = end.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
    assert!(reset || end.is_ok(), "{end:?}");
}

#[test]
fn unfinished_handshake_message_is_limited() {
    for driver in drivers() {
        let config = brief_shutdown(Config::new()).driver(driver).workers(1);
        let (identity, log) = (Identity::new(), Log::default());
        let shared = log.clone();
        // No timeout ends the connections.
        let tls = identity.tls().handshake_timeout(Duration::from_secs(300));
        let server = Server::new(move || App::new(&shared)).config(config).tls(tls);
        let server = TestServer::of(server.bind("127.0.0.1:0").expect("the server starts"), log);
        // In the handshake: records of one byte, which have a head of five bytes.
        let mut records = [&[22, 3, 1, 0, 4][..], &UNFINISHED].concat();
        (0..15_000).for_each(|_| records.extend([22, 3, 1, 0, 1, 0]));
        let stream = TcpStream::connect(server.addr()).expect("the server accepts");
        expect_close(stream, &records);
        // After it: records of one byte and padding, 1 GiB before the message is complete.
        let mut peer = Crafted::open(server.addr(), &identity);
        peer.write(&Request::upgrade(WEBSOCKET).bytes());
        let sid = peer.peer.opened();
        let mut records = peer.record(ContentType::Handshake, &UNFINISHED, 0);
        (0..20).for_each(|_| records.extend(peer.record(ContentType::Handshake, &[0], 16_000)));
        expect_close(peer.peer.stream, &records);
        assert_eq!(server.log.close_reason(&sid), CloseReason::TransportClose);
    }
}

#[test]
fn handshake_message_of_almost_64_kib_is_accepted() {
    for driver in drivers() {
        let config = brief_shutdown(Config::new()).driver(driver).workers(1);
        let (identity, log) = (Identity::new(), Log::default());
        let shared = log.clone();
        let server = Server::new(move || App::new(&shared)).config(config).tls(identity.tls());
        let server = TestServer::of(server.bind("127.0.0.1:0").expect("the server starts"), log);
        let mut config = identity.pki.client(None);
        config.alpn_protocols = (0..240).map(|_| vec![b'x'; 250]).collect();
        config.alpn_protocols.push(b"http/1.1".to_vec());
        let mut peer = SecureWebSocket::connect(server.addr(), config);
        peer.write(&Request::upgrade(WEBSOCKET).bytes());
        peer.opened();
        peer.write(&frame(TEXT, b"4echo"));
        assert_eq!(peer.message(), b"4echo");
    }
}
