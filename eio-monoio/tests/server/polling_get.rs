//! Protocol 2.4, and the polling half of 2.5 and 2.8: what a client hears from a GET.

use std::time::{Duration, Instant};

use crate::support::app::{Entry, Host, eventually};
use crate::support::matrix::{everywhere, somewhere};
use crate::support::wire::{
    PATIENCE, POLLING, Polling, Request, UNKNOWN_SID, Wire, reset, sid_of, target,
};
use eio_monoio::{CloseReason, Config};

/// Pings soon, and gives up soon.
fn restless(config: Config) -> Config {
    config.ping_interval(Duration::from_millis(100)).ping_timeout(Duration::from_millis(500))
}

#[test]
fn a_get_is_never_answered_before_there_is_something() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        polling.hold_poll();
        polling.get.expect_silence(Duration::from_millis(50));
        polling.say("4now");
        assert_eq!(polling.polled(), "4now");
        // What is queued already is not waited for.
        polling.say("4queued");
        assert_eq!(polling.poll(), "4queued");
    });
}

#[test]
fn the_length_of_a_response_is_never_counted_in_characters() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        polling.say("4€uro\x1ebAQIDBA==");
        let response = polling.get.request(&Request::get(&target(&polling.sid)));
        response.assert(200, "4€uro\x1ebAQIDBA==");
        assert_eq!(response.header("Content-Length"), Some("17"));
        // 2.4.3: also when it carries base64; octet-stream would be v3.
        assert_eq!(response.header("Content-Type"), Some("text/plain; charset=UTF-8"));
        assert_eq!(response.header("Cache-Control"), Some("no-store"));
    });
}

#[test]
fn no_response_has_more_packets_than_a_python_client_takes() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        polling.say("4!burst 100");
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
fn no_response_is_larger_than_the_payload_announced() {
    everywhere(|config| {
        let host = Host::start(config.max_payload(50).max_polling_packets(100));
        let mut polling = Polling::open(host.addr());
        polling.say("4!burst 40");
        let mut packets = Vec::new();
        while packets.len() < 40 {
            let body = polling.poll();
            assert!(body.len() <= 50, "{} bytes: {body:?}", body.len());
            packets.extend(body.split('\x1e').map(str::to_owned));
        }
        assert_eq!(packets, (0..40).map(|n| format!("4{n}")).collect::<Vec<_>>());
        // One packet that is larger by itself must go all the same, or nothing behind it ever would.
        host.remote().broadcast("x".repeat(60).as_str()).expect("room");
        host.remote().broadcast("behind").expect("room");
        assert_eq!(polling.poll().len(), 61);
        assert_eq!(polling.poll(), "4behind");
    });
}

#[test]
fn two_gets_at_once_never_leave_the_session_open() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut bystander = Polling::open(host.addr());
        let mut polling = Polling::open(host.addr());
        polling.hold_poll();
        polling.post.request(&Request::get(&target(&polling.sid))).assert(400, "");
        assert_eq!(polling.polled(), "1");
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::TransportError);
        polling.assert_unknown();
        bystander.assert_alive();
        drop(polling);
        host.settles_at(1, 2);
    });
}

#[test]
fn a_lost_get_never_keeps_the_session_until_the_ping_timeout() {
    everywhere(|config| {
        // 25 s of interval and 20 s of timeout, of which no test waits for any.
        let host = Host::start(config);
        let mut bystander = Polling::open(host.addr());
        for how in ["close", "reset", "half close"] {
            let mut polling = Polling::open(host.addr());
            polling.hold_poll();
            match how {
                "reset" => reset(&polling.get),
                "half close" => polling.get.finish(),
                _ => {}
            }
            let old = std::mem::replace(&mut polling.get, Wire::connect(host.addr()));
            let kept = (how == "half close").then_some(old);
            assert_eq!(host.log.close_reason(&polling.sid), CloseReason::TransportError, "{how}");
            polling.assert_unknown();
            drop(kept);
        }
        bystander.assert_alive();
        host.settles_at(1, 2);
    });
}

#[test]
fn a_session_without_a_get_never_ends_with_its_connections() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        polling.assert_alive();
        (polling.get, polling.post) = (Wire::connect(host.addr()), Wire::connect(host.addr()));
        polling.assert_alive();
        host.settles_at(1, 2);
    });
}

#[test]
fn connection_close_never_ends_the_session() {
    everywhere(|config| {
        let host = Host::start(config);
        let once = |request: Request| {
            let mut wire = Wire::connect(host.addr());
            let response = wire.request(&request.header("Connection", "close"));
            assert_eq!(response.header("Connection"), Some("close"));
            wire.expect_eof();
            response
        };
        let sid = sid_of(once(Request::get(POLLING)).text());
        for n in 0..5 {
            let message = format!("4{n}");
            once(Request::post(&target(&sid), &message)).assert(200, "ok");
            once(Request::get(&target(&sid))).assert(200, &message);
        }
        host.settles_at(1, 0);
    });
}

#[test]
fn the_first_ping_never_comes_at_once_and_pongs_always_count() {
    everywhere(|config| {
        let host = Host::start(config.ping_interval(Duration::from_millis(100)));
        let begun = Instant::now();
        let mut polling = Polling::open(host.addr());
        for _ in 0..3 {
            assert_eq!(polling.poll(), "2");
            polling.say("3");
        }
        // 2.5.1: pingInterval from the handshake, and then from each pong.
        assert!(begun.elapsed() >= Duration::from_millis(299), "{:?}", begun.elapsed());
        polling.assert_alive();
    });
}

#[test]
fn a_held_get_never_outlives_an_unanswered_ping() {
    everywhere(|config| {
        let host = Host::start(restless(config));
        let mut polling = Polling::open(host.addr());
        assert_eq!(polling.poll(), "2");
        // 2.5.2: the GET held at that moment gets `1`.
        assert_eq!(polling.poll(), "1");
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::PingTimeout);
        polling.assert_unknown();
        drop(polling);
        host.empties();
    });
}

#[test]
fn a_session_nobody_polls_never_outlives_interval_and_timeout() {
    everywhere(|config| {
        let host = Host::start(restless(config));
        let mut polling = Polling::open(host.addr());
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::PingTimeout);
        polling.get.request(&Request::get(&target(&polling.sid))).assert(400, UNKNOWN_SID);
        assert_eq!(host.log.of(&polling.sid).len(), 2);
        drop(polling);
        host.empties();
    });
}

#[test]
fn messages_never_stand_in_for_pongs() {
    let host = Host::start(restless(somewhere()));
    let mut polling = Polling::open(host.addr());
    let deadline = Instant::now() + PATIENCE;
    // 2.5.3: busy all the time, with a GET now and then, but without a `3`.
    while polling.push("4busy").status == 200 {
        polling.get.request(&Request::get(&target(&polling.sid)));
        assert!(Instant::now() < deadline, "still alive without a pong");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(host.log.close_reason(&polling.sid), CloseReason::PingTimeout);
}

#[test]
fn a_thousand_vanished_handshakes_never_leave_a_session() {
    everywhere(|config| {
        let host = Host::start(restless(config));
        let mut wire = Wire::connect(host.addr());
        for _ in 0..1000 {
            assert_eq!(wire.request(&Request::get(POLLING)).status, 200);
        }
        drop(wire);
        host.empties();
        eventually("every goodbye", || {
            let ends = host.log.all().into_iter();
            ends.filter(|(_, entry)| *entry == Entry::Closed(CloseReason::PingTimeout)).count()
                == 1000
        });
    });
}

/// 2.8, row 1.
#[test]
fn a_held_get_never_misses_that_the_server_closed() {
    everywhere(|config| {
        let host = Host::start(config);
        for order in ["4!close", "4!abort"] {
            let mut polling = Polling::open(host.addr());
            polling.hold_poll();
            polling.say(order);
            assert_eq!(polling.polled(), "1", "{order}");
            assert_eq!(host.log.close_reason(&polling.sid), CloseReason::ServerDisconnect);
            polling.assert_unknown();
        }
        host.empties();
    });
}

/// 2.8, row 2.
#[test]
fn the_next_get_never_misses_that_the_server_closed() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        polling.say("4!close");
        // Nothing more is taken from who is being dismissed, but nothing breaks either.
        polling.say("4late");
        assert_eq!(polling.poll(), "1");
        assert_eq!(host.log.messages(&polling.sid), []);
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::ServerDisconnect);
        polling.assert_unknown();
    });
}

#[test]
fn a_session_closed_by_the_server_is_never_kept_for_a_get_that_does_not_come() {
    everywhere(|config| {
        let host = Host::start(config.close_timeout(Duration::from_millis(100)));
        let mut polling = Polling::open(host.addr());
        polling.say("4!close");
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::ServerDisconnect);
        polling.assert_unknown();
        drop(polling);
        host.empties();
    });
}

/// 2.8, row 3.
#[test]
fn closing_never_loses_what_was_queued_before() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        polling.say("4!burst 40\x1e4!close");
        let mut packets = Vec::new();
        while packets.last().is_none_or(|last| last != "1") {
            packets.extend(polling.poll().split('\x1e').map(str::to_owned));
        }
        let sent = (0..40).map(|n| format!("4{n}")).chain(["1".to_owned()]);
        assert_eq!(packets, sent.collect::<Vec<_>>());
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::ServerDisconnect);
        polling.assert_unknown();
    });
}

/// 2.8, row 4.
#[test]
fn aborting_never_leaves_the_session_for_another_get() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        polling.say("4!burst 3\x1e4!abort");
        polling.assert_unknown();
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::ServerDisconnect);
    });
}

#[test]
fn a_remote_never_misses_a_polling_session() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut sessions: Vec<_> = (0..6).map(|_| Polling::open(host.addr())).collect();
        let remote = host.remote();
        sessions.iter_mut().for_each(Polling::hold_poll);
        remote.broadcast("to all").expect("room");
        for polling in &mut sessions {
            assert_eq!(polling.polled(), "4to all");
        }
        for (n, polling) in sessions.iter_mut().enumerate() {
            let sid = eio_monoio::Sid::new(&polling.sid).expect("a sid of the server's");
            remote.send(&sid, n.to_string().as_str()).expect("room");
            assert_eq!(polling.poll(), format!("4{n}"));
            assert_eq!(remote.transport(&sid), Some(eio_monoio::Transport::Polling));
            remote.disconnect(&sid);
            assert_eq!(polling.poll(), "1");
            assert_eq!(remote.transport(&sid), None);
        }
        drop(sessions);
        host.empties();
    });
}
