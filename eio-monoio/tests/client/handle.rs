//! `client::Handle` in a tokio runtime: its futures are awaited on threads of tokio.

use std::future::Future;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use eio_core::ws::Opcode;
use eio_monoio::client::{Backoff, Client, Connect, ConnectError, Event, Handle};
use eio_monoio::{CloseReason, Driver, OwnedMessage, SendError};

use crate::support::client::{TRANSPORTS, connect_over, websocket};
use crate::support::configs::{drivers, epoll_config};
use crate::support::echo::Echo;
use crate::support::scripted;
use crate::support::test_server::TestServer;

/// Runs a test in tokio, with two threads; fails after a minute.
fn in_tokio<F: Future>(test: F) -> F::Output {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_time().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test takes too long")
    })
}

async fn next_message(handle: &Handle) -> OwnedMessage {
    loop {
        match handle.next().await {
            Some(Event::Message(message)) => return message,
            Some(Event::Upgraded) => {}
            other => panic!("expected a message, got {other:?}"),
        }
    }
}

async fn closed(handle: &Handle) -> CloseReason {
    loop {
        match handle.next().await {
            Some(Event::Closed(closed)) => return closed.reason,
            Some(_) => {}
            None => panic!("no end before the last event"),
        }
    }
}

#[test]
fn handle_and_its_futures_can_move_between_threads() {
    fn is_send<T: Send>(_: T) {}
    fn is_sync<T: Sync>() {}
    is_sync::<Handle>();
    is_send(Handle::connect(Driver::Auto, Client::connect("http://a")));
    let uses = |handle: &Handle| {
        is_send(handle.send("a"));
        is_send(handle.next());
        is_send(handle.flushed());
        is_send(handle.disconnect());
        is_send(handle.reconnect());
    };
    let _: &dyn Fn(&Handle) = &uses;
}

#[test]
fn messages_are_echoed_in_order_to_tasks_of_tokio() {
    const MESSAGES: usize = 300;
    let server = TestServer::start(epoll_config());
    for driver in drivers() {
        for transport in TRANSPORTS {
            let connect = connect_over(&server.url(), transport);
            in_tokio(async {
                let handle = Handle::connect(driver, connect).await.expect("connects");
                assert!(handle.sid().is_some());
                let handle = Arc::new(handle);
                let sender = handle.clone();
                let sending = tokio::spawn(async move {
                    for n in 0..MESSAGES {
                        sender.send(n.to_string()).await.expect("queued");
                    }
                    sender.send(vec![1, 2, 3]).await.expect("queued");
                    sender.flushed().await;
                });
                for n in 0..MESSAGES {
                    assert_eq!(next_message(&handle).await, OwnedMessage::Text(n.to_string()));
                }
                assert_eq!(next_message(&handle).await, OwnedMessage::Binary(vec![1, 2, 3]));
                sending.await.expect("no panic");
                handle.disconnect().await;
                assert_eq!(closed(&handle).await, CloseReason::ClientDisconnect);
                assert!(handle.next().await.is_none());
                assert_eq!(handle.send("late").await, Err(SendError::Closed));
                handle.reconnect().await.expect("connects again");
                assert_eq!(handle.reconnect().await, Err(ConnectError::Connected));
                handle.send("again").await.expect("queued");
                assert_eq!(next_message(&handle).await, OwnedMessage::Text("again".into()));
            });
        }
    }
}

#[test]
fn no_message_is_lost_while_the_program_takes_none() {
    const MESSAGES: usize = 500;
    let server = TestServer::start(epoll_config());
    let connect = Client::connect(&server.url()).inbound_high_water(1_000);
    in_tokio(async {
        let handle = Handle::connect(Driver::Auto, connect).await.expect("connects");
        for n in 0..MESSAGES {
            handle.send(n.to_string()).await.expect("queued");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        for n in 0..MESSAGES {
            assert_eq!(next_message(&handle).await, OwnedMessage::Text(n.to_string()));
        }
    });
}

#[test]
fn failed_connections_report_their_fault_and_are_retried() {
    let refused: Connect = Client::connect("http://127.0.0.1:1");
    in_tokio(async {
        let error = Handle::connect(Driver::Auto, refused.clone()).await.expect_err("refused");
        assert!(matches!(error, ConnectError::Failed(_)), "{error}");
        let backoff = Backoff::new().first(Duration::from_millis(10)).attempts(3);
        let error = Handle::connect_with(Driver::Auto, refused, &backoff).await;
        assert!(matches!(error, Err(ConnectError::Failed(_))), "{error:?}");
        let option = Client::connect("ftp://a");
        let error = Handle::connect(Driver::Auto, option).await.expect_err("not a URL of http");
        assert!(matches!(error, ConnectError::Url(_)), "{error}");
    });
}

#[test]
fn reconnect_with_can_be_cancelled_and_the_handle_is_still_usable() {
    in_tokio(async {
        let server = TestServer::start(epoll_config());
        let address = server.addr();
        let connect = Client::connect(&server.url());
        let handle = Handle::connect(Driver::Auto, connect).await.expect("connects");
        handle.disconnect().await;
        drop(server);
        let backoff = Backoff::new().first(Duration::from_millis(10));
        let endless = handle.reconnect_with(&backoff);
        assert!(tokio::time::timeout(Duration::from_millis(100), endless).await.is_err());
        let again = eio_monoio::Server::new(Echo::<()>::new).config(epoll_config()).bind(address);
        let _again = again.expect("binds again");
        handle.reconnect_with(&backoff).await.expect("connects again");
        handle.send("hello").await.expect("queued");
        assert_eq!(next_message(&handle).await, OwnedMessage::Text("hello".into()));
    });
}

#[test]
fn dropping_a_handle_or_its_connection_attempt_closes_its_connections() {
    let (closed, received) = std::sync::mpsc::channel();
    let url = scripted::start(move |request| {
        let silent = request.head.contains("silent");
        if silent {
            request.hold();
        } else {
            let mut stream = request.accept();
            let open = scripted::open_packet("", 25_000, 20_000);
            _ = stream.write_all(&scripted::frame(Opcode::Text, open.as_bytes(), None));
            scripted::hold(stream);
        }
        closed.send(silent).ok();
    });
    in_tokio(async {
        let connect = websocket(&url);
        let handle = Handle::connect(Driver::Auto, connect.clone()).await.expect("connects");
        assert_eq!(handle.sid().expect("a session").as_str(), "abc");
        drop(handle);
        let connecting = Handle::connect(Driver::Auto, connect.path("/silent"));
        assert!(tokio::time::timeout(Duration::from_millis(100), connecting).await.is_err());
    });
    let limit = Duration::from_secs(30);
    let ends = [received.recv_timeout(limit), received.recv_timeout(limit)];
    assert!(ends.contains(&Ok(true)) && ends.contains(&Ok(false)), "{ends:?}");
}
