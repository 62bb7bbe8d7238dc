//! The plan of a run: a seed, and the faults it causes.

use crate::seeds::Rng;
use crate::simulation::ACTIVE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}

/// The properties of one run. Times are in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// WebSocket from the start.
    pub(crate) direct: bool,
    pub(crate) upgrade: bool,
    /// The maximum delay of a packet.
    pub(crate) delay: u64,
    pub(crate) messages: u64,
    /// When connections break.
    pub(crate) breaks: Vec<u64>,
    /// WebSockets connect, but carry no data.
    pub(crate) mute_websocket: bool,
    /// From this time on no connection carries data.
    pub(crate) mute_from: Option<u64>,
    /// Which end closes, when, and whether at once.
    pub(crate) close: Vec<(Side, u64, bool)>,
    /// Which clock jumps ahead, when, and by how much: a machine that slept, or a late timer.
    pub(crate) jumps: Vec<(Side, u64, u64)>,
    /// Which end stalls, from when, and for how long: a stopped process, or a blocked disk.
    pub(crate) stalls: Vec<(Side, u64, u64)>,
}

impl Plan {
    pub(crate) fn without_faults(rng: &mut Rng) -> Self {
        Self {
            direct: rng.one_in(4),
            upgrade: !rng.one_in(4),
            delay: 8,
            messages: *rng.pick(&[0, 3, 10, 30]),
            breaks: Vec::new(),
            mute_websocket: false,
            mute_from: None,
            close: Vec::new(),
            jumps: Vec::new(),
            stalls: Vec::new(),
        }
    }

    pub(crate) fn random(rng: &mut Rng) -> Self {
        let mut plan = Self::without_faults(rng);
        plan.delay = *rng.pick(&[8, 8, 30, 60]);
        plan.breaks = (0..rng.below(3)).map(|_| moment(rng)).collect();
        plan.mute_websocket = rng.one_in(8);
        plan.mute_from = rng.one_in(6).then(|| moment(rng));
        plan.close = (0..rng.below(3)).map(|_| (side(rng), moment(rng), rng.one_in(4))).collect();
        if rng.one_in(3) {
            plan.jumps.push((side(rng), moment(rng), 1 + rng.below(700)));
        }
        if rng.one_in(3) {
            plan.stalls.push((side(rng), moment(rng), 1 + rng.below(700)));
        }
        plan
    }

    /// Whether the run has no faults, so that only the two ends decide.
    pub(crate) fn has_no_faults(&self) -> bool {
        let quiet = self.breaks.is_empty() && self.jumps.is_empty() && self.stalls.is_empty();
        // With long delays a pong after another POST can be late.
        quiet && self.delay <= 8 && !self.mute_websocket && self.mute_from.is_none()
    }

    /// The total duration of all stalls.
    pub(crate) fn stalled(&self) -> u64 {
        self.stalls.iter().map(|(_, _, time)| time).sum()
    }
}

fn side(rng: &mut Rng) -> Side {
    *rng.pick(&[Side::Server, Side::Client])
}

/// Half of the times fall into the opening and the upgrade of the session, where most states are.
fn moment(rng: &mut Rng) -> u64 {
    if rng.one_in(2) { rng.below(120) } else { rng.below(ACTIVE) }
}
