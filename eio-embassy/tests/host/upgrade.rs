//! `connect_and_upgrade`: upgrades on one connection, against a scripted server.

use std::collections::VecDeque;

use eio_core::transport::{Transport, TransportSet};
use eio_embassy::{Buffers, Config, Connector, Error, Message, Timeout, connect_and_upgrade};
use embassy_futures::join::join;
use embassy_time::{Duration, Instant};

use crate::clock::run;
use crate::peer::{Frame, Peer, QUIET, accept, open};
use crate::pipe::{Limits, Reader, UNLIMITED, Writer, pair};
use crate::random;

/// A connector with prepared connections, one for each `connect`.
pub(crate) struct Plugs(VecDeque<(Reader, Writer)>, Option<(Reader, Writer)>);

impl Connector for Plugs {
    type Reader<'a> = &'a mut Reader;
    type Writer<'a> = &'a mut Writer;

    async fn connect(&mut self, _: &str, _: u16) -> Result<(), Error> {
        self.1 = Some(self.0.pop_front().ok_or(Error::Connect)?);
        Ok(())
    }

    fn split(&mut self) -> (&mut Reader, &mut Writer) {
        let (reader, writer) = self.1.as_mut().expect("a connection");
        (reader, writer)
    }

    async fn close(&mut self) {
        self.1 = None;
    }
}

pub(crate) type Far = Peer<Reader, Writer>;

fn plugs<const N: usize>() -> (Plugs, [Far; N]) {
    plugs_with(UNLIMITED)
}

pub(crate) fn plugs_with<const N: usize>(limits: Limits) -> (Plugs, [Far; N]) {
    let mut near = VecDeque::new();
    let far = std::array::from_fn(|_| {
        let (here, there) = pair(limits);
        near.push_back(here);
        Peer::new(there)
    });
    (Plugs(near, None), far)
}

/// Answers the first request with the open packet and `more`.
pub(crate) async fn handshake(peer: &mut Far, upgrades: TransportSet, header: &str, more: &str) {
    let head = peer.request().await;
    assert!(head.starts_with("GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\n"), "{head}");
    let mut memory = [0; eio_core::open::OPEN_MAX];
    let body = format!("0{}{more}", open(QUIET, 10_000, upgrades).json(&mut memory));
    let len = body.len();
    peer.write(
        format!("HTTP/1.1 200 OK\r\n{header}Content-Length: {len}\r\n\r\n{body}").as_bytes(),
    )
    .await;
}

/// Accepts the WebSocket and reads the probe.
pub(crate) async fn websocket(peer: &mut Far) {
    let head = peer.request().await;
    let target = "GET /engine.io/?EIO=4&transport=websocket&sid=a_session HTTP/1.1\r\n";
    assert!(head.starts_with(target), "{head}");
    let accept = accept(&head);
    let answer =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    peer.write(format!("{answer}Sec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes()).await;
    assert_eq!(peer.next().await, Frame::Text("2probe".into()));
}

pub(crate) const WEBSOCKET: TransportSet = TransportSet::EMPTY.with(Transport::WebSocket);

#[test]
fn messages_before_the_upgrade_are_received_first() {
    // On one connection, and on two if the server closes the first.
    for close in [false, true] {
        let (mut network, [mut first, mut second]) = plugs();
        let near = async {
            let mut buffers = Buffers::<1024, 512>::new();
            let config = Config::new("test");
            let client = connect_and_upgrade(&mut network, &config, &mut buffers, random(1)).await;
            let mut client = client.unwrap();
            client.send("sent").await.unwrap();
            assert_eq!(client.recv().await, Ok(Message::Text("early")));
            assert_eq!(client.recv().await, Ok(Message::Binary(&[1, 2, 3])));
            assert_eq!(client.recv().await, Ok(Message::Text("late")));
            client.disconnect().await.unwrap();
        };
        let far = async {
            let header = if close { "Connection: close\r\n" } else { "" };
            let more = "\u{1e}4early\u{1e}6\u{1e}bAQID";
            handshake(&mut first, WEBSOCKET, header, more).await;
            let peer = if close { &mut second } else { &mut first };
            websocket(peer).await;
            peer.text("3probe").await;
            assert_eq!(peer.next().await, Frame::Text("5".into()));
            peer.text("4late").await;
            assert_eq!(peer.next().await, Frame::Text("4sent".into()));
            assert_eq!(peer.next().await, Frame::Text("1".into()));
            assert_eq!(peer.next().await, Frame::Close(Some(1000)));
            peer.write(&[0x88, 0]).await;
        };
        run(join(near, far));
    }
}

/// The error of an upgrade.
async fn attempt(network: &mut Plugs) -> Error {
    let mut buffers = Buffers::<1024, 512>::new();
    let config = Config::new("test");
    let error = connect_and_upgrade(network, &config, &mut buffers, random(1)).await.err();
    error.expect("no session")
}

#[test]
fn upgrade_fails_if_not_offered_not_answered_or_answered_wrongly() {
    // The server does not offer an upgrade.
    let (mut network, [mut peer]) = plugs();
    let far = handshake(&mut peer, TransportSet::EMPTY, "", "");
    assert_eq!(run(join(attempt(&mut network), far)).0, Error::UpgradeFailed);

    // It does not answer the probe.
    let (mut network, [mut peer]) = plugs();
    let far = async {
        handshake(&mut peer, WEBSOCKET, "", "").await;
        websocket(&mut peer).await;
        peer.next().await;
    };
    let near = async {
        let began = Instant::now();
        let error = attempt(&mut network).await;
        (error, began.elapsed())
    };
    let (error, took) = run(async {
        match embassy_futures::select::select(near, far).await {
            embassy_futures::select::Either::First(result) => result,
            embassy_futures::select::Either::Second(()) => {
                panic!("the client closed the connection")
            }
        }
    });
    assert_eq!(error, Error::UpgradeFailed);
    assert!((10_000..12_000).contains(&took.as_millis()), "{took}");

    // It answers with another packet.
    let (mut network, [mut peer]) = plugs();
    let far = async {
        handshake(&mut peer, WEBSOCKET, "", "").await;
        websocket(&mut peer).await;
        peer.text("3prob").await;
    };
    assert_eq!(run(join(attempt(&mut network), far)).0, Error::UpgradeFailed);
}

#[test]
fn failed_polling_handshake_opens_no_websocket() {
    let answers = [
        (
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 10\r\n\r\n{\"code\":5}",
            Error::UnsupportedVersion,
        ),
        (
            "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
            Error::Status { status: 503, code: None },
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n6", Error::NotOpened),
    ];
    for (answer, expected) in answers {
        let (mut network, [mut peer]) = plugs();
        let far = async {
            peer.request().await;
            peer.write(answer.as_bytes()).await;
        };
        assert_eq!(run(join(attempt(&mut network), far)).0, expected);
    }

    let (mut network, [_peer]) = plugs();
    let began = Instant::now();
    let error = run(attempt(&mut network));
    assert_eq!(error, Error::TimedOut(Timeout::Open));
    assert_eq!(began.elapsed(), Duration::from_secs(20));
}
