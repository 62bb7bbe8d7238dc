//! A session's WebSocket: packets are parsed where they were received.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, ready};

use eio_core::buffer::RecvBuffer;
use eio_core::packet::{Message, Packet};
use eio_core::session::{CloseReason, Lane};
use eio_core::transport::Transport;
use eio_core::ws::deflate::Terms;
use eio_core::ws::{self, Kind, Ready, Role};

use crate::io::ws_conn::{self, SendObserver, WsConn};
use crate::io::ws_reader::WsReader;
use crate::server::conn::{Conn, dispatch};
use crate::server::handler::Handler;
use crate::server::session::Session;
use crate::server::shard::Shard;

/// What a WebSocket is for a session at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// It carries the session, which begins with it.
    Open,
    /// It is being tried.
    Probe,
}

/// Goes on as a task of its own; what HTTP needed is freed.
pub(crate) fn start<H: Handler>(
    shard: Rc<Shard<H>>,
    conn: Box<Conn<H::Session>>,
    session: Rc<Session<H::Session>>,
    begin: Begin,
    deflate: Option<Terms>,
) {
    let (outward, inward) = shard.state.deflate(deflate);
    let (ws, rx) = WsConn::new(conn.http, Role::Server, outward);
    session.set_ws(ws.sender.clone());
    let reader = WsReader::new(Role::Server, shard.state.config.max_payload, inward);
    let mut incoming = Incoming { rx, reader };
    let tasks = shard.clone();
    let ends = SessionSocket { shard, session, ws };
    tasks.state.tasks.spawn(async move {
        // Lent: what a future moves it holds twice.
        ws_conn::run(&ends, pin!(ends.run(&mut incoming, begin))).await;
    });
}

/// A session and the WebSocket that carries it.
struct SessionSocket<H: Handler> {
    shard: Rc<Shard<H>>,
    session: Rc<Session<H::Session>>,
    ws: WsConn,
}

impl<H: Handler> SendObserver for SessionSocket<H> {
    fn ws(&self) -> &WsConn {
        &self.ws
    }

    fn on_write_pending(&self) {
        self.session.recount_queued();
    }

    fn on_written(&self) {
        if self.is_current() {
            self.session.drained();
        }
    }
}

/// What was received, and what makes messages of it.
struct Incoming {
    rx: RecvBuffer<Vec<u8>>,
    reader: WsReader,
}

/// Why a reader is done, with what that means to the session.
type ReadEnd = ws_conn::ReadEnd<CloseReason>;

/// What a stretch of input brought.
enum Input<'b> {
    Message(Message<'b>),
    /// Nothing for the handler: what it was has taken effect.
    Nothing,
    /// So much more is announced.
    Need(usize),
}

/// Reading.
impl<H: Handler> SessionSocket<H> {
    #[expect(clippy::manual_async_fn, reason = "a function keeps room for what it is given twice")]
    fn run<'r>(
        &'r self,
        incoming: &'r mut Incoming,
        begin: Begin,
    ) -> impl Future<Output = ()> + use<'r, H> {
        async move {
            let end = match self.read(incoming, begin).await {
                Ok(never) => match never {},
                Err(end) => end,
            };
            self.conclude(end);
            self.ws.complete_close(&end, &mut incoming.rx).await;
        }
    }

    #[expect(clippy::manual_async_fn, reason = "a function keeps room for what it is given twice")]
    fn read<'r>(
        &'r self,
        incoming: &'r mut Incoming,
        begin: Begin,
    ) -> impl Future<Output = Result<Infallible, ReadEnd>> + use<'r, H> {
        async move {
            // In boxes: only who waits for a handler pays for it, not every idle connection.
            if begin == Begin::Open {
                let mut opened = Box::pin(dispatch::opened(&self.shard, &self.session));
                if dispatch::begin(&self.shard, &self.session, opened.as_mut()).await.is_pending() {
                    Box::pin(self.read_beside(incoming, opened.as_mut())).await?;
                }
            }
            // Its place is here and not in the loop: what moves between awaits takes its room twice.
            let mut handled = pin!(None);
            loop {
                if !self.has_no_backlog() {
                    self.wait_for_room().await?;
                }
                let wanted = match self.next(incoming)? {
                    Input::Need(n) => n,
                    Input::Nothing => continue,
                    Input::Message(message) => {
                        handled.set(dispatch::deliver(&self.shard, &self.session, message));
                        if handled.is_none() {
                            continue;
                        }
                        0
                    }
                };
                let Some(mut handling) = handled.as_mut().as_pin_mut() else {
                    self.ws.receive(&mut incoming.rx, wanted).await?;
                    continue;
                };
                let begun = dispatch::begin(&self.shard, &self.session, handling.as_mut());
                if begun.await.is_pending() {
                    Box::pin(self.read_beside(incoming, handling)).await?;
                }
                handled.set(None);
            }
        }
    }

    /// Goes on reading while the handler is busy: heartbeats are answered, messages wait in the inbox.
    async fn read_beside(
        &self,
        incoming: &mut Incoming,
        handled: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), ReadEnd> {
        let mut draining = pin!(dispatch::drain_inbox(&self.shard, &self.session, handled));
        let mut stashing = pin!(self.push_inbox(incoming));
        let mut end = None;
        poll_fn(|cx| {
            // From then on messages go to the handler: in the inbox they would be overtaken.
            if draining.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if end.is_none()
                && let Poll::Ready(stashed) = stashing.as_mut().poll(cx)
            {
                end = Some(stashed);
            }
            Poll::Pending
        })
        .await;
        end.map_or(Ok(()), Err)
    }

    /// Reads into the inbox, as far as that goes.
    async fn push_inbox(&self, incoming: &mut Incoming) -> ReadEnd {
        let end = loop {
            if let Err(end) = self.fill_inbox(incoming).await {
                break end;
            }
        };
        // The handler may take its time; the peer and the session hear of the end at once.
        self.conclude(end);
        end
    }

    async fn fill_inbox(&self, incoming: &mut Incoming) -> Result<(), ReadEnd> {
        poll_fn(|cx| {
            ready!(self.session.poll_inbox(cx));
            self.poll_wire()
        })
        .await?;
        let wanted = match self.next(incoming)? {
            Input::Message(message) => {
                self.session.push_inbox(message);
                return Ok(());
            }
            Input::Nothing => return Ok(()),
            Input::Need(n) => n,
        };
        self.ws.receive(&mut incoming.rx, wanted).await
    }

    /// A peer that does not take what it causes is not read from, nor one whose handler is behind.
    async fn wait_for_room(&self) -> Result<(), ReadEnd> {
        poll_fn(|cx| {
            ready!(self.poll_wire())?;
            // What waits for polling is no reason not to read a probe: an upgrade may be the way out.
            if self.session.transport() == Transport::WebSocket {
                ready!(self.session.poll_room(cx));
                ready!(self.session.poll_inbox(cx));
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Whether all is well, as it mostly is: asked for each message.
    #[inline]
    fn has_no_backlog(&self) -> bool {
        let sender = &self.ws.sender;
        let high_water = self.shard.state.config.outbound_high_water;
        sender.is_open() && sender.queued() < high_water && self.session.has_no_backlog()
    }

    fn poll_wire(&self) -> Poll<Result<(), ReadEnd>> {
        if !self.ws.sender.is_open() {
            return Poll::Ready(Err(self.ws.read_end()));
        }
        self.ws.poll_room().map(Ok)
    }

    fn is_current(&self) -> bool {
        self.session.is_current_ws(&self.ws.sender)
    }

    /// Decodes the next frame. What is no message takes effect.
    #[inline]
    fn next<'b>(&self, incoming: &'b mut Incoming) -> Result<Input<'b>, ReadEnd> {
        let Incoming { rx, reader } = incoming;
        let ready = match reader.poll(rx) {
            Ok(ws::Step::Ready(ready)) => ready,
            Ok(ws::Step::Need(n)) => return Ok(Input::Need(n)),
            Err(error) => return Err(broke(error)),
        };
        match ready.kind() {
            Kind::Text | Kind::Binary => return self.handle(incoming, ready),
            Kind::Ping => self.ws.pong(reader, rx, ready),
            Kind::Pong => {}
            Kind::Close => return Err(ReadEnd::CloseFrame(reader.close_code(rx, ready))),
        }
        Ok(Input::Nothing)
    }

    /// Protocol 2.6: one packet per WebSocket message.
    fn handle<'b>(&self, incoming: &'b mut Incoming, ready: Ready) -> Result<Input<'b>, ReadEnd> {
        let payload = incoming.reader.payload_mut(&mut incoming.rx, ready);
        let packet = if ready.kind() == Kind::Binary {
            Packet::parse_binary(payload)
        } else {
            Packet::parse_text(payload)
                .map_err(|error| ReadEnd::Violation(error.close_code(), error.close_reason()))?
        };
        // What a violation does, the machine has done; the link ends with it.
        match self.session.handle_packet(Lane::WebSocket, packet) {
            Ok(Some(message)) => Ok(Input::Message(message)),
            Ok(None) => Ok(Input::Nothing),
            Err(_) => Err(ReadEnd::Local),
        }
    }

    /// Lets the peer and the session know that the reader is done.
    fn conclude(&self, end: ReadEnd) {
        let current = self.is_current();
        self.ws.begin_close(&end);
        match end {
            ReadEnd::Closed | ReadEnd::CloseFrame(_) if current => {
                self.session.lost(Lane::WebSocket)
            }
            ReadEnd::Violation(_, reason) if current => self.session.fail(Lane::WebSocket, reason),
            _ => {}
        }
    }
}

fn broke(error: ws::Error) -> ReadEnd {
    ReadEnd::Violation(error.close_code(), error.close_reason())
}
