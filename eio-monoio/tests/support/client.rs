//! What tests of the client share.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use eio_monoio::client::{self, Client, Closed, Connect, Event};
use eio_monoio::{Driver, OwnedMessage, Transport};

pub(crate) const DRIVERS: [Driver; 2] = [Driver::IoUring, Driver::Epoll];

/// The ways a session can be carried: upgraded, or all the time by one transport.
pub(crate) const WAYS: [Option<Transport>; 3] =
    [None, Some(Transport::Polling), Some(Transport::WebSocket)];

/// Runs a test on a core of its own, for a generous time.
pub(crate) fn within<F: Future>(driver: Driver, test: F) -> F::Output {
    client::block_on(driver, async {
        let mut test = Box::pin(test);
        let mut limit = Box::pin(client::sleep(Duration::from_secs(60)));
        poll_fn(|cx| {
            if let Poll::Ready(output) = test.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            assert!(limit.as_mut().poll(cx).is_pending(), "the test takes too long");
            Poll::Pending
        })
        .await
    })
    .expect("a runtime")
}

/// Options to connect to `url` in one of [`WAYS`].
pub(crate) fn by(url: &str, way: Option<Transport>) -> Connect {
    let connect = Client::connect(url);
    match way {
        None => connect,
        Some(only) => connect.transports([only]),
    }
}

/// The next message; an upgrade may come before it.
pub(crate) async fn message(client: &Client) -> OwnedMessage {
    loop {
        match client.next().await {
            Some(Event::Message(message)) => return message.into_owned(),
            Some(Event::Upgraded) => {}
            other => panic!("expected a message, got {other:?}"),
        }
    }
}

/// The end; only messages and an upgrade may come before it.
pub(crate) async fn end(client: &Client) -> Closed {
    loop {
        match client.next().await {
            Some(Event::Closed(closed)) => return closed,
            Some(Event::Message(_) | Event::Upgraded) => {}
            other => panic!("expected the end, got {other:?}"),
        }
    }
}
