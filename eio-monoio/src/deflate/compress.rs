//! [`Outward`]: the sending direction, which compresses messages as they are written.

use std::rc::Rc;

use eio_core::packet::{Frame, Packet};
use eio_core::ws::{Opcode, encode_compressed};
use flate2::{Compress, Compression};

use super::Codecs;
use super::codec::{self, LARGEST_WINDOW};
use crate::message::{Encoded, OutBuf, never_full};
use crate::worker::context::WorkerContext;

/// The most compressors of one worker that keep the context of a connection; each takes 312 KiB.
const MAX_COMPRESSORS: usize = 32;
/// The most windows of less than 32 KiB in one message: beginning each costs as much as compressing kilobytes.
const MAX_WINDOWS: usize = 64;
/// The most capacity for compressed bytes that is kept between messages.
const MAX_KEPT_SCRATCH: usize = 128 * 1024;

/// The sending direction of a connection.
pub(crate) struct Outward {
    codecs: Rc<Codecs>,
    threshold: usize,
    window: usize,
    /// The number under which this connection owns a compressor. `None`: messages do not refer to earlier ones.
    owner: Option<u64>,
}

impl Outward {
    /// Messages of at least `threshold` bytes are compressed and refer at most `window` bytes back, with `takeover` also
    /// into earlier messages.
    pub(super) fn new(
        worker: &Rc<WorkerContext>,
        threshold: usize,
        takeover: bool,
        window: usize,
    ) -> Self {
        let codecs = worker.per_worker::<Codecs>();
        // The context is kept only for the full window: a smaller one would have to be counted across messages.
        let owner = (takeover && window == LARGEST_WINDOW).then(|| {
            let owner = codecs.owners.get() + 1;
            codecs.owners.set(owner);
            owner
        });
        Self { codecs, threshold, window, owner }
    }

    /// Appends a message as a compressed frame. Returns false, with nothing appended, if it is to be sent uncompressed.
    pub(crate) fn write(&self, frame: Frame<'_>, mask: Option<[u8; 4]>, out: &mut OutBuf) -> bool {
        let parts = [frame.prefix, frame.data];
        let len = frame.prefix.len() + frame.data.len();
        let longest = self.window.saturating_mul(MAX_WINDOWS);
        if len < self.threshold || (self.window < LARGEST_WINDOW && len > longest) {
            return false;
        }
        let opcode = if frame.binary { Opcode::Binary } else { Opcode::Text };
        let mut compressors = self.codecs.compressors.borrow_mut();
        match compressors.compress(self.owner, self.window, parts) {
            Some(payload) => {
                never_full(encode_compressed(out, opcode, payload, mask));
                true
            }
            None => false,
        }
    }

    /// Whether messages may refer to earlier ones.
    pub(crate) fn has_context(&self) -> bool {
        self.owner.is_some()
    }

    /// The same for a broadcast, which is compressed once for all connections without a context of their own.
    pub(crate) fn write_encoded(&self, message: &Encoded, out: &mut OutBuf) -> bool {
        let packet = Packet::Message(message.message());
        if self.owner.is_some() || self.window < LARGEST_WINDOW {
            return self.write(packet.frame(), None, out);
        }
        let frame = message.compressed(|| {
            let mut frame = OutBuf::default();
            self.write(packet.frame(), None, &mut frame).then_some(frame.0)
        });
        frame.is_some_and(|frame| {
            out.0.extend_from_slice(frame);
            true
        })
    }
}

impl Drop for Outward {
    fn drop(&mut self) {
        if let Some(owner) = self.owner {
            self.codecs.compressors.borrow_mut().release(owner);
        }
    }
}

/// The compressors of a worker.
#[derive(Default)]
pub(super) struct Compressors {
    /// For messages that do not refer to earlier ones.
    shared: Option<Compress>,
    owned: Vec<OwnedCompressor>,
    /// The number of uses of `owned`.
    uses: u64,
    scratch: Vec<u8>,
}

/// A compressor with the context of one connection.
struct OwnedCompressor {
    compress: Compress,
    /// `None`: its connection has ended.
    owner: Option<u64>,
    /// The value of [`Compressors::uses`] at its last use.
    last_use: u64,
}

impl Compressors {
    /// Returns `None` if the message does not become smaller. For an owner it may grow slightly, because later messages
    /// can refer to it.
    fn compress(&mut self, owner: Option<u64>, window: usize, parts: [&[u8]; 2]) -> Option<&[u8]> {
        if self.scratch.capacity() > MAX_KEPT_SCRATCH {
            self.scratch = Vec::new();
        }
        self.scratch.clear();
        let compress = match owner {
            Some(owner) => {
                self.uses += 1;
                let owned = compressor_of(&mut self.owned, owner);
                owned.last_use = self.uses;
                &mut owned.compress
            }
            None => {
                let compress = self.shared.get_or_insert_with(new);
                compress.reset();
                compress
            }
        };
        let len = parts[0].len() + parts[1].len();
        // Short messages hardly shrink until there are earlier ones to refer to.
        let bound = if owner.is_some() { len + len / 16 + 64 } else { len };
        let done = codec::compress(compress, window, parts, bound, &mut self.scratch);
        if !done {
            // The peer does not receive this message in compressed form, so nothing may refer to it.
            compress.reset();
        }
        done.then_some(&*self.scratch)
    }

    fn release(&mut self, owner: u64) {
        if let Some(owned) = self.owned.iter_mut().find(|owned| owned.owner == Some(owner)) {
            (owned.owner, owned.last_use) = (None, 0);
        }
    }
}

#[cfg(test)]
impl Compressors {
    /// The number of owned compressors, and of those whose owner has not ended.
    pub(super) fn counts(&self) -> (usize, usize) {
        let owned = self.owned.iter().filter(|owned| owned.owner.is_some());
        (self.owned.len(), owned.count())
    }
}

/// The owner's compressor. If it has none: a new one, or, at the limit, the least recently used one, reset.
fn compressor_of(all: &mut Vec<OwnedCompressor>, owner: u64) -> &mut OwnedCompressor {
    let own = all.iter().position(|owned| owned.owner == Some(owner));
    let least_recent = || {
        let (at, owned) = all.iter().enumerate().min_by_key(|(_, owned)| owned.last_use)?;
        (owned.owner.is_none() || all.len() >= MAX_COMPRESSORS).then_some(at)
    };
    let at = match own.or_else(least_recent) {
        Some(at) => at,
        None => {
            all.push(OwnedCompressor { compress: new(), owner: Some(owner), last_use: 0 });
            all.len() - 1
        }
    };
    let owned = &mut all[at];
    if owned.owner != Some(owner) {
        owned.compress.reset();
        owned.owner = Some(owner);
    }
    owned
}

fn new() -> Compress {
    // The fastest level, as for HTTP: compressing blocks the worker.
    Compress::new(Compression::fast(), false)
}
