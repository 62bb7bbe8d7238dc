//! Busy peers over TLS, from which the server receives in another way: they must not notice the difference.

use std::io::Write;
use std::thread;
use std::time::Duration;

use eio_core::sid::Sid;
use eio_monoio::{CloseReason, Config, Server};
use rustls::{AlertDescription, Error};

use crate::support::app::App;
use crate::support::configs::for_each_config;
use crate::support::log::Log;
use crate::support::test_server::TestServer;
use crate::support::tls::{Identity, SecureWebSocket};
use crate::support::websocket::{BINARY, CLOSE, TEXT, frame};

/// More messages than make a peer busy.
const MANY: usize = 40;

struct Secure {
    server: TestServer,
    identity: Identity,
}

impl Secure {
    fn start(config: Config) -> Self {
        let (identity, log) = (Identity::new(), Log::default());
        let shared = log.clone();
        let server = Server::new(move || App::new(&shared)).config(config).tls(identity.tls());
        let running = server.bind("127.0.0.1:0").expect("the server starts");
        Self { server: TestServer::of(running, log), identity }
    }

    /// A session whose peer is busy, and its sid.
    fn busy(&self) -> (SecureWebSocket, String) {
        let (mut peer, sid) = SecureWebSocket::open(self.server.addr(), &self.identity);
        make_busy(&mut peer);
        (peer, sid)
    }
}

#[track_caller]
fn make_busy(peer: &mut SecureWebSocket) {
    for n in 0..MANY {
        let text = format!("4{n}");
        peer.write(&frame(TEXT, text.as_bytes()));
        assert_eq!(peer.message(), text.as_bytes());
    }
}

#[test]
fn busy_peer_gets_every_echo_for_any_split_into_records() {
    for_each_config(|config| {
        let secure = Secure::start(config);
        let (mut peer, _) = secure.busy();
        // Records around the length of one receive operation, and far beyond.
        for len in [4066, 4067, 4068, 4096, 8191, 70_000] {
            make_busy(&mut peer);
            let bytes = vec![b'x'; len];
            peer.write(&frame(BINARY, &bytes));
            assert_eq!(peer.message(), bytes, "{len}");
        }
        // A record byte by byte, and records in pieces that end within a record.
        make_busy(&mut peer);
        for byte in peer.records(&frame(TEXT, b"4slowly")) {
            peer.write_raw(&[byte]);
        }
        assert_eq!(peer.message(), b"4slowly");
        make_busy(&mut peer);
        let both = [frame(TEXT, b"4one"), frame(BINARY, &[7; 5000])];
        let records = both.map(|frame| peer.records(&frame)).concat();
        for piece in records.chunks(1111) {
            peer.write_raw(piece);
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(peer.message(), b"4one");
        assert_eq!(peer.message(), [7; 5000]);
        // Many records at once; a message of many records; a record that brings the application nothing.
        make_busy(&mut peer);
        let mut records = Vec::new();
        for n in 0..100 {
            records.extend(peer.records(&frame(TEXT, format!("4{n}").as_bytes())));
        }
        peer.write_raw(&records);
        (0..100).for_each(|n| assert_eq!(peer.message(), format!("4{n}").as_bytes()));
        make_busy(&mut peer);
        let records: Vec<u8> =
            frame(TEXT, b"4many").iter().flat_map(|byte| peer.records(&[*byte])).collect();
        peer.write_raw(&records);
        assert_eq!(peer.message(), b"4many");
        make_busy(&mut peer);
        peer.tls.refresh_traffic_keys().expect("a key update");
        let update = peer.pending_records();
        peer.write_raw(&update);
        thread::sleep(Duration::from_millis(5));
        // After a pause, and once more.
        for _ in 0..2 {
            make_busy(&mut peer);
            thread::sleep(Duration::from_millis(250));
        }
    });
}

#[test]
fn busy_peer_over_tls_closes_like_an_idle_one() {
    for_each_config(|config| {
        let secure = Secure::start(config.close_timeout(Duration::from_millis(300)));
        let reason = |sid: &str| secure.server.log.close_reason(sid);
        // By the server: the peer answers in two records, continues to send, or sends nothing.
        let answers: [&[&[u8]]; 3] = [
            &[&frame(TEXT, b"4too late"), &frame(CLOSE, &1000_u16.to_be_bytes())],
            &[&frame(TEXT, b"4too late")],
            &[],
        ];
        for answer in answers {
            let (mut peer, sid) = secure.busy();
            secure.server.remote().disconnect(&Sid::new(&sid).expect("a valid sid"));
            assert_eq!(peer.message(), b"1");
            assert_eq!(peer.message(), 1000_u16.to_be_bytes());
            for bytes in answer {
                let records = peer.records(bytes);
                _ = peer.stream.write_all(&records);
                thread::sleep(Duration::from_millis(5));
            }
            assert_eq!(peer.end().expect("close_notify, and no other alert"), b"");
            assert_eq!(reason(&sid), CloseReason::ServerDisconnect);
        }
        // By the peer: a close frame, close_notify, close_notify after a message, the end of TCP alone.
        let (mut peer, sid) = secure.busy();
        peer.write(&frame(CLOSE, &1001_u16.to_be_bytes()));
        assert_eq!(peer.message(), 1001_u16.to_be_bytes());
        assert_eq!(peer.end().expect("close_notify"), b"");
        assert_eq!(reason(&sid), CloseReason::TransportClose);
        for last in [&b""[..], &frame(TEXT, b"4last")] {
            let (mut peer, sid) = secure.busy();
            let mut records = peer.records(last);
            peer.tls.send_close_notify();
            records.extend(peer.pending_records());
            peer.write_raw(&records);
            if !last.is_empty() {
                assert_eq!(peer.message(), b"4last");
            }
            _ = peer.end();
            assert_eq!(reason(&sid), CloseReason::TransportClose);
        }
        for part in [0, 10] {
            let (mut peer, sid) = secure.busy();
            let records = peer.records(&frame(TEXT, b"4truncated"));
            peer.write_raw(&records[..part]);
            peer.stream.shutdown(std::net::Shutdown::Write).expect("a shutdown");
            peer.end().expect_err("no close_notify after a truncated stream");
            assert_eq!(reason(&sid), CloseReason::TransportClose);
        }
        secure.server.wait_until_empty();
    });
}

#[test]
fn bad_record_of_a_busy_peer_gets_one_alert() {
    for_each_config(|config| {
        let secure = Secure::start(config);
        let (mut peer, sid) = secure.busy();
        let mut records = peer.records(&frame(TEXT, b"4forged"));
        *records.last_mut().expect("a record") ^= 1;
        let after = peer.records(&frame(TEXT, b"4after"));
        peer.write_raw(&[records, after].concat());
        let error = peer.end().expect_err("an alert");
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
        let expected = Error::AlertReceived(AlertDescription::BadRecordMac);
        assert_eq!(cause, Some(&expected), "{error}");
        assert_eq!(secure.server.log.close_reason(&sid), CloseReason::TransportClose);
        secure.server.wait_until_empty();
    });
}

#[test]
fn busy_peer_over_tls_that_reads_late_gets_every_echo() {
    const MESSAGES: usize = 200;
    for_each_config(|config| {
        let secure = Secure::start(config);
        let (mut peer, _) = secure.busy();
        let mut writer = peer.stream.try_clone().expect("a descriptor");
        let bytes = vec![b'x'; 20_000];
        let records: Vec<u8> = (0..MESSAGES)
            .flat_map(|n| {
                let small = peer.records(&frame(TEXT, format!("4{n}").as_bytes()));
                [small, peer.records(&frame(BINARY, &bytes))].concat()
            })
            .collect();
        let writing = thread::spawn(move || writer.write_all(&records).expect("the server reads"));
        thread::sleep(Duration::from_millis(100));
        for n in 0..MESSAGES {
            assert_eq!(peer.message(), format!("4{n}").as_bytes());
            assert_eq!(peer.message(), bytes);
        }
        writing.join().expect("every record is written");
        make_busy(&mut peer);
    });
}
