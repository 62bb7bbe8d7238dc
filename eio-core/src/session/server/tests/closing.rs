use super::*;

#[test]
fn a_held_get_is_told_at_once_2_8() {
    let mut session = held();
    session.close(at(1));
    assert!(session.is_closing());
    assert_eq!(told(&mut session, Lane::Get, 0), [CLOSE]);
    assert_over(&mut session, CloseReason::ServerDisconnect);
}

#[test]
fn without_a_get_the_next_one_is_told_2_8() {
    let mut session = polling();
    session.close(at(1));
    session.attach(Lane::Get, at(2)).unwrap();
    assert_eq!(told(&mut session, Lane::Get, 0), [CLOSE]);
    assert_over(&mut session, CloseReason::ServerDisconnect);
}

#[test]
fn without_any_get_the_session_does_not_stay_2_8_3_3() {
    let timing = Timing { ping_interval_ms: 1_000, ..TIMING };
    let mut session = ServerSession::new(Transport::Polling, timing, at(0));
    let _ = told(&mut session, Lane::Get, 0);
    session.detach(Lane::Get);
    session.close(at(1));
    session.close(at(200));
    assert_eq!(session.poll_timeout(), Some(at(401)), "asking twice gains no time");
    session.handle_timeout(at(401));
    assert_over(&mut session, CloseReason::ServerDisconnect);
}

#[test]
fn close_does_not_overtake_what_is_queued_2_8() {
    let mut session = held();
    session.close(at(1));
    assert_eq!(told(&mut session, Lane::Get, 2), [Transmit::Message, Transmit::Message, CLOSE]);

    let mut session = held();
    session.close(at(1));
    assert_eq!(session.poll_transmit(Lane::Get, true), Some(Transmit::Message));
    session.detach(Lane::Get);
    assert_eq!(session.ended(), None, "the response was full, there is more");
    session.attach(Lane::Get, at(2)).unwrap();
    assert_eq!(told(&mut session, Lane::Get, 1), [Transmit::Message, CLOSE]);

    let mut session = websocket();
    session.close(at(1));
    assert_eq!(
        told(&mut session, Lane::WebSocket, 1),
        [Transmit::Message, CLOSE, Transmit::Hangup]
    );
    assert_over(&mut session, CloseReason::ServerDisconnect);
}

#[test]
fn a_websocket_that_takes_nothing_does_not_keep_a_closing_session_3_3() {
    let timing = Timing { ping_interval_ms: 1_000, ..TIMING };
    let mut session = ServerSession::new(Transport::WebSocket, timing, at(0));
    let _ = told(&mut session, Lane::WebSocket, 0);
    session.close(at(1));
    session.handle_timeout(at(401));
    assert_eq!(told(&mut session, Lane::WebSocket, 1), [CLOSE, Transmit::Hangup]);
    assert_over(&mut session, CloseReason::ServerDisconnect);
}

#[test]
fn discard_gives_the_queue_no_chance_2_8() {
    let mut session = held();
    session.abort(CloseReason::ServerDisconnect);
    assert_eq!(told(&mut session, Lane::Get, 1), [CLOSE]);
    assert_over(&mut session, CloseReason::ServerDisconnect);
}

#[test]
fn what_comes_while_closing_does_not_reach_the_application() {
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

#[test]
fn close_in_each_state_of_an_upgrade_loses_nothing_2_7_8_3_6() {
    // Connected, with a GET held: polling is current, and says it.
    let mut session = held();
    session.attach(Lane::WebSocket, at(0)).unwrap();
    session.close(at(1));
    assert_eq!(told(&mut session, Lane::WebSocket, 1), []);
    assert_eq!(told(&mut session, Lane::Get, 1), [Transmit::Message, CLOSE]);
    assert_eq!(told(&mut session, Lane::WebSocket, 0), [Transmit::Hangup]);
    assert_over(&mut session, CloseReason::ServerDisconnect);

    // Probed, the client does not poll any more: it waits for the switch.
    let mut session = probed();
    session.close(at(1));
    assert_eq!(told(&mut session, Lane::WebSocket, 1), []);
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(2)).unwrap();
    assert_eq!(events(&mut session), [Event::Upgraded]);
    assert_eq!(
        told(&mut session, Lane::WebSocket, 1),
        [Transmit::Message, CLOSE, Transmit::Hangup]
    );
    assert_over(&mut session, CloseReason::ServerDisconnect);

    // Probed, but the switch never comes: polling goes on closing.
    let mut session = probed();
    session.close(at(1));
    session.handle_timeout(at(100));
    assert_eq!(events(&mut session), [Event::UpgradeFailed(UpgradeFailure::Timeout)]);
    assert_eq!(told(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
    session.attach(Lane::Get, at(101)).unwrap();
    assert_eq!(told(&mut session, Lane::Get, 1), [Transmit::Message, CLOSE]);
    assert_over(&mut session, CloseReason::ServerDisconnect);

    // Switched, the old GET not yet answered.
    let mut session = held();
    session.attach(Lane::WebSocket, at(0)).unwrap();
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(0)).unwrap();
    assert_eq!(events(&mut session), [Event::Upgraded]);
    session.close(at(1));
    assert_eq!(told(&mut session, Lane::WebSocket, 0), [CLOSE, Transmit::Hangup]);
    assert_eq!(told(&mut session, Lane::Get, 0), [NOOP]);
    assert_over(&mut session, CloseReason::ServerDisconnect);
}
