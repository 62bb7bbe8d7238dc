//! The payload of a compressed message, as zune-inflate reads it.
//!
//! The codec is that of eio-monoio. The crate does not build for a fuzzer, so only this one file of it is included.

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

/// Inflates with memory that grows in small steps, or that is complete at once.
fn inflate(past: &[u8], payload: &[u8], limit: usize, at_once: bool) -> Result<Vec<u8>, Error> {
    let start = past.len();
    let mut plain = past.to_vec();
    plain.resize(start + if at_once { limit + 100 } else { 0 }, 0xee);
    let grow = |plain: &mut Vec<u8>| {
        assert!(plain.len() <= start + limit, "memory beyond the limit");
        plain.resize((plain.len() + 1 + plain.len() / 4).min(start + limit + 1), 0xee);
    };
    let end = codec::inflate(&mut Inflater::new(), payload, start, limit, &mut plain, grow)?;
    assert!(end - start <= limit, "output beyond the limit");
    assert_eq!(&plain[..start], past, "the window changed");
    Ok(plain[start..end].to_vec())
}

/// Takes the input as a compressed payload.
fn as_payload(limit: usize, payload: &[u8]) {
    let ours = inflate(&[], payload, limit, false);
    assert_eq!(inflate(&[], payload, limit, true), ours, "the result depends on the memory");
    // With the tail that RFC 7692 section 7.2.2 appends, and a final block.
    let whole = [payload, &[0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff]].concat();
    let options = DeflateOptions::default().set_limit(1 << 24).set_size_hint(4096);
    let theirs = DeflateDecoder::new_with_options(&whole, options).decode_deflate();
    match (ours, theirs) {
        // zune-inflate ends with the first final block.
        (Ok(ours), Ok(theirs)) => assert!(ours.starts_with(&theirs)),
        (Ok(ours), Err(error)) => panic!("{} bytes in ours, {error:?} in theirs", ours.len()),
        (Err(Error::TooBig), _) => {
            // With a higher limit the payload is longer than the limit, or is not valid DEFLATE.
            let more = inflate(&[], payload, 1 << 24, false);
            assert!(more.is_ok_and(|plain| plain.len() > limit) || !is_sound(payload));
        }
        // Cut short, bytes after the end, or too many blocks; zune-inflate may accept or refuse it.
        (Err(_), _) => {}
    }
}

/// Whether it is valid DEFLATE data to its end.
fn is_sound(payload: &[u8]) -> bool {
    inflate(&[], payload, 1 << 26, false).is_ok()
}

/// Takes the input as a message, and compresses it twice.
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
        // A limit of one byte less refuses it.
        if let Some(less) = input.wire.len().checked_sub(1) {
            assert_eq!(inflate(&past, &out, less, false), Err(Error::TooBig));
        }
        if window < LARGEST_WINDOW {
            // References stay within the window; without context takeover the next message has none.
            compress.reset();
        } else {
            past.extend_from_slice(input.wire);
            past.drain(..past.len().saturating_sub(LARGEST_WINDOW));
        }
        // Output that does not fit in the bound is refused.
        let mut small = Vec::new();
        let mut other = Compress::new(Compression::fast(), false);
        if codec::compress(&mut other, window, [parts.0, parts.1], out.len(), &mut small) {
            assert!(small.len() < out.len());
            assert_eq!(inflate(&[], &small, input.wire.len(), false).as_deref(), Ok(input.wire));
        }
    }
}
