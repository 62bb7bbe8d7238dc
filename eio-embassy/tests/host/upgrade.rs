//! Sessions that begin by polling and move to a WebSocket, against a script.

use std::collections::VecDeque;

use eio_core::transport::{Transport, TransportSet};
use eio_embassy::{Buffers, Config, Connector, Error, Message, Timeout, connect_and_upgrade};
use embassy_futures::join::join;
use embassy_time::{Duration, Instant};

use crate::Random;
use crate::clock::run;
use crate::peer::{Frame, Peer, QUIET, accept, open};
use crate::pipe::{Manner, Reader, SMOOTH, Writer, pair};

/// Connections made before, one for each dial.
pub(crate) struct Plugs(VecDeque<(Reader, Writer)>, Option<(Reader, Writer)>);

impl Connector for Plugs {
    type Reader<'a> = &'a mut Reader;
    type Writer<'a> = &'a mut Writer;

    async fn connect(&mut self, _: &str, _: u16) -> Result<(), Error> {
        self.1 = Some(self.0.pop_front().ok_or(Error::Connect)?);
        Ok(())
    }

    fn split(&mut self) -> (&mut Reader, &mut Writer) {
        let (reader, writer) = self.1.as_mut().expect("dialed before");
        (reader, writer)
    }

    async fn close(&mut self) {
        self.1 = None;
    }
}

pub(crate) type Far = Peer<Reader, Writer>;

fn plugs<const N: usize>() -> (Plugs, [Far; N]) {
    plugs_with(SMOOTH)
}

pub(crate) fn plugs_with<const N: usize>(manner: Manner) -> (Plugs, [Far; N]) {
    let mut near = VecDeque::new();
    let far = std::array::from_fn(|_| {
        let (here, there) = pair(manner);
        near.push_back(here);
        Peer::new(there)
    });
    (Plugs(near, None), far)
}

/// Answers the first request: the open packet, and `more` behind it.
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

/// Lets the WebSocket in, up to the probe.
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
fn nothing_that_came_before_the_websocket_is_lost_or_overtaken() {
    // On one connection, and on two if the server ends the first.
    for close in [false, true] {
        let (mut network, [mut first, mut second]) = plugs();
        let near = async {
            let mut buffers = Buffers::<1024, 512>::new();
            let config = Config::new("test");
            let client = connect_and_upgrade(&mut network, &config, &mut buffers, Random(1)).await;
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

/// What becomes of the attempt.
async fn attempt(network: &mut Plugs) -> Error {
    let mut buffers = Buffers::<1024, 512>::new();
    let config = Config::new("test");
    let error = connect_and_upgrade(network, &config, &mut buffers, Random(1)).await.err();
    error.expect("no session")
}

#[test]
fn a_server_that_does_not_upgrade_is_never_waited_for_longer_than_an_upgrade_takes() {
    // It offers none.
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
            embassy_futures::select::Either::Second(()) => panic!("the client left"),
        }
    });
    assert_eq!(error, Error::UpgradeFailed);
    assert!((10_000..12_000).contains(&took.as_millis()), "{took}");

    // It answers with something else.
    let (mut network, [mut peer]) = plugs();
    let far = async {
        handshake(&mut peer, WEBSOCKET, "", "").await;
        websocket(&mut peer).await;
        peer.text("3prob").await;
    };
    assert_eq!(run(join(attempt(&mut network), far)).0, Error::UpgradeFailed);
}

#[test]
fn a_handshake_that_is_none_is_never_followed_by_a_websocket() {
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
