//! Engine.IO v4 without I/O: parsers, encoders and session state machines that work in memory lent by the caller.
//!
//! This crate never reads, writes, sleeps, allocates, reads a clock or draws a random number. A *driver* does that: it
//! moves bytes, wakes tasks and owns queues, and contains no rule of the protocol. `eio-monoio` is a driver for Linux
//! servers, `eio-embassy` one for microcontrollers.
//!
//! # Driving a session
//! One iteration of a server's driver, for a WebSocket session that echoes its messages:
//!
//! ```
//! use eio_core::buffer::{RecvBuffer, Sink, Writer};
//! use eio_core::packet::{Message, Packet};
//! use eio_core::session::{Lane, ServerSession, Timing, Transmit};
//! use eio_core::time::Instant;
//! use eio_core::transport::Transport;
//! use eio_core::ws::{self, Decoder, Kind, Opcode, Role, Step};
//!
//! // The driver owns the state machines, the memory, and a queue of messages (here of one at most).
//! let now = Instant::from_millis(0);
//! let mut session = ServerSession::new(Transport::WebSocket, Timing::default(), now);
//! let mut decoder = Decoder::new(Role::Server, 1_000_000);
//! let (mut input, mut output) = ([0; 128], [0; 512]);
//! let mut rx = RecvBuffer::new(&mut input[..]);
//! let mut tx = Writer::new(&mut output);
//!
//! // 1. Receive bytes from the socket: a masked text frame "4hi".
//! ws::encode(&mut Writer::new(rx.spare_mut(9)), Opcode::Text, b"4", b"hi", Some([1, 2, 3, 4]))?;
//! rx.fill(9);
//!
//! // 2. Decode. `Ready` names an event and borrows nothing, so the loop can continue or borrow the payload.
//! while let Step::Ready(ready) = decoder.poll(&mut rx)? {
//!     if ready.kind() != Kind::Text {
//!         continue;
//!     }
//!     // 3. Parse one packet per WebSocket message, in place.
//!     let packet = Packet::parse_text(decoder.payload_mut(&mut rx, ready))?;
//!     // 4. The session decides what the packet means. A message is returned, still borrowed.
//!     let Some(message) = session.handle_packet(Lane::WebSocket, packet, now)? else { continue };
//!     // 5. The application answers; the session says what to send, and in which order.
//!     let mut queued = Some(Packet::Message(message));
//!     while let Some(next) = session.poll_transmit(Lane::WebSocket, queued.is_some()) {
//!         let packet = match next {
//!             Transmit::Open => Packet::Open("{...}"), // see `open`
//!             Transmit::Control(packet) => packet,
//!         Transmit::Message => queued.take().expect("a message is queued"),
//!         Transmit::Hangup => break, // send a close frame
//!         };
//!         let frame = packet.frame();
//!         let opcode = if frame.binary { Opcode::Binary } else { Opcode::Text };
//!         ws::encode(&mut tx, opcode, frame.prefix, frame.data, None)?;
//!     }
//! }
//!
//! // 6. Send the output, set a timer, and wait for input or the timer.
//! assert_eq!(tx.written(), b"\x81\x060{...}\x81\x034hi");
//! assert_eq!(session.poll_timeout(), Some(now.after(25_000)));
//! assert_eq!(session.poll_event(), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Modules
//! | module | contents |
//! |---|---|
//! | [`buffer`] | the receive buffer of all decoders; the sinks that encoders write to |
//! | [`ws`] | WebSocket frames and opening handshakes for both roles (RFC 6455), negotiation of compression (RFC 7692) |
//! | [`http`] | HTTP/1.1 heads and bodies for both roles, and URLs (RFC 9110, 9112, 3986) |
//! | [`proxy_protocol`] | the header by which a TCP balancer states the client's address |
//! | [`packet`], [`payload`], [`open`] | a packet; a polling body; the JSON of the open packet |
//! | [`request`] | classification of a request to the Engine.IO path, and its rejections |
//! | [`session`] | the state machines: heartbeat, upgrade, close |
//! | `cluster` | with the feature `cluster`: servers that answer for each other |
//! | [`sid`], [`transport`], [`time`] | small values that all modules share |
//!
//! No module imports one that is above it in this order: `cluster`, `session`; `request`, `open`, `payload`, `packet`;
//! `http`, `ws`, `proxy_protocol`; `buffer`, `sid`, `transport`, `time`.
//!
//! # Features
//! No feature is on by default, and none changes a result.
//!
//! - `std`: UTF-8 validation, base64 and HTTP parsing detect vector instructions at run time, and code that is faster
//!   replaces code that is smaller.
//! - `defmt`: `defmt::Format` for values that firmware logs.
//! - `cluster`: the module `cluster`.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod buffer;
mod bytes;
#[cfg(feature = "cluster")]
#[cfg_attr(docsrs, doc(cfg(feature = "cluster")))]
pub mod cluster;
pub mod http;
mod list;
pub mod open;
pub mod packet;
pub mod payload;
pub mod proxy_protocol;
pub mod request;
pub mod session;
pub mod sid;
mod text;
pub mod time;
pub mod transport;
pub mod ws;
