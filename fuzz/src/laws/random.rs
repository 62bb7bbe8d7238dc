//! Random inputs for the session laws, so that a test checks them without a fuzzer.

/// A weight, and calls that are made together; none stands for one call of any two bytes.
pub(super) type Step = (u64, &'static [[u8; 2]]);

/// Runs a law with `operations` operations over many inputs. The first step begins three of four inputs. The seed of an
/// input that fails is the last line of the output.
pub(super) fn for_each_input(operations: u8, steps: &[Step], law: fn(&[u8])) {
    const SEEDS: u64 = 30_000;
    struct Seed(u64);
    impl Drop for Seed {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("the calls of seed {} break the law", self.0);
            }
        }
    }
    for seed in 0..SEEDS {
        let _seed = Seed(seed);
        law(&input(&mut Rng(seed), operations, steps));
    }
}

/// The start byte, and the calls of 100 steps.
fn input(rng: &mut Rng, operations: u8, steps: &[Step]) -> Vec<u8> {
    let mut input = vec![rng.byte()];
    let total = steps.iter().map(|(weight, _)| weight).sum();
    let first = rng.below(4) > 0;
    for number in 0..100 {
        let mut left = if first && number == 0 { 0 } else { rng.below(total) };
        let step = steps.iter().find(|(weight, _)| {
            let chosen = left < *weight;
            left = left.saturating_sub(*weight);
            chosen
        });
        let (_, calls) = step.expect("the weights add up to the total");
        for [operation, argument] in *calls {
            // Any byte that selects the operation: the law takes an option from it, too.
            let repeats = u64::from((u8::MAX - operation) / operations) + 1;
            let operation = operation + operations * rng.below(repeats) as u8;
            input.extend([operation, *argument]);
        }
        if calls.is_empty() {
            input.extend([rng.byte(), rng.byte()]);
        }
    }
    input
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn byte(&mut self) -> u8 {
        (self.next() >> 56) as u8
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
