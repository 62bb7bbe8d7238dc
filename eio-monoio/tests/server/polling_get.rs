//! Polling GETs: packets, heartbeat and close (`docs/protocol.md` 2.4, and polling in 2.5 and 2.8).

use std::time::{Duration, Instant};

use eio_monoio::{CloseReason, Config};

use crate::support::configs::{default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::log::Entry;
use crate::support::polling::{Polling, sid_of};
use crate::support::refusals::UNKNOWN_SID;
use crate::support::request::{POLLING, Request, target};
use crate::support::test_server::TestServer;
use crate::support::wait::{TIMEOUT, eventually};

/// A short heartbeat.
fn brief_heartbeat(config: Config) -> Config {
    config.ping_interval(Duration::from_millis(100)).ping_timeout(Duration::from_millis(500))
}

#[test]
fn get_waits_for_a_packet() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        polling.hold_poll();
        polling.get.expect_silence(Duration::from_millis(50));
        polling.post_ok("4now");
        assert_eq!(polling.poll_response(), "4now");
        // Queued packets are sent at once.
        polling.post_ok("4queued");
        assert_eq!(polling.poll(), "4queued");
    });
}

#[test]
fn content_length_counts_bytes() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4€uro\x1ebAQIDBA==");
        let response = polling.get.request(&Request::get(&target(&polling.sid)));
        response.assert(200, "4€uro\x1ebAQIDBA==");
        assert_eq!(response.header("Content-Length"), Some("17"));
        // `docs/protocol.md` 2.4.3: also for base64; Engine.IO 3 would use application/octet-stream.
        assert_eq!(response.header("Content-Type"), Some("text/plain; charset=UTF-8"));
        assert_eq!(response.header("Cache-Control"), Some("no-store"));
    });
}

#[test]
fn response_has_at_most_sixteen_packets() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4!burst 100");
        let mut expected = 0..100;
        for size in [16, 16, 16, 16, 16, 16, 4] {
            let body = polling.poll();
            let packets: Vec<_> = body.split('\x1e').collect();
            assert_eq!(packets.len(), size, "{body:?}");
            for packet in packets {
                assert_eq!(
                    packet,
                    format!("4{}", expected.next().expect("no more than were sent"))
                );
            }
        }
        assert_eq!(expected.next(), None);
    });
}

#[test]
fn response_is_limited_to_the_announced_payload() {
    for_each_config(|config| {
        let server = TestServer::start(config.max_payload(50).max_polling_packets(100));
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4!burst 40");
        let mut packets = Vec::new();
        while packets.len() < 40 {
            let body = polling.poll();
            assert!(body.len() <= 50, "{} bytes: {body:?}", body.len());
            packets.extend(body.split('\x1e').map(str::to_owned));
        }
        assert_eq!(packets, (0..40).map(|n| format!("4{n}")).collect::<Vec<_>>());
        // A single packet above the limit is sent nevertheless: it would block all later packets.
        server.remote().broadcast("x".repeat(60).as_str()).expect("the queue has room");
        server.remote().broadcast("next").expect("the queue has room");
        assert_eq!(polling.poll().len(), 61);
        assert_eq!(polling.poll(), "4next");
    });
}

#[test]
fn second_concurrent_get_ends_the_session() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut bystander = Polling::open(server.addr());
        let mut polling = Polling::open(server.addr());
        polling.hold_poll();
        polling.post.request(&Request::get(&target(&polling.sid))).assert(400, "");
        assert_eq!(polling.poll_response(), "1");
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::TransportError);
        polling.assert_unknown();
        bystander.assert_alive();
        drop(polling);
        server.wait_for_counts(1, 2);
    });
}

#[test]
fn lost_get_ends_the_session_at_once() {
    for_each_config(|config| {
        // The defaults of the heartbeat, 25 s and 20 s, are longer than any wait of this test.
        let server = TestServer::start(config);
        let mut bystander = Polling::open(server.addr());
        for how in ["close", "reset", "half close"] {
            let mut polling = Polling::open(server.addr());
            polling.hold_poll();
            match how {
                "reset" => polling.get.reset_on_close(),
                "half close" => polling.get.shutdown_write(),
                _ => {}
            }
            let old = std::mem::replace(&mut polling.get, Connection::open(server.addr()));
            let kept = (how == "half close").then_some(old);
            assert_eq!(server.log.close_reason(&polling.sid), CloseReason::TransportError, "{how}");
            polling.assert_unknown();
            drop(kept);
        }
        bystander.assert_alive();
        server.wait_for_counts(1, 2);
    });
}

#[test]
fn session_without_a_get_survives_its_connections() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        polling.assert_alive();
        (polling.get, polling.post) =
            (Connection::open(server.addr()), Connection::open(server.addr()));
        polling.assert_alive();
        server.wait_for_counts(1, 2);
    });
}

#[test]
fn connection_close_keeps_the_session() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let once = |request: Request| {
            let mut conn = Connection::open(server.addr());
            let response = conn.request(&request.header("Connection", "close"));
            assert_eq!(response.header("Connection"), Some("close"));
            conn.expect_eof();
            response
        };
        let sid = sid_of(once(Request::get(POLLING)).text());
        for n in 0..5 {
            let message = format!("4{n}");
            once(Request::post(&target(&sid), &message)).assert(200, "ok");
            once(Request::get(&target(&sid))).assert(200, &message);
        }
        server.wait_for_counts(1, 0);
    });
}

#[test]
fn first_ping_waits_for_the_interval_and_pongs_count() {
    for_each_config(|config| {
        let server = TestServer::start(config.ping_interval(Duration::from_millis(100)));
        let begun = Instant::now();
        let mut polling = Polling::open(server.addr());
        for _ in 0..3 {
            assert_eq!(polling.poll(), "2");
            polling.post_ok("3");
        }
        // `docs/protocol.md` 2.5.1: pingInterval after the handshake, and then after each pong.
        assert!(begun.elapsed() >= Duration::from_millis(299), "{:?}", begun.elapsed());
        polling.assert_alive();
    });
}

#[test]
fn held_get_is_answered_when_a_ping_times_out() {
    for_each_config(|config| {
        let server = TestServer::start(brief_heartbeat(config));
        let mut polling = Polling::open(server.addr());
        assert_eq!(polling.poll(), "2");
        // `docs/protocol.md` 2.5.2: the GET held at that moment gets `1`.
        assert_eq!(polling.poll(), "1");
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::PingTimeout);
        polling.assert_unknown();
        drop(polling);
        server.wait_until_empty();
    });
}

#[test]
fn unpolled_session_ends_after_interval_and_timeout() {
    for_each_config(|config| {
        let server = TestServer::start(brief_heartbeat(config));
        let mut polling = Polling::open(server.addr());
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::PingTimeout);
        polling.get.request(&Request::get(&target(&polling.sid))).assert(400, UNKNOWN_SID);
        assert_eq!(server.log.of(&polling.sid).len(), 2);
        drop(polling);
        server.wait_until_empty();
    });
}

#[test]
fn messages_do_not_replace_pongs() {
    let server = TestServer::start(brief_heartbeat(default_config()));
    let mut polling = Polling::open(server.addr());
    let deadline = Instant::now() + TIMEOUT;
    // `docs/protocol.md` 2.5.3: messages and GETs, but no `3`.
    while polling.try_post("4busy").status == 200 {
        polling.get.request(&Request::get(&target(&polling.sid)));
        assert!(Instant::now() < deadline, "still alive without a pong");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(server.log.close_reason(&polling.sid), CloseReason::PingTimeout);
}

#[test]
fn thousand_abandoned_handshakes_leave_no_session() {
    for_each_config(|config| {
        let server = TestServer::start(brief_heartbeat(config));
        let mut conn = Connection::open(server.addr());
        for _ in 0..1000 {
            assert_eq!(conn.request(&Request::get(POLLING)).status, 200);
        }
        drop(conn);
        server.wait_until_empty();
        eventually("every disconnect callback", || {
            let ends = server.log.all().into_iter();
            ends.filter(|(_, entry)| *entry == Entry::Closed(CloseReason::PingTimeout)).count()
                == 1000
        });
    });
}

/// `docs/protocol.md` 2.8, row 1.
#[test]
fn held_get_receives_the_close_packet() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        for command in ["4!close", "4!abort"] {
            let mut polling = Polling::open(server.addr());
            polling.hold_poll();
            polling.post_ok(command);
            assert_eq!(polling.poll_response(), "1", "{command}");
            assert_eq!(server.log.close_reason(&polling.sid), CloseReason::ServerDisconnect);
            polling.assert_unknown();
        }
        server.wait_until_empty();
    });
}

/// `docs/protocol.md` 2.8, row 2.
#[test]
fn next_get_receives_the_close_packet() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4!close");
        // A message after the close is discarded, without an error.
        polling.post_ok("4late");
        assert_eq!(polling.poll(), "1");
        assert_eq!(server.log.messages(&polling.sid), []);
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::ServerDisconnect);
        polling.assert_unknown();
    });
}

#[test]
fn closed_session_is_removed_without_another_get() {
    for_each_config(|config| {
        let server = TestServer::start(config.close_timeout(Duration::from_millis(100)));
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4!close");
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::ServerDisconnect);
        polling.assert_unknown();
        drop(polling);
        server.wait_until_empty();
    });
}

/// `docs/protocol.md` 2.8, row 3.
#[test]
fn close_packet_follows_queued_messages() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4!burst 40\x1e4!close");
        let mut packets = Vec::new();
        while packets.last().is_none_or(|last| last != "1") {
            packets.extend(polling.poll().split('\x1e').map(str::to_owned));
        }
        let sent = (0..40).map(|n| format!("4{n}")).chain(["1".to_owned()]);
        assert_eq!(packets, sent.collect::<Vec<_>>());
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::ServerDisconnect);
        polling.assert_unknown();
    });
}

/// `docs/protocol.md` 2.8, row 4.
#[test]
fn abort_removes_the_session_at_once() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4!burst 3\x1e4!abort");
        polling.assert_unknown();
        assert_eq!(server.log.close_reason(&polling.sid), CloseReason::ServerDisconnect);
    });
}

#[test]
fn remote_reaches_every_polling_session() {
    for_each_config(|config| {
        let server = TestServer::start(config);
        let mut sessions: Vec<_> = (0..6).map(|_| Polling::open(server.addr())).collect();
        let remote = server.remote();
        sessions.iter_mut().for_each(Polling::hold_poll);
        remote.broadcast("to all").expect("the queue has room");
        for polling in &mut sessions {
            assert_eq!(polling.poll_response(), "4to all");
        }
        for (n, polling) in sessions.iter_mut().enumerate() {
            let sid = eio_monoio::Sid::new(&polling.sid).expect("a valid sid");
            remote.send(&sid, n.to_string().as_str()).expect("the queue has room");
            assert_eq!(polling.poll(), format!("4{n}"));
            assert_eq!(remote.transport(&sid), Some(eio_monoio::Transport::Polling));
            remote.disconnect(&sid);
            assert_eq!(polling.poll(), "1");
            assert_eq!(remote.transport(&sid), None);
        }
        drop(sessions);
        server.wait_until_empty();
    });
}
