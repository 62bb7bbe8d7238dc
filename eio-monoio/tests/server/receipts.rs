//! Receipts: each message is reported as handed to the kernel or not, over both transports and across an upgrade.

use std::thread;
use std::time::Duration;

use eio_monoio::Sid;

use crate::commands::{Commands, results};
use crate::support::configs::for_each_config;
use crate::support::polling::Polling;
use crate::support::test_server::TestServer;
use crate::support::wait::eventually;
use crate::support::websocket::{WebSocket, open_probed};

/// Fails if a receipt of the session completes although nothing is sent.
#[track_caller]
fn expect_no_result(server: &TestServer, sid: &str) {
    thread::sleep(Duration::from_millis(50));
    assert_eq!(server.log.messages(sid), []);
}

#[test]
fn receipt_over_polling_completes_when_a_get_takes_the_message() {
    for_each_config(|config| {
        let server = Commands::start(config.max_polling_packets(2));
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4receipts 3 a");
        expect_no_result(&server, &polling.sid);
        assert_eq!(polling.poll(), "40 a\u{1e}41 a");
        assert_eq!(results(&server, &polling.sid, 2), ["0 Ok(())", "1 Ok(())"]);
        assert_eq!(polling.poll(), "42 a");
        assert_eq!(results(&server, &polling.sid, 3)[2], "2 Ok(())");
    });
}

#[test]
fn receipt_over_websocket_completes_when_the_message_is_written() {
    for_each_config(|config| {
        let server = Commands::start(config);
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4receipts 3 a");
        for n in 0..3 {
            assert_eq!(socket.text(), format!("4{n} a"));
        }
        assert_eq!(results(&server, &sid, 3), ["0 Ok(())", "1 Ok(())", "2 Ok(())"]);
    });
}

#[test]
fn receipt_follows_its_message_through_an_upgrade() {
    for_each_config(|config| {
        let server = Commands::start(config);
        let (mut polling, mut socket) = open_probed(server.addr());
        polling.post_ok("4receipts 2 a");
        expect_no_result(&server, &polling.sid);
        socket.send("5");
        assert_eq!((socket.text(), socket.text()), ("40 a".into(), "41 a".into()));
        assert_eq!(results(&server, &polling.sid, 2), ["0 Ok(())", "1 Ok(())"]);
    });
}

#[test]
fn receipt_fails_when_the_session_ends_before() {
    for_each_config(|config| {
        let server = Commands::start(config);
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4receipts 2 a\x1e1");
        let failed = ["0 Err(Closed)", "1 Err(Closed)"];
        assert_eq!(results(&server, &polling.sid, 2), failed);
    });
}

#[test]
fn client_that_stops_reading_confirms_a_prefix() {
    const COUNT: usize = 60;
    for_each_config(|config| {
        let server = Commands::start(config.outbound_high_water(64 * 1024 * 1024));
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket2::SockRef::from(socket.conn.stream()).set_recv_buffer_size(4096).expect("SO_RCVBUF");
        // More in one write, and then in several, than the kernel's buffers hold.
        let text = "x".repeat(200_000);
        socket.send(&format!("4receipts {COUNT} {text}"));
        assert_eq!(socket.text(), format!("40 {text}"));
        let (remote, target) = (server.remote(), Sid::new(&sid).expect("a valid sid"));
        assert_eq!(remote.send(&target, "the last"), Ok(()));
        // The rest is not read: the connection is reset.
        drop(socket);
        eventually("all results", || server.log.messages(&sid).len() == COUNT);
        let mut results: Vec<_> = results(&server, &sid, COUNT);
        results.sort_by_key(|note| note.split(' ').next().and_then(|n| n.parse::<usize>().ok()));
        let sent = results.iter().take_while(|note| note.ends_with("Ok(())")).count();
        assert!(sent < COUNT, "all of {COUNT}");
        assert!(results[sent..].iter().all(|note| note.ends_with("Err(Closed)")), "{results:?}");
    });
}

#[test]
fn undelivered_messages_are_passed_to_disconnect_in_order() {
    for_each_config(|config| {
        let server = Commands::start(config.max_polling_packets(2));
        // Those that a GET took are not among them.
        let mut polling = Polling::open_with(server.addr(), "&name=keeper");
        polling.post_ok("4broadcast a\x1e4broadcast b\x1e4broadcast c\x1e4broadcast d");
        assert_eq!(polling.poll(), "4a\u{1e}4b");
        polling.post_ok("1");
        let undelivered = ["0 queued", "c", "d", "and then 0"];
        assert_eq!(results(&server, &polling.sid, 4), undelivered);

        // During an upgrade, messages wait for the end of the probe.
        let mut polling = Polling::open_with(server.addr(), "&name=keeper");
        let mut socket = WebSocket::attach(server.addr(), &polling.sid);
        socket.probe();
        polling.post_ok("4broadcast e");
        polling.post_ok("1");
        assert_eq!(results(&server, &polling.sid, 3), ["0 queued", "e", "and then 0"]);
    });
}
