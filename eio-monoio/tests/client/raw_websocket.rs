//! The client of a WebSocket without Engine.IO.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use eio_monoio::client::{self, Client};
use eio_monoio::{Driver, Message, PlainSocket, Running, Server};

use crate::support::client::block_on;
use crate::support::configs::{drivers, epoll_config};
use crate::support::echo::Echo;
use crate::support::test_server::TestServer;
use crate::support::wait::eventually;

/// An echo of WebSocket messages that closes at the text `close`.
fn start() -> Running {
    Server::new(Echo::<()>::new)
        .config(epoll_config())
        .plain_websockets(|socket, message| match message {
            Message::Text("close") => socket.close(),
            message => socket.send(message),
        })
        .bind("127.0.0.1:0")
        .expect("a free port")
}

#[test]
fn own_client_is_served_until_either_side_closes() {
    let running = start();
    let url = format!("ws://{}/chat?room=1", running.local_addr());
    for driver in drivers() {
        let received = RefCell::new(Vec::new());
        let on_open = |socket: &Rc<PlainSocket>| {
            socket.send("hello");
            socket.send([0, 1, 0xff]);
            socket.send("");
        };
        let on_message = |socket: &PlainSocket, message: Message<'_>| {
            received.borrow_mut().push(format!("{message:?}"));
            if message == Message::Text("") {
                socket.close();
            }
        };
        let code = block_on(driver, Client::connect(&url).plain_websocket(on_open, on_message));
        assert_eq!(code.expect("a WebSocket"), None, "the client closes");
        let expected = [r#"Text("hello")"#, "Binary([0, 1, 255])", r#"Text("")"#];
        assert_eq!(received.into_inner(), expected);
        let on_open = |socket: &Rc<PlainSocket>| socket.send("close");
        let code = block_on(driver, Client::connect(&url).plain_websocket(on_open, |_, _| ()));
        assert_eq!(code.expect("a WebSocket"), Some(1000), "the server closes");
    }
    eventually("the end of the connections", || running.remote().connections() == 0);
}

#[test]
fn dropped_client_closes_its_connection() {
    let running = start();
    let url = format!("ws://{}/", running.local_addr());
    for driver in drivers() {
        block_on(driver, async {
            let kept = Rc::new(RefCell::new(None));
            let (keep, connect) = (kept.clone(), Client::connect(&url));
            let mut serving = Box::pin(connect.plain_websocket(
                move |socket| *keep.borrow_mut() = Some(socket.clone()),
                |_, _| (),
            ));
            while kept.borrow().is_none() {
                poll_fn(|cx| {
                    assert!(serving.as_mut().poll(cx).is_pending());
                    Poll::Ready(())
                })
                .await;
                client::sleep(Duration::from_millis(5)).await;
            }
            drop(serving);
            let socket = kept.take().expect("the socket");
            // Without a connection the message is discarded.
            socket.send("late");
            assert_eq!(socket.queued(), 0);
        });
        eventually("the end of the connection", || running.remote().connections() == 0);
    }
}

#[test]
fn server_without_raw_websockets_refuses_the_client() {
    let server = TestServer::start(epoll_config());
    let url = format!("ws://{}/", server.addr());
    let refused = block_on(Driver::Epoll, Client::connect(&url).plain_websocket(|_| (), |_, _| ()));
    let error = refused.expect_err("not served");
    assert_eq!(error.fault().and_then(client::Fault::status), Some(404), "{error}");
}
