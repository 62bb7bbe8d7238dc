//! Compressing messages as they are written.

use std::rc::Rc;

use eio_core::packet::{Frame, Packet};
use eio_core::ws::{Opcode, encode_compressed};
use flate2::{Compress, Compression};

use super::Codecs;
use super::codec::{self, LARGEST_WINDOW};
use crate::message::{Encoded, OutBuf, never_full};
use crate::worker::context::WorkerContext;

/// The most compressors with a past on one core; each has 312 KiB.
const COMPRESSORS: usize = 32;
/// The most windows of less than 32 KiB in one message: each costs as much to begin as kilobytes to compress.
const WINDOWS: usize = 64;
/// Room for compressed bytes that is kept from one message to the next.
const KEPT: usize = 128 * 1024;

/// What goes out on a connection.
pub(crate) struct Outward {
    codecs: Rc<Codecs>,
    threshold: usize,
    window: usize,
    /// Whose the past is that messages may refer to, if to any.
    owner: Option<u64>,
}

impl Outward {
    /// Messages of at least `threshold` bytes are compressed and refer at most `window` bytes back; with `takeover`
    /// into earlier messages too.
    pub(super) fn new(
        worker: &Rc<WorkerContext>,
        threshold: usize,
        takeover: bool,
        window: usize,
    ) -> Self {
        let codecs = worker.per_worker::<Codecs>();
        // Only a past that may be referred to from end to end is kept: any other would have to be counted.
        let owner = (takeover && window == LARGEST_WINDOW).then(|| {
            let owner = codecs.owners.get() + 1;
            codecs.owners.set(owner);
            owner
        });
        Self { codecs, threshold, window, owner }
    }

    /// Appends a message as a compressed frame. False, with nothing appended: it is to go as it is.
    pub(crate) fn write(&self, frame: Frame<'_>, mask: Option<[u8; 4]>, out: &mut OutBuf) -> bool {
        let parts = [frame.prefix, frame.data];
        let len = frame.prefix.len() + frame.data.len();
        let longest = self.window.saturating_mul(WINDOWS);
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

    /// The same for a message to many, which is compressed once for all that have no past of their own.
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

/// The compressors of a core.
#[derive(Default)]
pub(super) struct Compressors {
    /// For messages without a past.
    shared: Option<Compress>,
    owned: Vec<Owned>,
    /// How often one of those was used.
    uses: u64,
    scratch: Vec<u8>,
}

/// A compressor with what its owner sent.
struct Owned {
    compress: Compress,
    /// `None`: nobody's, its connection has ended.
    owner: Option<u64>,
    /// When it was used last, by the count of uses.
    used: u64,
}

impl Compressors {
    /// `None`: it does not become smaller, and its owner, who would have it all the same for the sake of those that
    /// come after it, does not get it.
    fn compress(&mut self, owner: Option<u64>, window: usize, parts: [&[u8]; 2]) -> Option<&[u8]> {
        if self.scratch.capacity() > KEPT {
            self.scratch = Vec::new();
        }
        self.scratch.clear();
        let compress = match owner {
            Some(owner) => {
                self.uses += 1;
                let owned = find(&mut self.owned, owner);
                owned.used = self.uses;
                &mut owned.compress
            }
            None => {
                let compress = self.shared.get_or_insert_with(new);
                compress.reset();
                compress
            }
        };
        let len = parts[0].len() + parts[1].len();
        // Short messages hardly shrink until there are others to refer to.
        let bound = if owner.is_some() { len + len / 16 + 64 } else { len };
        let done = codec::compress(compress, window, parts, bound, &mut self.scratch);
        if !done {
            // The peer is not to be referred to what it does not get in this form.
            compress.reset();
        }
        done.then_some(&*self.scratch)
    }

    fn release(&mut self, owner: u64) {
        if let Some(owned) = self.owned.iter_mut().find(|owned| owned.owner == Some(owner)) {
            (owned.owner, owned.used) = (None, 0);
        }
    }
}

#[cfg(test)]
impl Compressors {
    /// How many there are, and how many of them have an owner.
    pub(super) fn counts(&self) -> (usize, usize) {
        let owned = self.owned.iter().filter(|owned| owned.owner.is_some());
        (self.owned.len(), owned.count())
    }
}

/// The owner's compressor, or else the one that was idle longest, without its past.
fn find(all: &mut Vec<Owned>, owner: u64) -> &mut Owned {
    let mine = all.iter().position(|owned| owned.owner == Some(owner));
    let idle = || {
        let (at, owned) = all.iter().enumerate().min_by_key(|(_, owned)| owned.used)?;
        (owned.owner.is_none() || all.len() >= COMPRESSORS).then_some(at)
    };
    let at = match mine.or_else(idle) {
        Some(at) => at,
        None => {
            all.push(Owned { compress: new(), owner: Some(owner), used: 0 });
            all.len() - 1
        }
    };
    let found = &mut all[at];
    if found.owner != Some(owner) {
        found.compress.reset();
        found.owner = Some(owner);
    }
    found
}

fn new() -> Compress {
    // As for HTTP: a core does nothing else meanwhile.
    Compress::new(Compression::fast(), false)
}
