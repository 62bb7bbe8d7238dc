//! The bytes of RFC 7692 7.2, and nothing of connections: the fuzz target `deflate` compiles this file too.

use eio_core::ws::Error;
use flate2::{Compress, FlushCompress};
use miniz_oxide::inflate::TINFLStatus as Status;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY,
    TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

/// The state of one inflation, without the past: what flate2 wraps together with 32 KiB of it.
pub(crate) type Inflater = DecompressorOxide;

/// As far as DEFLATE refers.
pub(crate) const LARGEST_WINDOW: usize = 1 << 15;

/// Inflates into `plain`, behind the `start` bytes that are there already and may be referred to; the number is where
/// the message ends. `grow` makes `plain` longer.
///
/// # Errors
/// [`Error::TooBig`] when `max` bytes have come out and one more, and [`Error::NotDeflate`].
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
    /// They complete an empty block. The final block behind them shows that a block ended there indeed: what
    /// was cut short is no message.
    const TAIL: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];
    /// What is left of them when the block they complete was itself a final one.
    const PROOF: usize = 5;
    const FLAGS: u32 = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF
        | TINFL_FLAG_HAS_MORE_INPUT
        | TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY;
    // A block with codes costs as much to begin as thousands of bytes in it, and a malicious one has ten bits.
    // Who flushes behind each single byte makes one, and an empty one without codes, of seven bytes.
    let mut blocks = 16 + payload.len() / 7;
    inflater.init();
    let (mut input, mut at, mut in_tail) = (payload, start, false);
    loop {
        // One byte beyond the limit shows that there is too much.
        let room = start.saturating_add(max).saturating_add(1).min(plain.len());
        let out = plain.get_mut(..room).unwrap_or_default();
        let (status, read, written) = decompress(inflater, input, out, at, FLAGS);
        input = input.get(read..).unwrap_or_default();
        at += written;
        match status {
            // The last bytes hold nothing: here they were taken for what was cut off. That may well be more than the
            // limit, but then it depends on the memory there is how much of it comes out at once.
            _ if in_tail && written > 0 => return Err(Error::NotDeflate),
            _ if at - start > max => return Err(Error::TooBig),
            Status::HasMoreOutput => grow(plain),
            Status::NeedsMoreInput if !in_tail => (input, in_tail) = (&TAIL, true),
            Status::BlockBoundary if written == 0 && matches!(read, 4 | 5) => {}
            Status::BlockBoundary if blocks > 0 => blocks -= 1,
            Status::Done if in_tail => {
                let whole = input.is_empty() || input.len() == PROOF;
                return if whole { Ok(at) } else { Err(Error::NotDeflate) };
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

/// Compresses into `out`, which is empty. False if that is not less than `bound`; `out` is of no use then.
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
        // It writes into the capacity there is: when that is used up something may be missing.
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
            // A full flush forgets what was there: nothing behind it refers to what is before it.
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
