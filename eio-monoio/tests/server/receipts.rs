//! Receipts: each message is reported as handed to the kernel or not, over both transports and across an upgrade.

use std::thread;
use std::time::{Duration, Instant};

use eio_monoio::{Config, OwnedMessage, PerMessageDeflate, Sid};

use crate::commands::{Commands, results};
use crate::support::configs::{default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::polling::{Polling, sid_of};
use crate::support::request::Request;
use crate::support::test_server::TestServer;
use crate::support::wait::{TIMEOUT, eventually};
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

/// Text that compression does not make small.
fn incompressible(len: usize) -> String {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'!' + (state >> 24) as u8 % 90)
    };
    (0..len).map(|_| next()).collect()
}

/// Fails unless a client that stops reading, and is lost by `end`, leaves exactly those messages undelivered whose receipts
/// failed.
fn expect_rest_undelivered(
    config: Config,
    extension: Option<&str>,
    last: Option<&str>,
    end: impl FnOnce(WebSocket),
) {
    const COUNT: usize = 40;
    let server = Commands::start(config.outbound_high_water(64 * 1024 * 1024));
    let mut conn = Connection::open(server.addr());
    let mut request = Request::upgrade(KEEPER);
    if let Some(extension) = extension {
        request = request.header("Sec-WebSocket-Extensions", extension);
    }
    let response = conn.request(&request);
    assert_eq!(response.header("Sec-WebSocket-Extensions").is_some(), extension.is_some());
    let mut socket = WebSocket { conn };
    let sid = sid_of(&socket.text());
    socket2::SockRef::from(socket.conn.stream()).set_recv_buffer_size(4096).expect("SO_RCVBUF");
    // More in one write, and then in several, than the kernel's buffers hold.
    let text = incompressible(200_000);
    socket.send(&format!("4receipts {COUNT} {text}"));
    assert_eq!(socket.frame().first & 0x40 != 0, extension.is_some());
    if let Some(last) = last {
        send_by_mailbox(&server, &sid, last);
    }
    end(socket);
    eventually("the end", || {
        let notes = server.log.messages(&sid);
        notes.contains(&"and then 0".into())
            && notes.iter().filter(|note| is_result(note)).count() == COUNT
    });
    let notes = server.log.messages(&sid);
    let (results, others): (Vec<_>, Vec<_>) = notes.into_iter().partition(is_result);
    let mut results: Vec<_> = results.iter().filter_map(OwnedMessage::text).collect();
    results.sort_by_key(|note| note.split(' ').next().and_then(|n| n.parse::<usize>().ok()));
    let sent = results.iter().take_while(|note| note.ends_with("Ok(())")).count();
    assert!((1..COUNT).contains(&sent), "{sent} of {COUNT}");
    assert!(results[sent..].iter().all(|note| note.ends_with("Err(Closed)")), "{results:?}");
    let mut expected = vec![OwnedMessage::from("0 queued")];
    expected.extend((sent..COUNT).map(|n| OwnedMessage::from(format!("{n} {text}"))));
    expected.extend(last.map(OwnedMessage::from));
    expected.push("and then 0".into());
    assert!(others == expected, "{} messages for {sent} sent", others.len());
}

/// Sends to one session, and waits until its worker has received that.
fn send_by_mailbox(server: &TestServer, sid: &str, text: &str) {
    let (remote, sid) = (server.remote(), Sid::new(sid).expect("a valid sid"));
    assert_eq!(remote.send(&sid, text), Ok(()));
    eventually("the worker", || remote.transport(&sid).is_some());
}

fn is_result(note: &OwnedMessage) -> bool {
    note.text().is_some_and(|text| text.ends_with(')'))
}

const KEEPER: &str = "/engine.io/?EIO=4&transport=websocket&name=keeper";

#[test]
fn client_that_stops_reading_confirms_a_prefix_and_the_rest_is_undelivered() {
    // The rest is not read: the connection is reset.
    for_each_config(|config| expect_rest_undelivered(config, None, Some("the last"), drop));
}

#[test]
fn compressed_messages_are_undelivered_too() {
    let config = default_config().per_message_deflate(PerMessageDeflate::new());
    expect_rest_undelivered(config, Some("permessage-deflate"), Some("the last"), drop);
}

#[test]
fn ping_timeout_leaves_messages_undelivered() {
    for_each_config(|config| {
        let config = config
            .ping_interval(Duration::from_millis(1000))
            .ping_timeout(Duration::from_millis(200));
        expect_rest_undelivered(config, None, None, |socket| {
            // Its kernel acknowledges what it has room for; the server gives up in the meantime.
            thread::sleep(Duration::from_secs(2));
            drop(socket);
        });
    });
}

#[test]
fn broadcast_and_response_that_were_not_read_are_undelivered() {
    for_each_config(|config| {
        let server = Commands::start(config.outbound_high_water(64 * 1024 * 1024));
        let (mut socket, sid) = WebSocket::open_at(server.addr(), KEEPER);
        let mut polling = Polling::open_with(server.addr(), "&name=keeper");
        polling.start_poll();
        for conn in [&socket.conn, &polling.get] {
            socket2::SockRef::from(conn.stream()).set_recv_buffer_size(4096).expect("SO_RCVBUF");
        }
        let large = "x".repeat(8 << 20);
        assert_eq!(server.remote().broadcast(&large), Ok(()));
        // The beginning has arrived.
        let deadline = Instant::now() + TIMEOUT;
        socket.conn.read_bytes(10, deadline).expect("a part of the frame");
        polling.get.read_bytes(10, deadline).expect("a part of the response");
        let sids = [sid, polling.sid.clone()];
        sids.iter().for_each(|sid| send_by_mailbox(&server, sid, "next"));
        drop((socket, polling));
        let undelivered = ["0 queued", &large, "next", "and then 0"];
        for sid in sids {
            assert!(results(&server, &sid, 4) == undelivered, "{sid}");
        }
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
