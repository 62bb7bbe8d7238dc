//! What tests of the client share.

use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Poll;
use std::time::Duration;

use eio_monoio::client::{self, Client, Closed, Connect, Event};
use eio_monoio::{Driver, OwnedMessage, Transport};

use super::matrix::has_io_uring;

/// The drivers that can be tested here.
pub(crate) fn drivers() -> impl Iterator<Item = Driver> {
    let drivers = [Driver::IoUring, Driver::Epoll].into_iter();
    drivers.filter(|driver| *driver != Driver::IoUring || has_io_uring())
}

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

/// Exchanges messages with an echo until the session is where its way ends; an upgrade takes its time.
pub(crate) async fn arrives(client: &Client, way: Option<Transport>) {
    while client.transport() != way.unwrap_or(Transport::WebSocket) {
        client.send("there yet?").await.expect("queued");
        assert_eq!(message(client).await, OwnedMessage::Text("there yet?".into()));
    }
}

/// The end; only messages and an upgrade may come before it, also one that fails: a server that closes drops a probe.
pub(crate) async fn end(client: &Client) -> Closed {
    loop {
        match client.next().await {
            Some(Event::Closed(closed)) => return closed,
            Some(Event::Message(_) | Event::Upgraded | Event::UpgradeFailed(_)) => {}
            other => panic!("expected the end, got {other:?}"),
        }
    }
}

/// A proxy that does what CONNECT asks for: its address, and the heads of the requests it gets.
pub(crate) fn proxy() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let tell = tell.clone();
            // Either side may go away at any time.
            std::thread::spawn(move || _ = pass_on(client, &tell));
        }
    });
    (url, told)
}

fn pass_on(mut client: TcpStream, tell: &Sender<String>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    tell.send(head).ok();
    let mut server = TcpStream::connect(target)?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        _ = io::copy(&mut from_client, &mut to_server);
        to_server.shutdown(Shutdown::Both)
    });
    _ = io::copy(&mut server, &mut client);
    client.shutdown(Shutdown::Both)
}
