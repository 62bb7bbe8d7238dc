//! [`PlainSocket`]: a WebSocket without Engine.IO, of a server or of a client.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use eio_core::packet::Message;
use eio_core::ws::{self, CloseCode, Event, Kind, Role, encode_close};

use crate::deflate::{Inward, Outward};
use crate::io::http_conn::HttpConn;
use crate::io::ws_conn::{self, WsConn};
use crate::io::ws_reader::WsReader;
use crate::io::ws_sender::WsSender;
use crate::message::{AsMessage, OutBuf, never_full};
use crate::worker::context::WorkerContext;
use crate::worker::tasks::Stopped;

/// A WebSocket (RFC 6455) without Engine.IO.
///
/// It is an argument of the functions that [`Server::plain_websockets`](crate::Server::plain_websockets) and
/// [`Connect::plain_websocket`](crate::client::Connect::plain_websocket) call. It is used on the worker of its connection
/// only.
///
/// While [`outbound_high_water`](crate::Config::outbound_high_water) bytes are queued (of a client:
/// [`Connect::outbound_high_water`](crate::client::Connect::outbound_high_water)), nothing is received. [`send`](Self::send)
/// never waits and has no limit: an application that sends more than it receives limits itself by
/// [`queued`](Self::queued).
///
/// ```
/// use eio_monoio::{Message, PlainSocket};
///
/// /// Echoes messages, and disconnects a peer that does not read.
/// fn on_message(socket: &PlainSocket, message: Message<'_>) {
///     if socket.queued() > 1 << 20 {
///         socket.close();
///     } else {
///         socket.send(message);
///     }
/// }
/// ```
pub struct PlainSocket {
    sender: Rc<WsSender>,
    worker: Rc<WorkerContext>,
    role: Role,
}

impl PlainSocket {
    pub(crate) fn new(ws: &WsConn, worker: &Rc<WorkerContext>, role: Role) -> Rc<Self> {
        Rc::new(Self { sender: ws.sender.clone(), worker: worker.clone(), role })
    }

    /// Queues a message. After [`close`](Self::close) or the end of the connection the message is discarded.
    pub fn send(&self, message: impl AsMessage) {
        self.sender.raw_message(&self.worker.pool, message.as_message(), self.mask());
    }

    /// The number of bytes that are queued: those that the kernel has not accepted yet.
    pub fn queued(&self) -> usize {
        self.sender.queued()
    }

    /// Sends queued messages, then performs the closing handshake with code 1000.
    pub fn close(&self) {
        self.end(CloseCode::NORMAL);
    }

    pub(crate) fn end(&self, code: CloseCode) {
        let encode = |out: &mut OutBuf| encode_close(out, Some(code), "", self.mask());
        self.sender.write(&self.worker.pool, |out| never_full(encode(out)));
        self.sender.close();
    }

    fn mask(&self) -> Option<[u8; 4]> {
        (self.role == Role::Client).then(|| self.worker.mask())
    }
}

impl fmt::Debug for PlainSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainSocket").field("queued", &self.queued()).finish_non_exhaustive()
    }
}

/// Runs a client's WebSocket until it ends. Returns the code of the server's close frame, if the server closed first.
pub(crate) async fn run_client(
    conn: HttpConn,
    max_message: usize,
    (outward, inward): (Option<Box<Outward>>, Option<Box<Inward>>),
    on_open: impl FnOnce(&Rc<PlainSocket>),
    on_message: impl Fn(&PlainSocket, Message<'_>),
) -> Option<CloseCode> {
    let worker = conn.worker.clone();
    let (ws, rx) = WsConn::new(conn, Role::Client, outward);
    let _abort = AbortOnDrop(ws.sender.clone());
    let socket = PlainSocket::new(&ws, &worker, Role::Client);
    on_open(&socket);
    let on_message = |socket: &PlainSocket, message: Message<'_>| {
        on_message(socket, message);
        Ok(())
    };
    let reader = WsReader::new(Role::Client, max_message, inward, rx);
    let reader = Reader { ws: &ws, socket: &socket, reader, on_message: &on_message };
    let received_code = Cell::new(None);
    let reading = async {
        if let ReadEnd::CloseFrame(code) = reader.run().await {
            received_code.set(code);
        }
    };
    ws_conn::run(&ws, pin!(reading)).await;
    received_code.get()
}

/// Discards messages that the application sends after the end, or after its future was dropped.
struct AbortOnDrop(Rc<WsSender>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The reading half of a [`PlainSocket`].
pub(crate) struct Reader<'r> {
    pub(crate) ws: &'r WsConn,
    pub(crate) socket: &'r PlainSocket,
    pub(crate) reader: WsReader,
    pub(crate) on_message: &'r dyn Fn(&PlainSocket, Message<'_>) -> Result<(), Stopped>,
}

pub(crate) type ReadEnd = ws_conn::ReadEnd<()>;

impl Reader<'_> {
    /// Reads until the connection ends.
    pub(crate) async fn run(mut self) -> ReadEnd {
        let end = loop {
            poll_fn(|_| self.ws.poll_room()).await;
            match self.next() {
                Ok(0) => {}
                Ok(wanted) => {
                    if let Err(end) = self.ws.receive(&mut self.reader, wanted).await {
                        break end;
                    }
                }
                Err(end) => break end,
            }
        };
        self.ws.begin_close(&end);
        self.ws.complete_close(&end, &mut self.reader).await;
        end
    }

    /// Handles one frame and returns 0, or returns the number of bytes that are missing.
    fn next(&mut self) -> Result<usize, ReadEnd> {
        if !self.ws.sender.is_open() {
            return Err(ReadEnd::Local);
        }
        let violation = |error: ws::Error| ReadEnd::Violation(error.close_code(), ());
        let ready = match self.reader.poll().map_err(violation)? {
            ws::Step::Ready(ready) => ready,
            ws::Step::Need(n) => return Ok(n),
        };
        match ready.kind() {
            Kind::Ping => self.ws.pong(&mut self.reader, ready),
            Kind::Pong => {}
            Kind::Close => {
                return Err(ReadEnd::CloseFrame(self.reader.close_code(ready)));
            }
            Kind::Text | Kind::Binary => {
                let message = match self.reader.event(ready).map_err(violation)? {
                    Event::Text(text) => Message::Text(text),
                    Event::Binary(bytes) => Message::Binary(bytes),
                    Event::Ping(_) | Event::Pong(_) | Event::Close(..) => return Ok(0),
                };
                let called = (self.on_message)(self.socket, message);
                called.map_err(|_| ReadEnd::Violation(CloseCode::INTERNAL_ERROR, ()))?;
            }
        }
        Ok(0)
    }
}
