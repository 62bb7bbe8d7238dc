//! Engine.IO v4 without I/O: bytes into packets, packets into decisions, in memory its caller lends.
//!
//! This crate never reads, writes, sleeps, allocates, asks the time or draws a random number. A *driver* does
//! that: it moves bytes, wakes tasks and owns queues, and holds no rule of the protocol. `eio-monoio` is one
//! for Linux servers, `eio-embassy` one for microcontrollers.
//!
//! # The crank
//! One turn of a server's driver, for a WebSocket that carries a session and echoes its messages:
//!
//! ```
//! use eio_core::buffer::{RecvBuffer, Sink, Writer};
//! use eio_core::packet::{Message, Packet};
//! use eio_core::session::{Lane, ServerSession, Timing, Transmit};
//! use eio_core::time::Instant;
//! use eio_core::transport::Transport;
//! use eio_core::ws::{self, Decoder, Kind, Opcode, Role, Step};
//!
//! // What the driver owns: the machines, the memory, and a queue of messages (here of one at most).
//! let now = Instant::from_millis(0);
//! let mut session = ServerSession::new(Transport::WebSocket, Timing::default(), now);
//! let mut decoder = Decoder::new(Role::Server, 1_000_000);
//! let (mut input, mut output) = ([0; 128], [0; 512]);
//! let mut rx = RecvBuffer::new(&mut input[..]);
//! let mut tx = Writer::new(&mut output);
//!
//! // 1. Bytes came from the socket: a masked text frame "4hi".
//! ws::encode(&mut Writer::new(rx.spare_mut(9)), Opcode::Text, b"4", b"hi", Some([1, 2, 3, 4]))?;
//! rx.fill(9);
//!
//! // 2. Decode. `Ready` names an event and borrows nothing, so the loop can go on or lend, as it likes.
//! while let Step::Ready(ready) = decoder.poll(&mut rx)? {
//!     if ready.kind() != Kind::Text {
//!         continue;
//!     }
//!     // 3. One packet per WebSocket message, parsed where it lies.
//!     let packet = Packet::parse_text(decoder.payload_mut(&mut rx, ready))?;
//!     // 4. The session decides what the packet means. A message passes through, still borrowed.
//!     let Some(message) = session.handle_packet(Lane::WebSocket, packet, now)? else { continue };
//!     // 5. The application answers; the session says what goes out, and in which order.
//!     let mut queued = Some(Packet::Message(message));
//!     while let Some(next) = session.poll_transmit(Lane::WebSocket, queued.is_some()) {
//!         let packet = match next {
//!             Transmit::Open => Packet::Open("{...}"), // see `open`
//!             Transmit::Control(packet) => packet,
//!             Transmit::Message => queued.take().expect("it was announced"),
//!             Transmit::Hangup => break, // start the closing handshake
//!         };
//!         let frame = packet.frame();
//!         let opcode = if frame.binary { Opcode::Binary } else { Opcode::Text };
//!         ws::encode(&mut tx, opcode, frame.prefix, frame.data, None)?;
//!     }
//! }
//!
//! // 6. Send what was written, arm a timer, and wait for either.
//! assert_eq!(tx.written(), b"\x81\x060{...}\x81\x034hi");
//! assert_eq!(session.poll_timeout(), Some(now.after(25_000)));
//! assert_eq!(session.poll_event(), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Map
//! | module | what it turns into what |
//! |---|---|
//! | [`buffer`] | received bytes into payload; the sinks that encoders write to |
//! | [`ws`] | WebSocket frames and handshakes, either role (RFC 6455) |
//! | [`http`] | heads, bodies and URLs, either role (RFC 9110, 9112, 3986) |
//! | [`packet`], [`payload`], [`open`] | one packet; a polling body; the handshake's JSON |
//! | [`request`] | an HTTP request into what it wants of Engine.IO, or why it is refused |
//! | [`session`] | packets and time into decisions: heartbeat, upgrade, close |
//! | [`sid`], [`transport`], [`time`] | the small values all of them share |
//!
//! # Features
//! `std`: detects the processor's vector instructions at run time, in UTF-8 validation, base64 and HTTP
//! parsing, and takes the faster way where there is a smaller one. `defmt`: `defmt::Format` for the values
//! firmware logs. Neither changes a result.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod buffer;
mod bytes;
pub mod http;
mod list;
pub mod open;
pub mod packet;
pub mod payload;
pub mod request;
pub mod session;
pub mod sid;
mod text;
pub mod time;
pub mod transport;
pub mod ws;
