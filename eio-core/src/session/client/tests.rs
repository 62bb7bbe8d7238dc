//! One test for each rule of a client session.

use std::vec::Vec;

use super::*;
use crate::session::MAX_EXTENSIONS;

const TIMING: ClientTiming =
    ClientTiming { open_timeout_ms: 1_000, upgrade_timeout_ms: 100, close_timeout_ms: 400 };
const PARAMS: OpenParams =
    OpenParams { ping_interval_ms: 300, ping_timeout_ms: 200, offers_websocket: true };

const CLOSE: Transmit = Transmit::Control(Packet::Close);
const PONG: Transmit = Transmit::Control(Packet::Pong(""));
const PROBE_PING: Transmit = Transmit::Control(Packet::Ping("probe"));
const SWITCH: Transmit = Transmit::Control(Packet::Upgrade);
const TEXT: Packet<'static> = Packet::Message(Message::Text("a"));

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn transmits(session: &mut ClientSession, lane: Lane, mut queued: usize) -> Vec<Transmit> {
    let mut transmits = Vec::new();
    while let Some(transmit) = session.poll_transmit(lane, queued > 0) {
        queued -= usize::from(transmit == Transmit::Message);
        transmits.push(transmit);
    }
    transmits
}

fn lanes(session: &mut ClientSession, queued: bool) -> Vec<Lane> {
    core::iter::from_fn(|| session.poll_lane(queued)).collect()
}

fn events(session: &mut ClientSession) -> Vec<Event> {
    core::iter::from_fn(|| session.poll_event()).collect()
}

/// Opened over polling at 0 ms, with a GET in flight.
fn polling() -> ClientSession {
    let mut session = ClientSession::new(Transport::Polling, false, TIMING, at(0));
    assert_eq!(lanes(&mut session, false), [Lane::Get]);
    session.handle_open(PARAMS, at(0)).unwrap();
    session.detach(Lane::Get);
    assert_eq!(lanes(&mut session, false), [Lane::Get]);
    session
}

fn websocket() -> ClientSession {
    let mut session = ClientSession::new(Transport::WebSocket, true, TIMING, at(0));
    assert_eq!(lanes(&mut session, false), [Lane::WebSocket]);
    session.handle_connected().unwrap();
    session.handle_open(PARAMS, at(0)).unwrap();
    session
}

/// Opened over polling at 0 ms, with a GET in flight and a WebSocket being opened.
fn connecting() -> ClientSession {
    let mut session = ClientSession::new(Transport::Polling, true, TIMING, at(0));
    assert_eq!(lanes(&mut session, false), [Lane::Get]);
    session.handle_open(PARAMS, at(0)).unwrap();
    session.detach(Lane::Get);
    assert_eq!(lanes(&mut session, false), [Lane::WebSocket, Lane::Get]);
    session
}

fn probing() -> ClientSession {
    let mut session = connecting();
    session.handle_connected().unwrap();
    assert_eq!(transmits(&mut session, Lane::WebSocket, 9), [PROBE_PING]);
    session
}

/// The probe was answered; the GET is still in flight.
fn pausing() -> ClientSession {
    let mut session = probing();
    session.handle_packet(Lane::WebSocket, Packet::Pong("probe"), at(10)).unwrap();
    session
}

#[track_caller]
fn assert_over(session: &mut ClientSession, reason: CloseReason) {
    assert_eq!(session.ended(), Some(reason));
    assert_eq!(session.poll_event(), Some(Event::Closed(reason)));
    assert_eq!(lanes(session, true), []);
    assert_eq!(session.handle_connected(), Err(Violation::Ended));
    assert_eq!(session.handle_open(PARAMS, at(0)), Err(Violation::Ended));
    for lane in [Lane::Get, Lane::Post, Lane::WebSocket] {
        assert_eq!(session.poll_transmit(lane, true), None, "{lane:?}");
        assert_eq!(session.handle_packet(lane, TEXT, at(0)), Err(Violation::Ended));
        session.lost(lane);
        session.fail(lane, CloseReason::ParseError);
    }
    session.abort(CloseReason::ClientDisconnect);
    session.close(at(0));
    session.handle_timeout(at(1_000_000));
    assert!(!session.extend(at(1_000_000)));
    assert_eq!((session.poll_timeout(), session.is_closing()), (None, false));
    assert_eq!(lanes(session, true), []);
    assert_eq!((session.poll_event(), session.ended()), (None, Some(reason)));
}

mod opening {
    use super::*;

    #[test]
    fn nothing_is_sent_before_the_open_packet() {
        let mut session = ClientSession::new(Transport::Polling, true, TIMING, at(0));
        assert_eq!(lanes(&mut session, true), [Lane::Get]);
        let mut session = ClientSession::new(Transport::WebSocket, true, TIMING, at(0));
        assert_eq!(lanes(&mut session, true), [Lane::WebSocket]);
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), []);
        session.handle_connected().unwrap();
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), []);
        session.handle_open(PARAMS, at(1)).unwrap();
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [Transmit::Message]);
        assert_eq!(lanes(&mut session, true), [], "the transport is already WebSocket");
    }

    #[test]
    fn session_ends_if_no_open_packet_arrives_in_time() {
        for transport in [Transport::Polling, Transport::WebSocket] {
            let mut session = ClientSession::new(transport, true, TIMING, at(0));
            assert_eq!(session.poll_timeout(), Some(at(1_000)));
            session.handle_timeout(at(999));
            assert_eq!(session.ended(), None, "too soon");
            assert!(!session.extend(at(1_000)));
            session.handle_timeout(at(1_000));
            assert_over(&mut session, CloseReason::TransportError);
        }
    }

    #[test]
    fn first_packet_must_be_an_open_packet() {
        for packet in [TEXT, Packet::Ping(""), Packet::Noop] {
            let mut session = ClientSession::new(Transport::Polling, true, TIMING, at(0));
            let _ = lanes(&mut session, false);
            let result = session.handle_packet(Lane::Get, packet, at(1));
            assert_eq!(result, Err(Violation::NotOpened));
            assert_over(&mut session, CloseReason::ParseError);
        }
    }

    #[test]
    fn packet_on_a_lane_not_attached_is_rejected() {
        let mut session = ClientSession::new(Transport::Polling, true, TIMING, at(0));
        let result = session.handle_packet(Lane::Get, TEXT, at(1));
        assert_eq!(result, Err(Violation::NotAttached));
        let mut session = websocket();
        let result = session.handle_packet(Lane::Get, TEXT, at(1));
        assert_eq!(result, Err(Violation::NotAttached));
        assert_eq!(session.ended(), None);
    }

    #[test]
    fn failed_handshake_ends_the_session() {
        let mut session = ClientSession::new(Transport::Polling, true, TIMING, at(0));
        let _ = lanes(&mut session, false);
        session.lost(Lane::Get);
        assert_over(&mut session, CloseReason::TransportError);

        let mut session = ClientSession::new(Transport::Polling, true, TIMING, at(0));
        let _ = lanes(&mut session, false);
        session.detach(Lane::Get);
        assert_over(&mut session, CloseReason::ParseError);

        let mut session = ClientSession::new(Transport::WebSocket, true, TIMING, at(0));
        let _ = lanes(&mut session, false);
        session.lost(Lane::WebSocket);
        assert_over(&mut session, CloseReason::TransportError);
    }

    #[test]
    fn messages_after_the_open_packet_are_delivered() {
        let mut session = ClientSession::new(Transport::Polling, false, TIMING, at(0));
        let _ = lanes(&mut session, false);
        session.handle_open(PARAMS, at(1)).unwrap();
        assert!(session.handle_packet(Lane::Get, TEXT, at(1)).unwrap().is_some());
    }

    #[test]
    fn second_open_packet_is_ignored() {
        let mut session = polling();
        session.handle_open(OpenParams { ping_interval_ms: 1, ..PARAMS }, at(9)).unwrap();
        assert_eq!(session.poll_timeout(), Some(at(500)));
        assert_eq!(session.handle_packet(Lane::Get, Packet::Open("{}"), at(9)), Ok(None));
    }

    #[test]
    fn close_before_the_open_packet_ends_the_session_at_once() {
        let mut session = ClientSession::new(Transport::WebSocket, false, TIMING, at(0));
        let _ = lanes(&mut session, false);
        session.close(at(1));
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
        assert_over(&mut session, CloseReason::ClientDisconnect);
        let mut session = ClientSession::new(Transport::Polling, false, TIMING, at(0));
        session.abort(CloseReason::ClientDisconnect);
        assert_over(&mut session, CloseReason::ClientDisconnect);
    }
}

mod polling {
    use super::*;

    #[test]
    fn exactly_one_get_is_in_flight() {
        let mut session = super::polling();
        assert!(session.attached(Lane::Get));
        assert_eq!(lanes(&mut session, false), []);
        session.detach(Lane::Get);
        assert_eq!(lanes(&mut session, false), [Lane::Get]);
    }

    #[test]
    fn post_starts_only_with_a_packet_to_send_and_one_at_a_time() {
        let mut session = super::polling();
        assert_eq!(lanes(&mut session, true), [Lane::Post]);
        assert_eq!(transmits(&mut session, Lane::Post, 2), [Transmit::Message; 2]);
        assert_eq!(transmits(&mut session, Lane::Post, 1), [], "the body is complete");
        assert_eq!(lanes(&mut session, true), []);
        session.detach(Lane::Post);
        assert_eq!(lanes(&mut session, true), [Lane::Post]);
    }

    #[test]
    fn pong_is_posted_before_queued_messages() {
        let mut session = super::polling();
        session.handle_packet(Lane::Get, Packet::Ping(""), at(300)).unwrap();
        assert_eq!(lanes(&mut session, false), [Lane::Post]);
        let mut idle = session.clone();
        assert_eq!(transmits(&mut session, Lane::Post, 1), [PONG, Transmit::Message]);
        session.detach(Lane::Post);
        assert_eq!(lanes(&mut session, false), [], "once");
        assert_eq!(transmits(&mut idle, Lane::Post, 0), [PONG]);
        assert_eq!(transmits(&mut idle, Lane::Post, 1), [], "the body is complete");
    }

    #[test]
    fn failed_request_ends_the_session() {
        let mut session = super::polling();
        session.lost(Lane::Get);
        assert_over(&mut session, CloseReason::TransportError);
        let mut session = super::polling();
        let _ = lanes(&mut session, true);
        session.lost(Lane::Post);
        assert_over(&mut session, CloseReason::TransportError);
    }

    #[test]
    fn failed_get_ends_the_session_with_its_reason() {
        let mut session = super::polling();
        session.fail(Lane::Post, CloseReason::ParseError);
        assert_eq!(session.ended(), None, "no POST is attached");
        session.fail(Lane::Get, CloseReason::PayloadTooLarge);
        assert_over(&mut session, CloseReason::PayloadTooLarge);
    }

    #[test]
    fn packets_after_a_close_packet_are_rejected() {
        let mut session = super::polling();
        assert!(session.handle_packet(Lane::Get, TEXT, at(1)).unwrap().is_some());
        assert_eq!(session.handle_packet(Lane::Get, Packet::Close, at(1)), Ok(None));
        assert_over(&mut session, CloseReason::ServerDisconnect);
    }

    #[test]
    fn unexpected_packets_are_ignored() {
        let mut session = super::polling();
        for packet in [Packet::Noop, Packet::Upgrade, Packet::Pong("probe")] {
            assert_eq!(session.handle_packet(Lane::Get, packet, at(1)), Ok(None));
        }
        assert_eq!(lanes(&mut session, false), []);
        assert_eq!(session.handle_packet(Lane::Post, TEXT, at(1)), Err(Violation::NotAttached));
    }
}

mod liveness {
    use super::*;

    #[test]
    fn session_ends_without_a_ping_in_time() {
        let mut session = super::polling();
        assert_eq!(session.poll_timeout(), Some(at(500)));
        session.handle_packet(Lane::Get, TEXT, at(100)).unwrap();
        assert_eq!(session.poll_timeout(), Some(at(500)), "messages do not count as pings");
        session.handle_packet(Lane::Get, Packet::Ping(""), at(300)).unwrap();
        assert_eq!(session.poll_timeout(), Some(at(800)));
        session.handle_timeout(at(799));
        assert_eq!(session.ended(), None, "the ping is not overdue");
        session.handle_timeout(at(800));
        assert_over(&mut session, CloseReason::PingTimeout);
    }

    #[test]
    fn silent_server_is_hung_up_without_a_close_packet() {
        let mut session = websocket();
        session.handle_timeout(at(500));
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
        assert_over(&mut session, CloseReason::PingTimeout);
    }

    #[test]
    fn slow_application_extends_the_deadline_a_limited_number_of_times() {
        let mut session = websocket();
        assert!(!session.extend(at(499)));
        let mut now = 500;
        for _ in 0..MAX_EXTENSIONS {
            assert!(session.extend(at(now)));
            session.handle_timeout(at(now));
            now += 200;
            assert_eq!(session.poll_timeout(), Some(at(now)));
        }
        assert!(!session.extend(at(now)));
        session.handle_packet(Lane::WebSocket, Packet::Noop, at(now)).unwrap();
        assert!(session.extend(at(now)), "the application handled a packet");
    }
}

mod upgrade {
    use super::*;

    #[test]
    fn upgrade_starts_only_if_wanted_and_offered() {
        for (wanted, offers_websocket) in [(true, false), (false, true)] {
            let mut session = ClientSession::new(Transport::Polling, wanted, TIMING, at(0));
            let _ = lanes(&mut session, false);
            session.handle_open(OpenParams { offers_websocket, ..PARAMS }, at(0)).unwrap();
            assert_eq!(lanes(&mut session, false), []);
            assert!(!session.is_upgrading());
        }
    }

    #[test]
    fn polling_continues_until_the_probe_is_answered() {
        let mut session = probing();
        session.detach(Lane::Get);
        assert_eq!(lanes(&mut session, true), [Lane::Get, Lane::Post]);
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), []);
        assert_eq!(transmits(&mut session, Lane::Post, 1), [Transmit::Message]);
    }

    #[test]
    fn switch_waits_for_the_get_and_the_post_in_flight() {
        let mut session = probing();
        assert_eq!(lanes(&mut session, true), [Lane::Post]);
        session.handle_packet(Lane::WebSocket, Packet::Pong("probe"), at(10)).unwrap();
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), []);
        assert!(session.handle_packet(Lane::Get, TEXT, at(11)).unwrap().is_some());
        session.detach(Lane::Get);
        assert_eq!(lanes(&mut session, true), [], "no request starts while pausing");
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), []);
        session.detach(Lane::Post);
        assert_eq!(session.transport(), Transport::Polling);
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [SWITCH, Transmit::Message]);
        assert_eq!(events(&mut session), [Event::Upgraded]);
        assert_eq!(lanes(&mut session, true), []);
        assert_eq!(session.transport(), Transport::WebSocket);
        assert!(session.handle_packet(Lane::WebSocket, TEXT, at(12)).unwrap().is_some());
    }

    #[test]
    fn ping_in_the_last_get_is_answered_over_the_websocket() {
        let mut session = pausing();
        session.handle_packet(Lane::Get, Packet::Ping(""), at(11)).unwrap();
        session.detach(Lane::Get);
        assert_eq!(lanes(&mut session, false), []);
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [SWITCH, PONG, Transmit::Message]);
    }

    #[test]
    fn failed_upgrade_does_not_affect_polling() {
        fn unexpected(session: &mut ClientSession) {
            session.handle_packet(Lane::WebSocket, TEXT, at(20)).unwrap_err();
        }
        type Fault = fn(&mut ClientSession);
        let faults: [(UpgradeFailure, Fault); 4] = [
            (UpgradeFailure::Timeout, |session| session.handle_timeout(at(100))),
            (UpgradeFailure::Lost, |session| session.lost(Lane::WebSocket)),
            (UpgradeFailure::UnexpectedPacket, |session| {
                session.fail(Lane::WebSocket, CloseReason::ParseError);
            }),
            (UpgradeFailure::UnexpectedPacket, unexpected),
        ];
        for (state, make) in [connecting, probing, pausing].into_iter().enumerate() {
            for (index, (failure, fault)) in faults.into_iter().enumerate() {
                if state == 0 && index == 3 {
                    continue; // no packet can arrive yet
                }
                let mut session = make();
                fault(&mut session);
                // More data that is not a packet, before the hang-up was taken.
                session.fail(Lane::WebSocket, CloseReason::ParseError);
                assert_eq!(events(&mut session), [Event::UpgradeFailed(failure)]);
                let output = transmits(&mut session, Lane::WebSocket, 1);
                assert_eq!(output.is_empty(), failure == UpgradeFailure::Lost);
                assert!(output.is_empty() || output == [Transmit::Hangup]);
                assert!(!session.attached(Lane::WebSocket) && !session.is_upgrading());
                assert_eq!(session.handle_connected(), Err(Violation::NotAttached));
                session.detach(Lane::Get);
                assert_eq!(lanes(&mut session, true), [Lane::Get, Lane::Post]);
                assert_eq!((session.ended(), session.poll_timeout()), (None, Some(at(500))));
            }
        }
    }

    #[test]
    fn websocket_is_not_opened_after_the_upgrade_timeout() {
        let mut session = ClientSession::new(Transport::Polling, true, TIMING, at(0));
        let _ = lanes(&mut session, false);
        session.handle_open(PARAMS, at(0)).unwrap();
        session.lost(Lane::WebSocket);
        assert!(session.is_upgrading() && !session.attached(Lane::WebSocket));
        session.handle_timeout(at(100));
        assert_eq!(events(&mut session), [Event::UpgradeFailed(UpgradeFailure::Timeout)]);
        assert_eq!(lanes(&mut session, false), []);
        assert_eq!(transmits(&mut session, Lane::WebSocket, 0), []);
    }

    #[test]
    fn unsolicited_probe_answer_fails_the_upgrade() {
        let mut session = connecting();
        session.handle_connected().unwrap();
        let early = session.handle_packet(Lane::WebSocket, Packet::Pong("probe"), at(1));
        assert_eq!(early, Err(Violation::UnexpectedPacket));
        let mut session = probing();
        let other = session.handle_packet(Lane::WebSocket, Packet::Pong(""), at(1));
        assert_eq!(other, Err(Violation::UnexpectedPacket));
    }

    /// docs/protocol.md 2.7.3
    #[test]
    fn noop_over_the_websocket_is_ignored() {
        let mut session = pausing();
        assert_eq!(session.handle_packet(Lane::WebSocket, Packet::Noop, at(11)), Ok(None));
        session.detach(Lane::Get);
        assert_eq!(transmits(&mut session, Lane::WebSocket, 0), [SWITCH]);
        assert_eq!(session.handle_packet(Lane::WebSocket, Packet::Noop, at(12)), Ok(None));
    }

    #[test]
    fn lost_websocket_after_the_switch_ends_the_session() {
        let mut session = pausing();
        session.detach(Lane::Get);
        let _ = transmits(&mut session, Lane::WebSocket, 0);
        let _ = events(&mut session);
        session.lost(Lane::WebSocket);
        assert_over(&mut session, CloseReason::TransportClose);
    }
}

mod closing {
    use super::*;

    #[test]
    fn close_packet_is_sent_after_queued_messages() {
        let mut session = super::polling();
        session.close(at(1));
        assert!(session.is_closing());
        assert_eq!(lanes(&mut session, false), [Lane::Post]);
        assert_eq!(transmits(&mut session, Lane::Post, 1), [Transmit::Message, CLOSE]);
        assert_over(&mut session, CloseReason::ClientDisconnect);

        let mut session = websocket();
        session.close(at(1));
        assert_eq!(
            transmits(&mut session, Lane::WebSocket, 1),
            [Transmit::Message, CLOSE, Transmit::Hangup]
        );
        assert_over(&mut session, CloseReason::ClientDisconnect);
    }

    #[test]
    fn close_waits_for_the_post_in_flight_until_its_deadline() {
        let mut session = super::polling();
        let _ = lanes(&mut session, true);
        let _ = transmits(&mut session, Lane::Post, 1);
        session.close(at(1));
        session.close(at(50));
        assert_eq!(lanes(&mut session, true), []);
        assert_eq!(session.poll_timeout(), Some(at(401)));
        let mut stuck = session.clone();
        stuck.handle_timeout(at(401));
        assert_over(&mut stuck, CloseReason::ClientDisconnect);
        session.detach(Lane::Post);
        assert_eq!(lanes(&mut session, true), [Lane::Post]);
        assert_eq!(transmits(&mut session, Lane::Post, 1), [Transmit::Message, CLOSE]);
    }

    #[test]
    fn messages_received_while_closing_are_dropped() {
        let mut session = websocket();
        session.close(at(1));
        assert_eq!(session.handle_packet(Lane::WebSocket, TEXT, at(2)), Ok(None));
        session.handle_packet(Lane::WebSocket, Packet::Close, at(2)).unwrap();
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
        assert_over(&mut session, CloseReason::ServerDisconnect);
    }

    #[test]
    fn close_in_each_state_of_an_upgrade_sends_queued_messages() {
        for make in [connecting, probing] {
            let mut session = make();
            session.close(at(11));
            assert_eq!(lanes(&mut session, true), [Lane::Post]);
            assert_eq!(transmits(&mut session, Lane::Post, 1), [Transmit::Message, CLOSE]);
            assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
            assert_over(&mut session, CloseReason::ClientDisconnect);
        }
        let mut session = pausing();
        session.close(at(11));
        assert_eq!(lanes(&mut session, true), [], "no request starts before the switch");
        session.detach(Lane::Get);
        let all = [SWITCH, Transmit::Message, CLOSE, Transmit::Hangup];
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), all);
        assert_eq!(session.poll_event(), Some(Event::Upgraded));
        assert_over(&mut session, CloseReason::ClientDisconnect);
    }

    #[test]
    fn abort_drops_queued_messages_and_sends_a_close_packet() {
        let mut session = super::polling();
        session.abort(CloseReason::ClientDisconnect);
        assert_eq!(lanes(&mut session, true), [Lane::Post]);
        assert_eq!(transmits(&mut session, Lane::Post, 1), [CLOSE]);
        assert_over(&mut session, CloseReason::ClientDisconnect);

        let mut session = websocket();
        session.abort(CloseReason::ClientDisconnect);
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [CLOSE, Transmit::Hangup]);
        assert_over(&mut session, CloseReason::ClientDisconnect);

        // A POST that is being filled takes the close packet, too.
        let mut session = super::polling();
        let _ = lanes(&mut session, true);
        assert_eq!(session.poll_transmit(Lane::Post, true), Some(Transmit::Message));
        session.abort(CloseReason::HandlerPanicked);
        session.abort(CloseReason::ParseError);
        assert_eq!(transmits(&mut session, Lane::Post, 1), [CLOSE]);
        assert_over(&mut session, CloseReason::HandlerPanicked);
    }

    #[test]
    fn hangup_code_is_that_of_the_reason() {
        let mut session = websocket();
        assert_eq!(session.hangup_code(), CloseCode::NORMAL);
        session.fail(Lane::WebSocket, CloseReason::ParseError);
        assert_eq!(session.hangup_code(), CloseCode::PROTOCOL_ERROR);
    }

    #[test]
    fn server_that_broke_a_rule_gets_no_close_packet() {
        let mut session = super::polling();
        session.abort(CloseReason::ParseError);
        assert_over(&mut session, CloseReason::ParseError);
        let mut session = websocket();
        session.fail(Lane::WebSocket, CloseReason::ParseError);
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
        assert_over(&mut session, CloseReason::ParseError);
    }
}

#[test]
fn detaching_a_websocket_equals_losing_it() {
    for opened in [websocket as fn() -> ClientSession, probing, pausing, connecting] {
        let (mut done, mut lost) = (opened(), opened());
        done.detach(Lane::WebSocket);
        lost.lost(Lane::WebSocket);
        assert_eq!(events(&mut done), events(&mut lost));
        assert_eq!(done.poll_timeout(), lost.poll_timeout());
    }
    let mut session = websocket();
    session.detach(Lane::WebSocket);
    assert_over(&mut session, CloseReason::TransportClose);
}
