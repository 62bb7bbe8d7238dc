//! One packet in each WebSocket message, and every rule of RFC 6455 that a peer can break (protocol 2.6).

use std::time::Duration;

use eio_monoio::{CloseReason, Config, Message};

use crate::support::app::{Host, eventually};
use crate::support::matrix::everywhere;
use crate::support::wire::{
    BINARY, CLOSE, PING, PONG, Polling, TEXT, WEBSOCKET, WebSocket, Wire, frame, opening, sid_of,
};

const PROTOCOL_ERROR: u16 = 1002;
const INVALID_PAYLOAD: u16 = 1007;
const TOO_BIG: u16 = 1009;

/// Sends `bytes` and expects to be closed with this code and nothing else; the session ends for this reason.
#[track_caller]
fn ends(host: &Host, bytes: &[u8], code: u16, reason: CloseReason) {
    let (mut socket, sid) = WebSocket::open(host.addr());
    socket.wire.write(bytes);
    let close = socket.frame();
    let shown = bytes[..bytes.len().min(40)].escape_ascii();
    assert_eq!(close.first, CLOSE, "{shown}: {close:?}");
    // A code and an empty reason: what the peer sent is not repeated.
    assert_eq!(close.payload, code.to_be_bytes(), "{shown}");
    socket.wire.finish();
    socket.wire.expect_eof();
    assert_eq!(host.log.close_reason(&sid), reason, "{shown}");
}

#[test]
fn text_binary_and_empty_messages_come_back_as_they_were() {
    everywhere(|config| {
        let host = Host::start(config);
        let (mut socket, sid) = WebSocket::open(host.addr());
        for text in ["4", "4a", "4\u{20ac}\u{1f600}", "4\u{1e}4not another packet", "44", "4\0"] {
            socket.send(text);
            assert_eq!(socket.text(), text);
        }
        let long = "\u{e9}".repeat(40_000);
        for bytes in [b"".as_slice(), &[0], &[0xff; 125], &[4; 126], long.as_bytes()] {
            socket.send_binary(bytes);
            assert_eq!(socket.binary(), bytes);
        }
        assert_eq!(host.log.messages(&sid).len(), 11);
        assert_eq!(host.log.messages(&sid)[6], Message::Binary(b"").into());
    });
}

#[test]
fn a_message_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() {
    everywhere(|config| {
        let host = Host::start(config.max_payload(70_000));
        let mut limit = vec![b'x'; 70_000];
        let (mut socket, _) = WebSocket::open(host.addr());
        socket.send_binary(&limit);
        assert_eq!(socket.binary(), limit);
        limit.push(b'x');
        // The announced length is enough: the payload is not waited for. Fragments count together.
        let reason = CloseReason::PayloadTooLarge;
        ends(&host, &frame(BINARY, &limit)[..14], TOO_BIG, reason);
        let halves = [frame(0x02, &limit[..40_000]), frame(0x80, &limit[..30_001])].concat();
        ends(&host, &halves[..40_008 + 8], TOO_BIG, reason);
        ends(
            &host,
            &[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
            TOO_BIG,
            reason,
        );
    });
}

#[test]
fn a_packet_that_is_none_ends_the_session_at_once() {
    everywhere(|config| {
        let host = Host::start(config);
        for text in ["", "7", "x", "hello", "\u{20ac}", "b%%%%", "bA"] {
            ends(&host, &frame(TEXT, text.as_bytes()), PROTOCOL_ERROR, CloseReason::ParseError);
        }
    });
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_own_code() {
    everywhere(|config| {
        let host = Host::start(config);
        for text in [
            b"4\xff".as_slice(),
            b"4\xc0\x80",
            b"4\xed\xa0\x80",
            b"4abc\xe2\x82",
            b"\xff",
            b"x\xff",
        ] {
            ends(&host, &frame(TEXT, text), INVALID_PAYLOAD, CloseReason::ParseError);
        }
        // At the first wrong byte, without waiting for the rest of the message.
        let begun = frame(0x01, b"4\xff");
        ends(&host, &begun, INVALID_PAYLOAD, CloseReason::ParseError);
    });
}

#[test]
fn broken_framing_is_refused_with_1002() {
    everywhere(|config| {
        let host = Host::start(config);
        let unmasked = [TEXT, 2, b'4', b'a'];
        let cases: [(&str, Vec<u8>); 14] = [
            ("a frame without a mask", unmasked.to_vec()),
            ("RSV1", frame(0xc1, b"4a")),
            ("RSV2", frame(0xa1, b"4a")),
            ("RSV3", frame(0x91, b"4a")),
            ("opcode 3", frame(0x83, b"4a")),
            ("opcode 11", frame(0x8b, b"")),
            ("a fragmented ping", frame(0x09, b"")),
            ("a long ping", frame(PING, &[0; 126])),
            ("a continuation of nothing", frame(0x80, b"4a")),
            ("a message inside a message", [frame(0x01, b"4"), frame(TEXT, b"4a")].concat()),
            ("a length with its top bit set", vec![BINARY, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]),
            ("half a close code", frame(CLOSE, b"\x03")),
            ("a close code nobody may send", frame(CLOSE, &1005_u16.to_be_bytes())),
            ("a close code below 1000", frame(CLOSE, &999_u16.to_be_bytes())),
        ];
        for (what, bytes) in cases {
            let (mut socket, sid) = WebSocket::open(host.addr());
            socket.wire.write(bytes);
            assert_eq!(socket.expect_close(), Some(PROTOCOL_ERROR), "{what}");
            drop(socket);
            assert_eq!(host.log.close_reason(&sid), CloseReason::ParseError, "{what}");
        }
        let reason = [&1000_u16.to_be_bytes()[..], b"\xff"].concat();
        ends(&host, &frame(CLOSE, &reason), INVALID_PAYLOAD, CloseReason::ParseError);
        host.empties();
    });
}

#[test]
fn a_close_packet_closes_at_once_and_not_by_the_heartbeat() {
    everywhere(|config| {
        let host = Host::start(config);
        let (mut socket, sid) = WebSocket::open(host.addr());
        // What stands in front of it is delivered, what stands behind it is not.
        let frames = [frame(TEXT, b"4a"), frame(TEXT, b"1"), frame(TEXT, b"4b")];
        socket.wire.write(frames.concat());
        assert_eq!(socket.text(), "4a");
        assert_eq!(socket.expect_close(), Some(1000));
        assert_eq!(host.log.close_reason(&sid), CloseReason::ClientDisconnect);
        assert_eq!(host.log.messages(&sid), [Message::Text("a").into()]);
    });
}

#[test]
fn a_ping_packet_of_a_client_ends_the_session() {
    everywhere(|config| {
        let host = Host::start(config);
        for text in ["2", "2probe"] {
            let (mut socket, sid) = WebSocket::open(host.addr());
            socket.send(text);
            assert_eq!(socket.expect_close(), Some(PROTOCOL_ERROR));
            assert_eq!(host.log.close_reason(&sid), CloseReason::TransportError);
        }
        // Others that a client has no reason to send are passed over, as JS does it.
        let (mut socket, _) = WebSocket::open(host.addr());
        ["3", "3early", "0{}", "5", "6"].iter().for_each(|text| socket.send(text));
        socket.assert_alive();
    });
}

#[test]
fn base64_text_is_a_binary_message_and_comes_back_as_the_session_asked() {
    everywhere(|config| {
        let host = Host::start(config);
        let (mut socket, sid) = WebSocket::open(host.addr());
        for (text, bytes) in
            [("bAAEC/w==", &[0, 1, 2, 0xff][..]), ("bAAEC/w", &[0, 1, 2, 0xff]), ("b", &[])]
        {
            socket.send(text);
            assert_eq!(socket.binary(), bytes, "{text}");
        }
        assert_eq!(host.log.messages(&sid)[0], Message::Binary(&[0, 1, 2, 0xff]).into());
        // `b64=1`: this client cannot take binary frames.
        let mut socket = WebSocket::connect(host.addr(), &format!("{WEBSOCKET}&b64=1"));
        sid_of(&socket.text());
        socket.send("bAAEC/w==");
        assert_eq!(socket.text(), "bAAEC/w==");
        socket.send_binary(&[0, 1, 2, 0xff]);
        assert_eq!(socket.text(), "bAAEC/w==");
        // Also behind an upgrade of a session that asked for it at its handshake.
        let polling = Polling::open_with(host.addr(), "&b64=1");
        let mut socket = WebSocket::attach(host.addr(), &polling.sid);
        socket.send("5");
        socket.send_binary(&[0, 1, 2, 0xff]);
        assert_eq!(socket.text(), "bAAEC/w==");
    });
}

#[test]
fn a_ping_frame_is_answered_with_its_data_and_does_not_count_as_a_heartbeat() {
    everywhere(|config| {
        let host = Host::start(
            config
                .ping_interval(Duration::from_millis(200))
                .ping_timeout(Duration::from_millis(300)),
        );
        let (mut socket, sid) = WebSocket::open(host.addr());
        for data in [b"".as_slice(), b"are you there", &[0xff; 125]] {
            socket.wire.write(frame(PING, data));
            let pong = socket.frame();
            assert_eq!((pong.first, pong.payload.as_slice()), (PONG, data));
        }
        // A pong nobody asked for is passed over.
        socket.wire.write(frame(PONG, b"unasked"));
        socket.assert_alive();
        assert_eq!(socket.text(), "2");
        // Frames of RFC 6455 and messages keep coming, but no `3`.
        let mut out = socket.wire.stream().try_clone().expect("a second handle");
        let chatter = std::thread::spawn(move || {
            let frames = [frame(PING, b""), frame(PONG, b""), frame(TEXT, b"4a")].concat();
            while std::io::Write::write_all(&mut out, &frames).is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        assert_eq!(host.log.close_reason(&sid), CloseReason::PingTimeout);
        socket.wire.expect_gone();
        chatter.join().expect("it ends with the connection");
    });
}

#[test]
fn control_frames_between_fragments_do_not_break_the_message() {
    everywhere(|config| {
        let host = Host::start(config);
        let (mut socket, _) = WebSocket::open(host.addr());
        let frames = [
            frame(0x01, b""),
            frame(0x00, b"4in"),
            frame(PING, b"now"),
            frame(0x00, b" three \xe2"),
            frame(PONG, b""),
            frame(0x80, b"\x82\xac"),
        ];
        socket.wire.write(frames.concat());
        assert_eq!(socket.frame().payload, b"now");
        assert_eq!(socket.text(), "4in three \u{20ac}");
        socket.wire.write([frame(0x02, b"4"), frame(0x80, b"a")].concat());
        assert_eq!(socket.binary(), b"4a");
    });
}

/// What the splitting tests send, and what comes back.
fn conversation() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let long = "x".repeat(200);
    let frames = vec![
        frame(TEXT, b"4a"),
        frame(BINARY, b""),
        frame(PING, b"ping"),
        frame(0x01, b"4frag"),
        frame(0x80, b"ments"),
        frame(TEXT, format!("4{long}").as_bytes()),
        frame(TEXT, b"bAAE="),
    ];
    let echoes = [
        b"4a".to_vec(),
        Vec::new(),
        b"ping".to_vec(),
        b"4fragments".to_vec(),
        format!("4{long}").into_bytes(),
        vec![0, 1],
    ];
    (frames, echoes.into())
}

#[test]
fn frames_split_at_every_byte_are_the_same_frames() {
    everywhere(|config| {
        let host = Host::start(config);
        let (frames, echoes) = conversation();
        let bytes = frames.concat();
        let (mut socket, _) = WebSocket::open(host.addr());
        // Byte by byte, and cut in two at every place.
        for byte in &bytes {
            socket.wire.write([*byte]);
        }
        echoes.iter().for_each(|echo| assert_eq!(&socket.frame().payload, echo));
        for cut in 1..bytes.len() {
            socket.wire.write(&bytes[..cut]);
            // So that the pieces do not arrive together, mostly.
            std::thread::yield_now();
            socket.wire.write(&bytes[cut..]);
            for echo in &echoes {
                assert_eq!(&socket.frame().payload, echo, "cut at {cut}");
            }
        }
    });
}

#[test]
fn frames_glued_to_each_other_and_to_the_request_are_not_lost() {
    everywhere(|config| {
        let host = Host::start(config);
        let (frames, echoes) = conversation();
        let mut wire = Wire::connect(host.addr());
        wire.write([opening(WEBSOCKET).bytes(), frames.concat().repeat(50)].concat());
        assert_eq!(wire.response().status, 101);
        let mut socket = WebSocket { wire };
        sid_of(&socket.text());
        for _ in 0..50 {
            echoes.iter().for_each(|echo| assert_eq!(&socket.frame().payload, echo));
        }
    });
}

#[test]
fn a_close_frame_is_echoed_with_its_code_and_then_the_connection_ends() {
    everywhere(|config| {
        let host = Host::start(config);
        for (code, reason) in [(1000_u16, ""), (1001, "leaving"), (3000, ""), (4999, "\u{20ac}")] {
            let (mut socket, sid) = WebSocket::open(host.addr());
            socket.send("4first");
            socket.wire.write(frame(CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat()));
            assert_eq!(socket.text(), "4first");
            assert_eq!(socket.expect_close(), Some(code));
            // RFC 6455 7.1.1: the server ends TCP first.
            socket.wire.expect_eof();
            assert_eq!(host.log.close_reason(&sid), CloseReason::TransportClose);
        }
        // Without a code the echo has none.
        let (mut socket, _) = WebSocket::open(host.addr());
        socket.wire.write(frame(CLOSE, b""));
        assert_eq!(socket.frame().payload, b"");
        socket.wire.expect_eof();
        drop(socket);
        host.empties();
    });
}

#[test]
fn a_client_that_said_goodbye_and_keeps_its_end_open_holds_no_connection() {
    everywhere(|config| {
        // Longer than this test waits for anything.
        let host = Host::start(config.close_timeout(Duration::from_secs(60)));
        let (mut socket, _) = WebSocket::open(host.addr());
        socket.wire.write(frame(CLOSE, &1000_u16.to_be_bytes()));
        assert_eq!(socket.expect_close(), Some(1000));
        // RFC 6455 5.5.1: "The server MUST close the underlying TCP connection immediately".
        eventually("the connection's end", || host.remote().connections() == 0);
        socket.wire.expect_eof();
    });
}

#[test]
fn a_close_of_the_server_waits_for_the_answer_but_not_for_ever() {
    everywhere(|config| {
        let host = Host::start(config.close_timeout(Duration::from_millis(200)));
        // Protocol 2.6.6: python's `1` and then the close frame.
        let (mut socket, sid) = WebSocket::open(host.addr());
        socket.send("4!close");
        assert_eq!(socket.text(), "1");
        assert_eq!(socket.expect_close(), Some(1000));
        socket.wire.write(frame(CLOSE, &1000_u16.to_be_bytes()));
        socket.wire.expect_eof();
        assert_eq!(host.log.close_reason(&sid), CloseReason::ServerDisconnect);
        // A client that never answers, keeps its end open and goes on talking.
        let (mut mute, _) = WebSocket::open(host.addr());
        mute.send("4!close");
        assert_eq!(mute.text(), "1");
        mute.expect_close();
        _ = mute.wire.try_write(frame(TEXT, b"4a"));
        host.empties();
    });
}

#[test]
fn a_dropped_connection_ends_the_session_at_once() {
    everywhere(|config| {
        let host = Host::start(config);
        let (socket, closed) = WebSocket::open(host.addr());
        drop(socket);
        let (mut socket, half) = WebSocket::open(host.addr());
        socket.wire.finish();
        let (socket, reset) = WebSocket::open(host.addr());
        let linger = Some(Duration::ZERO);
        socket2::SockRef::from(socket.wire.stream()).set_linger(linger).expect("a reset");
        drop(socket);
        let (mut socket, amid) = WebSocket::open(host.addr());
        socket.wire.write(&frame(TEXT, b"4hello")[..5]);
        drop(socket);
        for sid in [closed, half, reset, amid] {
            assert_eq!(host.log.close_reason(&sid), CloseReason::TransportClose);
        }
        host.empties();
    });
}

#[test]
fn offered_extensions_are_declined_and_the_first_subprotocol_is_taken() {
    everywhere(|config| {
        let host = Host::start(config);
        let offer = "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame";
        let request = opening(WEBSOCKET)
            .header("Sec-WebSocket-Extensions", offer)
            .header("Sec-WebSocket-Protocol", "chat, superchat");
        let mut wire = Wire::connect(host.addr());
        let response = wire.request(&request);
        assert_eq!(response.status, 101);
        assert_eq!(response.header("Sec-WebSocket-Extensions"), None);
        // Browsers fail a connection that offered some and was given none; engine.io takes the first.
        assert_eq!(response.header("Sec-WebSocket-Protocol"), Some("chat"));
        let mut socket = WebSocket { wire };
        sid_of(&socket.text());
        socket.assert_alive();
        let plain = Wire::connect(host.addr()).request(&opening(WEBSOCKET));
        assert_eq!(plain.header("Sec-WebSocket-Protocol"), None);
    });
}

#[test]
fn one_connection_with_bad_input_does_not_harm_the_others() {
    everywhere(|config: Config| {
        let host = Host::start(config);
        let mut good: Vec<_> = (0..8).map(|_| WebSocket::open(host.addr()).0).collect();
        for _ in 0..20 {
            let (mut bad, _) = WebSocket::open(host.addr());
            bad.wire.write(frame(0xf7, &[0xff; 100]));
            assert_eq!(bad.expect_close(), Some(PROTOCOL_ERROR));
        }
        good.iter_mut().for_each(WebSocket::assert_alive);
        host.settles_at(8, 8);
    });
}
