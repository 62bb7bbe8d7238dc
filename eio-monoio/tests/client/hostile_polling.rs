//! Polling requests that fail: the session ends for the right reason, or continues on another connection.

use std::thread;
use std::time::Duration;

use eio_core::http::Error as HttpError;
use eio_monoio::client::Fault;
use eio_monoio::{CloseReason, Driver, OwnedMessage};

use crate::support::client::{block_on, closed, next_message, polling, status};
use crate::support::configs::drivers;
use crate::support::scripted::{self, Incoming};

#[test]
fn failed_request_ends_a_polling_session() {
    // How the server treats the GET and the POST after the handshake.
    type Rule = fn(Incoming);
    let hold: Rule = Incoming::hold;
    let refuse: Rule = |request| drop(request.answer("400 Bad Incoming", r#"{"code":1}"#));
    let vanish: Rule = |request| drop(request);
    let garbage: Rule = |request| drop(request.answer("200 OK", "4a\u{1e}?"));
    let close: Rule = |request| drop(request.answer("200 OK", "4a\u{1e}1\u{1e}4b"));
    let cut: Rule = |mut request| request.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n4a");
    let status = status(400, r#"{"code":1}"#);
    let cases: [(Rule, Rule, CloseReason, Option<Fault>); 9] = [
        (refuse, hold, CloseReason::TransportError, Some(status.clone())),
        (vanish, hold, CloseReason::TransportError, Some(Fault::Lost)),
        (hold, refuse, CloseReason::TransportError, Some(status)),
        (hold, vanish, CloseReason::TransportError, Some(Fault::Lost)),
        (hold, hold, CloseReason::TransportError, Some(Fault::RequestTimeout)),
        (cut, hold, CloseReason::TransportError, Some(Fault::Http(HttpError::Truncated))),
        (hold, cut, CloseReason::TransportError, Some(Fault::Http(HttpError::Truncated))),
        (close, hold, CloseReason::ServerDisconnect, None),
        (
            garbage,
            hold,
            CloseReason::ParseError,
            Some(Fault::Packet(eio_core::packet::Error::UnknownType)),
        ),
    ];
    for (get, post, reason, detail) in cases {
        let url = scripted::start(move |request| {
            let open = scripted::open_packet("", 25_000, 20_000);
            let mut next = Some(request);
            while let Some(request) = next {
                next = match (request.is_handshake(), request.is_post()) {
                    (true, _) => request.answer("200 OK", &open),
                    (false, true) => return post(request),
                    (false, false) => return get(request),
                };
            }
        });
        block_on(Driver::Epoll, async {
            let connect = polling(&url).request_timeout(Duration::from_secs(1));
            let client = connect.await.expect("connects");
            // Fails if the rule for the GET has ended the session already.
            client.send("x").await.ok();
            let closed = closed(&client).await;
            assert_eq!((closed.reason, closed.detail), (reason, detail));
        });
    }
}

#[test]
fn closed_keep_alive_connection_is_replaced() {
    // Every response announces a persistent connection, and the server closes it nevertheless.
    let url = scripted::start(|mut request| {
        let body = match (request.is_handshake(), request.is_post()) {
            (true, _) => scripted::open_packet("", 25_000, 20_000),
            (false, true) => "ok".into(),
            (false, false) => {
                thread::sleep(Duration::from_millis(20));
                "4again".into()
            }
        };
        request.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    });
    for driver in drivers() {
        block_on(driver, async {
            let client = polling(&url).await.expect("connects");
            for _ in 0..30 {
                assert_eq!(next_message(&client).await, OwnedMessage::Text("again".into()));
            }
        });
    }
}
