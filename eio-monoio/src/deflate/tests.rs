//! Tests of both directions together.

use eio_core::buffer::RecvBuffer;
use eio_core::packet::Message;
use eio_core::ws::{Decoder, Error, Step};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::*;
use crate::io::ws_sender::WsSender;
use crate::message::{Encoded, OutBuf};
use crate::worker::pool::Pool;

const MAX: usize = 100_000;

/// The sending direction of a server and the receiving one of a client, on terms that are the same both ways.
fn pair(takeover: bool, window: u8) -> (Rc<WorkerContext>, WsSender, Inward) {
    let worker = Rc::new(WorkerContext::default());
    let (sender, inward) = pair_on(&worker, takeover, window);
    (worker, sender, inward)
}

fn pair_on(worker: &Rc<WorkerContext>, takeover: bool, window: u8) -> (WsSender, Inward) {
    let options = PerMessageDeflate::new()
        .threshold(10)
        .server_no_context_takeover(!takeover)
        .client_no_context_takeover(!takeover);
    let bits = WindowBits::new(window);
    let terms =
        Terms { server_max_window_bits: bits, client_max_window_bits: bits, ..options.terms() };
    let (outward, _) = options.begin(worker, Role::Server, &terms, MAX);
    let (_, inward) = options.begin(worker, Role::Client, &terms, MAX);
    (WsSender::new(OutBuf::default(), Some(outward)), *inward)
}

/// Text that is worth compressing, different for each seed.
fn text(len: usize, seed: u32) -> String {
    let words =
        (seed..).map(|n| format!("{{\"id\":{},\"word\":\"{:x}\"}},", n % 97, n * 7919 % 31));
    let mut text: String = words.take(len / 16 + 1).collect();
    text.truncate(len);
    text
}

fn noise(len: usize) -> Vec<u8> {
    let mut noise = vec![0; len];
    getrandom::fill(&mut noise).unwrap();
    noise
}

/// The payload of the only frame that was written, and whether it is compressed.
fn frame(sender: &WsSender) -> (Vec<u8>, bool) {
    let ws = sender.take().to_vec();
    let len = ws.len();
    let mut rx = RecvBuffer::with_unread(ws, len);
    let mut decoder = Decoder::new(Role::Client, MAX).allow_compressed();
    let Ok(Step::Ready(ready)) = decoder.poll(&mut rx) else { panic!("no frame") };
    let payload = decoder.payload_mut(&mut rx, ready).to_vec();
    assert!(matches!(decoder.poll(&mut rx), Ok(Step::Need(_))), "more than one frame");
    (payload, ready.is_compressed())
}

fn inflated(payload: &[u8], max: usize) -> Result<Vec<u8>, Error> {
    let mut inward = Inward::new(&Rc::new(WorkerContext::default()), max, None);
    inward.inflate(payload)?;
    Ok(inward.message().to_vec())
}

#[test]
fn compressed_messages_inflate_to_the_original_on_all_terms() {
    for takeover in [false, true] {
        for window in [8, 9, 12, 15] {
            let (_worker, sender, mut inward) = pair(takeover, window);
            for (n, len) in
                [10, 11, 256, 257, 1000, 5000, 32_768, 40_000, 99_999].into_iter().enumerate()
            {
                let text = text(len, n as u32);
                sender.raw_message(&Pool::default(), Message::Text(&text), None);
                let (payload, compressed) = frame(&sender);
                if compressed {
                    assert!(payload.len() < len || (takeover && len < 20));
                    inward.inflate(&payload).unwrap();
                    assert!(inward.message() == text.as_bytes(), "{takeover} {window} {len}");
                } else {
                    assert!(payload == text.as_bytes());
                    let windows = (len - 1) >> window;
                    assert!(len < 1000 || windows >= 64, "{takeover} {window} {len}: uncompressed");
                }
            }
        }
    }
}

#[test]
fn small_messages_and_noise_without_context_takeover_are_sent_uncompressed() {
    for takeover in [false, true] {
        let (_worker, sender, mut inward) = pair(takeover, 15);
        sender.raw_message(&Pool::default(), Message::Text("aaaaaaaaa"), None);
        assert_eq!(frame(&sender), (b"aaaaaaaaa".to_vec(), false));
        sender.raw_message(&Pool::default(), Message::Text(&"a".repeat(50)), None);
        let (payload, compressed) = frame(&sender);
        assert!(compressed);
        inward.inflate(&payload).unwrap();
        let noise = noise(5000);
        sender.raw_message(&Pool::default(), Message::Binary(&noise), None);
        let (payload, compressed) = frame(&sender);
        assert_eq!(compressed, takeover);
        if compressed {
            inward.inflate(&payload).unwrap();
            assert!(inward.message() == noise && payload.len() < 5100);
        }
        sender.raw_message(&Pool::default(), Message::Binary(&noise.repeat(2)), None);
        let (payload, compressed) = frame(&sender);
        assert!(compressed);
        inward.inflate(&payload).unwrap();
        assert!(inward.message() == noise.repeat(2));
    }
}

#[test]
fn the_examples_of_rfc_7692() {
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    for (payload, expected) in [
        // 7.2.3.1, 7.2.3.3 to 7.2.3.6.
        (&hello[..], &b"Hello"[..]),
        (b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", b"Hello"),
        (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", b"Hello"),
        (b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", b"Hello"),
        (b"\x00", b""),
        // A final block with nothing after it, and one that the appended bytes complete.
        (b"\xf3\x48\xcd\xc9\xc9\x07\x00", b"Hello"),
        (b"\x01", b""),
        (b"\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x48\xcd\xc9\xc9\x07\x00", b"HelloHello"),
    ] {
        assert_eq!(inflated(payload, 100).as_deref(), Ok(expected), "{}", payload.escape_ascii());
    }
    // 7.2.3.2: the second refers to the first.
    let second = b"\xf2\x00\x11\x00\x00";
    let worker = Rc::new(WorkerContext::default());
    let mut inward = Inward::new(&worker, 100, Some(1 << 15));
    for payload in [&hello[..], second] {
        inward.inflate(payload).unwrap();
        assert_eq!(inward.message(), b"Hello");
    }
    // Without context takeover there are no earlier bytes to refer to.
    let mut inward = Inward::new(&worker, 100, None);
    inward.inflate(hello).unwrap();
    assert_eq!(inward.inflate(second), Err(Error::NotDeflate));
}

#[test]
fn no_message_inflates_beyond_the_limit() {
    let (_worker, sender, _) = pair(false, 15);
    sender.raw_message(&Pool::default(), Message::Binary(&[0; 50_000]), None);
    let (payload, _) = frame(&sender);
    assert_eq!(inflated(&payload, 50_000), Ok(vec![0; 50_000]));
    assert_eq!(inflated(&payload, 49_999), Err(Error::TooBig));
    assert_eq!(inflated(&payload, 0), Err(Error::TooBig));
    assert_eq!(inflated(b"\x00", 0), Ok(vec![]));
    // One megabyte in one kilobyte: no more memory is allocated than the limit permits.
    let mut bomb = flate2::Compress::new(flate2::Compression::best(), false);
    let mut payload = Vec::with_capacity(2000);
    bomb.compress_vec(&vec![0; 1_000_000], &mut payload, flate2::FlushCompress::Sync).unwrap();
    payload.truncate(payload.len() - 4);
    let mut inward = Inward::new(&Rc::new(WorkerContext::default()), 20_000, None);
    assert_eq!(inward.inflate(&payload), Err(Error::TooBig));
    assert!(inward.buffer_len() <= 32 * 1024, "{}", inward.buffer_len());
}

#[test]
fn invalid_and_truncated_deflate_data_is_refused() {
    for payload in [
        &b""[..],
        b"\xff",
        b"\x06",
        b"\x04\x05",
        b"\x00\x05\x00\xfa\xfe",
        b"\x00\x05\x00\xfa\xff\x48",
        b"Hello, this is not compressed at all",
        // A back-reference to before the beginning.
        b"\x02\x13\x00\x00",
    ] {
        let refused = inflated(payload, 1000);
        assert_eq!(refused, Err(Error::NotDeflate), "{}", payload.escape_ascii());
    }
    let (_worker, sender, _) = pair(false, 15);
    sender.raw_message(&Pool::default(), Message::Text(&text(500, 1)), None);
    let (payload, compressed) = frame(&sender);
    assert!(compressed);
    for cut in 0..payload.len() {
        // Without its last byte it may end in an empty block that the appended bytes complete.
        if inflated(&payload[..cut], 1000).is_ok() {
            assert_eq!(cut, payload.len() - 1, "of {}", payload.len());
        }
    }
}

#[test]
fn truncated_data_is_not_too_big_because_of_the_appended_bytes() {
    // 210 bytes, and with the bytes appended to a message a run of hundreds more.
    let payload =
        b"\x4a\x4c\xc2\x80\x4a\xa4\x00\x2f\x4c\x4a\x1c\x85\xc2\x44\x04\x20\x85\x64\xc2\x00";
    for max in [210, 211, 300, 1000, 100_000] {
        assert_eq!(inflated(payload, max), Err(Error::NotDeflate), "{max}");
    }
    assert_eq!(inflated(payload, 209), Err(Error::TooBig));
}

#[test]
fn a_message_of_many_empty_blocks_is_refused() {
    // Empty blocks with fixed codes, each ten bits: as much work as thousands of bytes.
    let four = [0b0000_0010, 0b0000_1000, 0b0010_0000, 0b1000_0000, 0b0000_0000];
    assert_eq!(inflated(&[&four.repeat(10_000)[..], &[0]].concat(), MAX), Err(Error::NotDeflate));
    assert_eq!(inflated(&[&four.repeat(2)[..], &[0]].concat(), MAX), Ok(vec![]));
    assert_eq!(inflated(&[3, 0].repeat(10_000), MAX), Err(Error::NotDeflate));
    // A compressor that is flushed after each byte.
    let mut compress = flate2::Compress::new(flate2::Compression::fast(), false);
    let mut payload = Vec::with_capacity(100_000);
    for byte in text(5000, 3).bytes() {
        compress.compress_vec(&[byte], &mut payload, flate2::FlushCompress::Sync).unwrap();
    }
    payload.truncate(payload.len() - 4);
    assert!(inflated(&payload, MAX).is_ok_and(|plain| plain == text(5000, 3).as_bytes()));
}

#[test]
fn no_message_refers_back_beyond_the_agreed_window() {
    for (takeover, window) in
        [(false, 8), (false, 9), (true, 9), (true, 11), (false, 15), (true, 15)]
    {
        let (_worker, sender, _) = pair(takeover, window);
        // The ring holds the window only: a reference beyond it finds other bytes.
        let mut ring = vec![0; 1 << window];
        let (mut at, mut inflater) = (0, DecompressorOxide::new());
        for n in 0..3 {
            let text = text(15_000, n);
            sender.raw_message(&Pool::default(), Message::Text(&text), None);
            let (mut payload, compressed) = frame(&sender);
            assert!(compressed, "{window}");
            payload.extend_from_slice(&[0, 0, 0xff, 0xff]);
            let (mut rest, mut plain) = (&*payload, Vec::new());
            loop {
                let (status, read, written) =
                    decompress(&mut inflater, rest, &mut ring, at, TINFL_FLAG_HAS_MORE_INPUT);
                plain.extend_from_slice(&ring[at..at + written]);
                at = (at + written) % ring.len();
                rest = &rest[read..];
                match status {
                    TINFLStatus::HasMoreOutput => {}
                    TINFLStatus::NeedsMoreInput if rest.is_empty() => break,
                    other => panic!("{other:?}"),
                }
            }
            assert!(plain == text.as_bytes(), "{takeover} {window}");
        }
    }
}

#[test]
fn similar_messages_shrink_more_with_context_takeover() {
    let sizes = |takeover| {
        let (_worker, sender, mut inward) = pair(takeover, 15);
        let text = text(500, 7);
        let mut size = || {
            sender.raw_message(&Pool::default(), Message::Text(&text), None);
            let (payload, _) = frame(&sender);
            inward.inflate(&payload).unwrap();
            assert_eq!(inward.message(), text.as_bytes());
            payload.len()
        };
        (size(), size())
    };
    let (alone, again) = sizes(false);
    assert_eq!(alone, again);
    let (first, second) = sizes(true);
    assert_eq!(first, alone);
    assert!(second < first / 3, "{first} and then {second}");
}

#[test]
fn compressors_are_bounded_and_reused_after_their_connection_ends() {
    let worker = Rc::new(WorkerContext::default());
    let mut pairs: Vec<_> = (0..40).map(|_| pair_on(&worker, true, 15)).collect();
    let codecs = worker.per_worker::<Codecs>();
    let count = || codecs.compressors.borrow().counts();
    for round in 0..3 {
        for (n, (sender, inward)) in pairs.iter_mut().enumerate() {
            let text = text(300, n as u32);
            sender.raw_message(&Pool::default(), Message::Text(&text), None);
            let (payload, compressed) = frame(sender);
            assert!(compressed);
            inward.inflate(&payload).unwrap();
            assert_eq!(inward.message(), text.as_bytes(), "{n} in round {round}");
        }
    }
    assert_eq!(count(), (32, 32));
    pairs.truncate(39);
    assert_eq!(count(), (32, 31));
    pairs.clear();
    assert_eq!(count(), (32, 0));
    let (sender, _inward) = pair_on(&worker, true, 15);
    sender.raw_message(&Pool::default(), Message::Text(&text(300, 0)), None);
    assert_eq!(count(), (32, 1));
}

#[test]
fn no_more_earlier_bytes_are_kept_than_the_window() {
    let (worker, sender, mut inward) = pair(true, 15);
    let mut narrow = Inward::new(&worker, MAX, Some(512));
    sender.raw_message(&Pool::default(), Message::Text(&text(300, 0)), None);
    let (payload, _) = frame(&sender);
    inward.inflate(&payload).unwrap();
    assert_eq!(inward.past_len(), 300);
    narrow.inflate(&payload).unwrap();
    let (sender, _) = pair_on(&worker, false, 9);
    for n in 0..20 {
        sender.raw_message(&Pool::default(), Message::Text(&text(9000, n)), None);
        let (payload, _) = frame(&sender);
        inward.inflate(&payload).unwrap();
        narrow.inflate(&payload).unwrap();
        assert_eq!(narrow.message(), text(9000, n).as_bytes());
    }
    assert_eq!((inward.past_len(), narrow.past_len()), (32 * 1024, 512));
}

#[test]
fn a_broadcast_is_compressed_once() {
    let worker = Rc::new(WorkerContext::default());
    let text = text(2000, 5);
    let encoded = Encoded::new(Message::Text(&text));
    let plain = format!("4{text}");
    let mut frames = Vec::new();
    for (takeover, window) in [(false, 15), (false, 15), (true, 15), (false, 9)] {
        let (sender, mut inward) = pair_on(&worker, takeover, window);
        sender.encoded(&Pool::default(), &encoded);
        let (payload, compressed) = frame(&sender);
        assert!(compressed);
        inward.inflate(&payload).unwrap();
        assert_eq!(inward.message(), plain.as_bytes());
        frames.push(payload);
    }
    assert_eq!(frames[0], frames[1]);
    assert!(encoded.compressed(|| panic!("compressed again")).is_some());
    // A broadcast that does not become smaller is compressed only once too.
    let noise = noise(2000);
    let encoded = Encoded::new(Message::Binary(&noise));
    let (sender, _) = pair_on(&worker, false, 15);
    sender.encoded(&Pool::default(), &encoded);
    assert_eq!(frame(&sender), (noise, false));
    assert!(encoded.compressed(|| panic!("compressed again")).is_none());
}
