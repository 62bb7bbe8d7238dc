//! The other peer of permessage-deflate, RFC 7692.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::websocket::Frame;

pub(crate) const RSV1: u8 = 0x40;

/// A peer with DEFLATE streams of its own, whose messages may refer to earlier ones.
pub(crate) struct DeflatePeer {
    compress: Compress,
    decompress: Decompress,
}

impl DeflatePeer {
    pub(crate) fn new() -> Self {
        let compress = Compress::new(Compression::best(), false);
        Self { compress, decompress: Decompress::new(false) }
    }

    pub(crate) fn compress(&mut self, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(data.len() + 1000);
        self.compress.compress_vec(data, &mut out, FlushCompress::Sync).expect("enough memory");
        assert_eq!(out.split_off(out.len() - 4), [0, 0, 0xff, 0xff]);
        out
    }

    pub(crate) fn inflate(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(2_000_000);
        for part in [payload, &[0, 0, 0xff, 0xff]] {
            self.decompress.decompress_vec(part, &mut out, FlushDecompress::Sync).expect("DEFLATE");
        }
        out
    }

    /// The message in a frame, which must be compressed.
    #[track_caller]
    pub(crate) fn read(&mut self, frame: &Frame, opcode: u8) -> Vec<u8> {
        assert_eq!(frame.first, opcode | RSV1, "{frame:?}");
        self.inflate(&frame.payload)
    }
}
