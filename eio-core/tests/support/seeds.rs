//! Runs of a simulator, each determined by a seed.

use std::sync::atomic::{AtomicU64, Ordering};

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

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Runs `run` for each seed on all cores, and prints the seed of a run that fails. The environment variable `variable`
/// names the only seed, and with an `S` appended the number of runs.
pub(crate) fn for_each_seed(variable: &str, count: u64, run: impl Fn(u64, bool) + Sync) {
    struct Replay<'n>(&'n str, u64, &'n AtomicU64);
    impl Drop for Replay<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("replay this run with {}={}", self.0, self.1);
                // Stop after the first failure.
                self.2.store(u64::MAX / 2, Ordering::Relaxed);
            }
        }
    }
    if let Some(seed) = setting(variable) {
        return run(seed, true);
    }
    const SHARE: u64 = 64;
    let count = setting(&format!("{variable}S")).unwrap_or(count);
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let from = next.fetch_add(SHARE, Ordering::Relaxed);
                    for seed in from..(from + SHARE).min(count) {
                        let replay = Replay(variable, seed, &next);
                        run(seed, false);
                        drop(replay);
                    }
                    if from >= count {
                        return;
                    }
                }
            });
        }
    });
}
