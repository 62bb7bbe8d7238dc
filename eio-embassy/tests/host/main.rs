//! Tests of the clients on the host: against scripted servers, against an echo server, and over a network that loses
//! frames. All of them use a virtual clock and no sockets.

mod any;
mod cancel;
mod clock;
mod errors;
mod net;
mod peer;
mod pipe;
mod polling;
mod servers;
mod upgrade;
mod websocket;

/// A deterministic random generator.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl rand_core::RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// SplitMix64.
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.iter_mut().for_each(|byte| *byte = self.next_u64() as u8);
    }
}
