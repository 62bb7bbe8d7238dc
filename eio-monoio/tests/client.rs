//! The client against our own server: every transport, on both drivers.

use std::future::{Future, IntoFuture};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

mod support;

use eio_monoio::client::{self, Client, Connect, ConnectError, Event, SendError, State};
use eio_monoio::{
    CloseReason, Config, ConnectRequest, Driver, Handler, Message, OwnedMessage, Refusal, Running,
    Server, Socket, Transport,
};
use support::client::{WAYS, arrives, by, drivers, end, message, within};

/// Echoes; text that is a command does as it says.
struct Echo;

impl Handler for Echo {
    type Session = ();

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<(), Refusal> {
        match request.header("x-refuse") {
            Some("401") => Err(Refusal::unauthorized()),
            Some(_) => Err(Refusal::forbidden()),
            None => Ok(()),
        }
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        match message {
            Message::Text("close") => socket.disconnect(),
            message => {
                socket.try_send(message).ok();
            }
        }
        async {}
    }
}

fn serve(adjust: impl FnOnce(Config) -> Config) -> (Running, String) {
    let config = adjust(Config::new().workers(1).driver(Driver::Epoll));
    let running = Server::new(|| Echo).config(config).bind("127.0.0.1:0").expect("binds");
    let url = format!("http://{}/engine.io/", running.local_addr());
    (running, url)
}

/// Runs `test` on both drivers, with the ways a session can be carried.
fn on_every_transport<F: Future<Output = ()>>(test: impl Fn(Connect, Option<Transport>) -> F) {
    let (server, url) = serve(|config| config);
    for driver in drivers() {
        for way in WAYS {
            within(driver, test(by(&url, way), way));
        }
    }
    drop(server);
}

#[test]
fn what_is_sent_comes_back_whatever_carries_it() {
    on_every_transport(|connect, way| async move {
        let client = connect.await.expect("connects");
        assert_eq!(client.state(), State::Connected);
        let large = "x".repeat(900_000);
        // Base64 makes it larger.
        let binary = vec![0xfe; 700_000];
        let messages = [
            Message::Text("hello"),
            Message::Text(""),
            Message::Text("gr\u{fc}\u{df} \u{1f600} \u{0}"),
            Message::Binary(b""),
            Message::Binary(&[0, 1, 0xff]),
            Message::Text(&large),
            Message::Binary(&binary),
        ];
        for sent in messages {
            client.send(sent).await.expect("queued");
            assert_eq!(message(&client).await.borrow(), sent);
        }
        arrives(&client, way).await;
        client.disconnect().await;
        assert_eq!(client.ended().await.reason, CloseReason::ClientDisconnect);
        assert_eq!(client.try_send("late"), Err(SendError::Closed));
    });
}

#[test]
fn nothing_is_lost_or_reordered_while_the_transport_changes() {
    on_every_transport(|connect, way| async move {
        let client = connect.await.expect("connects");
        for n in 0..500 {
            client.send(n.to_string().as_str()).await.expect("queued");
            if n % 50 == 0 {
                client::sleep(Duration::from_millis(1)).await;
            }
        }
        for n in 0..500 {
            assert_eq!(message(&client).await, OwnedMessage::Text(n.to_string()));
        }
        arrives(&client, way).await;
    });
}

#[test]
fn the_servers_end_is_heard_once_and_last() {
    on_every_transport(|connect, _| async move {
        let client = connect.await.expect("connects");
        client.send("one").await.expect("queued");
        assert_eq!(message(&client).await, OwnedMessage::Text("one".into()));
        client.send("close").await.expect("queued");
        let closed = end(&client).await;
        assert_eq!(closed.reason, CloseReason::ServerDisconnect, "{closed}");
        assert!(client.next().await.is_none());
        assert_eq!(client.state(), State::Closed);
    });
}

#[test]
fn a_refusal_is_told_with_its_status() {
    on_every_transport(|connect, _| async move {
        for status in [401, 403] {
            let refused = connect.clone().header("X-Refuse", &status.to_string()).await;
            let error = refused.expect_err("refused");
            let fault = error.fault().expect("a fault");
            assert_eq!(fault.status(), Some(status), "{error}");
        }
    });
}

#[test]
fn there_is_no_client_without_a_runtime_or_a_server() {
    let waker = std::task::Waker::noop();
    let mut cx = std::task::Context::from_waker(waker);
    let mut connecting = Box::pin(Client::connect("http://127.0.0.1:1").into_future());
    let std::task::Poll::Ready(Err(error)) = connecting.as_mut().poll(&mut cx) else {
        panic!("connected without a runtime");
    };
    assert_eq!(error, ConnectError::NoRuntime);
}

#[test]
fn a_message_the_server_would_refuse_is_not_sent() {
    let (_server, url) = serve(|config| config.max_payload(1000));
    for way in WAYS {
        within(Driver::Epoll, async {
            let client = by(&url, way).upgrade(false).await.expect("connects");
            let (fits, not) = ("x".repeat(999), "x".repeat(1000));
            let error = client.send(not.as_str()).await;
            assert_eq!(error, Err(SendError::TooLarge { len: 1001, max: 1000 }));
            client.send(fits.as_str()).await.expect("fits");
            assert_eq!(message(&client).await, OwnedMessage::Text(fits));
            let base64 = client.try_send(&[0; 1000]);
            match client.transport() {
                Transport::Polling => {
                    assert_eq!(base64, Err(SendError::TooLarge { len: 1337, max: 1000 }));
                    assert_eq!(client.try_send("a\u{1e}b"), Err(SendError::Separator));
                }
                Transport::WebSocket => {
                    assert_eq!(base64, Ok(()));
                    assert_eq!(message(&client).await, OwnedMessage::Binary(vec![0; 1000]));
                }
            }
        });
    }
}

#[test]
fn posts_are_cut_to_what_the_server_takes() {
    let (_server, url) = serve(|config| config.max_payload(1000));
    within(Driver::Epoll, async {
        let client = by(&url, Some(Transport::Polling)).await.expect("connects");
        let half = "x".repeat(600);
        for _ in 0..40 {
            client.send(half.as_str()).await.expect("queued");
        }
        for n in 0..40 {
            client.send(n.to_string().as_str()).await.expect("queued");
        }
        for _ in 0..40 {
            assert_eq!(message(&client).await, OwnedMessage::Text(half.clone()));
        }
        for n in 0..40 {
            assert_eq!(message(&client).await, OwnedMessage::Text(n.to_string()));
        }
    });
}

#[test]
fn what_is_queued_goes_before_the_end() {
    on_every_transport(|connect, way| async move {
        let limit = Duration::from_secs(50);
        let client = connect.upgrade(false).close_timeout(limit).await.expect("connects");
        for n in 0..100 {
            client.try_send(n.to_string().as_str()).expect("queued");
        }
        let begun = std::time::Instant::now();
        client.disconnect().await;
        assert!(begun.elapsed() < limit / 2, "{way:?} took {:?}", begun.elapsed());
        assert_eq!(client.ended().await.reason, CloseReason::ClientDisconnect);
        client.reconnect().await.expect("the server lives");
    });
}

/// Counts messages, and the sessions that ended in good order.
#[derive(Clone, Default)]
struct Counted(std::sync::Arc<(AtomicUsize, AtomicUsize)>);

impl Handler for Counted {
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
fn an_end_in_the_middle_of_an_upgrade_loses_nothing_that_was_queued() {
    const MESSAGES: usize = 40;
    let counted = Counted::default();
    let (make, config) = (counted.clone(), Config::new().workers(1).driver(Driver::Epoll));
    let server = Server::new(move || make.clone()).config(config).bind("127.0.0.1:0");
    let server = server.expect("binds");
    let url = format!("http://{}", server.local_addr());
    let mut sessions = 0;
    for driver in drivers() {
        within(driver, async {
            for pause in [0, 0, 1, 2, 3, 5, 10, 20] {
                let client = Client::connect(&url).await.expect("connects");
                if pause > 0 {
                    client::sleep(Duration::from_millis(pause)).await;
                }
                for n in 0..MESSAGES {
                    client.send(n.to_string().as_str()).await.expect("queued");
                }
                client.disconnect().await;
                assert_eq!(client.ended().await.reason, CloseReason::ClientDisconnect);
                sessions += 1;
            }
            // The server hears of the last ones a little later than we are done.
            let (messages, ended) = &*counted.0;
            while ended.load(Ordering::Relaxed) < sessions {
                client::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(messages.load(Ordering::Relaxed), sessions * MESSAGES);
        });
    }
}

#[test]
fn another_connection_has_nothing_of_the_one_before() {
    on_every_transport(|connect, _| async move {
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
        assert_eq!(message(&client).await, OwnedMessage::Text("new".into()));
    });
}

#[test]
fn a_slow_application_holds_the_server_up_and_loses_nothing() {
    let (_server, url) = serve(|config| config);
    for way in WAYS {
        within(Driver::Epoll, async {
            let connect = by(&url, way).inbound_high_water(10_000).outbound_high_water(10_000);
            let client = std::rc::Rc::new(connect.await.expect("connects"));
            let sender = client.clone();
            client::spawn(async move {
                for n in 0..2_000 {
                    let text = format!("{n:->100}");
                    sender.send(text.as_str()).await.expect("queued");
                }
            });
            client::sleep(Duration::from_millis(300)).await;
            for n in 0..2_000 {
                assert_eq!(message(&client).await, OwnedMessage::Text(format!("{n:->100}")));
            }
        });
    }
}

#[test]
fn an_idle_session_lives_by_its_heartbeat() {
    let brief = Duration::from_millis(100);
    let (_server, url) = serve(|config| config.ping_interval(brief).ping_timeout(brief * 5));
    for driver in drivers() {
        for way in WAYS {
            within(driver, async {
                let client = by(&url, way).await.expect("connects");
                client::sleep(brief * 15).await;
                client.send("still here").await.expect("queued");
                assert_eq!(message(&client).await, OwnedMessage::Text("still here".into()));
            });
        }
    }
}

#[test]
fn another_transport_is_tried_when_the_first_is_not_served() {
    let (_server, url) = serve(|config| config.transports([Transport::WebSocket]));
    within(Driver::Epoll, async {
        let refused = Client::connect(&url).await.expect_err("polling is not served");
        assert_eq!(refused.fault().and_then(|fault| fault.status()), Some(400), "{refused}");
        let client = Client::connect(&url).try_all_transports(true).await.expect("connects");
        assert_eq!(client.transport(), Transport::WebSocket);
    });
}

#[test]
fn a_client_that_upgraded_before_begins_there_if_asked_to() {
    let (_server, url) = serve(|config| config);
    within(Driver::Epoll, async {
        let client = Client::connect(&url).remember_upgrade(true).await.expect("connects");
        assert!(matches!(client.next().await, Some(Event::Upgraded)));
        client.disconnect().await;
        client.reconnect().await.expect("connects again");
        assert_eq!(client.transport(), Transport::WebSocket);
    });
}

#[test]
fn a_server_that_is_not_there_is_an_error_and_is_tried_again() {
    within(Driver::Epoll, async {
        let (server, url) = serve(|config| config);
        let client = Client::connect(&url).await.expect("connects");
        client.disconnect().await;
        let port = server.local_addr();
        drop(server);
        assert!(matches!(client.reconnect().await, Err(ConnectError::Failed(_))));
        let mut backoff = client::Backoff::default();
        backoff.first = Duration::from_millis(20);
        backoff.attempts = Some(2);
        assert!(matches!(client.reconnect_with(&backoff).await, Err(ConnectError::Failed(_))));
        let config = Config::new().workers(1).driver(Driver::Epoll);
        let _server = Server::new(|| Echo).config(config).bind(port).expect("binds again");
        client.reconnect_with(&backoff).await.expect("it is there again");
    });
}

#[test]
fn a_name_is_resolved_and_every_address_tried() {
    let (server, _) = serve(|config| config);
    let port = server.local_addr().port();
    for driver in drivers() {
        within(driver, async {
            // On many machines this is ::1 first, where nobody listens.
            let client = Client::connect(&format!("http://localhost:{port}")).await;
            drop(client.expect("connects"));
            let nowhere = Client::connect("http://no-such-host.invalid").await;
            let error = nowhere.expect_err("there is no such host");
            assert!(matches!(error.fault(), Some(client::Fault::Resolve(_))), "{error}");
        });
    }
}

#[test]
fn every_transport_goes_through_a_proxy() {
    let (_server, url) = serve(|config| config);
    let (proxy, told) = support::client::proxy();
    let proxy = proxy.replace("http://", "http://user:p%40ss@");
    for driver in drivers() {
        for way in WAYS {
            within(driver, async {
                let client = by(&url, way).proxy(&proxy).await.expect("connects");
                for n in 0..50 {
                    client.send(n.to_string().as_str()).await.expect("queued");
                }
                for n in 0..50 {
                    assert_eq!(message(&client).await, OwnedMessage::Text(n.to_string()));
                }
                arrives(&client, way).await;
                client.disconnect().await;
            });
            let heads: Vec<_> = told.try_iter().collect();
            // An upgrade is a connection of its own.
            assert!(heads.len() > usize::from(way.is_none()), "{heads:?}");
            for head in heads {
                assert!(head.contains("\r\nProxy-Authorization: Basic dXNlcjpwQHNz\r\n"), "{head}");
            }
        }
    }
}

/// Answers the first message with `bye`, then ends.
struct Polite(std::cell::RefCell<Vec<String>>);

impl client::ClientHandler for Polite {
    async fn connect(&self, client: &Client) {
        client.send("hello").await.expect("queued");
    }

    async fn message(&self, client: &Client, message: Message<'_>) {
        self.0.borrow_mut().push(format!("{message:?}"));
        client.disconnect().await;
    }

    async fn disconnect(&self, _: &Client, closed: &client::Closed) {
        self.0.borrow_mut().push(closed.to_string());
    }
}

#[test]
fn a_handler_is_called_for_what_happens() {
    on_every_transport(|connect, _| async move {
        let client = connect.await.expect("connects");
        let polite = Polite(std::cell::RefCell::default());
        let closed = client.run(&polite).await;
        assert_eq!(closed.reason, CloseReason::ClientDisconnect);
        assert_eq!(polite.0.into_inner(), ["Text(\"hello\")", "client disconnect"]);
    });
}

#[test]
fn another_thread_reaches_a_client_in_order_and_not_beyond_its_end() {
    on_every_transport(|connect, _| async move {
        let client = connect.await.expect("connects");
        let remote = client.remote().expect("descriptors");
        let sending = remote.clone();
        let thread = std::thread::spawn(move || {
            for n in 0..100 {
                sending.send(n.to_string()).expect("connected");
            }
        });
        for n in 0..100 {
            assert_eq!(message(&client).await, OwnedMessage::Text(n.to_string()));
        }
        thread.join().expect("done");
        remote.disconnect();
        assert_eq!(end(&client).await.reason, CloseReason::ClientDisconnect);
        client.ended().await;
        client::sleep(Duration::from_millis(50)).await;
        assert_eq!(remote.send("late".to_owned()), Err(SendError::Closed));
    });
}

#[cfg(feature = "json")]
#[test]
fn a_value_travels_as_json() {
    on_every_transport(|connect, _| async move {
        let client = connect.await.expect("connects");
        client.send_json(&("gr\u{fc}\u{df}", [1.5, 2.0], None::<u8>)).await.expect("queued");
        assert_eq!(
            message(&client).await,
            OwnedMessage::Text("[\"gr\u{fc}\u{df}\",[1.5,2.0],null]".into())
        );
        client.send_json(&[1, 2]).await.expect("queued");
        let received = loop {
            match client.next().await {
                Some(Event::Message(received)) => break received,
                Some(Event::Upgraded) => {}
                other => panic!("expected a message, got {other:?}"),
            }
        };
        assert_eq!(received.json::<[u8; 2]>().expect("two numbers"), [1, 2]);
        let keys = std::collections::HashMap::from([(vec![1], 2)]);
        assert_eq!(client.send_json(&keys).await, Err(SendError::NotJson));
    });
}

#[test]
fn another_thread_cannot_lose_a_message_in_silence() {
    let (_server, url) = serve(|config| config.max_payload(1000));
    within(Driver::Epoll, async {
        let client = by(&url, Some(Transport::WebSocket)).await.expect("connects");
        let remote = client.remote().expect("descriptors");
        remote.send("x".repeat(1000)).expect("mailed");
        remote.send("fits".to_owned()).expect("mailed");
        let told = client.next().await;
        let why = SendError::TooLarge { len: 1001, max: 1000 };
        assert!(matches!(told, Some(Event::Unsent(told)) if told == why), "{told:?}");
        assert_eq!(message(&client).await, OwnedMessage::Text("fits".into()));
        // Whoever takes no events is not told without bound, and hears of the end all the same.
        for _ in 0..100 {
            remote.send("x".repeat(1000)).expect("mailed");
        }
        remote.disconnect();
        client.ended().await;
        for _ in 0..16 {
            assert!(matches!(client.next().await, Some(Event::Unsent(_))));
        }
        assert!(matches!(client.next().await, Some(Event::Closed(_))));
        assert!(client.next().await.is_none());
    });
}

/// Asks another server for the answer.
struct Relay(String);

impl Handler for Relay {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        let (socket, asked) = (socket.clone(), OwnedMessage::from(message));
        async move {
            let client = Client::connect(&self.0).await.expect("connects");
            client.send(&asked).await.expect("queued");
            let answer = crate::message(&client).await;
            socket.send(&answer).await.ok();
        }
    }
}

#[test]
fn a_server_is_a_client_of_another_on_its_own_core() {
    let (_echo, url) = serve(|config| config);
    for driver in drivers() {
        let url = url.clone();
        let limit = Duration::from_secs(50);
        let config = Config::new().workers(2).driver(driver).shutdown_timeout(limit);
        let relay = Server::new(move || Relay(url.clone())).config(config).bind("127.0.0.1:0");
        let relay = relay.expect("binds");
        within(driver, async {
            let client = Client::connect(&format!("http://{}", relay.local_addr())).await;
            let client = client.expect("connects");
            for text in ["one", "two"] {
                client.send(text).await.expect("queued");
                assert_eq!(message(&client).await, OwnedMessage::Text(text.into()));
            }
        });
        let begun = std::time::Instant::now();
        drop(relay);
        assert!(begun.elapsed() < limit / 2, "a client kept its server from ending");
    }
}

#[test]
fn what_is_left_of_a_core_ends_with_it() {
    let (_server, url) = serve(|config| config);
    for driver in drivers() {
        let begun = std::time::Instant::now();
        // A client that outlives its core, and tasks that would never end.
        let client = client::block_on(driver, async {
            client::spawn(std::future::pending::<()>());
            client::spawn(async { panic!("expected in the output: a task that panics") });
            Client::connect(&url).await.expect("connects")
        });
        let client = client.expect("a runtime");
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_eq!(client.state(), State::Closed);
        assert_eq!(client.try_send("late"), Err(SendError::Closed));
        assert!(client.remote().is_err());
        client.abort();
        let reconnected = within(driver, client.reconnect());
        assert_eq!(reconnected, Err(ConnectError::NoRuntime), "on another core");
        drop(client);
    }
    let nested = within(Driver::Epoll, async { client::block_on(Driver::Epoll, async {}) });
    assert!(nested.is_err(), "a core within a core");
}

#[test]
fn an_ipv6_address_is_a_host() {
    let config = Config::new().workers(1).driver(Driver::Epoll);
    let server = match Server::new(|| Echo).config(config).bind("[::1]:0") {
        Ok(server) => server,
        Err(error) if std::env::var_os("CI").is_some_and(|ci| ci == "true") => panic!("{error}"),
        Err(error) => {
            // Not `eprintln!`: the harness would hide it, as the test passes.
            use std::io::Write;
            _ = writeln!(std::io::stderr(), "SKIPPED: an_ipv6_address_is_a_host: {error}");
            return;
        }
    };
    for driver in drivers() {
        for way in WAYS {
            within(driver, async {
                let client = by(&format!("http://{}", server.local_addr()), way).await;
                let client = client.expect("connects");
                client.send("hello").await.expect("queued");
                assert_eq!(message(&client).await, OwnedMessage::Text("hello".into()));
            });
        }
    }
}

#[test]
fn a_thread_that_floods_a_busy_client_never_fills_the_memory() {
    on_every_transport(|connect, _| async move {
        let client = connect.outbound_high_water(10_000).await.expect("connects");
        let remote = client.remote().expect("descriptors");
        let text = "x".repeat(1000);
        // The core of the client is this thread: nothing is read from the mail meanwhile.
        let taken = (0..100).find(|_| remote.send(text.clone()) == Err(SendError::Full));
        assert_eq!(taken, Some(10));
        for _ in 0..10 {
            assert_eq!(message(&client).await, OwnedMessage::Text(text.clone()));
        }
        remote.send("room again".to_owned()).expect("room");
        assert_eq!(message(&client).await, OwnedMessage::Text("room again".to_owned()));
        remote.disconnect();
        assert_eq!(end(&client).await.reason, CloseReason::ClientDisconnect);
    });
}
