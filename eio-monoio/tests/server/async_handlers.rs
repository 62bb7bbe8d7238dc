//! Handlers with owned values: `AsyncHandler`, `Server::on_message` and async closures.

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use eio_monoio::{
    AsyncHandler, CloseReason, ConnectRequest, Files, OwnedMessage, Refusal, Server, Socket, sleep,
};

use crate::support::configs::{default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::log::{Entry, Log};
use crate::support::polling::Polling;
use crate::support::request::{POLLING, Request};
use crate::support::test_server::TestServer;
use crate::support::websocket::WebSocket;

/// Numbers the messages of a session, and awaits in every method.
struct Counting(Log);

impl AsyncHandler for Counting {
    type Session = Cell<u32>;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<Cell<u32>, Refusal> {
        sleep(Duration::from_millis(1)).await;
        let first = request.query("first").ok_or(Refusal::unauthorized())?;
        Ok(Cell::new(first.parse().map_err(|_| Refusal::bad_request())?))
    }

    async fn open(&self, socket: Socket<Cell<u32>>) {
        sleep(Duration::from_millis(1)).await;
        self.0.push(&socket, Entry::Opened);
    }

    async fn message(&self, socket: Socket<Cell<u32>>, message: OwnedMessage) {
        let number = socket.data().get();
        socket.data().set(number + 1);
        // Later messages await less: they would overtake.
        sleep(Duration::from_millis(5_u64.saturating_sub(number.into()))).await;
        self.0.push(&socket, Entry::Message(message.clone()));
        let OwnedMessage::Text(text) = message else { return };
        socket.send(format!("{number} {text}").as_str()).await.expect("an open session");
    }

    async fn disconnect(&self, socket: Socket<Cell<u32>>, reason: CloseReason) {
        sleep(Duration::from_millis(1)).await;
        self.0.push(&socket, Entry::Closed(reason));
    }
}

#[test]
fn async_handler_receives_messages_in_order() {
    for_each_config(|config| {
        let server = TestServer::run(config, |log| Counting(log.clone()));
        let target = "/engine.io/?EIO=4&transport=websocket&first=1";
        let (mut socket, _) = WebSocket::open_at(server.addr(), target);
        for text in ["a", "b", "c", "d"] {
            socket.send(&format!("4{text}"));
        }
        for answer in ["41 a", "42 b", "43 c", "44 d"] {
            assert_eq!(socket.text(), answer);
        }
        let mut polling = Polling::open_with(server.addr(), "&first=7");
        polling.post_ok("4a\x1e4b");
        let mut answers = polling.poll();
        if !answers.contains('\x1e') {
            answers = format!("{answers}\x1e{}", polling.poll());
        }
        assert_eq!(answers, "47 a\x1e48 b");
    });
}

/// A handler without `connect`.
struct Open<S>(std::marker::PhantomData<S>);

impl<S: 'static> AsyncHandler for Open<S> {
    type Session = S;

    async fn message(&self, socket: Socket<S>, message: OwnedMessage) {
        socket.send(&message).await.expect("an open session");
    }
}

#[test]
fn handler_without_connect_accepts_every_session_of_unit() {
    for_each_config(|config| {
        let server = TestServer::run(config, |_| Open::<()>(std::marker::PhantomData));
        Polling::open(server.addr()).assert_alive();
        WebSocket::open(server.addr()).0.assert_alive();
    });
    // Nothing can create this session. A type with a size does not compile.
    struct Marker;
    let server = TestServer::run(default_config(), |_| Open::<Marker>(std::marker::PhantomData));
    let mut conn = Connection::open(server.addr());
    conn.request(&Request::get(POLLING)).assert(500, r#""Internal Server Error""#);
}

#[test]
fn server_of_a_closure_has_all_options() {
    let page = std::env::temp_dir().join(format!("eio-on-message-{}", std::process::id()));
    std::fs::write(&page, "a page").expect("a file");
    for_each_config(|config| {
        let server = Server::on_message(async |socket, message| {
            sleep(Duration::from_millis(1)).await;
            socket.send(&message).await.expect("an open session");
        });
        let files = Files::new().route("/page", &page);
        let server = server.config(config.path("/other/")).files(files);
        let running = server.bind("127.0.0.1:0").expect("the server starts");
        let addr = running.local_addr();
        let (mut socket, _) = WebSocket::open_at(addr, "/other/?EIO=4&transport=websocket");
        socket.send("4hello");
        assert_eq!(socket.text(), "4hello");
        Connection::open(addr).request(&Request::get("/page")).assert(200, "a page");
        Connection::open(addr).request(&Request::get("/none")).assert(404, "Not Found");
        running.shutdown();
        running.join().expect("a clean end");
    });
}

#[test]
fn closures_that_return_futures_are_served_too() {
    let server = Server::on_message(|socket: Socket<()>, message| {
        socket.try_send(&message).expect("the queue has room");
        async {}
    });
    let running = server.config(default_config()).bind("127.0.0.1:0").expect("the server starts");
    WebSocket::open(running.local_addr()).0.assert_alive();
}

#[test]
fn a_future_that_wakes_itself_starves_no_other_session() {
    for_each_config(|config| {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let server = Server::on_message(move |socket: Socket<()>, message| {
            let stop = stopped.clone();
            async move {
                let text = if let OwnedMessage::Text(text) = message { text } else { return };
                if *text == *"spin" {
                    let wake = |cx: &mut Context<'_>| {
                        cx.waker().wake_by_ref();
                        if stop.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
                    };
                    poll_fn(wake).await;
                } else {
                    // A timer, too.
                    sleep(Duration::from_millis(1)).await;
                }
                socket.send(&*text).await.expect("an open session");
            }
        });
        let running = server.config(config).bind("127.0.0.1:0").expect("the server starts");
        let (mut spinning, _) = WebSocket::open(running.local_addr());
        spinning.send("4spin");
        let (mut other, _) = WebSocket::open(running.local_addr());
        other.send("4hello");
        assert_eq!(other.text(), "4hello");
        stop.store(true, Ordering::SeqCst);
        assert_eq!(spinning.text(), "4spin");
    });
}
