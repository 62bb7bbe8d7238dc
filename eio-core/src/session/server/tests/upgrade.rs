//! The upgrade from polling to WebSocket.

use super::*;

/// docs/protocol.md 2.7.1
#[test]
fn websocket_is_silent_before_the_probe_and_gets_continue() {
    let mut session = held();
    session.attach(Lane::WebSocket, at(0)).unwrap();
    assert!(session.is_upgrading());
    assert_eq!(transmits(&mut session, Lane::WebSocket, 9), []);
    assert_eq!(transmits(&mut session, Lane::Get, 0), [], "a GET is still held");
    session.handle_packet(Lane::WebSocket, Packet::Ping("probe"), at(1)).unwrap();
    assert_eq!(transmits(&mut session, Lane::WebSocket, 9), [PROBED]);
    assert_eq!(transmits(&mut session, Lane::Get, 0), [NOOP]);
}

/// docs/protocol.md 2.7.2
#[test]
fn every_get_during_an_upgrade_gets_a_noop() {
    let mut session = probed();
    for _ in 0..3 {
        session.attach(Lane::Get, at(1)).unwrap();
        assert_eq!(transmits(&mut session, Lane::Get, 0), [NOOP]);
        session.detach(Lane::Get);
    }
}

#[test]
fn noop_is_not_added_to_messages_or_pings() {
    let mut session = probed();
    session.attach(Lane::Get, at(1)).unwrap();
    session.handle_timeout(at(300));
    session.socket = ServerSocket::Probed { until: at(500), answer_due: false };
    assert_eq!(transmits(&mut session, Lane::Get, 1), [PING, Transmit::Message]);
}

/// docs/protocol.md 2.7.3
#[test]
fn noop_is_never_sent_over_the_websocket() {
    let mut session = upgraded();
    assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [Transmit::Message]);
}

/// docs/protocol.md 2.7.4
#[test]
fn messages_go_to_exactly_one_transport() {
    let mut session = probed();
    session.attach(Lane::Get, at(1)).unwrap();
    assert_eq!(transmits(&mut session, Lane::WebSocket, 1), []);
    assert_eq!(transmits(&mut session, Lane::Get, 1), [Transmit::Message]);
    session.detach(Lane::Get);
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(2)).unwrap();
    assert_eq!(transmits(&mut session, Lane::WebSocket, 2), [Transmit::Message; 2]);
}

/// docs/protocol.md 2.7.4
#[test]
fn post_during_an_upgrade_is_handled() {
    let mut session = probed();
    session.attach(Lane::Post, at(1)).unwrap();
    assert!(session.handle_packet(Lane::Post, TEXT, at(1)).unwrap().is_some());
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(1)).unwrap();
    assert!(session.handle_packet(Lane::Post, TEXT, at(1)).unwrap().is_some());
    session.detach(Lane::Post);
    assert_eq!(session.ended(), None);
}

/// docs/protocol.md 2.7.5
#[test]
fn get_held_during_the_switch_is_answered_with_a_noop() {
    let mut session = held();
    session.attach(Lane::WebSocket, at(0)).unwrap();
    session.handle_packet(Lane::WebSocket, Packet::Ping("probe"), at(0)).unwrap();
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(0)).unwrap();
    assert_eq!(session.transport(), Transport::WebSocket);
    assert_eq!(transmits(&mut session, Lane::Get, 1), [NOOP], "without a message");
    // `2probe` and `5` arrived together: the probe is still answered, and first.
    assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [PROBED, Transmit::Message]);
    session.lost(Lane::Get);
    assert_eq!(session.ended(), None, "a lost noop is harmless");
}

#[test]
fn lost_response_with_messages_ends_an_upgraded_session() {
    let mut session = probed();
    session.attach(Lane::Get, at(1)).unwrap();
    assert_eq!(session.poll_transmit(Lane::Get, true), Some(Transmit::Message));
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(1)).unwrap();
    assert_eq!(transmits(&mut session, Lane::Get, 1), [], "no noop after a message");
    session.lost(Lane::Get);
    assert_eq!(session.ended(), Some(CloseReason::TransportError));
}

/// docs/protocol.md 2.7.6
#[test]
fn unexpected_packet_fails_the_upgrade_but_not_the_session() {
    for packet in [TEXT, Packet::Ping(""), Packet::Pong("probe"), Packet::Close, Packet::Noop] {
        for mut session in [polling(), probed()] {
            let _ = session.attach(Lane::WebSocket, at(1));
            let result = session.handle_packet(Lane::WebSocket, packet, at(1));
            assert_eq!(result, Err(Violation::UnexpectedPacket), "{packet:?}");
            assert_eq!(
                events(&mut session),
                [Event::UpgradeFailed(UpgradeFailure::UnexpectedPacket)]
            );
            assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
            session.attach(Lane::Get, at(2)).unwrap();
            assert_eq!(transmits(&mut session, Lane::Get, 0), [], "held, not answered with a noop");
            assert_eq!(transmits(&mut session, Lane::Get, 1), [Transmit::Message]);
        }
    }
}

/// docs/protocol.md 2.7.6
#[test]
fn second_probe_fails_the_upgrade() {
    let mut session = probed();
    let result = session.handle_packet(Lane::WebSocket, Packet::Ping("probe"), at(1));
    assert_eq!(result, Err(Violation::UnexpectedPacket));
}

/// docs/protocol.md 2.7.6
#[test]
fn switch_without_a_probe_is_accepted() {
    let mut session = polling();
    session.attach(Lane::WebSocket, at(0)).unwrap();
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(0)).unwrap();
    assert_eq!(events(&mut session), [Event::Upgraded]);
    assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [Transmit::Message], "no pong");
}

/// docs/protocol.md 2.7.6
#[test]
fn unreadable_probe_fails_the_upgrade_but_not_the_session() {
    let mut session = probed();
    session.fail(Lane::WebSocket, CloseReason::ParseError);
    // More data that is not a packet, before the hang-up was taken.
    session.fail(Lane::WebSocket, CloseReason::ParseError);
    assert_eq!(transmits(&mut session, Lane::WebSocket, 0), [Transmit::Hangup]);
    assert_eq!((session.ended(), session.is_upgrading()), (None, false));
}

/// docs/protocol.md 2.7.7
#[test]
fn unfinished_upgrade_times_out() {
    let mut waiting = polling();
    waiting.attach(Lane::WebSocket, at(0)).unwrap();
    // The probe does not move the deadline.
    for mut session in [waiting, probed()] {
        assert_eq!(session.poll_timeout(), Some(at(100)));
        session.handle_timeout(at(99));
        assert!(session.is_upgrading());
        session.handle_timeout(at(100));
        assert_eq!(events(&mut session), [Event::UpgradeFailed(UpgradeFailure::Timeout)]);
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
        assert_eq!((session.ended(), session.transport()), (None, Transport::Polling));
        assert_eq!(session.poll_timeout(), Some(at(300)), "the heartbeat continues");
    }
}

#[test]
fn lost_probing_websocket_does_not_affect_polling() {
    let mut session = probed();
    session.lost(Lane::WebSocket);
    assert_eq!(events(&mut session), [Event::UpgradeFailed(UpgradeFailure::Lost)]);
    assert!(!session.attached(Lane::WebSocket));
    session.attach(Lane::Get, at(1)).unwrap();
    assert_eq!(transmits(&mut session, Lane::Get, 0), []);
}

#[test]
fn old_and_new_websocket_never_share_the_lane() {
    let mut session = probed();
    let _ = session.handle_packet(Lane::WebSocket, TEXT, at(1));
    assert_eq!(session.attach(Lane::WebSocket, at(2)), Err(Violation::AlreadyUpgrading));
    let late = session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(2));
    assert_eq!(late, Err(Violation::NotAttached), "its upgrade failed before");
    assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
    session.attach(Lane::WebSocket, at(50)).unwrap();
    assert_eq!(session.poll_timeout(), Some(at(150)));
    session.handle_packet(Lane::WebSocket, Packet::Ping("probe"), at(51)).unwrap();
    assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [PROBED]);

    // The old WebSocket may also break before it takes the hang-up.
    let _ = session.handle_packet(Lane::WebSocket, TEXT, at(52));
    session.lost(Lane::WebSocket);
    assert_eq!(session.attach(Lane::WebSocket, at(53)), Ok(()));
}

/// docs/protocol.md 2.7.8
#[test]
fn probing_websocket_is_hung_up_when_the_session_ends() {
    for reason in [CloseReason::ServerDisconnect, CloseReason::PingTimeout] {
        let mut session = probed();
        session.abort(reason);
        assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
        assert_over(&mut session, reason);
    }
}

/// docs/protocol.md 2.5.6, 2.7.9
#[test]
fn heartbeat_continues_during_an_upgrade() {
    // The ping is sent over polling, the pong arrives over the WebSocket.
    let mut session = polling();
    session.attach(Lane::WebSocket, at(290)).unwrap();
    session.handle_packet(Lane::WebSocket, Packet::Ping("probe"), at(291)).unwrap();
    assert_eq!(transmits(&mut session, Lane::WebSocket, 0), [PROBED]);
    session.handle_timeout(at(300));
    assert_eq!(
        transmits(&mut session, Lane::WebSocket, 0),
        [],
        "the WebSocket is not the transport yet"
    );
    let mut unfetched = session.clone();
    session.attach(Lane::Get, at(301)).unwrap();
    assert_eq!(transmits(&mut session, Lane::Get, 0), [PING]);
    session.detach(Lane::Get);
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(310)).unwrap();
    assert_eq!(transmits(&mut session, Lane::WebSocket, 0), [], "the ping was sent before");
    session.handle_packet(Lane::WebSocket, Packet::Pong(""), at(320)).unwrap();
    assert_eq!(session.poll_timeout(), Some(at(620)));

    // A ping that no GET fetched is sent over the WebSocket.
    unfetched.handle_packet(Lane::WebSocket, Packet::Upgrade, at(310)).unwrap();
    assert_eq!(transmits(&mut unfetched, Lane::WebSocket, 1), [PING, Transmit::Message]);
    assert_eq!(unfetched.poll_timeout(), Some(at(500)));
    unfetched.handle_timeout(at(500));
    assert_eq!(unfetched.ended(), Some(CloseReason::PingTimeout));
}

#[test]
fn upgrade_does_not_wait_for_an_empty_queue() {
    let mut session = held();
    session.attach(Lane::WebSocket, at(0)).unwrap();
    session.handle_packet(Lane::WebSocket, Packet::Ping("probe"), at(0)).unwrap();
    assert_eq!(session.poll_transmit(Lane::Get, true), Some(Transmit::Message));
    assert_eq!(session.poll_transmit(Lane::WebSocket, true), Some(PROBED));
    session.detach(Lane::Get);
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(0)).unwrap();
    assert_eq!(session.transport(), Transport::WebSocket);
}
