//! What a run is made of: a seed, and what it says shall go wrong.

use crate::world::ACTIVE;

/// splitmix64.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// What one run is like.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// WebSocket from the start.
    pub(crate) direct: bool,
    pub(crate) upgrade: bool,
    /// The slowest way of a packet, in milliseconds.
    pub(crate) delay: u64,
    pub(crate) messages: u64,
    /// Connections that break, each at a random moment.
    pub(crate) breaks: u64,
    /// WebSockets connect, and then carry nothing.
    pub(crate) mute_websocket: bool,
    /// From this moment on nothing is carried at all.
    pub(crate) mute_from: Option<u64>,
    /// Who closes, when, and whether at once.
    pub(crate) close: Vec<(Side, u64, bool)>,
}

impl Plan {
    pub(crate) fn calm(rng: &mut Rng) -> Self {
        Self {
            direct: rng.one_in(4),
            upgrade: !rng.one_in(4),
            delay: 8,
            messages: rng.below(60),
            breaks: 0,
            mute_websocket: false,
            mute_from: None,
            close: Vec::new(),
        }
    }

    pub(crate) fn random(rng: &mut Rng) -> Self {
        let mut plan = Self::calm(rng);
        plan.delay = *rng.pick(&[8, 8, 30, 60]);
        plan.breaks = rng.below(3);
        plan.mute_websocket = rng.one_in(8);
        // Most of what is delicate happens while the session opens and upgrades.
        let moment = |rng: &mut Rng| if rng.one_in(2) { rng.below(120) } else { rng.below(ACTIVE) };
        plan.mute_from = rng.one_in(6).then(|| moment(rng));
        for _ in 0..rng.below(3) {
            let side = *rng.pick(&[Side::Server, Side::Client]);
            plan.close.push((side, moment(rng), rng.one_in(4)));
        }
        plan
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}
