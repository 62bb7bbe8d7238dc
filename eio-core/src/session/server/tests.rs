//! One test for each rule a server session answers for; the numbers are those of the protocol notes.

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

/// What `lane` is told while `queued` messages wait.
fn told(session: &mut ServerSession, lane: Lane, mut queued: usize) -> Vec<Transmit> {
    let mut told = Vec::new();
    while let Some(transmit) = session.poll_transmit(lane, queued > 0) {
        queued -= usize::from(transmit == Transmit::Message);
        told.push(transmit);
    }
    told
}

fn events(session: &mut ServerSession) -> Vec<Event> {
    core::iter::from_fn(|| session.poll_event()).collect()
}

/// A polling session whose handshake was answered at 0, without a GET.
fn polling() -> ServerSession {
    let mut session = ServerSession::new(Transport::Polling, TIMING, at(0));
    assert_eq!(told(&mut session, Lane::Get, 0), [Transmit::Open]);
    session.detach(Lane::Get);
    session
}

/// The same with a GET held.
fn held() -> ServerSession {
    let mut session = polling();
    session.attach(Lane::Get, at(0)).unwrap();
    assert_eq!(told(&mut session, Lane::Get, 0), []);
    session
}

fn websocket() -> ServerSession {
    let mut session = ServerSession::new(Transport::WebSocket, TIMING, at(0));
    assert_eq!(told(&mut session, Lane::WebSocket, 0), [Transmit::Open]);
    session
}

/// A polling session without a GET whose WebSocket was probed.
fn probed() -> ServerSession {
    let mut session = polling();
    session.attach(Lane::WebSocket, at(0)).unwrap();
    session.handle_packet(Lane::WebSocket, Packet::Ping("probe"), at(0)).unwrap();
    assert_eq!(told(&mut session, Lane::WebSocket, 9), [PROBED]);
    session
}

fn upgraded() -> ServerSession {
    let mut session = probed();
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(0)).unwrap();
    assert_eq!(events(&mut session), [Event::Upgraded]);
    session
}

/// The session ended for `reason`, said so once, and has nothing left to say or wait for.
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

    #[test]
    fn nothing_rides_with_the_open_packet_over_polling_2_1_4() {
        let mut session = ServerSession::new(Transport::Polling, TIMING, at(0));
        assert!(session.attached(Lane::Get) && !session.attached(Lane::WebSocket));
        assert_eq!(told(&mut session, Lane::Get, 3), [Transmit::Open]);
        session.close(at(1));
        assert_eq!(told(&mut session, Lane::Get, 3), []);
    }

    #[test]
    fn the_open_packet_is_the_first_frame() {
        let mut session = ServerSession::new(Transport::WebSocket, TIMING, at(0));
        assert!(session.attached(Lane::WebSocket) && !session.attached(Lane::Get));
        assert_eq!(told(&mut session, Lane::WebSocket, 1), [Transmit::Open, Transmit::Message]);
    }

    #[test]
    fn a_session_refused_before_its_open_packet_does_not_open() {
        let mut session = ServerSession::new(Transport::Polling, TIMING, at(0));
        session.abort(CloseReason::HandlerPanicked);
        assert_eq!(told(&mut session, Lane::Get, 1), [CLOSE]);
        let mut session = ServerSession::new(Transport::WebSocket, TIMING, at(0));
        session.abort(CloseReason::HandlerPanicked);
        assert_eq!(told(&mut session, Lane::WebSocket, 1), [CLOSE, Transmit::Hangup]);
    }

    #[test]
    fn a_handshake_that_is_never_answered_does_not_keep_its_session() {
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

    #[test]
    fn packets_a_client_has_no_business_sending_are_ignored_2_3_7() {
        let mut session = held();
        for packet in [Packet::Open("{}"), Packet::Upgrade, Packet::Noop, Packet::Pong("x")] {
            posted(&mut session, packet);
        }
        assert_eq!(told(&mut session, Lane::Get, 0), []);
        assert_eq!((session.ended(), session.transport()), (None, Transport::Polling));
    }

    #[test]
    fn a_ping_from_a_client_is_not_answered_but_ends_the_session_2_3_7() {
        let mut session = held();
        session.attach(Lane::Post, at(1)).unwrap();
        let result = session.handle_packet(Lane::Post, Packet::Ping(""), at(1));
        assert_eq!(result, Err(Violation::WrongDirection));
        assert_eq!(told(&mut session, Lane::Get, 1), [CLOSE]);
        assert_over(&mut session, CloseReason::TransportError);
    }

    #[test]
    fn close_in_a_post_leaves_no_get_waiting_2_3_8() {
        let mut session = held();
        posted(&mut session, Packet::Close);
        assert_eq!(told(&mut session, Lane::Get, 1), [NOOP]);
        assert_over(&mut session, CloseReason::ClientDisconnect);
    }

    #[test]
    fn messages_ahead_of_a_close_are_not_lost_2_9() {
        let mut session = polling();
        session.attach(Lane::Post, at(1)).unwrap();
        assert!(session.handle_packet(Lane::Post, TEXT, at(1)).unwrap().is_some());
        assert_eq!(session.handle_packet(Lane::Post, Packet::Close, at(1)), Ok(None));
        assert_eq!(session.handle_packet(Lane::Post, TEXT, at(1)), Err(Violation::Ended));
    }

    #[test]
    fn two_posts_at_once_do_not_both_live_2_3_9() {
        let mut session = held();
        session.attach(Lane::Post, at(1)).unwrap();
        assert_eq!(session.attach(Lane::Post, at(1)), Err(Violation::OverlappingPost));
        assert_eq!(told(&mut session, Lane::Get, 1), [CLOSE]);
        assert_over(&mut session, CloseReason::TransportError);
    }

    #[test]
    fn half_a_post_is_not_taken_for_a_whole_one_2_3_13() {
        let mut session = held();
        session.attach(Lane::Post, at(1)).unwrap();
        session.lost(Lane::Post);
        assert!(!session.attached(Lane::Post));
        assert_eq!(told(&mut session, Lane::Get, 0), [CLOSE]);
        assert_over(&mut session, CloseReason::TransportError);
    }

    #[test]
    fn what_is_not_a_packet_ends_the_session_with_its_own_reason_2_3_4_2_3_10() {
        for reason in [CloseReason::ParseError, CloseReason::PayloadTooLarge] {
            let mut session = held();
            session.fail(Lane::Post, reason);
            assert_eq!(session.ended(), None, "no POST, no reason");
            session.attach(Lane::Post, at(1)).unwrap();
            session.fail(Lane::Post, reason);
            assert_eq!(told(&mut session, Lane::Get, 0), [CLOSE]);
            assert_over(&mut session, reason);
        }
    }

    #[test]
    fn a_packet_without_a_post_is_refused() {
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

    #[test]
    fn a_get_is_held_only_while_nothing_is_queued_2_4_1_2_4_2() {
        let mut session = held();
        assert_eq!(told(&mut session, Lane::Get, 3), [Transmit::Message; 3]);
        assert_eq!(told(&mut session, Lane::Get, 3), [], "the response is complete");
        session.detach(Lane::Get);
        assert_eq!(told(&mut session, Lane::Get, 3), [], "nobody polls");
        session.attach(Lane::Get, at(2)).unwrap();
        assert_eq!(told(&mut session, Lane::Get, 3), [Transmit::Message; 3]);
    }

    #[test]
    fn a_response_the_driver_stops_filling_is_an_answer_all_the_same_2_4_2() {
        let mut session = held();
        assert_eq!(session.poll_transmit(Lane::Get, true), Some(Transmit::Message));
        session.detach(Lane::Get);
        session.attach(Lane::Get, at(1)).unwrap();
        assert_eq!(told(&mut session, Lane::Get, 1), [Transmit::Message]);
    }

    #[test]
    fn a_ping_does_not_wait_behind_messages() {
        let mut session = held();
        session.handle_timeout(at(300));
        assert_eq!(told(&mut session, Lane::Get, 2), [PING, Transmit::Message, Transmit::Message]);
    }

    #[test]
    fn of_two_gets_the_first_is_told_and_the_second_refused_2_4_4() {
        let mut session = held();
        assert_eq!(session.attach(Lane::Get, at(1)), Err(Violation::OverlappingGet));
        assert_eq!(told(&mut session, Lane::Get, 1), [CLOSE]);
        session.detach(Lane::Get);
        assert_over(&mut session, CloseReason::TransportError);
    }

    #[test]
    fn a_dropped_get_does_not_wait_for_the_ping_timeout_2_4_5() {
        let mut session = held();
        session.lost(Lane::Get);
        assert_over(&mut session, CloseReason::TransportError);
        let mut session = held();
        let _ = session.poll_transmit(Lane::Get, true);
        session.lost(Lane::Get);
        assert_over(&mut session, CloseReason::TransportError);
    }

    #[test]
    fn a_connection_that_closes_behind_its_answer_is_no_loss_2_4_6() {
        let mut session = held();
        assert_eq!(told(&mut session, Lane::Get, 1), [Transmit::Message]);
        session.detach(Lane::Get);
        session.lost(Lane::Get);
        assert_eq!(session.ended(), None);
    }
}

mod heartbeat {
    use super::*;

    #[test]
    fn there_is_no_ping_at_once_and_one_an_interval_after_each_pong_2_5_1() {
        let mut session = websocket();
        assert_eq!(session.poll_timeout(), Some(at(300)));
        session.handle_timeout(at(299));
        assert_eq!(told(&mut session, Lane::WebSocket, 0), []);
        session.handle_timeout(at(300));
        assert_eq!(told(&mut session, Lane::WebSocket, 0), [PING]);
        assert_eq!(session.poll_timeout(), Some(at(500)));
        session.handle_timeout(at(350));
        assert_eq!(told(&mut session, Lane::WebSocket, 0), [], "a ping goes out once");
        session.handle_packet(Lane::WebSocket, Packet::Pong(""), at(350)).unwrap();
        assert_eq!(session.poll_timeout(), Some(at(650)));
        session.handle_timeout(at(500));
        assert_eq!(session.ended(), None);
    }

    #[test]
    fn a_session_nobody_polls_does_not_outlive_interval_and_timeout_2_5_2_3_1() {
        let mut session = polling();
        session.handle_timeout(at(300));
        session.handle_timeout(at(499));
        assert_eq!(session.ended(), None);
        assert_eq!(session.poll_timeout(), Some(at(500)));
        session.handle_timeout(at(500));
        assert_over(&mut session, CloseReason::PingTimeout);
    }

    #[test]
    fn a_get_without_a_pong_does_not_keep_the_session_2_5_2() {
        let mut session = held();
        session.handle_timeout(at(300));
        assert_eq!(told(&mut session, Lane::Get, 0), [PING]);
        session.detach(Lane::Get);
        session.attach(Lane::Get, at(310)).unwrap();
        session.handle_timeout(at(500));
        assert_eq!(told(&mut session, Lane::Get, 0), [CLOSE]);
        assert_over(&mut session, CloseReason::PingTimeout);
    }

    #[test]
    fn a_silent_websocket_is_hung_up_without_a_packet_2_5_2() {
        let mut session = websocket();
        session.handle_timeout(at(300));
        session.handle_timeout(at(500));
        assert_eq!(told(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
        assert_over(&mut session, CloseReason::PingTimeout);
    }

    #[test]
    fn messages_do_not_count_as_pongs_2_5_3() {
        let mut session = websocket();
        session.handle_timeout(at(300));
        let _ = told(&mut session, Lane::WebSocket, 0);
        assert!(session.handle_packet(Lane::WebSocket, TEXT, at(499)).unwrap().is_some());
        session.handle_timeout(at(500));
        assert_eq!(session.ended(), Some(CloseReason::PingTimeout));
    }

    #[test]
    fn a_pong_nobody_asked_for_neither_harms_nor_helps_2_5_3() {
        let mut session = polling();
        session.attach(Lane::Post, at(100)).unwrap();
        session.handle_packet(Lane::Post, Packet::Pong(""), at(100)).unwrap();
        assert_eq!(session.poll_timeout(), Some(at(300)));
        session.handle_timeout(at(300));
        session.handle_packet(Lane::Post, Packet::Pong(""), at(301)).unwrap();
        assert_eq!(session.poll_timeout(), Some(at(500)), "it answers no ping that was not sent");
    }

    #[test]
    fn a_probe_on_an_established_websocket_is_a_ping_in_the_wrong_direction_2_5_4() {
        for mut session in [websocket(), upgraded()] {
            let result = session.handle_packet(Lane::WebSocket, Packet::Ping("probe"), at(1));
            assert_eq!(result, Err(Violation::WrongDirection));
            assert_eq!(told(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
            assert_over(&mut session, CloseReason::TransportError);
        }
    }

    #[test]
    fn a_driver_that_stalled_does_not_take_the_time_of_the_peer() {
        let mut session = held();
        session.handle_timeout(at(10_000));
        assert_eq!(told(&mut session, Lane::Get, 0), [PING]);
        assert_eq!(session.poll_timeout(), Some(at(10_200)));
    }

    #[test]
    fn a_slow_application_does_not_look_like_a_dead_peer_for_ever() {
        let mut session = websocket();
        assert!(!session.extend(at(300)), "no pong is due");
        session.handle_timeout(at(300));
        assert!(!session.extend(at(499)), "nor is it yet");
        let mut now = 500;
        for _ in 0..MAX_EXTENSIONS {
            assert!(session.extend(at(now)));
            session.handle_timeout(at(now));
            now += 200;
            assert_eq!(session.poll_timeout(), Some(at(now)));
        }
        assert!(!session.extend(at(now)));
        let mut patient = session.clone();
        session.handle_timeout(at(now));
        assert_eq!(session.ended(), Some(CloseReason::PingTimeout));

        patient.handle_packet(Lane::WebSocket, TEXT, at(now)).unwrap();
        assert!(patient.extend(at(now)), "the application moves again");
    }
}

mod websocket {
    use super::*;

    #[test]
    fn a_close_packet_is_not_ignored_until_the_ping_timeout_2_6_2() {
        let mut session = super::websocket();
        assert_eq!(session.handle_packet(Lane::WebSocket, Packet::Close, at(1)), Ok(None));
        assert_eq!(told(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
        assert!(!session.attached(Lane::WebSocket));
        assert_over(&mut session, CloseReason::ClientDisconnect);
    }

    #[test]
    fn a_bad_frame_gets_no_packet_but_the_closing_handshake_2_6_3() {
        let mut session = super::websocket();
        session.fail(Lane::WebSocket, CloseReason::ParseError);
        assert_eq!(told(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
        assert_over(&mut session, CloseReason::ParseError);
    }

    #[test]
    fn the_servers_close_is_a_packet_and_a_hang_up_2_6_6() {
        for reason in [CloseReason::ServerDisconnect, CloseReason::HandlerPanicked] {
            let mut session = super::websocket();
            session.abort(reason);
            assert_eq!(told(&mut session, Lane::WebSocket, 1), [CLOSE, Transmit::Hangup]);
            assert_over(&mut session, reason);
        }
    }

    #[test]
    fn a_dropped_connection_does_not_linger_2_6_7() {
        for mut session in [super::websocket(), upgraded()] {
            session.lost(Lane::WebSocket);
            assert_over(&mut session, CloseReason::TransportClose);
        }
        let mut session = super::websocket();
        session.detach(Lane::WebSocket);
        assert_over(&mut session, CloseReason::TransportClose);
    }

    #[test]
    fn a_second_websocket_does_not_disturb_the_first_2_6_9() {
        for mut session in [super::websocket(), probed(), upgraded()] {
            let upgrading = session.is_upgrading();
            assert_eq!(session.attach(Lane::WebSocket, at(1)), Err(Violation::AlreadyUpgrading));
            assert_eq!((session.ended(), session.is_upgrading()), (None, upgrading));
            assert!(session.attached(Lane::WebSocket));
        }
    }

    #[test]
    fn polling_requests_for_a_websocket_session_are_refused_and_harmless() {
        for mut session in [super::websocket(), upgraded()] {
            assert_eq!(session.attach(Lane::Get, at(1)), Err(Violation::TransportMismatch));
            assert_eq!(session.attach(Lane::Post, at(1)), Err(Violation::TransportMismatch));
            assert!(session.handle_packet(Lane::WebSocket, TEXT, at(1)).unwrap().is_some());
        }
    }

    #[test]
    fn odd_packets_on_an_established_websocket_are_ignored() {
        let mut session = super::websocket();
        for packet in [Packet::Open(""), Packet::Upgrade, Packet::Noop, Packet::Pong("probe")] {
            assert_eq!(session.handle_packet(Lane::WebSocket, packet, at(1)), Ok(None));
        }
        assert_eq!(told(&mut session, Lane::WebSocket, 0), []);
        assert_eq!(events(&mut session), []);
    }
}

mod upgrade;

mod closing;
