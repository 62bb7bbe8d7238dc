//! A growing output, and one with too little room.

use eio_core::buffer::{Overflow, Sink};

/// Takes up to `room` bytes.
pub(crate) struct Out {
    pub(crate) bytes: Vec<u8>,
    room: usize,
}

impl Out {
    pub(crate) fn new() -> Self {
        Self::with_room(usize::MAX)
    }

    pub(crate) fn with_room(room: usize) -> Self {
        Self { bytes: Vec::new(), room }
    }
}

impl Sink for Out {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        self.claim(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn claim(&mut self, n: usize) -> Result<&mut [u8], Overflow> {
        let len = self.bytes.len();
        if n > self.room - len {
            return Err(Overflow);
        }
        // Bytes that an encoder claims and does not overwrite must be visible in a comparison.
        self.bytes.resize(len + n, 0xee);
        Ok(&mut self.bytes[len..])
    }
}
