//! Tests of the clients on the host: against scripted servers, against an echo server, and over a network that loses
//! frames. All of them use a virtual clock and no sockets.

mod any;
mod cancel;
mod clock;
mod errors;
mod flood;
mod net;
mod peer;
mod pipe;
mod polling;
mod polling_servers;
mod servers;
mod state;
mod upgrade;
mod websocket;

/// A deterministic source of random bits.
pub(crate) type Random = Box<dyn FnMut() -> u32>;

/// SplitMix64.
pub(crate) fn random(seed: u64) -> Random {
    let mut state = seed;
    Box::new(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32
    })
}
