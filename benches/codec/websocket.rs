//! WebSocket frames, and the whole path of a message through a session.

use std::hint::black_box;
use std::io::{Cursor, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use criterion::{Criterion, Throughput};
use eio_codec_benches as floor;
use eio_core::buffer::{RecvBuffer, Writer};
use eio_core::packet::Packet;
use eio_core::session::{Lane, ServerSession, Timing, Transmit};
use eio_core::time::Instant;
use eio_core::transport::Transport;
use eio_core::ws::{self, Decoder, Opcode, Role, Step};
use engineioxide_core::{Packet as Theirs, ProtocolVersion, Str};
use fastwebsockets as fast;
use futures_util::FutureExt;
use tungstenite::Utf8Bytes;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::{Role as TheirRole, WebSocket, WebSocketConfig};

use crate::{SIZES, ascii_text};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A text packet in a masked frame.
fn frame(len: usize) -> Vec<u8> {
    let mut out = vec![0; len + 16];
    let mut writer = Writer::new(&mut out);
    let text = ascii_text(len);
    ws::encode(&mut writer, Opcode::Text, b"4", text.as_bytes(), Some(KEY)).expect("room");
    let len = writer.len();
    out.truncate(len);
    out
}

/// Receives into the spare part of the buffer, as the drivers do.
fn receive(rx: &mut RecvBuffer<Vec<u8>>, bytes: &[u8]) {
    rx.spare_mut(bytes.len())[..bytes.len()].copy_from_slice(bytes);
    rx.fill(bytes.len());
}

/// The head of a frame whose payload has not arrived.
pub fn head(c: &mut Criterion) {
    let head = frame(1024)[..8].to_vec();
    let mut group = c.benchmark_group("ws/head");
    let mut storage = [0; 64];
    group.bench_function("eio-core", |b| {
        b.iter(|| {
            storage[..8].copy_from_slice(black_box(&head));
            let mut rx = RecvBuffer::with_unread(&mut storage[..], 8);
            Decoder::new(Role::Server, 1_000_000).poll(&mut rx).is_ok()
        });
    });
    group.bench_function("floor", |b| {
        b.iter(|| {
            storage[..8].copy_from_slice(black_box(&head));
            floor::read_head(black_box(&storage[..8]))
        });
    });
    group.bench_function("tungstenite (length and key unchecked)", |b| {
        b.iter(|| FrameHeader::parse(&mut Cursor::new(black_box(&head))).is_ok());
    });
    group.finish();
}

/// The client's side: a whole masked frame. Crates without a function for that copy and mask only.
pub fn masking(c: &mut Criterion) {
    for (len, name) in SIZES {
        let payload = ascii_text(len).into_bytes();
        let mut out = vec![0; len + 16];
        let mut group = c.benchmark_group(format!("ws/mask_{name}"));
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function("eio-core", |b| {
            b.iter(|| {
                let mut writer = Writer::new(black_box(&mut out));
                let key = Some(black_box(KEY));
                ws::encode(&mut writer, Opcode::Text, b"4", black_box(&payload), key).is_ok()
            });
        });
        group.bench_function("floor", |b| {
            b.iter(|| {
                floor::write_frame(black_box(&payload), Some(black_box(KEY)), black_box(&mut out))
            });
        });
        group.bench_function("fastwebsockets (copy and mask)", |b| {
            b.iter(|| {
                let out = &mut black_box(&mut out)[..len];
                out.copy_from_slice(black_box(&payload));
                fast::unmask(out, black_box(KEY));
            });
        });
        group.finish();
    }
}

/// A stream that repeats one frame, for crates that read from streams.
struct Endless<'a> {
    frame: &'a [u8],
    at: usize,
}

impl Endless<'_> {
    fn fill(&mut self, into: &mut [u8]) -> usize {
        let n = into.len().min(self.frame.len() - self.at);
        into[..n].copy_from_slice(&self.frame[self.at..self.at + n]);
        self.at = (self.at + n) % self.frame.len();
        n
    }
}

impl Read for Endless<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        Ok(self.fill(into))
    }
}

impl Write for Endless<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tokio::io::AsyncRead for Endless<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let n = self.fill(into.initialize_unfilled());
        into.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl tokio::io::AsyncWrite for Endless<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// From the bytes of a frame to its text, as a server receives it.
pub fn read(c: &mut Criterion) {
    for (len, name) in SIZES {
        let frame = frame(len);
        let mut group = c.benchmark_group(format!("ws/read_{name}"));
        group.throughput(Throughput::Bytes(len as u64));
        let mut rx = RecvBuffer::new(vec![0; frame.len()]);
        let mut decoder = Decoder::new(Role::Server, 1_000_000);
        group.bench_function("eio-core", |b| {
            b.iter(|| {
                receive(&mut rx, black_box(&frame));
                let Ok(Step::Ready(ready)) = decoder.poll(&mut rx) else { unreachable!() };
                let text = decoder.event(&rx, ready).is_ok();
                let _ = decoder.poll(&mut rx);
                text
            });
        });
        let mut own = frame.clone();
        group.bench_function("floor", |b| {
            b.iter(|| {
                own.copy_from_slice(black_box(&frame));
                let payload = floor::read_frame(&mut own).expect("a frame");
                simdutf8::basic::from_utf8(payload).is_ok()
            });
        });
        let endless = Endless { frame: &frame, at: 0 };
        let mut socket = fast::WebSocket::after_handshake(endless, fast::Role::Server);
        group.bench_function("fastwebsockets", |b| {
            b.iter(|| {
                let frame = socket.read_frame().now_or_never().expect("ready").expect("a frame");
                std::str::from_utf8(black_box(&frame.payload)).is_ok()
            });
        });
        // With its default buffer, and with the one that engineioxide gives it.
        for (row, size) in
            [("tungstenite", 128 * 1024), ("engineioxide (tungstenite, 4 KiB)", 4096)]
        {
            let endless = Endless { frame: &frame, at: 0 };
            let config = WebSocketConfig::default().read_buffer_size(size);
            let mut socket = WebSocket::from_raw_socket(endless, TheirRole::Server, Some(config));
            group.bench_function(row, |b| b.iter(|| socket.read().is_ok()));
        }
        group.finish();
    }
}

pub fn write(c: &mut Criterion) {
    for (len, name) in SIZES {
        let text = ascii_text(len);
        let mut out = vec![0; len + 16];
        let mut group = c.benchmark_group(format!("ws/write_{name}"));
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function("eio-core", |b| {
            b.iter(|| {
                let mut writer = Writer::new(black_box(&mut out));
                ws::encode(&mut writer, Opcode::Text, b"4", black_box(text.as_bytes()), None)
                    .is_ok()
            });
        });
        group.bench_function("floor", |b| {
            b.iter(|| floor::write_frame(black_box(text.as_bytes()), None, black_box(&mut out)));
        });
        let mut socket =
            WebSocket::from_raw_socket(Endless { frame: &[], at: 0 }, TheirRole::Server, None);
        let shared = Utf8Bytes::from(format!("4{text}"));
        group.bench_function("tungstenite (type not added)", |b| {
            b.iter(|| socket.send(tungstenite::Message::Text(black_box(&shared).clone())).is_ok());
        });
        let mut buffer = Vec::with_capacity(len + 16);
        group.bench_function("fastwebsockets (type not added)", |b| {
            b.iter(|| {
                buffer.clear();
                let payload = fast::Payload::Borrowed(black_box(text.as_bytes()));
                fast::Frame::text(payload).write(&mut buffer).len()
            });
        });
        group.finish();
    }
}

/// From a masked frame through the session to the echo's frame: the whole work of eio-core for an echo.
pub fn echo(c: &mut Criterion) {
    for (len, name) in SIZES {
        let frame = frame(len);
        let mut out = vec![0; len + 16];
        let mut group = c.benchmark_group(format!("ws/echo_{name}"));
        group.throughput(Throughput::Bytes(len as u64));
        let now = Instant::from_millis(0);
        let mut session = ServerSession::new(Transport::WebSocket, Timing::default(), now);
        assert_eq!(session.poll_transmit(Lane::WebSocket, false), Some(Transmit::Open));
        let mut rx = RecvBuffer::new(vec![0; frame.len()]);
        let mut decoder = Decoder::new(Role::Server, 1_000_000);
        group.bench_function("eio-core", |b| {
            b.iter(|| {
                receive(&mut rx, black_box(&frame));
                let Ok(Step::Ready(ready)) = decoder.poll(&mut rx) else { unreachable!() };
                let packet = Packet::parse_text(decoder.payload_mut(&mut rx, ready)).ok()?;
                let message = session.handle_packet(Lane::WebSocket, packet, now).ok()??;
                let Some(Transmit::Message) = session.poll_transmit(Lane::WebSocket, true) else {
                    return None;
                };
                let echo = Packet::Message(message).frame();
                let mut writer = Writer::new(black_box(&mut out));
                let done = ws::encode(&mut writer, Opcode::Text, echo.prefix, echo.data, None);
                let _ = decoder.poll(&mut rx);
                done.ok()
            });
        });
        let mut own = frame.clone();
        group.bench_function("floor", |b| {
            b.iter(|| {
                own.copy_from_slice(black_box(&frame));
                let text = floor::decode_text(floor::read_frame(&mut own)?)?;
                Some(floor::write_frame(text.as_bytes(), None, black_box(&mut out)))
            });
        });
        let endless = Endless { frame: &frame, at: 0 };
        let config = WebSocketConfig::default().read_buffer_size(4096);
        let mut socket = WebSocket::from_raw_socket(endless, TheirRole::Server, Some(config));
        group.bench_function("tungstenite (4 KiB), no packets, no session", |b| {
            b.iter(|| {
                let message = socket.read().expect("a message");
                socket.send(message).is_ok()
            });
        });
        // Its codec between tungstenite's, as in its WebSocket transport, but without its channel and tasks.
        let endless = Endless { frame: &frame, at: 0 };
        let mut socket = WebSocket::from_raw_socket(endless, TheirRole::Server, Some(config));
        group.bench_function("engineioxide, no session", |b| {
            b.iter(|| {
                let tungstenite::Message::Text(text) = socket.read().ok()? else { return None };
                // SAFETY: `Utf8Bytes` are UTF-8.
                let text = unsafe { Str::from_bytes_unchecked(text.into()) };
                let packet = Theirs::parse(ProtocolVersion::V4, text).ok()?;
                socket.send(tungstenite::Message::Text(String::from(packet).into())).ok()
            });
        });
        let endless = Endless { frame: &frame, at: 0 };
        let mut socket = fast::WebSocket::after_handshake(endless, fast::Role::Server);
        socket.set_writev(false);
        group.bench_function("fastwebsockets, no packets, no session", |b| {
            b.iter(|| {
                let frame = socket.read_frame().now_or_never().expect("ready").expect("a frame");
                socket.write_frame(frame).now_or_never().is_some()
            });
        });
        group.finish();
    }
}
