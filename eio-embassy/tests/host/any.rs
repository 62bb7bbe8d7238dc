//! Sessions that begin by polling and move to a WebSocket if one gets through, on two connections, against a script.

use eio_core::transport::TransportSet;
use eio_embassy::{AnyClient, Buffers, Closed, Config, Error, Message, connect_any};
use embassy_futures::join::{join, join3};
use embassy_futures::poll_once;
use embassy_time::Instant;

use crate::Random;
use crate::cancel::impatient;
use crate::clock::run;
use crate::peer::{Frame, owned};
use crate::pipe::{Manner, SMOOTH};
use crate::upgrade::{Far, Plugs, WEBSOCKET, handshake, plugs_with, websocket};

/// Connections that let everything wait, and take it in pieces: every future waits, and loses every race once.
const ROUGH: Manner = Manner { capacity: 64, step: 7, stutter: true };

const GET: &str = "GET /engine.io/?EIO=4&transport=polling&sid=a_session HTTP/1.1\r\n";
const POST: &str = "POST /engine.io/?EIO=4&transport=polling&sid=a_session HTTP/1.1\r\n";

type Session<'b> = AnyClient<'b, Plugs, Plugs, Random>;

/// Dials and lets `talk` go on with what came of it.
async fn dialed(
    mut down: Plugs,
    mut up: Plugs,
    talk: impl for<'b> AsyncFnOnce(Result<Session<'b>, Error>),
) {
    let (mut receive, mut send) = (Buffers::<1024, 384>::new(), Buffers::<1024, 512>::new());
    let config = Config::new("test");
    let (down, up) = ((&mut down, &mut receive), (&mut up, &mut send));
    talk(connect_any(down, up, &config, Random(1)).await).await;
}

/// A GET of the session, to be answered.
async fn polled(peer: &mut Far) {
    let head = peer.request().await;
    assert!(head.starts_with(GET), "{head}");
}

async fn answer(peer: &mut Far, body: &str) {
    let len = body.len();
    peer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{body}").as_bytes()).await;
}

/// A POST with this body.
async fn posted(peer: &mut Far, body: &str) {
    let head = peer.request().await;
    assert!(head.starts_with(POST), "{head}");
    assert_eq!(peer.raw(body.len()).await, body.as_bytes());
    answer(peer, "ok").await;
}

#[test]
fn a_poll_waits_while_the_websocket_is_tried_and_only_its_end_lets_the_session_move() {
    for manner in [SMOOTH, ROUGH] {
        let (down, [mut first]) = plugs_with(manner);
        let (up, [mut second]) = plugs_with(manner);
        let near = dialed(down, up, async |client| {
            let mut client = client.unwrap();
            assert!(matches!(client, AnyClient::WebSocket(_)));
            assert_eq!(client.handshake().sid.as_str(), "a_session");
            client.send("sent").await.unwrap();
            // Dropped whenever they have waited once.
            while impatient(client.flush(), 0).await.is_none() {
                embassy_futures::yield_now().await;
            }
            let late = loop {
                if let Some(message) = impatient(client.recv(), 0).await {
                    break owned(message.unwrap());
                }
                embassy_futures::yield_now().await;
            };
            assert_eq!(late, Frame::Text("late".into()));
            client.disconnect().await.unwrap();
        });
        let far = async {
            handshake(&mut first, WEBSOCKET, "", "").await;
            websocket(&mut second).await;
            // A ping meanwhile is answered over the first connection, which then polls again.
            polled(&mut first).await;
            answer(&mut first, "2").await;
            posted(&mut first, "3").await;
            polled(&mut first).await;
            second.text("3probe").await;
            embassy_time::Timer::after_secs(1).await;
            assert!(poll_once(second.next()).is_pending(), "it moved while a GET was under way");
            answer(&mut first, "6").await;
            assert_eq!(second.next().await, Frame::Text("5".into()));
            second.text("4late").await;
            assert_eq!(second.next().await, Frame::Text("4sent".into()));
            assert_eq!(second.next().await, Frame::Text("1".into()));
            assert_eq!(second.next().await, Frame::Close(Some(1000)));
            second.write(&[0x88, 0]).await;
        };
        run(join(near, far));
    }
}

#[test]
fn messages_that_come_by_polling_are_never_lost_or_overtaken() {
    for manner in [SMOOTH, ROUGH] {
        // With the handshake, and while the WebSocket is tried.
        for early in [true, false] {
            let (down, [mut first]) = plugs_with(manner);
            let (up, [mut second]) = plugs_with(manner);
            let near = dialed(down, up, async |client| {
                let mut client = client.unwrap();
                assert!(matches!(client, AnyClient::WebSocket(_)));
                assert_eq!(client.recv().await, Ok(Message::Text("early")));
                assert_eq!(client.recv().await, Ok(Message::Binary(&[1, 2, 3])));
                assert_eq!(client.recv().await, Ok(Message::Text("late")));
                client.disconnect().await.unwrap();
            });
            let far = async {
                let body = "4early\u{1e}2\u{1e}bAQID";
                let more = if early { format!("\u{1e}{body}") } else { String::new() };
                handshake(&mut first, WEBSOCKET, "", &more).await;
                if !early {
                    polled(&mut first).await;
                    answer(&mut first, body).await;
                }
                websocket(&mut second).await;
                second.text("3probe").await;
                assert_eq!(second.next().await, Frame::Text("5".into()));
                // The ping among them is answered by whichever transport comes first.
                assert_eq!(second.next().await, Frame::Text("3".into()));
                second.text("4late").await;
                assert_eq!(second.next().await, Frame::Text("1".into()));
                second.next().await;
                second.write(&[0x88, 0]).await;
            };
            run(join(near, far));
        }
    }
}

/// How a WebSocket can fail to come about.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wall {
    NotOffered,
    NotDialed,
    Refused,
    Cut,
    NotAnswered,
    NotAProbe,
}

#[test]
fn a_network_without_websockets_never_ends_the_session() {
    for wall in [
        Wall::NotOffered,
        Wall::NotDialed,
        Wall::Refused,
        Wall::Cut,
        Wall::NotAnswered,
        Wall::NotAProbe,
    ] {
        for manner in [SMOOTH, ROUGH] {
            fall_back(wall, manner);
        }
    }
}

fn fall_back(wall: Wall, manner: Manner) {
    let (down, [mut first, mut again]) = plugs_with(manner);
    let (up, far) = match wall {
        Wall::NotOffered => {
            let (up, [third]) = plugs_with(manner);
            (up, [None, Some(third)])
        }
        Wall::NotDialed => (plugs_with::<0>(manner).0, [None, None]),
        _ => {
            let (up, [second, third]) = plugs_with(manner);
            (up, [Some(second), Some(third)])
        }
    };
    let [mut second, mut third] = far;
    let began = Instant::now();
    let near = dialed(down, up, async |client| {
        let mut client = client.unwrap();
        assert!(matches!(client, AnyClient::Polling(_)), "{wall:?}");
        let limit = if wall == Wall::NotAnswered { 10_000..11_000 } else { 0..2_000 };
        assert!(limit.contains(&began.elapsed().as_millis()), "{wall:?}: {}", began.elapsed());
        if wall == Wall::NotDialed {
            // There is no connection for what we have to say, but the other still works.
            assert_eq!(client.recv().await, Ok(Message::Text("early")));
            return;
        }
        client.send("sent").await.unwrap();
        assert_eq!(client.recv().await, Ok(Message::Text("early")));
        assert_eq!(client.recv().await, Ok(Message::Text("late")));
        client.disconnect().await.unwrap();
    });
    let below = async {
        let upgrades = if wall == Wall::NotOffered { TransportSet::EMPTY } else { WEBSOCKET };
        handshake(&mut first, upgrades, "", "").await;
        polled(&mut first).await;
        answer(&mut first, "4early").await;
        if wall == Wall::NotDialed {
            return;
        }
        // After so long the first connection may be one that the server has left.
        let first = if wall == Wall::NotAnswered { &mut again } else { &mut first };
        polled(first).await;
        answer(first, "4late").await;
    };
    let above = async {
        if let Some(second) = &mut second {
            match wall {
                Wall::Refused => {
                    second.request().await;
                    second.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
                }
                Wall::Cut => {
                    second.request().await;
                    second.writer.reset();
                }
                Wall::NotAnswered => websocket(second).await,
                _ => {
                    websocket(second).await;
                    second.text("3prob").await;
                }
            }
        }
        if let Some(third) = &mut third {
            posted(third, "4sent").await;
            posted(third, "1").await;
        }
    };
    run(join3(near, below, above));
}

#[test]
fn the_end_of_the_session_is_never_taken_for_the_end_of_the_upgrade() {
    let (down, [mut first]) = plugs_with(SMOOTH);
    let (up, [mut second]) = plugs_with(SMOOTH);
    let near = dialed(down, up, async |client| {
        assert_eq!(client.err(), Some(Error::Closed(Closed::ServerDisconnect)));
    });
    let far = async {
        handshake(&mut first, WEBSOCKET, "", "").await;
        websocket(&mut second).await;
        polled(&mut first).await;
        answer(&mut first, "1").await;
    };
    run(join(near, far));
}
