//! The payload format of RFC 7692 section 7.2, independent of connections: the fuzz target `deflate` compiles this file
//! too.

use eio_core::ws::Error;
use flate2::{Compress, FlushCompress};
use miniz_oxide::inflate::TINFLStatus as Status;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY,
    TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

/// The state of one inflation, without a window. flate2 would wrap it together with a window of 32 KiB.
pub(crate) type Inflater = DecompressorOxide;

/// The largest distance of a DEFLATE back-reference.
pub(crate) const LARGEST_WINDOW: usize = 1 << 15;

/// Inflates into `plain` after its first `start` bytes, which back-references may refer to. Returns the position where
/// the message ends. `grow` makes `plain` longer.
///
/// # Errors
/// [`Error::TooBig`] if the message inflates to more than `max` bytes; [`Error::NotDeflate`] if it is not valid or
/// complete DEFLATE data, or has more than one block for each seven of its bytes, plus 16.
pub(crate) fn inflate(
    inflater: &mut Inflater,
    payload: &[u8],
    start: usize,
    max: usize,
    plain: &mut Vec<u8>,
    mut grow: impl FnMut(&mut Vec<u8>),
) -> Result<usize, Error> {
    /// > Append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the payload of the message. (RFC 7692 7.2.2)
    ///
    /// They complete an empty block. The final block after them shows that a block did end there: otherwise the message
    /// is truncated.
    const TAIL: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];
    /// The length of that final block, which is not read if the block before it is a final one too.
    const FINAL_BLOCK: usize = 5;
    const FLAGS: u32 = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF
        | TINFL_FLAG_HAS_MORE_INPUT
        | TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY;
    // A block with codes costs as much to begin as thousands of bytes in it, and a malicious one has ten bits.
    // A compressor that flushes after each byte makes one such block, and an empty one without codes, of seven bytes.
    let mut blocks = 16 + payload.len() / 7;
    inflater.init();
    let (mut input, mut at, mut in_tail) = (payload, start, false);
    loop {
        // One byte more than the limit shows that the message exceeds it.
        let room = start.saturating_add(max).saturating_add(1).min(plain.len());
        let out = plain.get_mut(..room).unwrap_or_default();
        let (status, read, written) = decompress(inflater, input, out, at, FLAGS);
        input = input.get(read..).unwrap_or_default();
        at += written;
        match status {
            // TAIL inflates to nothing, so here it was read as the rest of a truncated block. Its output may exceed the
            // limit, but how much of it is written at once depends on the size of `plain`: this error takes precedence.
            _ if in_tail && written > 0 => return Err(Error::NotDeflate),
            _ if at - start > max => return Err(Error::TooBig),
            Status::HasMoreOutput => grow(plain),
            Status::NeedsMoreInput if !in_tail => (input, in_tail) = (&TAIL, true),
            Status::BlockBoundary if written == 0 && matches!(read, 4 | 5) => {}
            Status::BlockBoundary if blocks > 0 => blocks -= 1,
            Status::Done if in_tail => {
                let complete = input.is_empty() || input.len() == FINAL_BLOCK;
                return if complete { Ok(at) } else { Err(Error::NotDeflate) };
            }
            // > DEFLATE blocks with the "BFINAL" bit set to 1 may be used. [...] The next DEFLATE block follows
            // > the padded data if any. (7.2.1)
            Status::Done if input.is_empty() => return Ok(at),
            Status::Done if blocks > 0 => {
                blocks -= 1;
                inflater.init();
            }
            _ => return Err(Error::NotDeflate),
        }
    }
}

/// Compresses into `out`, which is empty. Returns false if the output is not shorter than `bound`; `out` is incomplete
/// then.
///
/// > Remove 4 octets (that are 0x00 0x00 0xff 0xff) from the tail end. (RFC 7692 7.2.1)
pub(crate) fn compress(
    state: &mut Compress,
    window: usize,
    parts: [&[u8]; 2],
    bound: usize,
    out: &mut Vec<u8>,
) -> bool {
    const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
    out.reserve(bound + TAIL.len());
    let mut put = |bytes: &[u8], flush| {
        let before = state.total_in();
        let done = state.compress_vec(bytes, out, flush).is_ok();
        // It writes into the available capacity: when that is used up, output may be missing.
        let all = state.total_in() - before == bytes.len() as u64;
        done && all && out.len() < out.capacity()
    };
    let mut in_window = 0;
    for mut part in parts {
        while !part.is_empty() {
            let room = if window < LARGEST_WINDOW { window - in_window } else { part.len() };
            let (piece, rest) = part.split_at(room.min(part.len()));
            part = rest;
            in_window += piece.len();
            let full = window < LARGEST_WINDOW && in_window == window;
            // A full flush clears the window: no byte after it refers to a byte before it.
            let flush = if full { FlushCompress::Full } else { FlushCompress::None };
            if full {
                in_window = 0;
            }
            if !put(piece, flush) {
                return false;
            }
        }
    }
    if !put(&[], FlushCompress::Sync) || !out.ends_with(&TAIL) {
        return false;
    }
    out.truncate(out.len() - TAIL.len());
    out.len() < bound
}
