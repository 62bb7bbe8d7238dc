//! Helpers for tests of the client.

use std::future::{Future, IntoFuture, poll_fn};
use std::sync::Mutex;
use std::sync::mpsc::Receiver;
use std::task::Poll;
use std::time::Duration;

use eio_monoio::client::{self, Client, Closed, Connect, ConnectError, Event, Fault};
use eio_monoio::{Driver, OwnedMessage, Transport};

use super::configs::drivers;
use super::parallel;

/// The transports that a client is limited to; `None` is polling with an upgrade.
pub(crate) const TRANSPORTS: [Option<Transport>; 3] =
    [None, Some(Transport::Polling), Some(Transport::WebSocket)];

/// Runs a test on a runtime of its own; fails after a minute.
pub(crate) fn block_on<F: Future>(driver: Driver, test: F) -> F::Output {
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

/// Runs `test` with every driver and each of [`TRANSPORTS`], all at the same time.
#[track_caller]
pub(crate) fn for_each_transport(test: impl Fn(Driver, Option<Transport>) + Sync) {
    let cases = drivers().flat_map(|driver| TRANSPORTS.map(|transport| (driver, transport)));
    let named = cases.map(|case| (format!("{}, {:?}", case.0, case.1), case));
    parallel::for_each(named, |(driver, transport)| test(driver, transport));
}

/// [`for_each_transport`] with a client's options to connect to `url`.
#[track_caller]
pub(crate) fn for_each_connect<F: Future<Output = ()>>(
    url: &str,
    test: impl Fn(Connect, Option<Transport>) -> F + Sync,
) {
    for_each_transport(|driver, transport| {
        block_on(driver, test(connect_over(url, transport), transport));
    });
}

/// The options to connect to `url` with one of [`TRANSPORTS`].
pub(crate) fn connect_over(url: &str, transport: Option<Transport>) -> Connect {
    let connect = Client::connect(url);
    match transport {
        None => connect,
        Some(only) => connect.transports([only]),
    }
}

pub(crate) fn polling(url: &str) -> Connect {
    connect_over(url, Some(Transport::Polling))
}

pub(crate) fn websocket(url: &str) -> Connect {
    connect_over(url, Some(Transport::WebSocket))
}

/// The fault of a connection that must fail, which is the same on every driver.
#[track_caller]
pub(crate) fn fault(connect: Connect) -> Fault {
    let faults = Mutex::new(Vec::new());
    let cases = drivers().map(|driver| (driver.to_string(), (driver, connect.clone())));
    parallel::for_each(cases, |(driver, connect)| match block_on(driver, connect.into_future()) {
        Err(ConnectError::Failed(fault)) => faults.lock().expect("no panic").push(fault),
        other => panic!("{other:?}"),
    });
    let mut faults = faults.into_inner().expect("no panic");
    let fault = faults.pop().expect("a driver");
    assert!(faults.iter().all(|other| *other == fault), "{faults:?} and {fault}");
    fault
}

/// The fault of a response with this status and body, without fields that say more.
pub(crate) fn status(status: u16, body: &str) -> Fault {
    Fault::Status { status, body: body.into(), location: None, retry_after: None }
}

/// The heads of `count` requests, which the client sends while this waits.
pub(crate) async fn recv_heads(heads: &Receiver<String>, count: usize) -> Vec<String> {
    let mut received = Vec::new();
    while received.len() < count {
        received.extend(heads.try_iter());
        client::sleep(Duration::from_millis(10)).await;
    }
    received
}

/// The next message; an upgrade may complete before it.
pub(crate) async fn next_message(client: &Client) -> OwnedMessage {
    loop {
        match client.next().await {
            Some(Event::Message(message)) => return message.into_owned(),
            Some(Event::Upgraded) => {}
            other => panic!("expected a message, got {other:?}"),
        }
    }
}

/// Sends texts to an echo until the session uses its last transport: an upgrade takes some time.
pub(crate) async fn wait_for_transport(client: &Client, transport: Option<Transport>) {
    while client.transport() != transport.unwrap_or(Transport::WebSocket) {
        client.send("there yet?").await.expect("queued");
        assert_eq!(next_message(client).await, OwnedMessage::Text("there yet?".into()));
    }
}

/// The end of the session. Messages and an upgrade may precede it, also one that fails: a server that closes drops a
/// probe.
pub(crate) async fn closed(client: &Client) -> Closed {
    loop {
        match client.next().await {
            Some(Event::Closed(closed)) => return closed,
            Some(Event::Message(_) | Event::Upgraded | Event::UpgradeFailed(_)) => {}
            other => panic!("expected the end, got {other:?}"),
        }
    }
}

/// Sends `count` numbers as texts.
pub(crate) async fn send_numbers(client: &Client, count: usize) {
    for n in 0..count {
        client.send(n.to_string().as_str()).await.expect("queued");
    }
}

/// Fails unless the next messages are `count` numbers in order.
pub(crate) async fn expect_numbers(client: &Client, count: usize) {
    for n in 0..count {
        assert_eq!(next_message(client).await, OwnedMessage::Text(n.to_string()));
    }
}
