//! Masking, RFC 6455 section 5.3.

/// XORs `payload` in place with `key` and returns the key for the next bytes of the same frame. Applied twice, it
/// restores the payload.
///
/// > Octet i of the transformed data ("transformed-octet-i") is the XOR of octet i of the original data
/// > ("original-octet-i") with octet at index i modulo 4 of the masking key
#[inline(never)]
pub(super) fn apply(payload: &mut [u8], key: [u8; 4]) -> [u8; 4] {
    // The key of an unmasked frame, or of a client that does not mask: there is nothing to change.
    if key == [0; 4] {
        return key;
    }
    // Without std: single bytes take less code, and no more time on a processor without unaligned access.
    match payload.len() {
        _ if !cfg!(feature = "std") => by_bytes(payload, key),
        LONG.. => by_lines(payload, key),
        _ => by_words(payload, key),
    }
}

/// For any alignment of the payload: no word that is written crosses a cache line.
#[inline(never)]
fn by_lines(payload: &mut [u8], key: [u8; 4]) -> [u8; 4] {
    let unaligned = payload.as_ptr().align_offset(LINE).min(payload.len());
    let (front, back) = payload.split_at_mut(unaligned);
    let key = by_bytes(front, key);
    by_words(back, key)
}

/// The minimum length in bytes for which alignment to a cache line is faster.
const LONG: usize = 4096;
/// The size of a cache line of current processors, in bytes.
const LINE: usize = 64;

// Always inlined: a call costs more than the payload of a short frame.
#[inline(always)]
fn by_words(payload: &mut [u8], key: [u8; 4]) -> [u8; 4] {
    let key = u32::from_le_bytes(key);
    let twice = u64::from(key) << 32 | u64::from(key);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_le_bytes(*word) ^ twice).to_le_bytes();
    }
    for (byte, octet) in rest.iter_mut().zip(twice.to_le_bytes()) {
        *byte ^= octet;
    }
    let octets = rest.len() as u32 % 4;
    key.rotate_right(octets * u8::BITS).to_le_bytes()
}

fn by_bytes(payload: &mut [u8], key: [u8; 4]) -> [u8; 4] {
    let mut key = u32::from_le_bytes(key);
    for byte in payload {
        *byte ^= key as u8;
        key = key.rotate_right(u8::BITS);
    }
    key.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    type Way = fn(&mut [u8], [u8; 4]) -> [u8; 4];
    const WAYS: [Way; 4] = [apply, by_lines, by_words, by_bytes];

    #[test]
    fn long_payload_at_any_alignment_matches_the_formula() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for (start, apply) in (0..=LINE).flat_map(|start| WAYS.map(|way| (start, way))) {
            let mut memory = std::vec![0; LINE + LONG + 7];
            let rest = apply(&mut memory[start..], key);
            let len = memory.len() - start;
            let expected: Vec<u8> = (0..len).map(|i| key[i % 4]).collect();
            assert_eq!(memory[start..], expected, "{start}");
            assert_eq!(rest, [0, 1, 2, 3].map(|i| key[(len + i) % 4]));
        }
    }

    #[test]
    fn every_length_and_split_matches_the_formula() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for len in 0..70_u8 {
            let expected: Vec<u8> = (0..len).map(|i| i ^ key[usize::from(i % 4)]).collect();
            for (cut, apply) in (0..=usize::from(len)).flat_map(|cut| WAYS.map(|way| (cut, way))) {
                let mut payload: Vec<u8> = (0..len).collect();
                let (front, back) = payload.split_at_mut(cut);
                let rest = apply(front, key);
                apply(back, rest);
                assert_eq!(payload, expected, "{len} bytes split at {cut}");
            }
        }
    }
}
