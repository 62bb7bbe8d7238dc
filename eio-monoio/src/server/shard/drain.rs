//! [`drain`]: closes the sessions of a worker evenly over a time, and then shuts the server down.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::server::shard::ShardState;
use crate::worker::deadline::millis;
use crate::worker::task::sleep_on;

/// How often sessions are closed.
const INTERVAL: Duration = Duration::from_millis(20);

/// Waits for [`drain_wait`](crate::Config::drain_wait), then closes the sessions over
/// [`drain_time`](crate::Config::drain_time), and those of other nodes whose WebSockets pass through this worker. Clients
/// whose sessions close connect again, and not all at once.
pub(super) fn drain<T: 'static>(state: &Rc<ShardState<T>>) {
    if state.is_shutting_down() {
        return;
    }
    state.leave_listeners();
    let owned = state.clone();
    state.tasks.spawn(async move {
        let state = &owned;
        let until = state.now().after(millis(state.config.drain_wait));
        while state.now() < until && !state.is_shutting_down() {
            sleep_on(&state.worker, INTERVAL).await;
        }
        close_sessions(state).await;
        state.shared.worker_drained();
    });
}

async fn close_sessions<T: 'static>(state: &Rc<ShardState<T>>) {
    state.begin_leaving();
    let (slots, tunnels) = (state.slots(), state.tunnels());
    let all = slots.len() + tunnels.len();
    let (begun, time) = (state.now(), u64::from(millis(state.config.drain_time)));
    let mut closed = 0;
    loop {
        let elapsed = state.now().millis_since(begun);
        let due = match (all as u64).saturating_mul(elapsed).checked_div(time) {
            Some(due) if elapsed < time => due as usize,
            _ => all,
        };
        for place in closed..due {
            match slots.get(place) {
                Some(slot) => state.close_slot(*slot),
                // Its owner sends its queued messages and closes the WebSocket, which ends the tunnel.
                None => state.shared.disconnect_away(&tunnels[place - slots.len()]),
            }
        }
        closed = due;
        let none_left = state.shared.sessions.load(Ordering::Relaxed) == 0
            && (tunnels.is_empty() || state.tunnels().is_empty());
        if elapsed >= time || none_left || state.is_shutting_down() {
            return;
        }
        sleep_on(&state.worker, INTERVAL).await;
    }
}
