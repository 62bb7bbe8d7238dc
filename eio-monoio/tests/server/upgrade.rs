//! From polling to WebSocket: at no point of it is a message lost, doubled or out of order, and whatever goes
//! wrong leaves the polling session as it was (protocol 2.7).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use eio_monoio::{CloseReason, Message, OwnedMessage, Sid, Transport};

use crate::support::app::{Host, eventually};
use crate::support::matrix::everywhere;
use crate::support::wire::{
    Polling, Request, TEXT, WEBSOCKET, WebSocket, Wire, frame, opening, sid_of, target,
};

const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;

/// A GET answered with noops only, whatever number of them there is.
#[track_caller]
fn poll_noop(polling: &mut Polling) {
    assert_eq!(polling.poll(), "6");
}

/// A session whose WebSocket is probed and not yet the transport.
#[track_caller]
fn probed(addr: SocketAddr) -> (Polling, WebSocket) {
    let polling = Polling::open(addr);
    let mut socket = WebSocket::attach(addr, &polling.sid);
    socket.send("2probe");
    assert_eq!(socket.text(), "3probe");
    (polling, socket)
}

#[track_caller]
fn upgraded(addr: SocketAddr) -> (Polling, WebSocket) {
    let (polling, mut socket) = probed(addr);
    socket.send("5");
    socket.assert_alive();
    (polling, socket)
}

#[test]
fn every_poll_during_a_probe_is_answered_at_once_and_not_only_the_first() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        polling.start_poll();
        let mut socket = WebSocket::attach(host.addr(), &polling.sid);
        // Protocol 2.7.1: nothing is sent on it before it is probed, and the GET stays held.
        socket.wire.expect_silence(Duration::from_millis(50));
        polling.get.expect_silence(Duration::from_millis(50));
        socket.send("2probe");
        assert_eq!(socket.text(), "3probe");
        assert_eq!(polling.polled(), "6");
        for _ in 0..5 {
            poll_noop(&mut polling);
        }
        socket.send("5");
        socket.assert_alive();
    });
}

#[test]
fn a_noop_that_nobody_fetched_does_not_reach_the_websocket() {
    everywhere(|config| {
        let host = Host::start(config);
        // No GET while probing, as the Python and Rust clients do it: 2.7.3.
        let (_polling, mut socket) = probed(host.addr());
        socket.send("5");
        socket.wire.expect_silence(Duration::from_millis(100));
        socket.assert_alive();
    });
}

#[test]
fn messages_queued_during_an_upgrade_arrive_exactly_once_and_in_order() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        let mut numbers = Vec::new();
        let mut take = |payload: &str| {
            let packets = payload.split('\u{1e}').filter(|packet| *packet != "6");
            numbers.extend(packets.map(|packet| packet[1..].parse::<usize>().expect("a number")));
        };
        // 100 messages wait, 16 ride in each response: some go over polling, the rest over the WebSocket.
        polling.say("4!burst 100");
        take(&polling.poll());
        let mut socket = WebSocket::attach(host.addr(), &polling.sid);
        take(&polling.poll());
        socket.send("2probe");
        assert_eq!(socket.text(), "3probe");
        take(&polling.poll());
        // A POST between the probe and the upgrade is an ordinary POST.
        polling.say("4100");
        socket.send("5");
        // What is left is the WebSocket's, first thing, behind nothing else.
        for _ in 48..=100 {
            take(&socket.text());
        }
        assert_eq!(numbers, (0..=100).collect::<Vec<_>>());
        socket.assert_alive();
    });
}

#[test]
fn a_busy_sender_does_not_keep_an_upgrade_from_happening() {
    everywhere(|config| {
        // More is queued than the mark, and no GET takes any of it; python-engineio#16.
        let host = Host::start(config.outbound_high_water(1000));
        let mut polling = Polling::open(host.addr());
        polling.say("4!fill 3");
        let mut socket = WebSocket::attach(host.addr(), &polling.sid);
        socket.send("2probe");
        assert_eq!(socket.text(), "3probe");
        socket.send("5");
        assert_eq!(socket.text().len(), 1001);
        socket.assert_alive();
    });
}

#[test]
fn probe_and_upgrade_sent_back_to_back_do_not_leave_a_poll_hanging() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        let mut socket = WebSocket::attach(host.addr(), &polling.sid);
        socket.wire.write([frame(TEXT, b"2probe"), frame(TEXT, b"5")].concat());
        // As the protocol's own test-suite does: at once. It is ordered before or behind the `5`.
        let response = polling.get.request(&Request::get(&target(&polling.sid)));
        match response.status {
            200 => assert_eq!(response.text(), "6"),
            _ => response.assert(400, BAD_REQUEST),
        }
        assert_eq!(socket.text(), "3probe");
        socket.assert_alive();
    });
}

#[test]
fn polling_is_refused_once_the_upgrade_is_complete() {
    everywhere(|config| {
        let host = Host::start(config);
        let (mut polling, mut socket) = upgraded(host.addr());
        let poll = Request::get(&target(&polling.sid));
        polling.get.request(&poll).assert(400, BAD_REQUEST);
        polling.push("4late").assert(400, BAD_REQUEST);
        Wire::connect(host.addr()).request(&poll).assert(400, BAD_REQUEST);
        assert!(!host.log.messages(&polling.sid).contains(&Message::Text("late").into()));
        socket.assert_alive();
    });
}

#[test]
fn a_lone_upgrade_packet_is_not_refused() {
    everywhere(|config| {
        let host = Host::start(config);
        let polling = Polling::open(host.addr());
        let mut socket = WebSocket::attach(host.addr(), &polling.sid);
        socket.send("5");
        socket.assert_alive();
        let sid = Sid::new(&polling.sid).expect("a sid");
        assert_eq!(host.remote().transport(&sid), Some(Transport::WebSocket));
    });
}

#[test]
fn a_held_poll_does_not_outlive_a_lone_upgrade_packet() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        polling.start_poll();
        let mut socket = WebSocket::attach(host.addr(), &polling.sid);
        socket.send("5");
        assert_eq!(polling.polled(), "6");
        socket.assert_alive();
    });
}

#[test]
fn a_wrong_packet_costs_the_websocket_and_not_the_session() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        let wrong: [&[Vec<u8>]; 10] = [
            &[frame(TEXT, b"4hello")],
            &[frame(TEXT, b"3probe")],
            &[frame(TEXT, b"2")],
            &[frame(TEXT, b"2prob")],
            &[frame(TEXT, b"1")],
            &[frame(TEXT, b"x")],
            &[frame(TEXT, b"")],
            &[frame(0x82, b"binary")],
            &[frame(TEXT, b"2probe"), frame(TEXT, b"4hello")],
            &[frame(TEXT, b"2probe"), frame(TEXT, b"2probe")],
        ];
        for frames in wrong {
            let mut socket = WebSocket::attach(host.addr(), &polling.sid);
            socket.wire.write(frames.concat());
            if frames.len() > 1 {
                assert_eq!(socket.text(), "3probe", "{frames:?}");
            }
            socket.expect_close();
            polling.assert_alive();
        }
        // A failed probe is forgotten: the next may succeed.
        let mut socket = WebSocket::attach(host.addr(), &polling.sid);
        socket.wire.write([frame(TEXT, b"2probe"), frame(TEXT, b"5")].concat());
        assert_eq!(socket.text(), "3probe");
        socket.assert_alive();
        let hello = OwnedMessage::from(Message::Text("hello"));
        assert!(!host.log.messages(&polling.sid).contains(&hello), "a probe carried a message");
        host.settles_at(1, 3);
    });
}

#[test]
fn an_upgrade_that_does_not_get_on_costs_only_its_websocket() {
    everywhere(|config| {
        let host = Host::start(config.upgrade_timeout(Duration::from_millis(100)));
        // Neither one that never probes nor one that stops after the probe.
        let mut polling = Polling::open(host.addr());
        let mut idle = WebSocket::attach(host.addr(), &polling.sid);
        idle.expect_close();
        let mut stuck = WebSocket::attach(host.addr(), &polling.sid);
        stuck.send("2probe");
        assert_eq!(stuck.text(), "3probe");
        stuck.expect_close();
        polling.assert_alive();
        // Polls are held again, and not answered by noops for ever.
        polling.start_poll();
        polling.get.expect_silence(Duration::from_millis(100));
        drop((idle, stuck));
        host.settles_at(1, 2);
    });
}

#[test]
fn a_probe_does_not_pause_the_heartbeat() {
    everywhere(|config| {
        // Protocol 2.7.9: a WebSocket that never probes, held open by a client that polls no more.
        let host = Host::start(
            config
                .ping_interval(Duration::from_millis(100))
                .ping_timeout(Duration::from_millis(100)),
        );
        let polling = Polling::open(host.addr());
        let mut socket = WebSocket::attach(host.addr(), &polling.sid);
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::PingTimeout);
        socket.wire.expect_gone();
        polling.assert_unknown();
    });
}

#[test]
fn a_ping_during_a_probe_reaches_the_polling_client() {
    everywhere(|config| {
        let host = Host::start(config.ping_interval(Duration::from_millis(150)));
        let (mut polling, mut socket) = probed(host.addr());
        let deadline = Instant::now() + Duration::from_secs(5);
        while polling.poll() != "2" {
            assert!(Instant::now() < deadline, "no ping came over polling");
            std::thread::sleep(Duration::from_millis(5));
        }
        polling.say("3");
        socket.send("5");
        // Protocol 2.5.6: "timers must not be lost at the switch".
        assert_eq!(socket.text(), "2");
        socket.send("3");
        assert_eq!(socket.text(), "2");
    });
}

#[test]
fn a_dropped_probe_does_not_harm_the_session_and_the_next_succeeds() {
    everywhere(|config| {
        let host = Host::start(config);
        let mut polling = Polling::open(host.addr());
        for frames in [vec![], frame(TEXT, b"2probe"), frame(0x88, &1000_u16.to_be_bytes())] {
            let mut socket = WebSocket::attach(host.addr(), &polling.sid);
            socket.wire.write(frames);
            drop(socket);
            polling.assert_alive();
        }
        // The client may be back before the server has seen it go: that probe is refused, a later one is not.
        eventually("a WebSocket that is not refused", || {
            let mut socket = WebSocket::attach(host.addr(), &polling.sid);
            socket.wire.write([frame(TEXT, b"2probe"), frame(TEXT, b"5")].concat());
            let accepted = socket.frame().payload == b"3probe";
            if accepted {
                socket.assert_alive();
            }
            accepted
        });
    });
}

#[test]
fn a_second_websocket_does_not_disturb_the_first() {
    everywhere(|config| {
        let host = Host::start(config);
        let (polling, mut first) = probed(host.addr());
        // While the first is tried, ...
        WebSocket::attach(host.addr(), &polling.sid).expect_close();
        first.send("5");
        first.assert_alive();
        // ... when it has become the transport, and for a session that never had another.
        WebSocket::attach(host.addr(), &polling.sid).expect_close();
        first.assert_alive();
        let (mut direct, sid) = WebSocket::open(host.addr());
        let mut second = WebSocket::attach(host.addr(), &sid);
        second.wire.write(frame(TEXT, b"2probe"));
        second.expect_close();
        direct.assert_alive();
        assert_eq!(host.log.messages(&sid).len(), 1);
    });
}

#[test]
fn disabled_upgrades_are_neither_announced_nor_granted() {
    everywhere(|config| {
        let host = Host::start(config.allow_upgrades(false));
        let mut wire = Wire::connect(host.addr());
        let open = wire.request(&Request::get("/engine.io/?EIO=4&transport=polling"));
        assert!(open.text().contains(r#""upgrades":[]"#), "{}", open.text());
        let target = format!("{WEBSOCKET}&sid={}", sid_of(open.text()));
        let refused = Wire::connect(host.addr()).request(&opening(&target));
        refused.assert(400, BAD_REQUEST);
        // A session may still begin on a WebSocket.
        WebSocket::open(host.addr()).0.assert_alive();
    });
}

#[test]
fn upgrade_packets_glued_to_the_request_are_not_lost() {
    everywhere(|config| {
        let host = Host::start(config);
        let polling = Polling::open(host.addr());
        let request = opening(&format!("{WEBSOCKET}&sid={}", polling.sid)).bytes();
        let mut wire = Wire::connect(host.addr());
        let frames = [frame(TEXT, b"2probe"), frame(TEXT, b"5"), frame(TEXT, b"4first")];
        // Also when the connection changes its core between the request and the frames.
        wire.write([request, frames.concat()].concat());
        assert_eq!(wire.response().status, 101);
        let mut socket = WebSocket { wire };
        assert_eq!([socket.text(), socket.text()], ["3probe", "4first"]);
        socket.assert_alive();
    });
}

#[test]
fn close_during_a_probe_closes_both_and_loses_nothing() {
    everywhere(|config| {
        let host = Host::start(config);
        // engine.io#284: what is queued goes first, on the transport that is current.
        let (mut polling, mut socket) = probed(host.addr());
        polling.say("4last words\u{1e}4!close");
        assert_eq!(polling.poll(), "4last words\u{1e}1");
        socket.expect_close();
        polling.assert_unknown();

        // With a GET held.
        let mut polling = Polling::open(host.addr());
        let mut socket = WebSocket::attach(host.addr(), &polling.sid);
        polling.start_poll();
        polling.get.expect_silence(Duration::from_millis(30));
        polling.say("4!close");
        assert_eq!(polling.polled(), "1");
        socket.expect_close();

        // The upgrade overtakes the close: it goes the new way.
        let (mut polling, mut socket) = probed(host.addr());
        polling.say("4last words\u{1e}4!close");
        socket.send("5");
        assert_eq!([socket.text(), socket.text()], ["4last words", "1"]);
        assert_eq!(socket.expect_close(), Some(1000));
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::ServerDisconnect);
    });
}

#[test]
fn a_client_that_closes_during_its_probe_is_gone_altogether() {
    everywhere(|config| {
        let host = Host::start(config);
        let (mut polling, mut socket) = probed(host.addr());
        polling.say("1");
        socket.expect_close();
        polling.assert_unknown();
        assert_eq!(host.log.close_reason(&polling.sid), CloseReason::ClientDisconnect);
        drop((polling, socket));
        host.empties();
    });
}
