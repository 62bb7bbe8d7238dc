use super::*;

#[test]
fn nothing_is_sent_before_the_probe_and_gets_go_on_2_7_1() {
    let mut session = held();
    session.attach(Lane::WebSocket, at(0)).unwrap();
    assert!(session.is_upgrading());
    assert_eq!(told(&mut session, Lane::WebSocket, 9), []);
    assert_eq!(told(&mut session, Lane::Get, 0), [], "a GET is held as ever");
    session.handle_packet(Lane::WebSocket, Packet::Ping("probe"), at(1)).unwrap();
    assert_eq!(told(&mut session, Lane::WebSocket, 9), [PROBED]);
    assert_eq!(told(&mut session, Lane::Get, 0), [NOOP]);
}

#[test]
fn one_noop_is_not_enough_2_7_2_3_4() {
    let mut session = probed();
    for _ in 0..3 {
        session.attach(Lane::Get, at(1)).unwrap();
        assert_eq!(told(&mut session, Lane::Get, 0), [NOOP]);
        session.detach(Lane::Get);
    }
}

#[test]
fn a_noop_does_not_ride_with_messages_or_pings() {
    let mut session = probed();
    session.attach(Lane::Get, at(1)).unwrap();
    session.handle_timeout(at(300));
    session.socket = ServerSocket::Probed { until: at(500), answer_due: false };
    assert_eq!(told(&mut session, Lane::Get, 1), [PING, Transmit::Message]);
}

#[test]
fn a_noop_nobody_fetched_does_not_reach_the_websocket_2_7_3_3_4() {
    let mut session = upgraded();
    assert_eq!(told(&mut session, Lane::WebSocket, 1), [Transmit::Message]);
}

#[test]
fn messages_go_to_one_transport_never_both_never_neither_2_7_4() {
    let mut session = probed();
    session.attach(Lane::Get, at(1)).unwrap();
    assert_eq!(told(&mut session, Lane::WebSocket, 1), []);
    assert_eq!(told(&mut session, Lane::Get, 1), [Transmit::Message]);
    session.detach(Lane::Get);
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(2)).unwrap();
    assert_eq!(told(&mut session, Lane::WebSocket, 2), [Transmit::Message; 2]);
}

#[test]
fn a_post_between_probe_and_switch_is_heard_2_7_4() {
    let mut session = probed();
    session.attach(Lane::Post, at(1)).unwrap();
    assert!(session.handle_packet(Lane::Post, TEXT, at(1)).unwrap().is_some());
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(1)).unwrap();
    assert!(session.handle_packet(Lane::Post, TEXT, at(1)).unwrap().is_some());
    session.detach(Lane::Post);
    assert_eq!(session.ended(), None);
}

#[test]
fn a_get_held_over_the_switch_is_not_left_hanging_2_7_5() {
    let mut session = held();
    session.attach(Lane::WebSocket, at(0)).unwrap();
    session.handle_packet(Lane::WebSocket, Packet::Ping("probe"), at(0)).unwrap();
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(0)).unwrap();
    assert_eq!(session.transport(), Transport::WebSocket);
    assert_eq!(told(&mut session, Lane::Get, 1), [NOOP], "and no message");
    // `2probe` and `5` came back to back: the probe is answered all the same, and first.
    assert_eq!(told(&mut session, Lane::WebSocket, 1), [PROBED, Transmit::Message]);
    session.lost(Lane::Get);
    assert_eq!(session.ended(), None, "a lost noop is no loss");
}

#[test]
fn a_response_lost_over_the_switch_is_not_lost_in_silence() {
    let mut session = probed();
    session.attach(Lane::Get, at(1)).unwrap();
    assert_eq!(session.poll_transmit(Lane::Get, true), Some(Transmit::Message));
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(1)).unwrap();
    assert_eq!(told(&mut session, Lane::Get, 1), [], "no noop behind a message");
    session.lost(Lane::Get);
    assert_eq!(session.ended(), Some(CloseReason::TransportError));
}

#[test]
fn anything_but_a_probe_costs_the_websocket_not_the_session_2_7_6() {
    for packet in [TEXT, Packet::Ping(""), Packet::Pong("probe"), Packet::Close, Packet::Noop] {
        for mut session in [polling(), probed()] {
            let _ = session.attach(Lane::WebSocket, at(1));
            let result = session.handle_packet(Lane::WebSocket, packet, at(1));
            assert_eq!(result, Err(Violation::UnexpectedPacket), "{packet:?}");
            assert_eq!(
                events(&mut session),
                [Event::UpgradeFailed(UpgradeFailure::UnexpectedPacket)]
            );
            assert_eq!(told(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
            session.attach(Lane::Get, at(2)).unwrap();
            assert_eq!(told(&mut session, Lane::Get, 0), [], "held, not answered with a noop");
            assert_eq!(told(&mut session, Lane::Get, 1), [Transmit::Message]);
        }
    }
}

#[test]
fn a_probe_comes_once_2_7_6() {
    let mut session = probed();
    let result = session.handle_packet(Lane::WebSocket, Packet::Ping("probe"), at(1));
    assert_eq!(result, Err(Violation::UnexpectedPacket));
}

#[test]
fn a_switch_without_a_probe_is_taken_2_7_6() {
    let mut session = polling();
    session.attach(Lane::WebSocket, at(0)).unwrap();
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(0)).unwrap();
    assert_eq!(events(&mut session), [Event::Upgraded]);
    assert_eq!(told(&mut session, Lane::WebSocket, 1), [Transmit::Message], "no pong");
}

#[test]
fn an_unreadable_probe_costs_the_websocket_not_the_session_2_7_6() {
    let mut session = probed();
    session.fail(Lane::WebSocket, CloseReason::ParseError);
    assert_eq!(told(&mut session, Lane::WebSocket, 0), [Transmit::Hangup]);
    assert_eq!((session.ended(), session.is_upgrading()), (None, false));
}

#[test]
fn an_upgrade_begun_and_never_finished_does_not_stay_2_7_7_3_2() {
    let mut waiting = polling();
    waiting.attach(Lane::WebSocket, at(0)).unwrap();
    // The probe does not move the deadline.
    for mut session in [waiting, probed()] {
        assert_eq!(session.poll_timeout(), Some(at(100)));
        session.handle_timeout(at(99));
        assert!(session.is_upgrading());
        session.handle_timeout(at(100));
        assert_eq!(events(&mut session), [Event::UpgradeFailed(UpgradeFailure::Timeout)]);
        assert_eq!(told(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
        assert_eq!((session.ended(), session.transport()), (None, Transport::Polling));
        assert_eq!(session.poll_timeout(), Some(at(300)), "the heartbeat goes on");
    }
}

#[test]
fn a_lost_probe_leaves_polling_as_it_was() {
    let mut session = probed();
    session.lost(Lane::WebSocket);
    assert_eq!(events(&mut session), [Event::UpgradeFailed(UpgradeFailure::Lost)]);
    assert!(!session.attached(Lane::WebSocket));
    session.attach(Lane::Get, at(1)).unwrap();
    assert_eq!(told(&mut session, Lane::Get, 0), []);
}

#[test]
fn an_old_socket_and_a_new_one_never_share_the_lane() {
    let mut session = probed();
    let _ = session.handle_packet(Lane::WebSocket, TEXT, at(1));
    assert_eq!(session.attach(Lane::WebSocket, at(2)), Err(Violation::AlreadyUpgrading));
    let late = session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(2));
    assert_eq!(late, Err(Violation::NotAttached), "it had its chance");
    assert_eq!(told(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
    session.attach(Lane::WebSocket, at(50)).unwrap();
    assert_eq!(session.poll_timeout(), Some(at(150)));
    session.handle_packet(Lane::WebSocket, Packet::Ping("probe"), at(51)).unwrap();
    assert_eq!(told(&mut session, Lane::WebSocket, 1), [PROBED]);

    // It may also break instead of taking the hang-up.
    let _ = session.handle_packet(Lane::WebSocket, TEXT, at(52));
    session.lost(Lane::WebSocket);
    assert_eq!(session.attach(Lane::WebSocket, at(53)), Ok(()));
}

#[test]
fn a_session_that_ends_takes_the_probing_websocket_along_2_7_8() {
    for reason in [CloseReason::ServerDisconnect, CloseReason::PingTimeout] {
        let mut session = probed();
        session.abort(reason);
        assert_eq!(told(&mut session, Lane::WebSocket, 1), [Transmit::Hangup]);
        assert_over(&mut session, reason);
    }
}

#[test]
fn an_upgrade_pauses_no_heartbeat_and_loses_no_timer_2_5_6_2_7_9() {
    // The ping goes out by polling, the pong comes by the WebSocket.
    let mut session = polling();
    session.attach(Lane::WebSocket, at(290)).unwrap();
    session.handle_packet(Lane::WebSocket, Packet::Ping("probe"), at(291)).unwrap();
    assert_eq!(told(&mut session, Lane::WebSocket, 0), [PROBED]);
    session.handle_timeout(at(300));
    assert_eq!(told(&mut session, Lane::WebSocket, 0), [], "not on a transport that is none yet");
    let mut unfetched = session.clone();
    session.attach(Lane::Get, at(301)).unwrap();
    assert_eq!(told(&mut session, Lane::Get, 0), [PING]);
    session.detach(Lane::Get);
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(310)).unwrap();
    assert_eq!(told(&mut session, Lane::WebSocket, 0), [], "the ping went out already");
    session.handle_packet(Lane::WebSocket, Packet::Pong(""), at(320)).unwrap();
    assert_eq!(session.poll_timeout(), Some(at(620)));

    // A ping nobody fetched moves over.
    unfetched.handle_packet(Lane::WebSocket, Packet::Upgrade, at(310)).unwrap();
    assert_eq!(told(&mut unfetched, Lane::WebSocket, 1), [PING, Transmit::Message]);
    assert_eq!(unfetched.poll_timeout(), Some(at(500)));
    unfetched.handle_timeout(at(500));
    assert_eq!(unfetched.ended(), Some(CloseReason::PingTimeout));
}

#[test]
fn a_busy_sender_does_not_starve_the_upgrade_3_5() {
    let mut session = held();
    session.attach(Lane::WebSocket, at(0)).unwrap();
    session.handle_packet(Lane::WebSocket, Packet::Ping("probe"), at(0)).unwrap();
    assert_eq!(session.poll_transmit(Lane::Get, true), Some(Transmit::Message));
    assert_eq!(session.poll_transmit(Lane::WebSocket, true), Some(PROBED));
    session.detach(Lane::Get);
    session.handle_packet(Lane::WebSocket, Packet::Upgrade, at(0)).unwrap();
    assert_eq!(session.transport(), Transport::WebSocket);
}
