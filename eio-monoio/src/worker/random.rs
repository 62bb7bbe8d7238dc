//! [`Random`]: the operating system's random bytes, drawn many at a time.

/// A call to the system costs more than what most callers want to do with the few bytes they need.
pub(crate) struct Random {
    bytes: [u8; SIZE],
    /// How many of them are used up. Those are zero: what was given away is nowhere else.
    used: usize,
}

const SIZE: usize = 4096;

impl Default for Random {
    fn default() -> Self {
        Self { bytes: [0; SIZE], used: SIZE }
    }
}

impl Random {
    /// Bytes that nobody else has got or will get.
    ///
    /// # Errors
    /// The system gave none.
    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], getrandom::Error> {
        const { assert!(N <= SIZE) };
        if SIZE - self.used < N {
            getrandom::fill(&mut self.bytes)?;
            self.used = 0;
        }
        let mut taken = [0; N];
        let from = &mut self.bytes[self.used..self.used + N];
        taken.copy_from_slice(from);
        from.fill(0);
        self.used += N;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nothing_is_given_twice() {
        let mut random = Random::default();
        let mut seen = HashSet::new();
        for _ in 0..SIZE {
            assert!(seen.insert(random.take::<12>().unwrap()));
            assert!(random.bytes[..random.used].iter().all(|byte| *byte == 0));
        }
    }
}
