//! Closing by the server.

use super::*;

/// docs/protocol.md 2.8
#[test]
fn held_get_is_answered_with_close_at_once() {
    let mut session = held();
    session.close(at(1));
    assert!(session.is_closing());
    assert_eq!(transmits(&mut session, Lane::Get, 0), [CLOSE]);
    assert_over(&mut session, CloseReason::ServerDisconnect);
}

/// docs/protocol.md 2.8
#[test]
fn next_get_is_answered_with_close() {
    let mut session = polling();
    session.close(at(1));
    session.attach(Lane::Get, at(2)).unwrap();
    assert_eq!(transmits(&mut session, Lane::Get, 0), [CLOSE]);
    assert_over(&mut session, CloseReason::ServerDisconnect);
}

/// docs/protocol.md 2.8
#[test]
fn closing_session_ends_at_its_deadline_without_a_get() {
    let timing = Timing { ping_interval_ms: 1_000, ..TIMING };
    let mut session = ServerSession::new(Transport::Polling, timing, at(0));
    let _ = transmits(&mut session, Lane::Get, 0);
    session.detach(Lane::Get);
    session.close(at(1));
    session.close(at(200));
    assert_eq!(session.poll_timeout(), Some(at(401)), "a second call does not move the deadline");
    session.handle_timeout(at(401));
    assert_over(&mut session, CloseReason::ServerDisconnect);
}

/// docs/protocol.md 2.8
#[test]
fn close_packet_is_sent_after_queued_messages() {
    let mut session = held();
    session.close(at(1));
    assert_eq!(
        transmits(&mut session, Lane::Get, 2),
        [Transmit::Message, Transmit::Message, CLOSE]
    );

    let mut session = held();
    session.close(at(1));
    assert_eq!(session.poll_transmit(Lane::Get, true), Some(Transmit::Message));
    session.detach(Lane::Get);
    assert_eq!(session.ended(), None, "the response was full, another message is queued");
    session.attach(Lane::Get, at(2)).unwrap();
    assert_eq!(transmits(&mut session, Lane::Get, 1), [Transmit::Message, CLOSE]);

    let mut session = websocket();
    session.close(at(1));
    assert_eq!(
        transmits(&mut session, Lane::WebSocket, 1),
        [Transmit::Message, CLOSE, Transmit::Hangup]
    );
    assert_over(&mut session, CloseReason::ServerDisconnect);
}

/// docs/protocol.md 2.8.7
#[test]
fn a_draining_session_receives_messages_until_it_ends() {
    let mut session = polling();
    session.drain(at(1));
    assert!(session.is_closing() && session.is_draining());
    session.attach(Lane::Post, at(2)).unwrap();
    assert!(session.handle_packet(Lane::Post, TEXT, at(2)).unwrap().is_some());
    session.attach(Lane::Get, at(3)).unwrap();
    assert_eq!(transmits(&mut session, Lane::Get, 0), [], "the POST is handled first");
    assert!(session.handle_packet(Lane::Post, TEXT, at(4)).unwrap().is_some());
    session.detach(Lane::Post);
    assert_eq!(transmits(&mut session, Lane::Get, 1), [Transmit::Message, CLOSE]);
    assert_over(&mut session, CloseReason::ServerDisconnect);

    let mut session = websocket();
    session.drain(at(1));
    assert!(session.handle_packet(Lane::WebSocket, TEXT, at(2)).unwrap().is_some());
    assert_eq!(transmits(&mut session, Lane::WebSocket, 0), [CLOSE, Transmit::Hangup]);
}

#[test]
fn a_draining_session_ends_at_its_deadline_although_a_post_has_begun() {
    let mut session = held();
    session.attach(Lane::Post, at(0)).unwrap();
    session.drain(at(1));
    assert_eq!(session.poll_timeout(), Some(at(300)), "a ping is due before");
    session.handle_timeout(at(401));
    assert_eq!(session.ended(), Some(CloseReason::ServerDisconnect));
}

/// docs/protocol.md 2.8.3
#[test]
fn messages_after_close_are_dropped_also_while_the_session_drains() {
    let mut session = polling();
    session.drain(at(1));
    session.close(at(2));
    assert!(!session.is_draining());
    session.attach(Lane::Post, at(3)).unwrap();
    assert_eq!(session.handle_packet(Lane::Post, TEXT, at(3)), Ok(None));
    session.drain(at(4));
    assert_eq!(session.handle_packet(Lane::Post, TEXT, at(5)), Ok(None));
    let mut session = held();
    session.attach(Lane::Post, at(0)).unwrap();
    session.close(at(1));
    assert_eq!(transmits(&mut session, Lane::Get, 0), [CLOSE]);
}

#[test]
fn closing_session_ends_at_its_deadline_on_a_full_websocket() {
    let timing = Timing { ping_interval_ms: 1_000, ..TIMING };
    let mut session = ServerSession::new(Transport::WebSocket, timing, at(0));
    let _ = transmits(&mut session, Lane::WebSocket, 0);
    session.close(at(1));
    session.handle_timeout(at(401));
    assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [CLOSE, Transmit::Hangup]);
    assert_over(&mut session, CloseReason::ServerDisconnect);
}

/// docs/protocol.md 2.8
#[test]
fn abort_does_not_send_queued_messages() {
    let mut session = held();
    session.abort(CloseReason::ServerDisconnect);
    assert_eq!(transmits(&mut session, Lane::Get, 1), [CLOSE]);
    assert_over(&mut session, CloseReason::ServerDisconnect);
}

#[test]
fn messages_received_while_closing_are_dropped() {
    let mut session = polling();
    session.close(at(1));
    session.attach(Lane::Post, at(2)).unwrap();
    assert_eq!(session.handle_packet(Lane::Post, TEXT, at(2)), Ok(None));
    assert_eq!(session.handle_packet(Lane::Post, Packet::Close, at(2)), Ok(None));
    assert_over(&mut session, CloseReason::ClientDisconnect);
}

#[test]
fn closing_does_not_stop_the_heartbeat() {
    let mut session = polling();
    session.close(at(150));
    session.handle_timeout(at(300));
    session.handle_timeout(at(500));
    assert_over(&mut session, CloseReason::PingTimeout);
}

/// docs/protocol.md 2.7.8
#[test]
fn close_in_each_state_of_an_upgrade_sends_queued_messages() {
    // Connected, with a GET held: polling is the transport and carries the close packet.
    let mut session = held();
    session.attach(Lane::WebSocket, at(0)).unwrap();
    session.close(at(1));
    assert_eq!(transmits(&mut session, Lane::WebSocket, 1), []);
    assert_eq!(transmits(&mut session, Lane::Get, 1), [Transmit::Message, CLOSE]);
    assert_eq!(transmits(&mut session, Lane::WebSocket, 0), [Transmit::Hangup]);
    assert_over(&mut session, CloseReason::ServerDisconnect);

    // Probed, and the client no longer polls: the close packet waits for the switch.
    let mut session = probed();
    session.close(at(1));
    assert_eq!(transmits(&mut session, Lane::WebSocket, 1), []);
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(2)).unwrap();
    assert_eq!(events(&mut session), [Event::Upgraded]);
    assert_eq!(
        transmits(&mut session, Lane::WebSocket, 1),
        [Transmit::Message, CLOSE, Transmit::Hangup]
    );
    assert_over(&mut session, CloseReason::ServerDisconnect);

    // Probed, but the switch does not arrive: the session closes over polling.
    let mut session = probed();
    session.close(at(1));
    session.handle_timeout(at(100));
    assert_eq!(events(&mut session), [Event::UpgradeFailed(UpgradeFailure::Timeout)]);
    assert_eq!(transmits(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
    session.attach(Lane::Get, at(101)).unwrap();
    assert_eq!(transmits(&mut session, Lane::Get, 1), [Transmit::Message, CLOSE]);
    assert_over(&mut session, CloseReason::ServerDisconnect);

    // Switched, and the old GET is not answered yet.
    let mut session = held();
    session.attach(Lane::WebSocket, at(0)).unwrap();
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(0)).unwrap();
    assert_eq!(events(&mut session), [Event::Upgraded]);
    session.close(at(1));
    assert_eq!(transmits(&mut session, Lane::WebSocket, 0), [CLOSE, Transmit::Hangup]);
    assert_eq!(transmits(&mut session, Lane::Get, 0), [NOOP]);
    assert_over(&mut session, CloseReason::ServerDisconnect);
}
