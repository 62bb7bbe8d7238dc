//! Sending on a session: full queues are reported, and no message is reordered, duplicated or dropped without an error.

use std::time::Duration;

use eio_monoio::SendError;

use crate::commands::{Commands, MARK, results};
use crate::support::configs::for_each_config;
use crate::support::polling::Polling;
use crate::support::websocket::WebSocket;

#[test]
fn full_queue_is_reported() {
    for_each_config(|config| {
        let server = Commands::start(config.outbound_high_water(MARK));
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4fill");
        assert_eq!(results(&server, &polling.sid, 1), ["10 Err(Full)"]);
        // Neither the refused nor the volatile message is sent.
        assert_eq!(polling.poll().split('\u{1e}').count(), 10);
        polling.post_ok("4describe");
        polling.start_poll();
        polling.get.expect_silence(Duration::from_millis(50));
    });
}

#[test]
fn send_waits_for_room_and_keeps_order() {
    for_each_config(|config| {
        let server = Commands::start(config.outbound_high_water(MARK));
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4stream");
        let number = |packet: &str| packet[1..].split(' ').next().expect("a number").to_owned();
        for n in 0..100 {
            assert_eq!(number(&socket.text()), n.to_string());
        }
        assert_eq!(results(&server, &sid, 1), ["streamed"]);

        let mut polling = Polling::open(server.addr());
        polling.post_ok("4stream");
        let mut n = 0;
        while n < 100 {
            for packet in polling.poll().split('\u{1e}') {
                assert_eq!(number(packet), n.to_string());
                n += 1;
            }
        }
        assert_eq!(results(&server, &polling.sid, 1), ["streamed"]);
    });
}

#[test]
fn waiting_send_fails_when_the_session_ends() {
    for_each_config(|config| {
        let server = Commands::start(config.outbound_high_water(MARK));
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4blocked");
        polling.post_ok("1");
        assert_eq!(results(&server, &polling.sid, 1), ["true Closed"]);
        drop(polling);
        server.wait_until_empty();
    });
}

#[test]
fn drained_waits_for_room() {
    for_each_config(|config| {
        let server = Commands::start(config.outbound_high_water(MARK));
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4fill drain");
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(results(&server, &polling.sid, 1), ["10 Err(Full)"]);
        assert_eq!(polling.poll().split('\u{1e}').count(), 10);
        assert_eq!(results(&server, &polling.sid, 2)[1], "room: true");
    });
}

#[test]
fn ended_session_refuses_messages_and_reports_its_reason() {
    for_each_config(|config| {
        let server = Commands::start(config);
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4abort");
        let expected = ["Err(Closed) Err(Closed)", "Some(ServerDisconnect)"];
        assert_eq!(results(&server, &sid, 2), expected);
    });
}

#[test]
fn text_with_a_separator_is_refused_over_every_transport() {
    for_each_config(|config| {
        let server = Commands::start(config);
        let refused = [format!("{:?}", Err::<(), _>(SendError::Separator))];
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4separator");
        assert_eq!(results(&server, &polling.sid, 1), refused);
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4separator");
        assert_eq!(results(&server, &sid, 1), refused);
        let (remote, sid) = (server.remote(), sid.parse().expect("a valid sid"));
        let text = "a\u{1e}4b";
        assert_eq!(remote.send(&sid, text), Err(SendError::Separator));
        assert_eq!(remote.send_many([&sid], text), Err(SendError::Separator));
        assert_eq!(remote.broadcast(text), Err(SendError::Separator));
        assert_eq!(remote.broadcast_except([&sid], text), Err(SendError::Separator));
        // Bytes are not text.
        assert_eq!(remote.broadcast(text.as_bytes()), Ok(()));
        assert_eq!(socket.binary(), text.as_bytes());
        assert_eq!(polling.poll(), "bYR40Yg==");
    });
}

#[test]
fn text_with_a_separator_is_sent_over_a_websocket_if_that_is_configured() {
    for_each_config(|config| {
        let server = Commands::start(config.separator_over_websocket(true));
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4separator");
        let refused = format!("{:?}", Err::<(), _>(SendError::Separator));
        assert_eq!(results(&server, &polling.sid, 1), [refused]);
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4separator");
        assert_eq!(socket.text(), "4a\u{1e}4b");
        let (remote, sid) = (server.remote(), sid.parse().expect("a valid sid"));
        let polled = polling.sid.parse().expect("a valid sid");
        // The session that polling carries is skipped.
        assert_eq!(remote.send(&polled, "\u{1e} 1"), Ok(()));
        assert_eq!(remote.send(&sid, "\u{1e} 1"), Ok(()));
        assert_eq!(remote.send_many([&sid, &polled], "\u{1e} 2"), Ok(()));
        assert_eq!(remote.broadcast("\u{1e} 3"), Ok(()));
        assert_eq!(remote.broadcast("to both"), Ok(()));
        for text in ["4\u{1e} 1", "4\u{1e} 2", "4\u{1e} 3", "4to both"] {
            assert_eq!(socket.text(), text);
        }
        assert_eq!(polling.poll(), "4to both");
    });
}

#[test]
fn flushed_waits_for_the_transport() {
    for_each_config(|config| {
        let server = Commands::start(config);
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4flush");
        assert_eq!(results(&server, &polling.sid, 1), ["waits: true"]);
        assert_eq!(polling.poll(), "4going");
        assert_eq!(results(&server, &polling.sid, 2)[1], "queued: 0");
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4flush");
        assert_eq!(socket.text(), "4going");
        assert_eq!(results(&server, &sid, 2)[1], "queued: 0");
    });
}

#[test]
fn reserved_packets_are_refused() {
    for_each_config(|config| {
        let server = Commands::start(config);
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4packets");
        assert_eq!(socket.text(), "4a packet");
        assert_eq!(results(&server, &sid, 1), ["Err(Closed)"]);
        assert_eq!(socket.text(), "1");
        socket.expect_close();
    });
}
