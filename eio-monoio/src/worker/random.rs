//! [`Random`]: the operating system's random bytes, read in blocks of 4 KiB.

/// A buffer of random bytes: a system call for each of the few bytes that callers need would cost more than their work.
pub(crate) struct Random {
    bytes: [u8; SIZE],
    /// The number of bytes taken. Those are overwritten with zeros, so that no copy of a taken byte remains here.
    used: usize,
}

const SIZE: usize = 4096;

impl Default for Random {
    fn default() -> Self {
        Self { bytes: [0; SIZE], used: SIZE }
    }
}

impl Random {
    /// Takes bytes, each of which is returned once.
    ///
    /// # Errors
    /// If the operating system returns none.
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
    fn no_byte_is_returned_twice() {
        let mut random = Random::default();
        let mut seen = HashSet::new();
        for _ in 0..SIZE {
            assert!(seen.insert(random.take::<12>().unwrap()));
            assert!(random.bytes[..random.used].iter().all(|byte| *byte == 0));
        }
    }
}
