//! CRC-32C (RFC 3720 appendix B.4), bit by bit: few headers have one.

/// The checksum of a header whose own four bytes at `at` count as zero (spec 2.2.3).
pub(super) fn of_header(header: &[u8], at: usize) -> u32 {
    let bytes = header.iter().enumerate();
    let bytes = bytes.map(|(index, &byte)| if (at..at + 4).contains(&index) { 0 } else { byte });
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            // The polynomial 0x1EDC6F41, reflected.
            if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 3720 appendix B.4, with the checksum's place after them.
    #[test]
    fn examples_of_the_rfc() {
        let ascending: std::vec::Vec<u8> = (0..32).collect();
        for (bytes, crc) in
            [(&[0; 32][..], 0x8A91_36AA), (&[0xff; 32], 0x62A8_AB43), (&ascending, 0x46DD_794E)]
        {
            assert_eq!(of_header(bytes, bytes.len()), crc);
        }
        assert_eq!(of_header(&[0, 1, 2, 3, 4, 5, 6], 2), of_header(&[0, 1, 0, 0, 0, 0, 6], 9));
    }
}
