//! Heads of polling requests and of their responses.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use eio_codec_benches as floor;
use eio_core::buffer::Writer;
use eio_core::http::{EMPTY, HeadScanner, RequestHead, Target, response};
use eio_core::request::classify;
use eio_core::transport::TransportSet;

const SHORT: &[u8] =
    b"GET /engine.io/?EIO=4&transport=polling&sid=lv_VI97HAXpY6yYWAAAC HTTP/1.1\r\n\
    Host: 127.0.0.1:3000\r\nAccept: */*\r\nUser-Agent: x\r\nConnection: keep-alive\r\n\r\n";

const BROWSER: &[u8] = b"GET /engine.io/?EIO=4&transport=polling&t=x1&sid=lv_VI97HAXpY6yYWAAAC HTTP/1.1\r\n\
    Host: example.org\r\nConnection: keep-alive\r\nsec-ch-ua-platform: \"Linux\"\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36\r\n\
    sec-ch-ua: \"Not;A=Brand\";v=\"99\", \"Google Chrome\";v=\"139\", \"Chromium\";v=\"139\"\r\n\
    sec-ch-ua-mobile: ?0\r\nAccept: */*\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n\
    Sec-Fetch-Dest: empty\r\nReferer: https://example.org/chat\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n\r\n";

pub fn head(c: &mut Criterion) {
    for (name, head) in [("short", SHORT), ("browser", BROWSER)] {
        let mut group = c.benchmark_group(format!("http/head_{name}"));
        group.throughput(Throughput::Bytes(head.len() as u64));
        group.bench_function("eio-core", |b| {
            b.iter(|| {
                let mut slots = [EMPTY; 64];
                let bytes = black_box(head);
                let len = HeadScanner::new().poll(bytes, 8192).ok().flatten();
                RequestHead::parse(&bytes[..len.unwrap_or(0)], &mut slots).is_ok()
            });
        });
        group.bench_function("floor", |b| {
            b.iter(|| {
                let mut slots = [EMPTY; 64];
                floor::head(black_box(head), &mut slots).is_some()
            });
        });
        group.bench_function("httparse", |b| {
            b.iter(|| {
                let mut slots = [EMPTY; 64];
                httparse::Request::new(&mut slots).parse(black_box(head)).is_ok()
            });
        });
        group.finish();

        // The same, and its meaning: transport, session, body.
        let mut group = c.benchmark_group(format!("http/request_{name}"));
        group.throughput(Throughput::Bytes(head.len() as u64));
        group.bench_function("eio-core", |b| {
            b.iter(|| {
                let mut slots = [EMPTY; 64];
                let bytes = black_box(head);
                let len = HeadScanner::new().poll(bytes, 8192).ok().flatten();
                let head = RequestHead::parse(&bytes[..len.unwrap_or(0)], &mut slots).ok()?;
                let target = Target::parse(head.target).ok()?;
                head.framing().ok()?;
                classify(head.method, target.query, false, TransportSet::ALL).ok().map(|_| ())
            });
        });
        group.bench_function("floor", |b| {
            b.iter(|| {
                let mut slots = [EMPTY; 64];
                floor::poll_of(&floor::head(black_box(head), &mut slots)?).map(str::len)
            });
        });
        group.finish();
    }
}

pub fn answer(c: &mut Criterion) {
    let mut out = [0; 512];
    let mut group = c.benchmark_group("http/answer");
    group.bench_function("eio-core", |b| {
        b.iter(|| {
            let mut writer = Writer::new(black_box(&mut out));
            let head = response(&mut writer, 200).ok()?;
            let head = head.header("Content-Type", "text/plain; charset=UTF-8").ok()?;
            let head = head.header("Cache-Control", "no-store").ok()?;
            head.number("Content-Length", black_box(33)).ok()?.end().ok()
        });
    });
    group.bench_function("floor", |b| {
        b.iter(|| floor::answer(black_box(33), black_box(&mut out)));
    });
    group.finish();
}
