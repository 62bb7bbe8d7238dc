//! Both ends of a session on virtual clocks, joined by simulated connections, with faults.
//!
//! A seed determines a run: which messages are sent and when, the delay of each piece, which connection breaks at which
//! byte, which end closes, whose clock jumps, which end stalls. A run that fails prints its seed: `EIO_PAIR_SEED=n`
//! runs only that one and prints its events; `EIO_PAIR_SEEDS=n` sets the number of runs.

mod endpoint;
mod event;
mod plan;
#[path = "../support/seeds.rs"]
mod seeds;
mod simulation;

use eio_core::packet::{Message, Packet};
use eio_core::session::{CloseReason, Event, Lane, ServerSession, Timing, Transmit};
use eio_core::time::Instant;
use eio_core::transport::Transport;
use plan::Plan;
use seeds::{Rng, for_each_seed};
use simulation::Simulation;

const SEED: &str = "EIO_PAIR_SEED";

#[test]
fn faults_never_lose_duplicate_or_reorder_messages_or_end_one_side_only() {
    for_each_seed(SEED, 1_000_000, |seed, trace| {
        let mut rng = Rng::new(seed);
        let plan = Plan::random(&mut rng);
        Simulation::new(plan, rng, trace).run();
    });
}

#[test]
fn without_faults_all_messages_arrive_and_the_upgrade_completes() {
    for_each_seed(SEED, 5_000, |seed, trace| {
        let mut rng = Rng::new(seed);
        let plan = Plan::without_faults(&mut rng);
        let upgrade = plan.upgrade;
        let mut simulation = Simulation::new(plan, rng, trace);
        simulation.run();
        simulation.assert_alive_and_drained(upgrade);
    });
}

#[test]
fn silent_websocket_does_not_affect_polling() {
    for_each_seed(SEED, 5_000, |seed, trace| {
        let mut rng = Rng::new(seed);
        let plan = Plan { upgrade: true, mute_websocket: true, ..Plan::without_faults(&mut rng) };
        let mut simulation = Simulation::new(Plan { direct: false, ..plan }, rng, trace);
        simulation.run();
        simulation.assert_alive_and_drained(false);
    });
}

/// Calls in random order, which no client and no driver would make.
#[test]
fn server_session_accepts_calls_in_any_order() {
    const LANES: [Lane; 3] = [Lane::Get, Lane::Post, Lane::WebSocket];
    const PACKETS: [Packet<'static>; 9] = [
        Packet::Open("{}"),
        Packet::Close,
        Packet::Ping(""),
        Packet::Ping("probe"),
        Packet::Pong(""),
        Packet::Pong("probe"),
        Packet::Message(Message::Text("a")),
        Packet::Upgrade,
        Packet::Noop,
    ];
    for_each_seed(SEED, 30_000, |seed, _| {
        let mut rng = Rng::new(seed);
        let mut now = Instant::from_millis(0);
        let transport = *rng.pick(&[Transport::Polling, Transport::WebSocket]);
        let timing = Timing {
            ping_interval_ms: 300,
            ping_timeout_ms: 200,
            upgrade_timeout_ms: 100,
            close_timeout_ms: 400,
        };
        let mut session = ServerSession::new(transport, timing, now);
        let mut closed = None;
        for _ in 0..120 {
            let lane = *rng.pick(&LANES);
            let ended = session.ended();
            match rng.below(16) {
                0..=3 => _ = session.attach(lane, now),
                4 => session.detach(lane),
                5 if rng.one_in(4) => session.lost(lane),
                6 if rng.one_in(8) => session.fail(lane, CloseReason::ParseError),
                7 if rng.one_in(8) => session.close(now),
                8 if rng.one_in(16) => session.abort(CloseReason::HandlerPanicked),
                9 => _ = session.extend(now),
                10..=12 => {
                    let packet = *rng.pick(&PACKETS);
                    let message = session.handle_packet(lane, packet, now);
                    assert!(ended.is_none() || message.is_err());
                }
                _ => {
                    now = now.after(rng.below(150) as u32);
                    session.handle_timeout(now);
                    assert!(
                        session.poll_timeout().is_none_or(|at| at > now),
                        "the deadline has passed, the driver would spin"
                    );
                }
            }
            for lane in LANES {
                let mut last_items = 0;
                for _ in 0..rng.below(5) {
                    let ended = session.ended();
                    let Some(transmit) = session.poll_transmit(lane, rng.one_in(2)) else { break };
                    last_items += usize::from(ended.is_some());
                    let word = matches!(
                        transmit,
                        Transmit::Control(Packet::Close | Packet::Noop | Packet::Pong(_))
                            | Transmit::Hangup
                    );
                    assert!(ended.is_none() || word, "{transmit:?} after the end");
                    assert!(last_items <= 2, "too many items after the end");
                }
            }
            assert!(ended.is_none() || session.ended() == ended, "the first reason remains");
            assert_eq!(session.poll_timeout().is_none(), session.ended().is_some());
            while let Some(event) = session.poll_event() {
                if let Event::Closed(reason) = event {
                    assert_eq!(closed.replace(reason), None, "reported twice");
                }
            }
            assert_eq!(closed, session.ended());
        }
    });
}
