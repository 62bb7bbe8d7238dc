//! A polling body.

use eio_core::buffer::Overflow;
use eio_core::packet::{Error, Packet};
use eio_core::payload::{Decoder, Encoder, PushOutcome, SEPARATOR};

use super::Input;
use super::out::Out;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::parse(data);
    let max_packets = input.pick(&[usize::MAX, 16, 2, 0]);
    // The first size is the limit in bytes, the second the room of the output.
    let sizes: Vec<usize> = input.sizes().take(2).collect();
    let [max_bytes, room] = [sizes[0], sizes[1]];

    let mut body = input.wire.to_vec();
    let decoded: Vec<Result<Packet<'_>, Error>> = Decoder::new(&mut body).collect();
    let records = 1 + input.wire.iter().filter(|byte| **byte == SEPARATOR).count();
    let (last, before) = decoded.split_last().expect("at least one packet");
    assert!(before.iter().all(Result::is_ok), "nothing follows an error");
    assert!(decoded.len() == records || last.is_err(), "every record is reported");
    let packets: Vec<Packet<'_>> = decoded.into_iter().map_while(Result::ok).collect();

    // The meaning of a record does not depend on its neighbours.
    let mut alone: Vec<Vec<u8>> =
        input.wire.split(|byte| *byte == SEPARATOR).map(Into::into).collect();
    for (packet, record) in packets.iter().zip(&mut alone) {
        assert_eq!(Packet::parse_text(record), Ok(*packet));
    }

    for bound in [usize::MAX, max_bytes] {
        bodies(&packets, bound, max_packets, usize::MAX);
        bodies(&packets, bound, max_packets, room);
    }
}

/// Encodes the packets in as many bodies as needed, and decodes those.
fn bodies(packets: &[Packet<'_>], max_bytes: usize, max_packets: usize, room: usize) {
    let mut rest = packets;
    while !rest.is_empty() {
        let mut out = Out::with_room(room);
        let mut encoder = Encoder::new(max_bytes, max_packets);
        let mut written = 0;
        while let Some(packet) = rest.get(written) {
            let (before, had_room) = (encoder, encoder.has_room(Some(packet)));
            let pushed = encoder.push(&mut out, packet);
            if pushed != Ok(PushOutcome::Written) {
                assert_eq!(encoder, before, "a refused packet counts");
            }
            match pushed {
                Ok(PushOutcome::Written) => {
                    assert!(encoder.len() > before.len() && had_room);
                    written += 1;
                }
                Ok(PushOutcome::Full) => {
                    assert!(!before.is_empty() && !had_room);
                    break;
                }
                Ok(PushOutcome::Separator) => unreachable!("the packet was decoded from a body"),
                Err(Overflow) => break,
            }
        }
        assert_eq!((encoder.len(), encoder.packets()), (out.bytes.len(), written));
        assert!(written <= 1 || (out.bytes.len() <= max_bytes && written <= max_packets));
        if written == 0 {
            assert!(room < rest[0].text_len(), "a packet that fits is refused");
            return;
        }
        let (sent, later) = rest.split_at(written);
        let read: Vec<_> = Decoder::new(&mut out.bytes).map(|packet| packet.map(owned)).collect();
        assert_eq!(read, sent.iter().map(|packet| Ok(owned(*packet))).collect::<Vec<_>>());
        rest = later;
    }
}

/// A packet as an owned value, so that packets of different bodies compare.
fn owned(packet: Packet<'_>) -> String {
    format!("{packet:?}")
}
