//! Handlers that await work of other threads: channels, another runtime, locks. Each answer arrives when the work is
//! done, and no misuse ends more than its session.

use std::future::Future;
use std::time::{Duration, Instant};

use eio_monoio::{ConnectRequest, Handler, Message, OwnedMessage, Refusal, Socket};

use crate::awaits::{MISUSES, WAYS, WORK, await_many, misuse, run};
use crate::support::configs::{default_config, for_each_config};
use crate::support::test_server::TestServer;
use crate::support::websocket::WebSocket;

/// Runs what a message names and answers with the outcome.
struct Awaiting;

impl Handler for Awaiting {
    type Session = ();

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<(), Refusal> {
        if request.query("wait").is_some() {
            assert_eq!(run("tokio oneshot").await, "sent");
        }
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        let (socket, message) = (socket.clone(), OwnedMessage::from(message));
        async move {
            let Message::Text(way) = message.borrow() else { return };
            let answer = match misuse(way) {
                Some(misuse) => misuse.await,
                None => run(way).await,
            };
            socket.send(answer.as_str()).await.ok();
        }
    }
}

#[test]
fn handler_awaits_work_of_other_threads() {
    for_each_config(|config| {
        let server = TestServer::run(config, |_| Awaiting);
        let (mut socket, _) = WebSocket::open(server.addr());
        for way in WAYS {
            let begun = Instant::now();
            socket.send(&format!("4{way}"));
            let answer = socket.text();
            assert!(answer.starts_with('4') && answer.len() > 1, "{way}: {answer}");
            // Far above the work itself, and below what only another message would wake.
            assert!(begun.elapsed() < Duration::from_secs(10), "{way}");
            if std::env::var_os("EIO_TEST_PRINT").is_some() {
                eprintln!("{way}: {:?} after the end of the work", begun.elapsed() - WORK);
            }
        }
    });
}

#[test]
fn connect_awaits_work_of_other_threads() {
    let server = TestServer::run(default_config(), |_| Awaiting);
    let target = "/engine.io/?EIO=4&transport=websocket&wait=1";
    let mut socket = WebSocket::connect(server.addr(), target);
    assert!(socket.text().starts_with('0'));
    socket.send("4own timer");
    assert_eq!(socket.text(), "4slept");
}

#[test]
fn misuse_ends_no_more_than_its_session() {
    for_each_config(|config| {
        let server = TestServer::run(config, |_| Awaiting);
        let (mut bystander, _) = WebSocket::open(server.addr());
        for (name, answer) in MISUSES {
            let (mut socket, _) = WebSocket::open(server.addr());
            socket.send(&format!("4{name}"));
            match answer {
                Some(answer) => assert_eq!(socket.text(), format!("4{answer}"), "{name}"),
                // RFC 6455 7.4.1: 1011, a server error.
                None => {
                    assert_eq!(socket.text(), "1", "{name}");
                    assert_eq!(socket.expect_close(), Some(1011), "{name}");
                }
            }
            bystander.send("4own timer");
            assert_eq!(bystander.text(), "4slept", "after {name}");
        }
    });
}

#[test]
fn ten_thousand_awaits_at_once_all_end() {
    /// Awaits of each message.
    const AWAITS: usize = 100;

    struct Many;

    impl Handler for Many {
        type Session = ();

        async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
            Ok(())
        }

        fn message<'s>(
            &'s self,
            socket: &Socket<()>,
            _: Message<'_>,
        ) -> impl Future<Output = ()> + use<'s> {
            let socket = socket.clone();
            async move {
                let sum = await_many(AWAITS).await;
                socket.send(sum.to_string().as_str()).await.ok();
            }
        }
    }

    for_each_config(|config| {
        let server = TestServer::run(config, |_| Many);
        let mut sockets: Vec<_> = (0..100).map(|_| WebSocket::open(server.addr()).0).collect();
        sockets.iter_mut().for_each(|socket| socket.send("4go"));
        for socket in &mut sockets {
            assert_eq!(socket.text(), format!("4{}", AWAITS * (AWAITS - 1) / 2));
        }
    });
}
