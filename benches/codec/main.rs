//! Benchmarks of eio-core's codecs, those of other crates, and the floor.
//!
//! Run `cargo bench` in this directory. Every row of a group does the same work on the same bytes. Where one codec
//! works in place, every row of its group includes a copy of the input.

mod http;
mod packet;
mod payload;
mod websocket;

use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;

fn config() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(50)
}

criterion_group! {
    name = codecs;
    config = config();
    targets = packet::text, packet::base64, packet::open, payload::payload, websocket::head,
        websocket::masking, websocket::read, websocket::write, websocket::echo, http::head, http::answer
}
criterion_main!(codecs);

/// Lower-case ASCII, which every codec accepts: no separator, no escapes.
pub fn ascii_text(len: usize) -> String {
    (0..len).map(|i| char::from(b'a' + (i * 7 % 26) as u8)).collect()
}

/// Bytes of nearly every value.
pub fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

/// The measured sizes, and their names.
pub const SIZES: [(usize, &str); 3] = [(32, "32B"), (1024, "1KB"), (65_536, "64KB")];
