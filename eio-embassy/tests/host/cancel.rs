//! Futures of the client that are dropped at every await: no message is lost, duplicated or torn.

use std::pin::pin;
use std::task::Poll;

use eio_core::session::Timing;
use eio_embassy::{Buffers, Client, Config, Error, Message};
use embassy_futures::join::join;

use crate::clock::run;
use crate::peer::{Frame, Peer, QUIET, owned};
use crate::pipe::{Limits, pair};
use crate::random;

/// Polls `future` until it was pending more than `limit` times. `None`: it was dropped then.
pub(crate) async fn poll_at_most<F: Future>(future: F, mut limit: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if limit == 0 => Poll::Ready(None),
        Poll::Pending => {
            limit -= 1;
            Poll::Pending
        }
    })
    .await
}

/// Lets the other tasks run once.
async fn run_others() {
    embassy_futures::yield_now().await;
}

fn messages() -> Vec<Frame> {
    // Short messages, messages that fill the buffer, and messages that need several frames.
    [0, 1, 60, 125, 126, 300, 374, 373, 500, 700, 3]
        .into_iter()
        .map(|len| match len % 2 {
            0 => Frame::Binary((0..len).map(|i| i as u8).collect()),
            _ => Frame::Text("abcdefghij".repeat(70)[..len].to_owned()),
        })
        .collect()
}

fn message(frame: &Frame) -> Message<'_> {
    match frame {
        Frame::Text(text) => Message::Text(text),
        Frame::Binary(bytes) => Message::Binary(bytes),
        other => unreachable!("{other:?} is not a message"),
    }
}

#[test]
fn dropping_futures_loses_nothing() {
    // Frequent pings, so that they arrive in every state.
    let timing = Timing { ping_interval_ms: 5, ping_timeout_ms: 20_000, ..QUIET };
    for limit in 0..8 {
        for step in [1, 2, 7, 64] {
            let limits = Limits { capacity: 256, step, stutter: true };
            let ((reader, writer), far) = pair(limits);
            let sent = messages();
            let near = async {
                let mut buffers = Buffers::<1024, 512>::new();
                let config = Config::new("test");
                let mut client = Client::connect(reader, writer, &config, &mut buffers, random(1))
                    .await
                    .unwrap();
                let (mut out, mut back) = (sent.iter(), Vec::new());
                let mut sending = out.next();
                while back.len() < sent.len() {
                    if let Some(frame) = sending
                        && let Some(done) = poll_at_most(client.send(message(frame)), limit).await
                    {
                        done.unwrap();
                        sending = out.next();
                    }
                    if let Some(done) = poll_at_most(client.recv(), limit).await {
                        back.push(owned(done.unwrap()));
                    }
                    poll_at_most(client.flushed(), limit).await.unwrap_or(Ok(())).unwrap();
                    run_others().await;
                }
                assert_eq!(back, sent, "limit {limit}, step {step}");
                client.disconnect().await.unwrap();
            };
            run(join(near, Peer::new(far).echo(timing)));
        }
    }
}

#[test]
fn unfinished_message_blocks_other_messages() {
    let ((reader, writer), far) = pair(Limits { capacity: 64, step: 64, stutter: true });
    let mut peer = Peer::new(far);
    let long = vec![7; 2_000];
    run(join(
        async {
            let mut buffers = Buffers::<1024, 512>::new();
            let config = Config::new("test");
            let mut client =
                Client::connect(reader, writer, &config, &mut buffers, random(1)).await.unwrap();
            assert_eq!(poll_at_most(client.send(&long[..]), 1).await, None);
            let mut other = long.clone();
            other[1_000] = 8;
            assert_eq!(client.send("another").await, Err(Error::Unfinished));
            assert_eq!(client.send(&other[..]).await, Err(Error::Unfinished));
            assert_eq!(client.send(&long[1..]).await, Err(Error::Unfinished));
            while poll_at_most(client.send(&long[..]), 1).await.is_none() {}
            client.send("another").await.unwrap();
            client.flushed().await.unwrap();
        },
        async {
            peer.open(QUIET, 10_000).await;
            assert_eq!(peer.next().await, Frame::Binary(long.clone()));
            assert_eq!(peer.next().await, Frame::Text("4another".into()));
        },
    ));
}
