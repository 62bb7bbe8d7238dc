//! How a client's sessions are kept open, end and begin again.

use std::cell::RefCell;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use eio_monoio::client::{self, Client, ClientHandler, Closed, ConnectError, SendError, State};
use eio_monoio::{
    CloseReason, ConnectRequest, Driver, Handler, Message, OwnedMessage, Refusal, Socket,
};

use crate::support::client::{
    block_on, closed, connect_over, for_each_connect, for_each_transport, next_message,
    send_numbers,
};
use crate::support::configs::{drivers, epoll_config};
use crate::support::test_server::TestServer;

#[test]
fn server_close_is_the_last_event() {
    let server = TestServer::start(epoll_config());
    for_each_connect(&server.url(), |connect, _| async move {
        let client = connect.await.expect("connects");
        client.send("one").await.expect("queued");
        assert_eq!(next_message(&client).await, OwnedMessage::Text("one".into()));
        client.send("!close").await.expect("queued");
        let closed = closed(&client).await;
        assert_eq!(closed.reason, CloseReason::ServerDisconnect, "{closed}");
        assert!(client.next().await.is_none());
        assert_eq!(client.state(), State::Closed);
    });
}

#[test]
fn disconnect_sends_queued_messages_first() {
    let server = TestServer::start(epoll_config());
    for_each_connect(&server.url(), |connect, transport| async move {
        let limit = Duration::from_secs(50);
        let client = connect.upgrade(false).close_timeout(limit).await.expect("connects");
        for n in 0..100 {
            client.try_send(n.to_string().as_str()).expect("queued");
        }
        let begun = Instant::now();
        client.disconnect().await;
        assert!(begun.elapsed() < limit / 2, "{transport:?} took {:?}", begun.elapsed());
        assert_eq!(client.ended().await.reason, CloseReason::ClientDisconnect);
        client.reconnect().await.expect("connects again");
    });
}

/// Counts messages, and the sessions that their client closed.
#[derive(Clone, Default)]
struct Counter(Arc<(AtomicUsize, AtomicUsize)>);

impl Handler for Counter {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(&'s self, _: &Socket<()>, _: Message<'_>) -> impl Future<Output = ()> + use<'s> {
        self.0.0.fetch_add(1, Ordering::Relaxed);
        async {}
    }

    async fn disconnect(&self, _: &Socket<()>, reason: CloseReason) {
        if reason == CloseReason::ClientDisconnect {
            self.0.1.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn disconnect_during_an_upgrade_loses_no_queued_message() {
    const MESSAGES: usize = 40;
    let counter = Counter::default();
    let make = counter.clone();
    let server = TestServer::run(epoll_config(), move |_| make.clone());
    let mut sessions = 0;
    for driver in drivers() {
        block_on(driver, async {
            for pause in [0, 0, 1, 2, 3, 5, 10, 20] {
                let client = Client::connect(&server.url()).await.expect("connects");
                if pause > 0 {
                    client::sleep(Duration::from_millis(pause)).await;
                }
                send_numbers(&client, MESSAGES).await;
                client.disconnect().await;
                assert_eq!(client.ended().await.reason, CloseReason::ClientDisconnect);
                sessions += 1;
            }
            // The last sessions end a little later on the server.
            let (messages, ended) = &*counter.0;
            while ended.load(Ordering::Relaxed) < sessions {
                client::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(messages.load(Ordering::Relaxed), sessions * MESSAGES);
        });
    }
}

#[test]
fn reconnecting_discards_the_old_session() {
    let server = TestServer::start(epoll_config());
    for_each_connect(&server.url(), |connect, _| async move {
        let client = connect.await.expect("connects");
        assert_eq!(client.reconnect().await, Err(ConnectError::Connected));
        let first = client.sid();
        for _ in 0..50 {
            client.try_send("old").expect("queued");
        }
        client.abort();
        assert_eq!(client.state(), State::Closed);
        client.reconnect().await.expect("connects again");
        assert_ne!(client.sid(), first);
        client.send("new").await.expect("queued");
        assert_eq!(next_message(&client).await, OwnedMessage::Text("new".into()));
    });
}

#[test]
fn heartbeat_keeps_an_idle_session_open() {
    let brief = Duration::from_millis(100);
    let server = TestServer::start(epoll_config().ping_interval(brief).ping_timeout(brief * 5));
    for_each_transport(|driver, transport| {
        block_on(driver, async {
            let client = connect_over(&server.url(), transport).await.expect("connects");
            client::sleep(brief * 15).await;
            client.send("still here").await.expect("queued");
            assert_eq!(next_message(&client).await, OwnedMessage::Text("still here".into()));
        });
    });
}

/// Sends `hello` on connect and disconnects at the first message.
struct OneMessage(RefCell<Vec<String>>);

impl ClientHandler for OneMessage {
    async fn connect(&self, client: &Client) {
        client.send("hello").await.expect("queued");
    }

    async fn message(&self, client: &Client, message: Message<'_>) {
        self.0.borrow_mut().push(format!("{message:?}"));
        client.disconnect().await;
    }

    async fn disconnect(&self, _: &Client, closed: &Closed) {
        self.0.borrow_mut().push(closed.to_string());
    }
}

#[test]
fn handler_receives_every_event() {
    let server = TestServer::start(epoll_config());
    for_each_connect(&server.url(), |connect, _| async move {
        let client = connect.await.expect("connects");
        let handler = OneMessage(RefCell::default());
        let closed = client.run(&handler).await;
        assert_eq!(closed.reason, CloseReason::ClientDisconnect);
        assert_eq!(handler.0.into_inner(), ["Text(\"hello\")", "client disconnect"]);
    });
}

#[test]
fn client_and_tasks_end_with_their_runtime() {
    let server = TestServer::start(epoll_config());
    for driver in drivers() {
        let begun = Instant::now();
        // A client that outlives its runtime, and tasks that would never end.
        let client = client::block_on(driver, async {
            client::spawn(pending::<()>());
            client::spawn(async { panic!("expected: a task that panics") });
            Client::connect(&server.url()).await.expect("connects")
        });
        let client = client.expect("a runtime");
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_eq!(client.state(), State::Closed);
        assert_eq!(client.try_send("late"), Err(SendError::Closed));
        assert!(client.remote().is_err());
        client.abort();
        let reconnected = block_on(driver, client.reconnect());
        assert_eq!(reconnected, Err(ConnectError::NoRuntime), "on another runtime");
        drop(client);
    }
    let nested = block_on(Driver::Epoll, async { client::block_on(Driver::Epoll, async {}) });
    assert!(nested.is_err(), "a runtime within a runtime");
}
