//! [`Records`]: the bytes that embedded-tls receives, without records that it cannot decrypt without a panic.

use embedded_io_async::{Error as _, ErrorKind, ErrorType, Read};

/// The content type of an encrypted record (RFC 8446 section 5.1).
const APPLICATION_DATA: u8 = 23;
/// The bytes that AES-128-GCM adds to a record (RFC 5116 section 5.1).
const TAG: u16 = 16;
/// Content type, version and length.
const HEAD: usize = 5;

/// The receiving half of the connection below. It ends with `InvalidData` at an encrypted record without content.
///
/// RFC 8446 section 5.2: the length of an encrypted record is that of the content and the padding, "plus one for the
/// inner content type, plus any expansion added by the AEAD algorithm". embedded-tls 0.19 panics if there is no content
/// type. A peer can send such a record before its certificate is checked.
pub(super) struct Records<R> {
    inner: R,
    head: heapless::Vec<u8, HEAD>,
    /// How many bytes of the record follow.
    left: u16,
}

impl<R> Records<R> {
    pub(super) const fn new(inner: R) -> Self {
        Self { inner, head: heapless::Vec::new(), left: 0 }
    }

    /// Checks the next received bytes. False at the head of a record without content.
    fn check(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let skipped = bytes.len().min(usize::from(self.left));
                self.left -= skipped as u16;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            bytes = rest;
            // A complete head is cleared below.
            let _ = self.head.push(first);
            if let &[content_type, _, _, high, low] = self.head.as_slice() {
                self.head.clear();
                self.left = u16::from_be_bytes([high, low]);
                if content_type == APPLICATION_DATA && self.left <= TAG {
                    return false;
                }
            }
        }
        true
    }
}

impl<R> ErrorType for Records<R> {
    type Error = ErrorKind;
}

impl<R: Read> Read for Records<R> {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, ErrorKind> {
        let n = self.inner.read(into).await.map_err(|error| error.kind())?;
        if self.check(into.get(..n).unwrap_or_default()) {
            Ok(n)
        } else {
            Err(ErrorKind::InvalidData)
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    use super::*;

    /// A handshake record of 3 bytes, an alert, an encrypted record with one byte besides the tag, and an empty record.
    fn records(last: u8) -> Vec<u8> {
        let mut bytes = vec![22, 3, 3, 0, 3, 1, 2, 3, 21, 3, 3, 0, 2, 2, 40, 23, 3, 3, 0, 17];
        bytes.extend([23; 17]);
        bytes.extend([20, 3, 3, 0, 0, 23, 3, 3, 0, last]);
        bytes
    }

    #[test]
    fn an_encrypted_record_needs_a_content_type_wherever_its_bytes_are_split() {
        for last in [0, 1, 15, 16, 17, 255] {
            let bytes = records(last);
            for at in 0..=bytes.len() {
                let mut records = Records::new(());
                let (first, second) = bytes.split_at(at);
                let accepted = records.check(first) && records.check(second);
                assert_eq!(accepted, last > 16, "length {last}, split at {at}");
            }
            let mut records = Records::new(());
            assert_eq!(bytes.chunks(1).all(|byte| records.check(byte)), last > 16);
        }
    }
}
