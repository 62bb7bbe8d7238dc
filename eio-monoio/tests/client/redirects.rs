//! Redirections of the first request: which are followed, and the fault of the others.

use std::sync::mpsc::{Receiver, channel};

use eio_monoio::Driver;
use eio_monoio::client::Fault;

use crate::support::client::{block_on, fault, polling, recv_heads, websocket};
use crate::support::scripted;

/// A server that opens a session for every request whose target `matches`, and answers others with this status and
/// `Location`. Also returns the heads of its requests.
fn redirecting(status: u16, location: String, matches: &'static str) -> (String, Receiver<String>) {
    let (heads, received) = channel();
    let url = scripted::start(move |request| {
        let mut next = Some(request);
        while let Some(request) = next {
            heads.send(request.head.clone()).ok();
            if !request.is_handshake() {
                return request.hold();
            }
            let redirect = format!("{status} Moved\r\nLocation: {location}\r\nSet-Cookie: seen=1");
            next = match request.head.contains(matches) {
                true => request.answer("200 OK", &scripted::open_packet("", 25_000, 20_000)),
                false => request.answer(&redirect, ""),
            };
        }
    });
    (url, received)
}

#[test]
fn session_opens_and_stays_at_the_target_of_a_redirection() {
    for status in [302, 303, 307, 308] {
        let location = "/moved/?token=1&EIO=4&transport=polling&t=0.0";
        let (url, received) = redirecting(status, location.into(), " /moved/");
        block_on(Driver::Epoll, async {
            let client = polling(&url).header("Authorization", "x").await.expect("connects");
            assert_eq!(client.sid().as_str(), "abc");
            let heads = recv_heads(&received, 3).await;
            for head in &heads[1..] {
                let target = "GET /moved/?token=1&EIO=4&transport=polling&t=";
                assert!(head.starts_with(target), "{status}: {head}");
                assert!(!head.contains("t=0.0"), "{head}");
                assert!(head.contains("\r\nAuthorization: x\r\n"), "{head}");
                assert!(head.contains("\r\nCookie: seen=1\r\n"), "{head}");
            }
            assert!(heads[2].contains("&sid=abc"), "{heads:?}");
        });
    }
}

#[test]
fn another_server_receives_no_credentials() {
    let (target, received) = redirecting(500, String::new(), " /engine.io/");
    let (url, _) = redirecting(302, format!("{target}/engine.io/"), "never");
    block_on(Driver::Epoll, async {
        let url = url.replace("http://", "http://user:secret@");
        let connect = polling(&url).header("Authorization", "x").header("X-Token", "t");
        let client = connect.header("Cookie", "own=1").await.expect("connects");
        assert_eq!(client.sid().as_str(), "abc");
    });
    let head = received.recv().expect("a request");
    assert!(!head.contains("Authorization") && !head.contains("Cookie"), "{head}");
    assert!(head.contains("\r\nX-Token: t\r\n"), "{head}");
}

#[test]
fn other_redirections_are_refusals_with_their_location() {
    let located = |status, location: &str| Fault::Status {
        status,
        body: String::new(),
        location: Some(location.into()),
        retry_after: None,
    };
    let (moved, _) = redirecting(301, "https://new.example/".into(), "never");
    let fault_of_301 = fault(polling(&moved));
    assert_eq!(fault_of_301, located(301, "https://new.example/"));
    assert_eq!(fault_of_301.to_string(), "status 301, moved to https://new.example/");
    assert!(!fault_of_301.is_temporary());
    // A browser follows no redirection of a WebSocket either.
    let (found, _) = redirecting(302, "/x".into(), "never");
    assert_eq!(fault(websocket(&found)), located(302, "/x"));
    let (endless, received) = redirecting(302, "/again".into(), "never");
    assert_eq!(fault(polling(&endless)), located(302, "/again"));
    let drivers = crate::support::configs::drivers().count();
    assert_eq!(received.try_iter().count(), 6 * drivers);
    let (elsewhere, _) = redirecting(302, "ftp://a/".into(), "never");
    assert_eq!(fault(polling(&elsewhere)), located(302, "ftp://a/"));
}
