//! Protocol 2.3: what a client says in a POST.

use std::time::Duration;

use crate::support::app::Host;
use crate::support::matrix::{everywhere, somewhere};
use crate::support::wire::{Polling, Request, UNKNOWN_SID, Wire, target};
use eio_monoio::{CloseReason, OwnedMessage};

fn text(text: &str) -> OwnedMessage {
    OwnedMessage::Text(text.into())
}

fn binary(bytes: &[u8]) -> OwnedMessage {
    OwnedMessage::Binary(bytes.into())
}

#[test]
fn ok_is_never_written_differently() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        let response = polling.push("4hello");
        response.assert(200, "ok");
        assert_eq!(response.header("Content-Type"), Some("text/html"));
        assert_eq!(response.header("Cache-Control"), Some("no-store"));
        assert_eq!(response.header("Content-Length"), Some("2"));
        assert_eq!(polling.poll(), "4hello");
    });
}

#[test]
fn packets_of_one_body_are_never_lost_or_reordered() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        let packets: Vec<_> = (0..500).map(|n| format!("4{n}")).collect();
        // 2.3.14: many more than the 16 that python-engineio takes.
        polling.say(packets.join("\x1e"));
        let mut echoed = Vec::new();
        while echoed.len() < packets.len() {
            echoed.extend(polling.poll().split('\x1e').map(str::to_owned));
        }
        assert_eq!(echoed, packets);
    });
}

#[test]
fn text_and_binary_never_change_on_the_way() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        let all: Vec<u8> = (0..=255).collect();
        let encoded = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4\
                       OTo7PD0+P0BBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWltcXV5fYGFiY2RlZmdoaWprbG1ub3Bx\
                       cnN0dXZ3eHl6e3x9fn+AgYKDhIWGh4iJiouMjY6PkJGSk5SVlpeYmZqbnJ2en6ChoqOkpaanqKmq\
                       q6ytrq+wsbKztLW2t7i5uru8vb6/wMHCw8TFxsfIycrLzM3Oz9DR0tPU1dbX2Nna29zd3t/g4eLj\
                       5OXm5+jp6uvs7e7v8PHy8/T19vf4+fr7/P3+/w==";
        let body = format!("4\x1e4ünï©ode €\u{1f600}\x1eb\x1eb{encoded}\x1e4\0\r\n\x1d");
        polling.say(&body);
        assert_eq!(polling.poll(), body);
        let messages =
            [text(""), text("ünï©ode €\u{1f600}"), binary(b""), binary(&all), text("\0\r\n\x1d")];
        assert_eq!(host.log.messages(&polling.sid), messages);
    });
}

#[test]
fn missing_padding_is_never_an_error_and_a_wrong_alphabet_always() {
    let host = Host::start(somewhere());
    for (record, bytes) in [("bAQ==", &b"\x01"[..]), ("bAQ", b"\x01"), ("bAQI", b"\x01\x02")] {
        let mut polling = Polling::open(host.addr());
        polling.say(record);
        assert_eq!(host.log.messages(&polling.sid), [binary(bytes)], "{record}");
    }
    for record in ["bAQ-_", "bA", "b====", "bAQ==AQ==", "b AQ=", "bAQ==\n"] {
        let mut polling = Polling::open(host.addr());
        polling.push(record).assert(400, "");
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::ParseError, "{record}");
        polling.assert_unknown();
    }
}

#[test]
fn a_body_that_holds_no_packets_never_leaves_the_session_open() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut bystander = Polling::open(host.addr());
        for body in [
            // 2.3.4: bad type, empty body, trailing separator, empty packet.
            &b"abc"[..],
            b"7",
            b"\0",
            b"",
            b"4a\x1e",
            b"\x1e4a",
            b"4a\x1e\x1e4b",
            // 2.3.5: not UTF-8.
            b"4\xff",
            b"4\xc3\x28",
            b"4\xed\xa0\x80",
            b"1\xff",
        ] {
            let mut polling = Polling::open(host.addr());
            polling.hold_poll();
            polling.push(body).assert(400, "");
            // The held GET learns of it at once.
            assert_eq!(polling.polled(), "1", "{}", body.escape_ascii());
            assert_eq!(host.log.close_reason(&polling.sid), CloseReason::ParseError);
            polling.assert_unknown();
        }
        bystander.assert_alive();
        host.settles_at(1, 2);
    });
}

#[test]
fn messages_before_a_bad_packet_are_never_lost_nor_those_behind_it_delivered() {
    let host = Host::start(somewhere());
    let mut polling = Polling::open(host.addr());
    polling.push("4one\x1e4two\x1e9\x1e4three").assert(400, "");
    assert_eq!(host.log.close_reason(&polling.sid), CloseReason::ParseError);
    assert_eq!(host.log.messages(&polling.sid), [text("one"), text("two")]);
}

#[test]
fn the_content_type_never_changes_what_a_body_is() {
    let host = Host::start(somewhere());
    // 2.3.6: JS closes the session for the first of these; as v3 binary the body would be nonsense.
    for kind in ["application/octet-stream", "application/octet-stream; charset=x", "x", ""] {
        let mut polling = Polling::open(host.addr());
        let request = Request::new("POST", &target(&polling.sid))
            .header("Content-Type", kind)
            .header("Content-Length", "11")
            .body("4a\x1ebAQIDBA=");
        polling.post.request(&request).assert(200, "ok");
        let messages = [text("a"), binary(&[1, 2, 3, 4])];
        assert_eq!(host.log.messages(&polling.sid), messages, "{kind}");
    }
}

#[test]
fn packets_that_mean_nothing_in_a_post_never_end_the_session() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        // 2.3.7 ignores these; 2.5.3: a pong without a ping is harmless (rust_engineio begins with one).
        polling.say("3\x1e0{}\x1e5\x1e6\x1e3probe");
        polling.assert_alive();
    });
}

#[test]
fn a_ping_of_the_client_never_goes_unpunished() {
    everywhere(|config| {
        let host = Host::start(config);
        for ping in ["2", "2probe"] {
            let mut polling = Polling::open(host.addr());
            polling.hold_poll();
            polling.push(format!("4before\x1e{ping}\x1e4behind")).assert(400, "");
            // What was echoed to "before" left with the GET before the ping was looked at, or not at all.
            assert!(["4before", "1"].contains(&&*polling.polled()));
            assert_eq!(host.log.close_reason(&polling.sid), CloseReason::TransportError);
            assert_eq!(host.log.messages(&polling.sid), [text("before")]);
            polling.assert_unknown();
        }
        host.empties();
    });
}

#[test]
fn a_close_packet_never_leaves_a_get_hanging_or_a_post_unanswered() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        polling.hold_poll();
        polling.say("1");
        // (suite): 6, and not 1.
        assert_eq!(polling.polled(), "6");
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::ClientDisconnect);
        polling.assert_unknown();
        polling.push("4late").assert(400, UNKNOWN_SID);
        drop(polling);
        host.empties();
    });
}

#[test]
fn a_close_packet_never_overtakes_a_get_that_came_first_at_another_core() {
    everywhere(|config| {
        let host = Host::start(config);
        for round in 0..100 {
            let mut polling = Polling::open(host.addr());
            if round % 2 == 0 {
                // As clients without keep-alive: each request comes to whichever core the kernel picks.
                polling.get = Wire::connect(host.addr());
                polling.post = Wire::connect(host.addr());
            }
            polling.start_poll();
            polling.say("1");
            assert_eq!(polling.polled(), "6", "round {round}");
            polling.assert_unknown();
        }
    });
}

#[test]
fn messages_before_a_close_packet_are_never_lost() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        // 2.9; and what stands behind it is nobody's.
        polling.say("4one\x1ebAg==\x1e1\x1e4behind\x1e9");
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::ClientDisconnect);
        assert_eq!(host.log.messages(&polling.sid), [text("one"), binary(&[2])]);
        polling.assert_unknown();
    });
}

#[test]
fn two_posts_at_once_never_both_count() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut bystander = Polling::open(host.addr());
        let mut polling = Polling::open(host.addr());
        polling.begin_push("4first");
        let mut first = std::mem::replace(&mut polling.post, Wire::connect(host.addr()));
        polling.push("4second").assert(400, "");
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::TransportError);
        // The first belongs to no session any more and hears of it at once, without its last byte.
        first.response().assert(400, UNKNOWN_SID);
        first.expect_eof();
        assert_eq!(host.log.messages(&polling.sid), []);
        polling.assert_unknown();
        bystander.assert_alive();
        drop((polling, first));
        host.settles_at(1, 2);
    });
}

#[test]
fn a_post_that_comes_in_pieces_is_never_cut_short() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        // 2.3.12: python with aiohttp truncates such a body to what happened to have arrived.
        let message = "x".repeat(899_999);
        let whole = Request::post(&target(&polling.sid), format!("4{message}")).bytes();
        for piece in whole.chunks(100_000) {
            polling.post.write(piece);
            std::thread::sleep(Duration::from_millis(2));
        }
        polling.post.response().assert(200, "ok");
        assert_eq!(host.log.messages(&polling.sid), [text(&message)]);
        assert_eq!(polling.poll().len(), 900_000);
    });
}

#[test]
fn chunks_never_show_in_the_message() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
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
fn a_chunked_post_split_anywhere_is_never_misread() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        let chunks = [&b"4hel"[..], b"lo", b"\x1e4world"];
        let whole = Request::chunked(&target(&polling.sid), chunks).bytes();
        for split in 1..whole.len() {
            let (one, two) = whole.split_at(split);
            polling.post.write(one);
            std::thread::sleep(Duration::from_micros(500));
            polling.post.write(two);
            polling.post.response().assert(200, "ok");
            assert_eq!(polling.poll(), "4hello\x1e4world", "split at {split}");
        }
        for byte in &whole {
            polling.post.write([*byte]);
            std::thread::sleep(Duration::from_micros(200));
        }
        polling.post.response().assert(200, "ok");
        assert_eq!(polling.poll(), "4hello\x1e4world");
    });
}

#[test]
fn a_connection_lost_in_the_middle_of_a_post_never_leaves_the_session() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut bystander = Polling::open(host.addr());
        for reset in [false, true] {
            let mut polling = Polling::open(host.addr());
            polling.hold_poll();
            polling.begin_push("4never whole");
            if reset {
                crate::support::wire::reset(&polling.post);
            }
            drop(std::mem::replace(&mut polling.post, Wire::connect(host.addr())));
            assert_eq!(polling.polled(), "1");
            assert_eq!(host.log.close_reason(&polling.sid), CloseReason::TransportError);
            // Half a body is not delivered.
            assert_eq!(host.log.messages(&polling.sid), []);
            polling.assert_unknown();
        }
        bystander.assert_alive();
        host.settles_at(1, 2);
    });
}

#[test]
fn a_client_that_waits_for_100_continue_never_waits_in_vain() {
    everywhere(|config| {
        let host = Host::start(config.max_payload(100));
        let mut polling = Polling::open(host.addr());
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
        // Who does not wait needs no word; RFC 9110 10.1.1: "MAY omit".
        polling.post.send(&small.body("4again"));
        polling.post.response().assert(200, "ok");
        // What will be refused is not asked for.
        polling.post.request(&large).assert(413, "");
        assert_eq!(polling.poll(), "4again");
    });
}
