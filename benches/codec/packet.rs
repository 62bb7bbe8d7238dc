//! Single packets.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use eio_codec_benches as floor;
use eio_core::buffer::Writer;
use eio_core::open::{OPEN_MAX, Open};
use eio_core::packet::{Message, Packet};
use eio_core::transport::{Transport, TransportSet};
use engineioxide_core::{OpenPacket, Packet as Theirs, ProtocolVersion, Str, TransportType};
use rust_engineio::packet::{Packet as Rust, PacketId};

use crate::{SIZES, ascii_text, bytes};

pub fn text(c: &mut Criterion) {
    for (len, name) in SIZES {
        let data = ascii_text(len);
        let record = format!("4{data}").into_bytes();
        let mut out = vec![0; len + 16];

        let mut group = c.benchmark_group(format!("packet/text_decode_{name}"));
        group.throughput(Throughput::Bytes(len as u64));
        let mut own = record.clone();
        group.bench_function("eio-core", |b| {
            b.iter(|| Packet::parse_text(black_box(&mut own)).is_ok());
        });
        group.bench_function("floor", |b| b.iter(|| floor::decode_text(black_box(&record))));
        let shared = Str::from(format!("4{data}"));
        // It takes text, so its callers, tungstenite and its payload decoder, validate UTF-8 first, as here.
        group.bench_function("engineioxide", |b| {
            b.iter(|| {
                std::str::from_utf8(black_box(&record)).ok()?;
                Theirs::parse(ProtocolVersion::V4, black_box(shared.clone())).ok().map(|_| ())
            });
        });
        let shared = bytes::Bytes::from(record.clone());
        group.bench_function("rust_engineio (no UTF-8 check)", |b| {
            b.iter(|| Rust::try_from(black_box(shared.clone())).is_ok());
        });
        group.finish();

        let mut group = c.benchmark_group(format!("packet/text_encode_{name}"));
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function("eio-core", |b| {
            b.iter(|| {
                let packet = Packet::Message(Message::Text(black_box(&data)));
                packet.encode_text(&mut Writer::new(black_box(&mut out)))
            });
        });
        group.bench_function("floor", |b| {
            b.iter(|| floor::encode_text(black_box(&data), black_box(&mut out)));
        });
        let shared = Str::from(data.clone());
        group.bench_function("engineioxide", |b| {
            b.iter(|| String::from(Theirs::Message(black_box(shared.clone()))));
        });
        let shared = bytes::Bytes::from(data.clone());
        group.bench_function("rust_engineio", |b| {
            b.iter(|| bytes::Bytes::from(Rust::new(PacketId::Message, black_box(shared.clone()))));
        });
        group.finish();
    }
}

pub fn base64(c: &mut Criterion) {
    for (len, name) in SIZES {
        let data = bytes(len);
        let mut out = vec![0; len * 2 + 16];
        let record = floor::encode_base64(&data, &mut out).to_vec();

        let mut group = c.benchmark_group(format!("packet/base64_decode_{name}"));
        group.throughput(Throughput::Bytes(len as u64));
        let mut own = record.clone();
        group.bench_function("eio-core", |b| {
            b.iter(|| {
                own.copy_from_slice(black_box(&record));
                Packet::parse_text(&mut own).is_ok()
            });
        });
        group.bench_function("floor", |b| {
            b.iter(|| {
                own.copy_from_slice(black_box(&record));
                floor::decode_base64(&mut own).is_some()
            });
        });
        group.bench_function("engineioxide", |b| {
            b.iter(|| {
                own.copy_from_slice(black_box(&record));
                let text = std::str::from_utf8(&own).unwrap_or_default();
                Theirs::parse(ProtocolVersion::V4, Str::copy_from_slice(text)).is_ok()
            });
        });
        group.bench_function("rust_engineio", |b| {
            b.iter(|| Rust::try_from(bytes::Bytes::copy_from_slice(black_box(&record))).is_ok());
        });
        group.finish();

        let mut group = c.benchmark_group(format!("packet/base64_encode_{name}"));
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function("eio-core", |b| {
            b.iter(|| {
                let packet = Packet::Message(Message::Binary(black_box(&data)));
                packet.encode_text(&mut Writer::new(black_box(&mut out)))
            });
        });
        group.bench_function("floor", |b| {
            b.iter(|| floor::encode_base64(black_box(&data), black_box(&mut out)).len());
        });
        let shared = bytes::Bytes::from(data.clone());
        group.bench_function("engineioxide", |b| {
            b.iter(|| String::from(Theirs::Binary(black_box(shared.clone()))));
        });
        group.bench_function("rust_engineio", |b| {
            b.iter(|| {
                bytes::Bytes::from(Rust::new(PacketId::MessageBinary, black_box(shared.clone())))
            });
        });
        group.finish();
    }
}

pub fn open(c: &mut Criterion) {
    let sid = "lv_VI97HAXpY6yYWAAAC";
    let open = Open {
        sid: sid.parse().expect("a sid"),
        upgrades: TransportSet::EMPTY.with(Transport::WebSocket),
        ping_interval_ms: 25_000,
        ping_timeout_ms: 20_000,
        max_payload: 1_000_000,
    };
    let theirs = OpenPacket {
        sid: "lv_VI97HAXpY6yYW".parse().expect("a sid"),
        upgrades: [TransportType::Websocket].into_iter().collect(),
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
        max_payload: 1_000_000,
    };
    let mut memory = [0; OPEN_MAX];
    let json = open.json(&mut memory).to_owned();

    let mut group = c.benchmark_group("open/encode");
    let mut memory = [0; OPEN_MAX];
    group.bench_function("eio-core", |b| {
        b.iter(|| black_box(&open).json(black_box(&mut memory)).len());
    });
    let mut out = [0; 256];
    let numbers = [25_000, 20_000, 1_000_000];
    let len = floor::open(sid, numbers, &mut out);
    assert_eq!(&out[..len], json.as_bytes());
    group.bench_function("floor", |b| {
        b.iter(|| floor::open(black_box(sid), black_box(numbers), black_box(&mut out)));
    });
    group.bench_function("engineioxide", |b| {
        b.iter(|| String::from(Theirs::Open(black_box(theirs.clone()))));
    });
    group.finish();

    let mut group = c.benchmark_group("open/parse");
    group.bench_function("eio-core", |b| b.iter(|| Open::parse(black_box(&json))));
    assert_eq!(floor::parse_open(&json), Some((sid, true, numbers)));
    group.bench_function("floor", |b| b.iter(|| floor::parse_open(black_box(&json))));
    group.bench_function("rust_engineio", |b| {
        b.iter(|| {
            let data = bytes::Bytes::copy_from_slice(black_box(json.as_bytes()));
            rust_engineio::packet::HandshakePacket::try_from(Rust::new(PacketId::Open, data))
                .is_ok()
        });
    });
    group.finish();
}
