//! One test for each rule of a server session.

use std::vec::Vec;

use super::*;
use crate::session::MAX_EXTENSIONS;

const TIMING: Timing = Timing {
    ping_interval_ms: 300,
    ping_timeout_ms: 200,
    upgrade_timeout_ms: 100,
    close_timeout_ms: 400,
};

const PING: Transmit = Transmit::Control(Packet::Ping(""));
const CLOSE: Transmit = Transmit::Control(Packet::Close);
const NOOP: Transmit = Transmit::Control(Packet::Noop);
const PROBED: Transmit = Transmit::Control(Packet::Pong("probe"));
const TEXT: Packet<'static> = Packet::Message(Message::Text("a"));

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// Everything written to `lane` while `queued` messages are queued.
fn transmits(session: &mut ServerSession, lane: Lane, mut queued: usize) -> Vec<Transmit> {
    let mut transmits = Vec::new();
    while let Some(transmit) = session.poll_transmit(lane, queued > 0) {
        queued -= usize::from(transmit == Transmit::Message);
        transmits.push(transmit);
    }
    transmits
}

fn events(session: &mut ServerSession) -> Vec<Event> {
    core::iter::from_fn(|| session.poll_event()).collect()
}

/// A polling session whose handshake was answered at 0 ms, without a GET.
fn polling() -> ServerSession {
    let mut session = ServerSession::new(Transport::Polling, TIMING, at(0));
    assert_eq!(transmits(&mut session, Lane::Get, 0), [Transmit::Open]);
    session.detach(Lane::Get);
    session
}

/// The same with a GET held.
fn held() -> ServerSession {
    let mut session = polling();
    session.attach(Lane::Get, at(0)).unwrap();
    assert_eq!(transmits(&mut session, Lane::Get, 0), []);
    session
}

fn websocket() -> ServerSession {
    let mut session = ServerSession::new(Transport::WebSocket, TIMING, at(0));
    assert_eq!(transmits(&mut session, Lane::WebSocket, 0), [Transmit::Open]);
    session
}

/// A polling session without a GET whose WebSocket was probed.
fn probed() -> ServerSession {
    let mut session = polling();
    session.attach(Lane::WebSocket, at(0)).unwrap();
    session.handle_packet(Lane::WebSocket, Packet::Ping("probe"), at(0)).unwrap();
    assert_eq!(transmits(&mut session, Lane::WebSocket, 9), [PROBED]);
    session
}

fn upgraded() -> ServerSession {
    let mut session = probed();
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(0)).unwrap();
    assert_eq!(events(&mut session), [Event::Upgraded]);
    session
}

/// The session ended with `reason`, reports that once, and has no further output or deadline.
#[track_caller]
fn assert_over(session: &mut ServerSession, reason: CloseReason) {
    assert_eq!(session.ended(), Some(reason));
    assert_eq!(session.poll_event(), Some(Event::Closed(reason)));
    for lane in [Lane::Get, Lane::Post, Lane::WebSocket] {
        assert_eq!(session.poll_transmit(lane, true), None, "{lane:?}");
        assert_eq!(session.attach(lane, at(0)), Err(Violation::Ended));
        assert_eq!(session.handle_packet(lane, TEXT, at(0)), Err(Violation::Ended));
        session.lost(lane);
        session.fail(lane, CloseReason::ParseError);
    }
    session.abort(CloseReason::HandlerPanicked);
    session.close(at(0));
    session.handle_timeout(at(1_000_000));
    assert!(!session.extend(at(1_000_000)));
    assert_eq!((session.poll_timeout(), session.is_closing()), (None, false));
    assert_eq!((session.poll_event(), session.ended()), (None, Some(reason)));
}

mod handshake {
    use super::*;

    /// docs/protocol.md 2.1.4
    #[test]
    fn open_packet_is_alone_in_its_polling_response() {
        let mut session = ServerSession::new(Transport::Polling, TIMING, at(0));
        assert!(session.attached(Lane::Get) && !session.attached(Lane::WebSocket));
        assert_eq!(transmits(&mut session, Lane::Get, 3), [Transmit::Open]);
        session.close(at(1));
        assert_eq!(transmits(&mut session, Lane::Get, 3), []);
    }

    #[test]
    fn open_packet_is_the_first_frame() {
        let mut session = ServerSession::new(Transport::WebSocket, TIMING, at(0));
        assert!(session.attached(Lane::WebSocket) && !session.attached(Lane::Get));
        assert_eq!(
            transmits(&mut session, Lane::WebSocket, 1),
            [Transmit::Open, Transmit::Message]
        );
    }

    #[test]
    fn session_aborted_before_its_open_packet_never_sends_it() {
        let mut session = ServerSession::new(Transport::Polling, TIMING, at(0));
        session.abort(CloseReason::HandlerPanicked);
        assert_eq!(transmits(&mut session, Lane::Get, 1), [CLOSE]);
        let mut session = ServerSession::new(Transport::WebSocket, TIMING, at(0));
        session.abort(CloseReason::HandlerPanicked);
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [CLOSE, Transmit::Hangup]);
    }

    #[test]
    fn session_ends_if_the_handshake_request_is_lost() {
        let mut session = ServerSession::new(Transport::Polling, TIMING, at(0));
        session.lost(Lane::Get);
        assert_over(&mut session, CloseReason::TransportError);
    }
}

mod post {
    use super::*;

    fn posted(session: &mut ServerSession, packet: Packet<'static>) {
        session.attach(Lane::Post, at(1)).unwrap();
        assert_eq!(session.handle_packet(Lane::Post, packet, at(1)), Ok(None));
        session.detach(Lane::Post);
    }

    /// docs/protocol.md 2.3.7
    #[test]
    fn packets_only_a_server_sends_are_ignored() {
        let mut session = held();
        for packet in [Packet::Open("{}"), Packet::Upgrade, Packet::Noop, Packet::Pong("x")] {
            posted(&mut session, packet);
        }
        assert_eq!(transmits(&mut session, Lane::Get, 0), []);
        assert_eq!((session.ended(), session.transport()), (None, Transport::Polling));
    }

    /// docs/protocol.md 2.3.7
    #[test]
    fn ping_from_a_client_ends_the_session() {
        let mut session = held();
        session.attach(Lane::Post, at(1)).unwrap();
        let result = session.handle_packet(Lane::Post, Packet::Ping(""), at(1));
        assert_eq!(result, Err(Violation::WrongDirection));
        assert_eq!(transmits(&mut session, Lane::Get, 1), [CLOSE]);
        assert_over(&mut session, CloseReason::TransportError);
    }

    /// docs/protocol.md 2.3.8
    #[test]
    fn close_in_a_post_answers_the_held_get() {
        let mut session = held();
        posted(&mut session, Packet::Close);
        assert_eq!(transmits(&mut session, Lane::Get, 1), [NOOP]);
        assert_over(&mut session, CloseReason::ClientDisconnect);
    }

    /// docs/protocol.md 2.9
    #[test]
    fn messages_before_a_close_packet_are_delivered() {
        let mut session = polling();
        session.attach(Lane::Post, at(1)).unwrap();
        assert!(session.handle_packet(Lane::Post, TEXT, at(1)).unwrap().is_some());
        assert_eq!(session.handle_packet(Lane::Post, Packet::Close, at(1)), Ok(None));
        assert_eq!(session.handle_packet(Lane::Post, TEXT, at(1)), Err(Violation::Ended));
    }

    /// docs/protocol.md 2.3.9
    #[test]
    fn second_post_ends_the_session() {
        let mut session = held();
        session.attach(Lane::Post, at(1)).unwrap();
        assert_eq!(session.attach(Lane::Post, at(1)), Err(Violation::OverlappingPost));
        assert_eq!(transmits(&mut session, Lane::Get, 1), [CLOSE]);
        assert_over(&mut session, CloseReason::TransportError);
    }

    /// docs/protocol.md 2.3.13
    #[test]
    fn lost_post_ends_the_session() {
        let mut session = held();
        session.attach(Lane::Post, at(1)).unwrap();
        session.lost(Lane::Post);
        assert!(!session.attached(Lane::Post));
        assert_eq!(transmits(&mut session, Lane::Get, 0), [CLOSE]);
        assert_over(&mut session, CloseReason::TransportError);
    }

    /// docs/protocol.md 2.3.13
    #[test]
    fn lost_post_of_a_closing_session_is_a_server_disconnect() {
        let mut session = held();
        session.attach(Lane::Post, at(1)).unwrap();
        session.close(at(2));
        session.lost(Lane::Post);
        assert_eq!(transmits(&mut session, Lane::Get, 0), [CLOSE]);
        assert_over(&mut session, CloseReason::ServerDisconnect);
    }

    /// docs/protocol.md 2.3.4, 2.3.10
    #[test]
    fn failed_post_ends_the_session_with_its_reason() {
        for reason in [CloseReason::ParseError, CloseReason::PayloadTooLarge] {
            let mut session = held();
            session.fail(Lane::Post, reason);
            assert_eq!(session.ended(), None, "no POST is attached");
            session.attach(Lane::Post, at(1)).unwrap();
            session.fail(Lane::Post, reason);
            assert_eq!(transmits(&mut session, Lane::Get, 0), [CLOSE]);
            assert_over(&mut session, reason);
        }
    }

    #[test]
    fn packet_on_a_lane_not_attached_is_rejected() {
        let mut session = held();
        assert_eq!(session.handle_packet(Lane::Post, TEXT, at(1)), Err(Violation::NotAttached));
        assert_eq!(session.handle_packet(Lane::Get, TEXT, at(1)), Err(Violation::NotAttached));
        assert_eq!(
            session.handle_packet(Lane::WebSocket, TEXT, at(1)),
            Err(Violation::NotAttached)
        );
        assert_eq!(session.ended(), None);
    }
}

mod get {
    use super::*;

    /// docs/protocol.md 2.4.1, 2.4.2
    #[test]
    fn get_is_held_only_while_nothing_is_queued() {
        let mut session = held();
        assert_eq!(transmits(&mut session, Lane::Get, 3), [Transmit::Message; 3]);
        assert_eq!(transmits(&mut session, Lane::Get, 3), [], "the response is complete");
        session.detach(Lane::Get);
        assert_eq!(transmits(&mut session, Lane::Get, 3), [], "nobody polls");
        session.attach(Lane::Get, at(2)).unwrap();
        assert_eq!(transmits(&mut session, Lane::Get, 3), [Transmit::Message; 3]);
    }

    /// docs/protocol.md 2.4.2
    #[test]
    fn response_the_driver_stops_filling_can_be_detached() {
        let mut session = held();
        assert_eq!(session.poll_transmit(Lane::Get, true), Some(Transmit::Message));
        session.detach(Lane::Get);
        session.attach(Lane::Get, at(1)).unwrap();
        assert_eq!(transmits(&mut session, Lane::Get, 1), [Transmit::Message]);
    }

    #[test]
    fn ping_is_sent_before_queued_messages() {
        let mut session = held();
        session.handle_timeout(at(300));
        assert_eq!(
            transmits(&mut session, Lane::Get, 2),
            [PING, Transmit::Message, Transmit::Message]
        );
    }

    /// docs/protocol.md 2.4.4
    #[test]
    fn second_get_is_refused_and_the_first_gets_close() {
        let mut session = held();
        assert_eq!(session.attach(Lane::Get, at(1)), Err(Violation::OverlappingGet));
        assert_eq!(transmits(&mut session, Lane::Get, 1), [CLOSE]);
        session.detach(Lane::Get);
        assert_over(&mut session, CloseReason::TransportError);
    }

    /// docs/protocol.md 2.4.5
    #[test]
    fn lost_get_ends_the_session_at_once() {
        let mut session = held();
        session.lost(Lane::Get);
        assert_over(&mut session, CloseReason::TransportError);
        let mut session = held();
        let _ = session.poll_transmit(Lane::Get, true);
        session.lost(Lane::Get);
        assert_over(&mut session, CloseReason::TransportError);
    }

    /// docs/protocol.md 2.4.6
    #[test]
    fn connection_lost_after_the_answer_is_harmless() {
        let mut session = held();
        assert_eq!(transmits(&mut session, Lane::Get, 1), [Transmit::Message]);
        session.detach(Lane::Get);
        session.lost(Lane::Get);
        assert_eq!(session.ended(), None);
    }
}

mod heartbeat {
    use super::*;

    /// docs/protocol.md 2.5.1
    #[test]
    fn ping_is_sent_one_interval_after_handshake_and_pong() {
        let mut session = websocket();
        assert_eq!(session.poll_timeout(), Some(at(300)));
        session.handle_timeout(at(299));
        assert_eq!(transmits(&mut session, Lane::WebSocket, 0), []);
        session.handle_timeout(at(300));
        assert_eq!(transmits(&mut session, Lane::WebSocket, 0), [PING]);
        assert_eq!(session.poll_timeout(), Some(at(500)));
        session.handle_timeout(at(350));
        assert_eq!(transmits(&mut session, Lane::WebSocket, 0), [], "a ping is sent once");
        session.handle_packet(Lane::WebSocket, Packet::Pong(""), at(350)).unwrap();
        assert_eq!(session.poll_timeout(), Some(at(650)));
        session.handle_timeout(at(500));
        assert_eq!(session.ended(), None);
    }

    #[test]
    fn round_trip_is_measured_from_the_lane_that_takes_the_ping() {
        let mut session = websocket();
        assert_eq!(session.round_trip_ms(), None);
        session.handle_timeout(at(305));
        assert_eq!(transmits(&mut session, Lane::WebSocket, 0), [PING]);
        session.handle_packet(Lane::WebSocket, TEXT, at(310)).unwrap();
        assert_eq!(session.round_trip_ms(), None);
        session.handle_packet(Lane::WebSocket, Packet::Pong(""), at(330)).unwrap();
        assert_eq!(session.round_trip_ms(), Some(25));
        // A pong without a ping changes nothing, nor does a ping without its pong.
        session.handle_packet(Lane::WebSocket, Packet::Pong(""), at(400)).unwrap();
        session.handle_timeout(at(630));
        assert_eq!(transmits(&mut session, Lane::WebSocket, 0), [PING]);
        assert_eq!(session.round_trip_ms(), Some(25));

        // Over polling the ping may wait for the next GET.
        let mut session = polling();
        session.handle_timeout(at(300));
        session.attach(Lane::Get, at(340)).unwrap();
        assert_eq!(transmits(&mut session, Lane::Get, 0), [PING]);
        session.attach(Lane::Post, at(355)).unwrap();
        session.handle_packet(Lane::Post, Packet::Pong(""), at(360)).unwrap();
        assert_eq!(session.round_trip_ms(), Some(20));

        // Or for the end of an upgrade.
        let mut session = polling();
        session.attach(Lane::WebSocket, at(250)).unwrap();
        session.handle_timeout(at(300));
        session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(340)).unwrap();
        assert_eq!(transmits(&mut session, Lane::WebSocket, 0), [PING]);
        session.handle_packet(Lane::WebSocket, Packet::Pong(""), at(347)).unwrap();
        assert_eq!(session.round_trip_ms(), Some(7));
    }

    #[test]
    fn silence_is_measured_from_the_last_packet() {
        // Across the end of the 32 bits that are stored.
        let start = u64::from(u32::MAX) - 35;
        let at = |millis| at(start + millis);
        let mut session = ServerSession::new(Transport::Polling, TIMING, at(0));
        assert_eq!(session.silent_ms(at(5)), 5);
        session.attach(Lane::Post, at(20)).unwrap();
        assert_eq!(session.silent_ms(at(20)), 20, "a request is not a packet");
        session.handle_packet(Lane::Post, TEXT, at(30)).unwrap();
        assert_eq!(session.silent_ms(at(40)), 10);
        session.attach(Lane::WebSocket, at(40)).unwrap();
        session.handle_packet(Lane::WebSocket, Packet::Ping("probe"), at(50)).unwrap();
        assert_eq!(session.silent_ms(at(50)), 20, "not on a WebSocket that is probed");
        session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(60)).unwrap();
        session.handle_packet(Lane::WebSocket, Packet::Pong(""), at(70)).unwrap();
        assert_eq!(session.silent_ms(at(71)), 1);
    }

    /// docs/protocol.md 2.5.2
    #[test]
    fn unpolled_session_ends_after_interval_and_timeout() {
        let mut session = polling();
        session.handle_timeout(at(300));
        session.handle_timeout(at(499));
        assert_eq!(session.ended(), None);
        assert_eq!(session.poll_timeout(), Some(at(500)));
        session.handle_timeout(at(500));
        assert_over(&mut session, CloseReason::PingTimeout);
    }

    /// docs/protocol.md 2.5.2
    #[test]
    fn get_without_a_pong_does_not_keep_the_session() {
        let mut session = held();
        session.handle_timeout(at(300));
        assert_eq!(transmits(&mut session, Lane::Get, 0), [PING]);
        session.detach(Lane::Get);
        session.attach(Lane::Get, at(310)).unwrap();
        session.handle_timeout(at(500));
        assert_eq!(transmits(&mut session, Lane::Get, 0), [CLOSE]);
        assert_over(&mut session, CloseReason::PingTimeout);
    }

    /// docs/protocol.md 2.5.2
    #[test]
    fn silent_websocket_is_hung_up_without_a_close_packet() {
        let mut session = websocket();
        session.handle_timeout(at(300));
        session.handle_timeout(at(500));
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
        assert_over(&mut session, CloseReason::PingTimeout);
    }

    /// docs/protocol.md 2.5.3
    #[test]
    fn messages_do_not_count_as_pongs() {
        let mut session = websocket();
        session.handle_timeout(at(300));
        let _ = transmits(&mut session, Lane::WebSocket, 0);
        assert!(session.handle_packet(Lane::WebSocket, TEXT, at(499)).unwrap().is_some());
        session.handle_timeout(at(500));
        assert_eq!(session.ended(), Some(CloseReason::PingTimeout));
    }

    /// docs/protocol.md 2.5.3
    #[test]
    fn unsolicited_pong_is_ignored() {
        let mut session = polling();
        session.attach(Lane::Post, at(100)).unwrap();
        session.handle_packet(Lane::Post, Packet::Pong(""), at(100)).unwrap();
        assert_eq!(session.poll_timeout(), Some(at(300)));
        session.handle_timeout(at(300));
        session.handle_packet(Lane::Post, Packet::Pong(""), at(301)).unwrap();
        assert_eq!(
            session.poll_timeout(),
            Some(at(500)),
            "it does not answer a ping that was not sent"
        );
    }

    /// docs/protocol.md 2.5.4
    #[test]
    fn probe_on_the_current_websocket_ends_the_session() {
        for mut session in [websocket(), upgraded()] {
            let result = session.handle_packet(Lane::WebSocket, Packet::Ping("probe"), at(1));
            assert_eq!(result, Err(Violation::WrongDirection));
            assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
            assert_over(&mut session, CloseReason::TransportError);
        }
    }

    #[test]
    fn stalled_driver_does_not_shorten_the_ping_timeout() {
        let mut session = held();
        session.handle_timeout(at(10_000));
        assert_eq!(transmits(&mut session, Lane::Get, 0), [PING]);
        assert_eq!(session.poll_timeout(), Some(at(10_200)));
    }

    #[test]
    fn slow_application_extends_the_deadline_a_limited_number_of_times() {
        let mut session = websocket();
        assert!(!session.extend(at(300)), "no pong is due");
        session.handle_timeout(at(300));
        assert!(!session.extend(at(499)), "the pong is not overdue");
        let mut now = 500;
        for _ in 0..MAX_EXTENSIONS {
            assert!(session.extend(at(now)));
            session.handle_timeout(at(now));
            now += 200;
            assert_eq!(session.poll_timeout(), Some(at(now)));
        }
        assert!(!session.extend(at(now)));
        let mut resumed = session.clone();
        session.handle_timeout(at(now));
        assert_eq!(session.ended(), Some(CloseReason::PingTimeout));

        resumed.handle_packet(Lane::WebSocket, TEXT, at(now)).unwrap();
        assert!(resumed.extend(at(now)), "the application handled a packet");
    }
}

mod websocket {
    use super::*;

    /// docs/protocol.md 2.6.2
    #[test]
    fn close_packet_ends_the_session_at_once() {
        let mut session = super::websocket();
        assert_eq!(session.handle_packet(Lane::WebSocket, Packet::Close, at(1)), Ok(None));
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
        assert!(!session.attached(Lane::WebSocket));
        assert_over(&mut session, CloseReason::ClientDisconnect);
    }

    /// docs/protocol.md 2.6.3
    #[test]
    fn failed_websocket_is_hung_up_without_a_close_packet() {
        let mut session = super::websocket();
        session.fail(Lane::WebSocket, CloseReason::ParseError);
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
        assert_over(&mut session, CloseReason::ParseError);
    }

    /// docs/protocol.md 2.6.6
    #[test]
    fn close_by_the_server_sends_a_close_packet_and_hangs_up() {
        for reason in [CloseReason::ServerDisconnect, CloseReason::HandlerPanicked] {
            let mut session = super::websocket();
            session.abort(reason);
            assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [CLOSE, Transmit::Hangup]);
            assert_over(&mut session, reason);
        }
    }

    /// docs/protocol.md 2.6.7
    #[test]
    fn lost_websocket_ends_the_session() {
        for mut session in [super::websocket(), upgraded()] {
            session.lost(Lane::WebSocket);
            assert_over(&mut session, CloseReason::TransportClose);
        }
        let mut session = super::websocket();
        session.detach(Lane::WebSocket);
        assert_over(&mut session, CloseReason::TransportClose);
    }

    #[test]
    fn hangup_code_is_that_of_the_reason() {
        let mut session = super::websocket();
        session.fail(Lane::WebSocket, CloseReason::PayloadTooLarge);
        assert_eq!(session.hangup_code(true), CloseCode::TOO_BIG);
        let mut session = probed();
        session.lost(Lane::WebSocket);
        assert_eq!(session.hangup_code(false), CloseCode::NORMAL);
        assert_eq!(session.hangup_code(true), CloseCode::GOING_AWAY);
    }

    /// docs/protocol.md 2.6.9
    #[test]
    fn second_websocket_is_refused_and_the_first_continues() {
        for mut session in [super::websocket(), probed(), upgraded()] {
            let upgrading = session.is_upgrading();
            assert_eq!(session.attach(Lane::WebSocket, at(1)), Err(Violation::AlreadyUpgrading));
            assert_eq!((session.ended(), session.is_upgrading()), (None, upgrading));
            assert!(session.attached(Lane::WebSocket));
        }
    }

    #[test]
    fn polling_requests_for_a_websocket_session_are_refused() {
        for mut session in [super::websocket(), upgraded()] {
            assert_eq!(session.attach(Lane::Get, at(1)), Err(Violation::TransportMismatch));
            assert_eq!(session.attach(Lane::Post, at(1)), Err(Violation::TransportMismatch));
            assert!(session.handle_packet(Lane::WebSocket, TEXT, at(1)).unwrap().is_some());
        }
    }

    #[test]
    fn unexpected_packets_on_the_current_websocket_are_ignored() {
        let mut session = super::websocket();
        for packet in [Packet::Open(""), Packet::Upgrade, Packet::Noop, Packet::Pong("probe")] {
            assert_eq!(session.handle_packet(Lane::WebSocket, packet, at(1)), Ok(None));
        }
        assert_eq!(transmits(&mut session, Lane::WebSocket, 0), []);
        assert_eq!(events(&mut session), []);
    }
}

mod upgrade;

mod closing;
