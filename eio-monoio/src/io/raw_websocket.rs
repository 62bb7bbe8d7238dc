//! WebSockets that are not Engine.IO's: RFC 6455 on other paths.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use eio_core::buffer::RecvBuffer;
use eio_core::packet::Message;
use eio_core::ws::{self, CloseCode, Event, Kind, Role, encode_close};

use crate::deflate::{Inward, Outward};
use crate::io::http_conn::HttpConn;
use crate::io::ws_conn::{self, WsConn, asked, drive};
use crate::io::ws_reader::WsReader;
use crate::io::ws_sender::{CloseMode, WsSender};
use crate::message::{OutBuf, never_full};
use crate::worker::context::WorkerContext;
use crate::worker::tasks::Stopped;

/// A WebSocket without Engine.IO; see [`Server::plain_websockets`](crate::Server::plain_websockets) and
/// [`Connect::plain_websocket`](crate::client::Connect::plain_websocket).
pub struct PlainSocket {
    sender: Rc<WsSender>,
    worker: Rc<WorkerContext>,
    role: Role,
}

impl PlainSocket {
    pub(crate) fn new(ws: &WsConn, worker: &Rc<WorkerContext>, role: Role) -> Rc<Self> {
        Rc::new(Self { sender: ws.sender.clone(), worker: worker.clone(), role })
    }

    /// Queues a message; after the end it goes nowhere. A peer that does not read is not read from above
    /// [`outbound_high_water`](crate::Config::outbound_high_water); what is sent beside that is up to the caller.
    pub fn send<'m>(&self, message: impl Into<Message<'m>>) {
        self.sender.plain(&self.worker.pool, message.into(), self.mask());
    }

    /// Bytes that wait to be sent.
    pub fn queued(&self) -> usize {
        self.sender.queued()
    }

    /// Closes with code 1000 after what is queued.
    pub fn close(&self) {
        self.end(CloseCode::NORMAL);
    }

    pub(crate) fn end(&self, code: CloseCode) {
        let encode = |out: &mut OutBuf| encode_close(out, Some(code), "", self.mask());
        self.sender.write(&self.worker.pool, |out| never_full(encode(out)));
        self.sender.end(CloseMode::Flush);
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

pub(crate) type ReadEnd = ws_conn::ReadEnd<()>;

/// Serves a client's WebSocket in this future: done when the WebSocket is. The code is that of the server's
/// close frame, if the server closed first.
pub(crate) async fn run(
    conn: HttpConn,
    max_message: usize,
    (outward, inward): (Option<Box<Outward>>, Option<Box<Inward>>),
    on_open: impl FnOnce(&Rc<PlainSocket>),
    on_message: impl Fn(&PlainSocket, Message<'_>),
) -> Option<CloseCode> {
    /// What is sent after the end, also after that of the future, goes nowhere.
    struct Cut(Rc<WsSender>);

    impl Drop for Cut {
        fn drop(&mut self) {
            self.0.end(CloseMode::Cut);
        }
    }

    let worker = conn.worker.clone();
    let (ws, rx) = WsConn::new(conn, Role::Client, outward);
    let _cut = Cut(ws.sender.clone());
    let socket = PlainSocket::new(&ws, &worker, Role::Client);
    on_open(&socket);
    let on_message = |socket: &PlainSocket, message: Message<'_>| {
        on_message(socket, message);
        Ok(())
    };
    let reader = WsReader::new(Role::Client, max_message, inward);
    let reader = Reader { ws: &ws, socket: &socket, rx, reader, on_message: &on_message };
    let told = Cell::new(None);
    let reading = async {
        if let ReadEnd::CloseFrame(code) = reader.run().await {
            told.set(code);
        }
    };
    drive(&ws, pin!(reading)).await;
    told.get()
}

/// The reading half of a WebSocket that is not Engine.IO's.
pub(crate) struct Reader<'r> {
    pub(crate) ws: &'r WsConn,
    pub(crate) socket: &'r PlainSocket,
    pub(crate) rx: RecvBuffer<Vec<u8>>,
    pub(crate) reader: WsReader,
    pub(crate) on_message: &'r dyn Fn(&PlainSocket, Message<'_>) -> Result<(), Stopped>,
}

impl Reader<'_> {
    /// Reads until the connection ends, and says why it did.
    pub(crate) async fn run(mut self) -> ReadEnd {
        let end = loop {
            poll_fn(|_| self.ws.poll_room()).await;
            match self.next() {
                Ok(0) => {}
                Ok(wanted) => {
                    if let Err(end) = self.ws.receive(&mut self.rx, wanted).await {
                        break end;
                    }
                }
                Err(end) => break end,
            }
        };
        self.ws.conclude(&end);
        self.ws.finish(&end, &mut self.rx).await;
        end
    }

    /// Handles one frame; the number is what is still announced, 0 if something was there.
    fn next(&mut self) -> Result<usize, ReadEnd> {
        if self.ws.sender.ending() != CloseMode::Open {
            return Err(ReadEnd::Local);
        }
        let broke = |error: ws::Error| ReadEnd::Violation(error.close_code(), ());
        let ready = match self.reader.poll(&mut self.rx).map_err(broke)? {
            ws::Step::Ready(ready) => ready,
            ws::Step::Need(n) => return Ok(n),
        };
        match ready.kind() {
            Kind::Ping => self.ws.pong(&mut self.reader, &mut self.rx, ready),
            Kind::Pong => {}
            Kind::Close => return Err(asked(&self.reader, &self.rx, ready)),
            Kind::Text | Kind::Binary => {
                let message = match self.reader.event(&self.rx, ready).map_err(broke)? {
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
