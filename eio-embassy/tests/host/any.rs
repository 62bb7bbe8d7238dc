//! `connect_any`: upgrades on two connections, complete and failed, against a scripted server.

use eio_core::transport::TransportSet;
use eio_embassy::{AnyClient, Buffers, Closed, Config, Error, Message, connect_any};
use embassy_futures::join::{join, join3};
use embassy_futures::poll_once;
use embassy_time::Instant;

use crate::cancel::poll_at_most;
use crate::clock::run;
use crate::peer::{Frame, owned};
use crate::pipe::{Limits, UNLIMITED};
use crate::upgrade::{Far, Plugs, WEBSOCKET, handshake, plugs_with, websocket};
use crate::{Random, random};

/// Connections with small capacity and short reads and writes, each of which is pending once before it is ready.
const SLOW: Limits = Limits { capacity: 64, step: 7, stutter: true };

const GET: &str = "GET /engine.io/?EIO=4&transport=polling&sid=a_session HTTP/1.1\r\n";
const POST: &str = "POST /engine.io/?EIO=4&transport=polling&sid=a_session HTTP/1.1\r\n";

type Session<'b> = AnyClient<'b, Plugs, Plugs, Random>;

/// Connects and passes the result to `talk`.
async fn connected(
    mut down: Plugs,
    mut up: Plugs,
    talk: impl for<'b> AsyncFnOnce(Result<Session<'b>, Error>),
) {
    let (mut receive, mut send) = (Buffers::<1024, 384>::new(), Buffers::<1024, 512>::new());
    let config = Config::new("test");
    let (down, up) = ((&mut down, &mut receive), (&mut up, &mut send));
    talk(connect_any(down, up, &config, random(1)).await).await;
}

/// Reads a GET of the session.
pub(crate) async fn polled(peer: &mut Far) {
    let head = peer.request().await;
    assert!(head.starts_with(GET), "{head}");
}

pub(crate) async fn answer(peer: &mut Far, body: &str) {
    let len = body.len();
    peer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{body}").as_bytes()).await;
}

/// Reads a POST with this body and answers it.
async fn posted(peer: &mut Far, body: &str) {
    let head = peer.request().await;
    assert!(head.starts_with(POST), "{head}");
    assert_eq!(peer.raw(body.len()).await, body.as_bytes());
    answer(peer, "ok").await;
}

#[test]
fn upgrade_waits_for_the_pending_get() {
    for limits in [UNLIMITED, SLOW] {
        let (down, [mut first]) = plugs_with(limits);
        let (up, [mut second]) = plugs_with(limits);
        let near = connected(down, up, async |client| {
            let mut client = client.unwrap();
            assert!(matches!(client, AnyClient::WebSocket(_)));
            assert_eq!(client.handshake().sid.as_str(), "a_session");
            client.send("sent").await.unwrap();
            // Each future is dropped after it was pending once.
            while poll_at_most(client.flushed(), 0).await.is_none() {
                embassy_futures::yield_now().await;
            }
            let late = loop {
                if let Some(message) = poll_at_most(client.recv(), 0).await {
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
            // A ping during the upgrade is answered over the first connection, which then polls again.
            polled(&mut first).await;
            answer(&mut first, "2").await;
            posted(&mut first, "3").await;
            polled(&mut first).await;
            second.text("3probe").await;
            embassy_time::Timer::after_secs(1).await;
            assert!(poll_once(second.next()).is_pending(), "it upgraded while a GET was in flight");
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
fn messages_received_during_an_upgrade_stay_in_order() {
    for limits in [UNLIMITED, SLOW] {
        // Messages in the response with the open packet, or during the upgrade.
        for early in [true, false] {
            let (down, [mut first]) = plugs_with(limits);
            let (up, [mut second]) = plugs_with(limits);
            let near = connected(down, up, async |client| {
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
                // The ping among them is answered over the transport that is ready first.
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

/// The cause of a failed upgrade.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    NotOffered,
    NotConnected,
    Refused,
    Cut,
    NotAnswered,
    UnexpectedPacket,
}

#[test]
fn session_continues_by_polling_after_a_failed_upgrade() {
    for failure in [
        Failure::NotOffered,
        Failure::NotConnected,
        Failure::Refused,
        Failure::Cut,
        Failure::NotAnswered,
        Failure::UnexpectedPacket,
    ] {
        for limits in [UNLIMITED, SLOW] {
            fall_back(failure, limits);
        }
    }
}

fn fall_back(failure: Failure, limits: Limits) {
    let (down, [mut first, mut again]) = plugs_with(limits);
    let (up, far) = match failure {
        Failure::NotOffered => {
            let (up, [third]) = plugs_with(limits);
            (up, [None, Some(third)])
        }
        Failure::NotConnected => (plugs_with::<0>(limits).0, [None, None]),
        _ => {
            let (up, [second, third]) = plugs_with(limits);
            (up, [Some(second), Some(third)])
        }
    };
    let [mut second, mut third] = far;
    let began = Instant::now();
    let near = connected(down, up, async |client| {
        let mut client = client.unwrap();
        assert!(matches!(client, AnyClient::Polling(_)), "{failure:?}");
        let limit = if failure == Failure::NotAnswered { 10_000..11_000 } else { 0..2_000 };
        assert!(limit.contains(&began.elapsed().as_millis()), "{failure:?}: {}", began.elapsed());
        if failure == Failure::NotConnected {
            // There is no connection for POSTs, but the other one works.
            assert_eq!(client.recv().await, Ok(Message::Text("early")));
            return;
        }
        client.send("sent").await.unwrap();
        assert_eq!(client.recv().await, Ok(Message::Text("early")));
        assert_eq!(client.recv().await, Ok(Message::Text("late")));
        client.disconnect().await.unwrap();
    });
    let below = async {
        let upgrades = if failure == Failure::NotOffered { TransportSet::EMPTY } else { WEBSOCKET };
        handshake(&mut first, upgrades, "", "").await;
        polled(&mut first).await;
        answer(&mut first, "4early").await;
        if failure == Failure::NotConnected {
            return;
        }
        // After ten seconds the server may have closed the idle first connection.
        let first = if failure == Failure::NotAnswered { &mut again } else { &mut first };
        polled(first).await;
        answer(first, "4late").await;
    };
    let above = async {
        if let Some(second) = &mut second {
            match failure {
                Failure::Refused => {
                    second.request().await;
                    second.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
                }
                Failure::Cut => {
                    second.request().await;
                    second.writer.reset();
                }
                Failure::NotAnswered => websocket(second).await,
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
fn close_packet_during_an_upgrade_ends_the_session() {
    let (down, [mut first]) = plugs_with(UNLIMITED);
    let (up, [mut second]) = plugs_with(UNLIMITED);
    let near = connected(down, up, async |client| {
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
