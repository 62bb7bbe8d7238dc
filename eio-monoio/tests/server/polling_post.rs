//! Polling POSTs (`docs/protocol.md` 2.3).

use std::time::Duration;

use eio_monoio::{CloseReason, OwnedMessage};

use crate::support::configs::{default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::refusals::UNKNOWN_SID;
use crate::support::request::{Request, target};
use crate::support::test_server::TestServer;

fn text(text: &str) -> OwnedMessage {
    OwnedMessage::Text(text.into())
}

fn binary(bytes: &[u8]) -> OwnedMessage {
    OwnedMessage::Binary(bytes.into())
}

#[test]
fn accepted_post_is_answered_with_ok() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        let response = polling.try_post("4hello");
        response.assert(200, "ok");
        assert_eq!(response.header("Content-Type"), Some("text/html"));
        assert_eq!(response.header("Cache-Control"), Some("no-store"));
        assert_eq!(response.header("Content-Length"), Some("2"));
        assert_eq!(polling.poll(), "4hello");
    });
}

#[test]
fn packets_of_one_body_keep_their_order() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        let packets: Vec<_> = (0..500).map(|n| format!("4{n}")).collect();
        // `docs/protocol.md` 2.3.14: many more than the 16 that python-engineio accepts.
        polling.post_ok(packets.join("\x1e"));
        let mut echoed = Vec::new();
        while echoed.len() < packets.len() {
            echoed.extend(polling.poll().split('\x1e').map(str::to_owned));
        }
        assert_eq!(echoed, packets);
    });
}

#[test]
fn text_and_binary_are_unchanged() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        let all: Vec<u8> = (0..=255).collect();
        let encoded = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4\
                       OTo7PD0+P0BBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWltcXV5fYGFiY2RlZmdoaWprbG1ub3Bx\
                       cnN0dXZ3eHl6e3x9fn+AgYKDhIWGh4iJiouMjY6PkJGSk5SVlpeYmZqbnJ2en6ChoqOkpaanqKmq\
                       q6ytrq+wsbKztLW2t7i5uru8vb6/wMHCw8TFxsfIycrLzM3Oz9DR0tPU1dbX2Nna29zd3t/g4eLj\
                       5OXm5+jp6uvs7e7v8PHy8/T19vf4+fr7/P3+/w==";
        let body = format!("4\x1e4ünï©ode €\u{1f600}\x1eb\x1eb{encoded}\x1e4\0\r\n\x1d");
        polling.post_ok(&body);
        assert_eq!(polling.poll(), body);
        let messages =
            [text(""), text("ünï©ode €\u{1f600}"), binary(b""), binary(&all), text("\0\r\n\x1d")];
        assert_eq!(server.log.messages(&polling.sid), messages);
    });
}

#[test]
fn base64_padding_is_optional_and_its_alphabet_is_strict() {
    let server = TestServer::start(default_config());
    for (record, bytes) in [("bAQ==", &b"\x01"[..]), ("bAQ", b"\x01"), ("bAQI", b"\x01\x02")] {
        let mut polling = Polling::open(server.addr());
        polling.post_ok(record);
        assert_eq!(server.log.messages(&polling.sid), [binary(bytes)], "{record}");
    }
    for record in ["bAQ-_", "bA", "b====", "bAQ==AQ==", "b AQ=", "bAQ==\n"] {
        let mut polling = Polling::open(server.addr());
        polling.try_post(record).assert(400, "");
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::ParseError, "{record}");
        polling.assert_unknown();
    }
}

#[test]
fn invalid_body_ends_the_session() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut bystander = Polling::open(server.addr());
        for body in [
            // `docs/protocol.md` 2.3.4: invalid type, empty body, trailing separator, empty packet.
            &b"abc"[..],
            b"7",
            b"\0",
            b"",
            b"4a\x1e",
            b"\x1e4a",
            b"4a\x1e\x1e4b",
            // `docs/protocol.md` 2.3.5: not UTF-8.
            b"4\xff",
            b"4\xc3\x28",
            b"4\xed\xa0\x80",
            b"1\xff",
        ] {
            let mut polling = Polling::open(server.addr());
            polling.hold_poll();
            polling.try_post(body).assert(400, "");
            // The held GET is answered at once.
            assert_eq!(polling.poll_response(), "1", "{}", body.escape_ascii());
            assert_eq!(server.log.close_reason(&polling.sid), CloseReason::ParseError);
            polling.assert_unknown();
        }
        bystander.assert_alive();
        server.wait_for_counts(1, 2);
    });
}

#[test]
fn only_messages_before_an_invalid_packet_are_delivered() {
    let server = TestServer::start(default_config());
    let mut polling = Polling::open(server.addr());
    polling.try_post("4one\x1e4two\x1e9\x1e4three").assert(400, "");
    assert_eq!(server.log.close_reason(&polling.sid), CloseReason::ParseError);
    assert_eq!(server.log.messages(&polling.sid), [text("one"), text("two")]);
}

#[test]
fn content_type_is_ignored() {
    let server = TestServer::start(default_config());
    // `docs/protocol.md` 2.3.6: the JavaScript server closes the session for the first of these, and in Engine.IO 3 the
    // body would be binary.
    for kind in ["application/octet-stream", "application/octet-stream; charset=x", "x", ""] {
        let mut polling = Polling::open(server.addr());
        let request = Request::new("POST", &target(&polling.sid))
            .header("Content-Type", kind)
            .header("Content-Length", "11")
            .body("4a\x1ebAQIDBA=");
        polling.post.request(&request).assert(200, "ok");
        let messages = [text("a"), binary(&[1, 2, 3, 4])];
        assert_eq!(server.log.messages(&polling.sid), messages, "{kind}");
    }
}

#[test]
fn meaningless_packets_are_ignored() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        // `docs/protocol.md` 2.3.7; 2.5.3: a pong without a ping is harmless (rust_engineio begins with one).
        polling.post_ok("3\x1e0{}\x1e5\x1e6\x1e3probe");
        polling.assert_alive();
    });
}

#[test]
fn ping_from_the_client_ends_the_session() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        for ping in ["2", "2probe"] {
            let mut polling = Polling::open(server.addr());
            polling.hold_poll();
            polling.try_post(format!("4before\x1e{ping}\x1e4after")).assert(400, "");
            // The echo of "before" is sent with the GET before the server parses the ping, or not at all.
            assert!(["4before", "1"].contains(&&*polling.poll_response()));
            assert_eq!(server.log.close_reason(&polling.sid), CloseReason::TransportError);
            assert_eq!(server.log.messages(&polling.sid), [text("before")]);
            polling.assert_unknown();
        }
        server.wait_until_empty();
    });
}

#[test]
fn close_packet_answers_the_held_get_and_the_post() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        polling.hold_poll();
        polling.post_ok("1");
        // The protocol test suite expects 6, not 1.
        assert_eq!(polling.poll_response(), "6");
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::ClientDisconnect);
        polling.assert_unknown();
        polling.try_post("4late").assert(400, UNKNOWN_SID);
        drop(polling);
        server.wait_until_empty();
    });
}

#[test]
fn close_packet_does_not_overtake_a_get_on_another_worker() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        for round in 0..100 {
            let mut polling = Polling::open(server.addr());
            if round % 2 == 0 {
                // Like clients without keep-alive: the kernel chooses a worker for each request.
                polling.get = Connection::open(server.addr());
                polling.post = Connection::open(server.addr());
            }
            polling.start_poll();
            polling.post_ok("1");
            assert_eq!(polling.poll_response(), "6", "round {round}");
            polling.assert_unknown();
        }
    });
}

#[test]
fn messages_before_a_close_packet_are_delivered() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        // `docs/protocol.md` 2.9; packets after the close packet are discarded.
        polling.post_ok("4one\x1ebAg==\x1e1\x1e4after\x1e9");
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::ClientDisconnect);
        assert_eq!(server.log.messages(&polling.sid), [text("one"), binary(&[2])]);
        polling.assert_unknown();
    });
}

#[test]
fn second_concurrent_post_ends_the_session() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut bystander = Polling::open(server.addr());
        let mut polling = Polling::open(server.addr());
        polling.begin_post("4first");
        let mut first = std::mem::replace(&mut polling.post, Connection::open(server.addr()));
        polling.try_post("4second").assert(400, "");
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::TransportError);
        // The first POST has no session any more and is refused at once, without its last byte.
        first.response().assert(400, UNKNOWN_SID);
        first.expect_eof();
        assert_eq!(server.log.messages(&polling.sid), []);
        polling.assert_unknown();
        bystander.assert_alive();
        drop((polling, first));
        server.wait_for_counts(1, 2);
    });
}

#[test]
fn post_in_pieces_is_read_completely() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        // `docs/protocol.md` 2.3.12: python-engineio on aiohttp truncates such a body to its first part.
        let message = "x".repeat(899_999);
        let bytes = Request::post(&target(&polling.sid), format!("4{message}")).bytes();
        for piece in bytes.chunks(100_000) {
            polling.post.write(piece);
            std::thread::sleep(Duration::from_millis(2));
        }
        polling.post.response().assert(200, "ok");
        assert_eq!(server.log.messages(&polling.sid), [text(&message)]);
        assert_eq!(polling.poll().len(), 900_000);
    });
}

#[test]
fn chunked_post_is_decoded() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        let body = "4chunked \x1ebAQIDBA==".as_bytes();
        for size in 1..=body.len() {
            let request = Request::chunked(&target(&polling.sid), body.chunks(size));
            polling.post.request(&request).assert(200, "ok");
            assert_eq!(polling.poll().as_bytes(), body, "chunks of {size}");
        }
        // Extensions, a trailer, digits in upper case and leading zeros.
        let odd = "3;a=b;c=\"d\"\r\n4ab\r\n00A\r\n0123456789\r\n000\r\nTrailer: x\r\n\r\n";
        let request = Request::new("POST", &target(&polling.sid));
        let request = request.header("Transfer-Encoding", "Chunked").body(odd);
        polling.post.request(&request).assert(200, "ok");
        assert_eq!(polling.poll(), "4ab0123456789");
    });
}

#[test]
fn chunked_post_may_be_split_at_any_byte() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        let chunks = [&b"4hel"[..], b"lo", b"\x1e4world"];
        let bytes = Request::chunked(&target(&polling.sid), chunks).bytes();
        for split in 1..bytes.len() {
            let (one, two) = bytes.split_at(split);
            polling.post.write(one);
            std::thread::sleep(Duration::from_micros(500));
            polling.post.write(two);
            polling.post.response().assert(200, "ok");
            assert_eq!(polling.poll(), "4hello\x1e4world", "split at {split}");
        }
        for byte in &bytes {
            polling.post.write([*byte]);
            std::thread::sleep(Duration::from_micros(200));
        }
        polling.post.response().assert(200, "ok");
        assert_eq!(polling.poll(), "4hello\x1e4world");
    });
}

#[test]
fn connection_lost_during_a_post_ends_the_session() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut bystander = Polling::open(server.addr());
        for reset in [false, true] {
            let mut polling = Polling::open(server.addr());
            polling.hold_poll();
            polling.begin_post("4incomplete");
            if reset {
                polling.post.reset_on_close();
            }
            drop(std::mem::replace(&mut polling.post, Connection::open(server.addr())));
            assert_eq!(polling.poll_response(), "1");
            assert_eq!(server.log.close_reason(&polling.sid), CloseReason::TransportError);
            // Half a body is not delivered.
            assert_eq!(server.log.messages(&polling.sid), []);
            polling.assert_unknown();
        }
        bystander.assert_alive();
        server.wait_for_counts(1, 2);
    });
}

#[test]
fn expect_100_continue_is_answered() {
    for_each_config(|config| {
        let server = TestServer::start(config.max_payload(100));
        let mut polling = Polling::open(server.addr());
        let expecting = |length: usize| {
            Request::new("POST", &target(&polling.sid))
                .header("Expect", "100-continue")
                .header("Content-Length", &length.to_string())
        };
        let (small, large) = (expecting(6), expecting(101));
        polling.post.send(&small);
        assert_eq!(polling.post.response().status, 100);
        polling.post.write("4hello");
        polling.post.response().assert(200, "ok");
        assert_eq!(polling.poll(), "4hello");
        // RFC 9110 10.1.1: a server "MAY omit" the 100 if it has received some of the body.
        polling.post.send(&small.body("4again"));
        polling.post.response().assert(200, "ok");
        // A body that will be refused is not requested.
        polling.post.request(&large).assert(413, "");
        assert_eq!(polling.poll(), "4again");
    });
}
