//! What is inside a compressed message, against an inflater by others.
//!
//! The codec is eio-monoio's, which compiles on no fuzzer: only this one file of it is here.

use flate2::{Compress, Compression};
use zune_inflate::{DeflateDecoder, DeflateOptions};

use crate::laws::Input;
use codec::{Inflater, LARGEST_WINDOW};
use eio_core::ws::Error;

#[path = "../../../eio-monoio/src/deflate/codec.rs"]
mod codec;

const LIMITS: [usize; 4] = [300, 0, 1 << 20, 5000];
const WINDOWS: [usize; 3] = [LARGEST_WINDOW, 256, 1024];

pub(crate) fn payload(data: &[u8]) {
    let mut input = Input::parse(data);
    let limit = input.pick(&LIMITS);
    let window = input.pick(&WINDOWS);
    as_payload(limit, input.wire);
    as_message(window, &input);
}

/// One call and its memory, which grows by as little as may be, or is there at once.
fn inflate(past: &[u8], payload: &[u8], limit: usize, at_once: bool) -> Result<Vec<u8>, Error> {
    let start = past.len();
    let mut plain = past.to_vec();
    plain.resize(start + if at_once { limit + 100 } else { 0 }, 0xee);
    let grow = |plain: &mut Vec<u8>| {
        assert!(plain.len() <= start + limit, "more memory than the limit");
        plain.resize((plain.len() + 1 + plain.len() / 4).min(start + limit + 1), 0xee);
    };
    let end = codec::inflate(&mut Inflater::new(), payload, start, limit, &mut plain, grow)?;
    assert!(end - start <= limit, "beyond the limit");
    assert_eq!(&plain[..start], past, "the past is what it was");
    Ok(plain[start..end].to_vec())
}

/// The wire as what somebody sends.
fn as_payload(limit: usize, payload: &[u8]) {
    let ours = inflate(&[], payload, limit, false);
    assert_eq!(inflate(&[], payload, limit, true), ours, "memory is no matter");
    // The tail that is appended, and a final block.
    let whole = [payload, &[0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff]].concat();
    let options = DeflateOptions::default().set_limit(1 << 24).set_size_hint(4096);
    let theirs = DeflateDecoder::new_with_options(&whole, options).decode_deflate();
    match (ours, theirs) {
        // They end with the first final block.
        (Ok(ours), Ok(theirs)) => assert!(ours.starts_with(&theirs)),
        (Ok(ours), Err(error)) => panic!("{} bytes, or {error:?}", ours.len()),
        (Err(Error::TooBig), _) => {
            // It is not the limit that makes it DEFLATE data.
            let more = inflate(&[], payload, 1 << 24, false);
            assert!(more.is_ok_and(|plain| plain.len() > limit) || !is_sound(payload));
        }
        // Cut short, something behind the end, or too many blocks; or they are no more content with it.
        (Err(_), _) => {}
    }
}

/// Whether it is one stretch of DEFLATE data to its end.
fn is_sound(payload: &[u8]) -> bool {
    inflate(&[], payload, 1 << 26, false).is_ok()
}

/// The wire as a message that is compressed, twice.
fn as_message(window: usize, input: &Input<'_>) {
    let size = input.sizes().next().unwrap_or(1);
    let parts = input.wire.split_at(input.wire.len().min(size));
    let mut compress = Compress::new(Compression::fast(), false);
    let mut past = Vec::new();
    for _ in 0..2 {
        let mut out = Vec::new();
        let bound = 2 * input.wire.len() + 1000;
        assert!(codec::compress(&mut compress, window, [parts.0, parts.1], bound, &mut out));
        assert_eq!(inflate(&past, &out, input.wire.len(), false).as_deref(), Ok(input.wire));
        // One less is too little.
        if let Some(less) = input.wire.len().checked_sub(1) {
            assert_eq!(inflate(&past, &out, less, false), Err(Error::TooBig));
        }
        if window < LARGEST_WINDOW {
            // Nothing is referred to beyond it; what is there does not matter.
            compress.reset();
        } else {
            past.extend_from_slice(input.wire);
            past.drain(..past.len().saturating_sub(LARGEST_WINDOW));
        }
        // What does not fit in the bound is no use, and says so.
        let mut small = Vec::new();
        let mut other = Compress::new(Compression::fast(), false);
        if codec::compress(&mut other, window, [parts.0, parts.1], out.len(), &mut small) {
            assert!(small.len() < out.len());
            assert_eq!(inflate(&[], &small, input.wire.len(), false).as_deref(), Ok(input.wire));
        }
    }
}
