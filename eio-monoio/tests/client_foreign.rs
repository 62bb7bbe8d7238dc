//! The client against the servers people use: npm engine.io, and python-engineio's AsyncServer on aiohttp.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use eio_monoio::client::{self, Fault, SendError};
use eio_monoio::{CloseReason, Driver, Message, OwnedMessage, PerMessageDeflate, Transport};
use support::client::{WAYS, arrives, by, drivers, end, message, within};
use support::foreign;
use support::server::{Server, signal};

/// A server, and how it differs.
#[derive(Clone, Copy)]
struct Kind {
    install: fn(&str) -> Option<&'static foreign::Client>,
    /// pingInterval, pingTimeout, in its own units.
    default: [&'static str; 2],
    brief: [&'static str; 2],
    /// What `brief` is.
    patience: Duration,
    /// The status of a refusal.
    refusal: u16,
    /// Whether a large POST arrives whole.
    large_posts: bool,
    /// What its close looks like over a WebSocket.
    close: CloseReason,
}

const JAVASCRIPT: Kind = Kind {
    install: foreign::javascript_server,
    default: ["25000", "20000"],
    brief: ["400", "300"],
    patience: Duration::from_millis(700),
    refusal: 403,
    large_posts: true,
    // Protocol 2.6.6: just a close frame.
    close: CloseReason::TransportClose,
};

const PYTHON: Kind = Kind {
    install: foreign::python_server,
    default: ["25", "20"],
    // It announces whole seconds.
    brief: ["1", "1"],
    patience: Duration::from_secs(2),
    refusal: 401,
    // Protocol 2.3.12.
    large_posts: false,
    close: CloseReason::ServerDisconnect,
};

impl Kind {
    fn start(&self, test: &str, settings: [&str; 2], max_payload: &str) -> Option<Server> {
        let installed = (self.install)(test)?;
        let [interval, timeout] = settings;
        Some(Server::run(installed.serve(&[interval, timeout, max_payload])))
    }
}

macro_rules! each {
    ($($test:ident)+) => {
        mod javascript { $( #[test] fn $test() { super::$test(super::JAVASCRIPT, stringify!($test)) } )+ }
        mod python { $( #[test] fn $test() { super::$test(super::PYTHON, stringify!($test)) } )+ }
    };
}

each! {
    what_is_sent_comes_back
    what_is_compressed_comes_back_compressed
    nothing_is_lost_while_the_transport_changes
    the_end_has_the_right_reason
    a_refusal_is_told_with_its_status
    a_killed_server_is_noticed_at_once
    a_silent_server_is_given_up_in_time
    an_idle_session_lives_by_its_heartbeat
    a_message_the_server_would_refuse_is_not_sent
}

fn what_is_sent_comes_back(kind: Kind, test: &str) {
    // Over polling binary is base64: 900 KB are 1.2 MB.
    let Some(server) = kind.start(test, kind.default, "2000000") else { return };
    for driver in drivers() {
        for way in WAYS {
            within(driver, async {
                let client = by(server.url(), way).await.expect("connects");
                let (large, binary) = ("x".repeat(900_000), vec![0xfe; 900_000]);
                let mut messages = vec![
                    Message::Text("hello"),
                    Message::Text(""),
                    Message::Text(
                        "P\u{159}\u{ed}li\u{161} \u{5e9}\u{5dc} e\u{301} \u{1f600}\u{10ffff}",
                    ),
                    Message::Text("a\u{0}b\u{2028}\n"),
                    Message::Binary(b""),
                    Message::Binary(&[0, 1, 0x1e, 0x80, 0xff]),
                ];
                if way.is_none() {
                    while client.transport() == Transport::Polling {
                        client::sleep(Duration::from_millis(10)).await;
                    }
                }
                if kind.large_posts || way != Some(Transport::Polling) {
                    messages.extend([Message::Text(&large), Message::Binary(&binary)]);
                }
                for sent in messages {
                    client.send(sent).await.expect("queued");
                    assert_eq!(message(&client).await.borrow(), sent);
                }
                client.disconnect().await;
                assert_eq!(client.ended().await.reason, CloseReason::ClientDisconnect);
            });
        }
    }
}

fn what_is_compressed_comes_back_compressed(kind: Kind, test: &str) {
    let Some(server) = kind.start(test, kind.default, "1000000") else { return };
    let both = |alone| {
        PerMessageDeflate::new()
            .threshold(10)
            .server_no_context_takeover(alone)
            .client_no_context_takeover(alone)
    };
    for offer in [
        both(true),
        both(false),
        both(true).server_max_window_bits(9).client_max_window_bits(9),
        both(false).server_max_window_bits(12).client_max_window_bits(12),
    ] {
        for way in [None, Some(Transport::WebSocket)] {
            let relay = Relay::start(server.addr());
            within(Driver::Auto, async {
                let connect = by(&relay.url, way).per_message_deflate(offer.clone());
                let client = connect.await.expect("connects");
                while client.transport() == Transport::Polling {
                    client::sleep(Duration::from_millis(10)).await;
                }
                let before = relay.bytes();
                let (text, binary) = ("hello \u{e9} ".repeat(2500), [1, 2, 3, 4].repeat(6000));
                for n in 0..10 {
                    let text = format!("{n} {text}");
                    for sent in [Message::Text(&text), Message::Binary(&binary)] {
                        client.send(sent).await.expect("queued");
                        assert_eq!(message(&client).await.borrow(), sent);
                    }
                }
                let (there, back) = relay.bytes();
                let (there, back) = (there - before.0, back - before.1);
                // Half a megabyte.
                assert!(there < 100_000 && back < 100_000, "{there} and {back} bytes");
                let mut noise = vec![0; 100_000];
                getrandom::fill(&mut noise).expect("random bytes");
                for sent in [Message::Text(""), Message::Text("short"), Message::Binary(&noise)] {
                    client.send(sent).await.expect("queued");
                    assert_eq!(message(&client).await.borrow(), sent);
                }
                client.disconnect().await;
                assert_eq!(client.ended().await.reason, CloseReason::ClientDisconnect);
            });
        }
    }
}

/// Passes bytes on in both directions, and counts them.
struct Relay {
    url: String,
    counts: Arc<[AtomicUsize; 2]>,
}

impl Relay {
    fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let counts = Arc::<[AtomicUsize; 2]>::default();
        let counting = counts.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { return };
                let pairs = [(&client, &server), (&server, &client)];
                for (n, (from, to)) in pairs.into_iter().enumerate() {
                    let from = from.try_clone().expect("a descriptor");
                    let to = to.try_clone().expect("a descriptor");
                    let counts = counting.clone();
                    thread::spawn(move || pass_on(from, to, &counts[n]));
                }
            }
        });
        Self { url, counts }
    }

    /// So many went to the server, and so many back.
    fn bytes(&self) -> (usize, usize) {
        let [there, back] = &*self.counts;
        (there.load(Ordering::SeqCst), back.load(Ordering::SeqCst))
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, count: &AtomicUsize) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        count.fetch_add(n, Ordering::SeqCst);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    _ = to.shutdown(Shutdown::Write);
}

fn nothing_is_lost_while_the_transport_changes(kind: Kind, test: &str) {
    let Some(server) = kind.start(test, kind.default, "1000000") else { return };
    for driver in drivers() {
        for way in WAYS {
            within(driver, async {
                let client = by(server.url(), way).await.expect("connects");
                for n in 0..500 {
                    client.send(n.to_string().as_str()).await.expect("queued");
                    if n % 25 == 0 {
                        client::sleep(Duration::from_millis(1)).await;
                    }
                }
                for n in 0..500 {
                    assert_eq!(message(&client).await, OwnedMessage::Text(n.to_string()));
                }
                arrives(&client, way).await;
            });
        }
    }
}

fn the_end_has_the_right_reason(kind: Kind, test: &str) {
    let Some(server) = kind.start(test, kind.default, "1000000") else { return };
    for way in WAYS {
        within(Driver::Epoll, async {
            let client = by(server.url(), way).await.expect("connects");
            client.send("first").await.expect("queued");
            assert_eq!(message(&client).await, OwnedMessage::Text("first".into()));
            if way.is_none() {
                while client.transport() == Transport::Polling {
                    client::sleep(Duration::from_millis(10)).await;
                }
            }
            client.send("close").await.expect("queued");
            let closed = end(&client).await;
            match client.transport() {
                Transport::Polling => assert_eq!(closed.reason, CloseReason::ServerDisconnect),
                Transport::WebSocket => assert_eq!(closed.reason, kind.close, "{closed}"),
            }
            client.reconnect().await.expect("connects again");
        });
    }
}

fn a_refusal_is_told_with_its_status(kind: Kind, test: &str) {
    let Some(server) = kind.start(test, kind.default, "1000000") else { return };
    for way in WAYS {
        within(Driver::Epoll, async {
            let refused = by(server.url(), way).header("X-Refuse", "1").await;
            let error = refused.expect_err("refused");
            // Over a WebSocket engine.io answers 400 whatever the reason (protocol 2.2).
            let javascript_websocket = kind.refusal == 403 && way == Some(Transport::WebSocket);
            let status = if javascript_websocket { 400 } else { kind.refusal };
            match error.fault() {
                Some(Fault::Status { status: told, body }) => {
                    assert_eq!(*told, status);
                    assert!(body.contains("refused"), "{body}");
                }
                _ => panic!("{error}"),
            }
        });
    }
}

fn a_killed_server_is_noticed_at_once(kind: Kind, test: &str) {
    for way in WAYS {
        let Some(server) = kind.start(test, kind.default, "1000000") else { return };
        within(Driver::Epoll, async {
            let client = by(server.url(), way).await.expect("connects");
            client::sleep(Duration::from_millis(200)).await;
            client.send("kill").await.expect("queued");
            let begun = Instant::now();
            let closed = end(&client).await;
            let expected = match client.transport() {
                Transport::Polling => CloseReason::TransportError,
                Transport::WebSocket => CloseReason::TransportClose,
            };
            assert_eq!(closed.reason, expected, "{closed}");
            assert_eq!(closed.detail, Some(Fault::Lost));
            assert!(begun.elapsed() < Duration::from_secs(20));
        });
    }
}

fn a_silent_server_is_given_up_in_time(kind: Kind, test: &str) {
    for way in WAYS {
        let Some(server) = kind.start(test, kind.brief, "1000000") else { return };
        within(Driver::Epoll, async {
            let client = by(server.url(), way).await.expect("connects");
            client.send("first").await.expect("queued");
            assert_eq!(message(&client).await, OwnedMessage::Text("first".into()));
            // What a half-open connection looks like: nothing comes, and nothing is refused.
            signal("-STOP", &server.pid().to_string());
            let begun = Instant::now();
            let closed = end(&client).await;
            assert_eq!(closed.reason, CloseReason::PingTimeout, "{closed}");
            assert!(begun.elapsed() < kind.patience + Duration::from_secs(20));
        });
    }
}

fn an_idle_session_lives_by_its_heartbeat(kind: Kind, test: &str) {
    let Some(server) = kind.start(test, kind.brief, "1000000") else { return };
    for way in WAYS {
        within(Driver::Epoll, async {
            let client = by(server.url(), way).await.expect("connects");
            client::sleep(kind.patience * 2).await;
            client.send("still here").await.expect("queued");
            assert_eq!(message(&client).await, OwnedMessage::Text("still here".into()));
        });
    }
}

fn a_message_the_server_would_refuse_is_not_sent(kind: Kind, test: &str) {
    let Some(server) = kind.start(test, kind.default, "10000") else { return };
    for way in WAYS {
        within(Driver::Epoll, async {
            let client = by(server.url(), way).await.expect("connects");
            // aiohttp refuses a WebSocket message of exactly its limit.
            let (fits, not) = ("x".repeat(9_998), "x".repeat(10_000));
            let error = client.send(not.as_str()).await;
            assert_eq!(error, Err(SendError::TooLarge { len: 10_001, max: 10_000 }));
            client.send(fits.as_str()).await.expect("fits");
            assert_eq!(message(&client).await, OwnedMessage::Text(fits));
        });
    }
}
