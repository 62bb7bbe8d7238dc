//! WebSockets that are not Engine.IO's: RFC 6455 on other paths.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use eio_core::buffer::RecvBuffer;
use eio_core::packet::Message;
use eio_core::ws::{self, CloseCode, Decoder, Event, Kind, Opcode, Role, encode, encode_close};

use crate::conn::Conn;
use crate::conn::wire::{self, Wire, asked};
use crate::line::rest;
use crate::message::never_full;
use crate::session::link::{Ending, Link};
use crate::shard::Core;
use crate::shard::pool::Pool;

/// What the application does with a message of a plain WebSocket.
pub(crate) type OnPlain = Arc<dyn Fn(&PlainSocket, Message<'_>) + Send + Sync>;

/// A WebSocket without Engine.IO; see [`Server::plain_websockets`](crate::Server::plain_websockets).
pub struct PlainSocket {
    link: Rc<Link>,
    pool: Rc<Pool>,
}

impl PlainSocket {
    /// Queues a message. A peer that does not read is not read from above
    /// [`outbound_high_water`](crate::Config::outbound_high_water); what is sent beside that is up to the caller.
    pub fn send<'m>(&self, message: impl Into<Message<'m>>) {
        let (opcode, data) = match message.into() {
            Message::Text(text) => (Opcode::Text, text.as_bytes()),
            Message::Binary(bytes) => (Opcode::Binary, bytes),
        };
        self.link.ensure_buffer(&self.pool);
        self.link.write(|out| never_full(encode(out, opcode, b"", data, None)));
    }

    /// Bytes that wait to be sent.
    pub fn queued(&self) -> usize {
        self.link.queued()
    }

    /// Closes with code 1000 after what is queued.
    pub fn close(&self) {
        self.end(CloseCode::NORMAL);
    }

    pub(crate) fn end(&self, code: CloseCode) {
        self.link.ensure_buffer(&self.pool);
        self.link.write(|out| never_full(encode_close(out, Some(code), "", None)));
        self.link.end(Ending::Flush);
    }
}

impl fmt::Debug for PlainSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainSocket").field("queued", &self.queued()).finish_non_exhaustive()
    }
}

type End = wire::End<()>;

/// Goes on as a task of its own.
pub(crate) fn start<T: 'static>(core: &Rc<Core<T>>, conn: Conn<T>, on_message: OnPlain) {
    let (wire, rx) = Wire::new(conn.line, Role::Server);
    let core = core.clone();
    let tasks = core.clone();
    tasks.tasks.spawn(async move {
        let socket = Rc::new(PlainSocket { link: wire.link.clone(), pool: core.pool.clone() });
        let entry = core.add_plain(socket.clone());
        let decoder = Decoder::new(Role::Server, core.config.max_payload);
        let reader = Reader { core: &core, wire: &wire, socket: &socket, rx, decoder, on_message };
        wire.drive(pin!(reader.run()), || {}).await;
        core.remove_plain(entry);
    });
}

struct Reader<'r, T> {
    core: &'r Rc<Core<T>>,
    wire: &'r Wire,
    socket: &'r PlainSocket,
    rx: RecvBuffer<Vec<u8>>,
    decoder: Decoder,
    on_message: OnPlain,
}

impl<T> Reader<'_, T> {
    async fn run(mut self) {
        let end = loop {
            poll_fn(|_| self.wire.poll_room()).await;
            match self.next() {
                Ok(0) => {}
                Ok(wanted) => {
                    if let Err(end) = self.wire.receive(&mut self.rx, wanted).await {
                        break end;
                    }
                }
                Err(end) => break end,
            }
        };
        self.wire.conclude(&end);
        self.rx.clear();
        rest(self.core, &mut self.rx);
        if end != End::Closed {
            self.wire.wait_for_eof().await;
        }
        self.wire.link.end(Ending::Cut);
    }

    /// Handles one frame; the number is what is still announced, 0 if something was there.
    fn next(&mut self) -> Result<usize, End> {
        if self.wire.link.ending() != Ending::Open {
            return Err(End::Ours);
        }
        let broke = |error: ws::Error| End::Broke(error.close_code(), ());
        let ready = match self.decoder.poll(&mut self.rx).map_err(broke)? {
            ws::Step::Ready(ready) => ready,
            ws::Step::Need(n) => return Ok(n),
        };
        match ready.kind() {
            Kind::Ping => self.wire.pong(&self.decoder, &mut self.rx, ready),
            Kind::Pong => {}
            Kind::Close => return Err(asked(&self.decoder, &self.rx, ready)),
            Kind::Text | Kind::Binary => {
                let message = match self.decoder.event(&self.rx, ready).map_err(broke)? {
                    Event::Text(text) => Message::Text(text),
                    Event::Binary(bytes) => Message::Binary(bytes),
                    Event::Ping(_) | Event::Pong(_) | Event::Close(..) => return Ok(0),
                };
                let called = self.core.tasks.call(|| (self.on_message)(self.socket, message));
                called.map_err(|_| End::Broke(CloseCode::INTERNAL_ERROR, ()))?;
            }
        }
        Ok(0)
    }
}
