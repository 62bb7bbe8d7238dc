//! Polling bodies: 64 messages of 64 bytes.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use eio_codec_benches as floor;
use eio_core::buffer::Writer;
use eio_core::packet::{Message, Packet};
use eio_core::payload::{Decoder, Encoder};
use engineioxide_core::{Packet as Theirs, PacketBuf, ProtocolVersion, Str, payload as theirs};
use futures_util::{FutureExt, StreamExt, stream};
use http_body_util::Full;
use rust_engineio::packet::{Packet as Rust, PacketId};

use crate::ascii_text;

const MESSAGES: usize = 64;
const LIMIT: usize = 1_000_000;

pub fn payload(c: &mut Criterion) {
    let data: Vec<String> = (0..MESSAGES).map(|_| ascii_text(64)).collect();
    let messages: Vec<&str> = data.iter().map(String::as_str).collect();
    let body = format!("4{}", messages.join("\x1e4")).into_bytes();
    let mut out = vec![0; body.len() + 64];

    let mut group = c.benchmark_group("payload/decode_64x64B");
    group.throughput(Throughput::Bytes(body.len() as u64));
    let mut own = body.clone();
    group.bench_function("eio-core", |b| {
        b.iter(|| Decoder::new(black_box(&mut own)).filter(Result::is_ok).count());
    });
    group.bench_function("floor", |b| {
        b.iter(|| {
            let mut count = 0;
            floor::decode_payload(black_box(&body), |text| count += black_box(text).len().min(1));
            count
        });
    });
    let shared = bytes::Bytes::from(body.clone());
    group.bench_function("engineioxide", |b| {
        b.iter(|| {
            let body = Full::new(black_box(shared.clone()));
            let packets = theirs::decoder(body, None, ProtocolVersion::V4, LIMIT as u64);
            packets.filter(|packet| std::future::ready(packet.is_ok())).count().now_or_never()
        });
    });
    // Its loop over bodies is private: this is the same loop over its packets.
    group.bench_function("rust_engineio", |b| {
        b.iter(|| {
            let records = black_box(&body).split(|byte| *byte == 0x1e);
            records.filter(|r| Rust::try_from(bytes::Bytes::copy_from_slice(r)).is_ok()).count()
        });
    });
    group.finish();

    let mut group = c.benchmark_group("payload/encode_64x64B");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("eio-core", |b| {
        b.iter(|| {
            let mut writer = Writer::new(black_box(&mut out));
            let mut encoder = Encoder::new(LIMIT, MESSAGES);
            for message in black_box(&messages) {
                let _ = encoder.push(&mut writer, &Packet::Message(Message::Text(message)));
            }
            encoder.len()
        });
    });
    group.bench_function("floor", |b| {
        b.iter(|| floor::encode_payload(black_box(&messages), black_box(&mut out)));
    });
    group.bench_function("memcpy (separators not looked for)", |b| {
        b.iter(|| floor::encode_payload_unchecked(black_box(&messages), black_box(&mut out)));
    });
    let packets: Vec<PacketBuf> = messages
        .iter()
        .map(|message| PacketBuf::from_iter([Theirs::Message(Str::copy_from_slice(message))]))
        .collect();
    group.bench_function("engineioxide", |b| {
        b.iter(|| {
            let packets = stream::iter(black_box(&packets).iter().cloned());
            let body = theirs::encoder(packets, ProtocolVersion::V4, true, LIMIT as u64);
            body.now_or_never().map(|body| body.data.len())
        });
    });
    let packets: Vec<bytes::Bytes> =
        messages.iter().map(|message| bytes::Bytes::copy_from_slice(message.as_bytes())).collect();
    group.bench_function("rust_engineio", |b| {
        b.iter(|| {
            let mut body = bytes::BytesMut::new();
            for packet in black_box(&packets) {
                let packet = Rust::new(PacketId::Message, packet.clone());
                body.extend(bytes::Bytes::from(packet));
                body.extend([0x1e]);
            }
            body.len()
        });
    });
    group.finish();
}
