//! The WebSocket of a session: packets are parsed in the receive buffer.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, ready};

use eio_core::packet::{Message, Packet};
use eio_core::session::{CloseReason, Lane};
use eio_core::transport::Transport;
use eio_core::ws::deflate::Terms;
use eio_core::ws::{self, Kind, Ready, Role};

use crate::io::ws_conn::{self, SendObserver, WsConn};
use crate::io::ws_reader::WsReader;
use crate::server::cause::Cause;
use crate::server::conn::{Conn, dispatch};
use crate::server::handler::Handler;
use crate::server::session::Session;
use crate::server::shard::Shard;

/// How a WebSocket starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With a new session, which it carries.
    Session,
    /// As a probe of a session that polling carries.
    Probe,
}

/// Continues the connection in a task of its own, so that the memory of the HTTP loop is freed.
pub(crate) fn start<H: Handler>(
    shard: Rc<Shard<H>>,
    conn: Box<Conn<H::Session>>,
    session: Rc<Session<H::Session>>,
    start: Start,
    deflate: Option<Terms>,
) {
    let (outward, inward) = shard.state.deflate(deflate);
    let (ws, rx) = WsConn::new(conn.http, Role::Server, outward);
    session.set_ws(ws.sender.clone());
    let mut reader = WsReader::new(Role::Server, shard.state.config.max_payload, inward, rx);
    let tasks = shard.clone();
    let socket = SessionSocket { shard, session, ws };
    tasks.state.tasks.spawn(async move {
        // Borrowed: a future has room twice for a value that moves into another future.
        ws_conn::run(&socket, pin!(socket.run(&mut reader, start))).await;
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
            self.session.on_sent();
        }
    }

    fn on_unsent(&self) {
        self.session.on_unsent();
    }
}

impl<H: Handler> Drop for SessionSocket<H> {
    fn drop(&mut self) {
        // The task may be dropped before it has sent its bytes.
        self.ws.sender.finish();
        self.session.on_unsent();
    }
}

/// Why reading ended, with the close reason of a violation.
type ReadEnd = ws_conn::ReadEnd<CloseReason>;

/// The result of one frame.
enum Input<'b> {
    Message(Message<'b>),
    /// Another packet or a control frame, which was handled.
    Handled,
    /// The frame is incomplete by this number of bytes, as far as is known.
    Need(usize),
}

/// Reading.
impl<H: Handler> SessionSocket<H> {
    #[expect(clippy::manual_async_fn, reason = "an async fn has room for its arguments twice")]
    fn run<'r>(
        &'r self,
        reader: &'r mut WsReader,
        start: Start,
    ) -> impl Future<Output = ()> + use<'r, H> {
        async move {
            let end = match self.read(reader, start).await {
                Ok(never) => match never {},
                Err(end) => end,
            };
            self.begin_close(end);
            self.ws.complete_close(&end, reader).await;
        }
    }

    #[expect(clippy::manual_async_fn, reason = "an async fn has room for its arguments twice")]
    fn read<'r>(
        &'r self,
        reader: &'r mut WsReader,
        start: Start,
    ) -> impl Future<Output = Result<Infallible, ReadEnd>> + use<'r, H> {
        async move {
            // Boxed: futures that wait for a handler would add to the memory of every idle connection.
            if start == Start::Session {
                let mut opening = Box::pin(dispatch::call_open(&self.shard, &self.session));
                if dispatch::poll_once(&self.shard, &self.session, opening.as_mut())
                    .await
                    .is_pending()
                {
                    Box::pin(self.read_while_busy(reader, opening.as_mut())).await?;
                }
            }
            loop {
                if !self.has_no_backlog() {
                    self.wait_for_room().await?;
                }
                let handling = match self.next(reader)? {
                    Input::Need(wanted) => {
                        self.ws.receive(reader, wanted).await?;
                        continue;
                    }
                    Input::Handled => continue,
                    Input::Message(message) => {
                        dispatch::deliver(&self.shard, &self.session, message)
                    }
                };
                // In this scope only: the memory of the handler's future is that of the wait for input.
                let mut handling = pin!(handling);
                if let Some(mut handling) = handling.as_mut().as_pin_mut() {
                    let polled = dispatch::poll_once(&self.shard, &self.session, handling.as_mut());
                    if polled.await.is_pending() {
                        Box::pin(self.read_while_busy(reader, handling)).await?;
                    }
                }
            }
        }
    }

    /// Continues to read while the handler is busy: heartbeats are answered, messages wait in the inbox.
    async fn read_while_busy(
        &self,
        reader: &mut WsReader,
        handling: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), ReadEnd> {
        let mut draining = pin!(dispatch::drain_inbox(&self.shard, &self.session, handling));
        let mut reading = pin!(self.read_to_inbox(reader));
        let mut end = None;
        poll_fn(|cx| {
            // From then on messages are passed to the handler directly, and would overtake those in the inbox.
            if draining.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if end.is_none()
                && let Poll::Ready(reason) = reading.as_mut().poll(cx)
            {
                end = Some(reason);
            }
            Poll::Pending
        })
        .await;
        end.map_or(Ok(()), Err)
    }

    /// Reads messages into the inbox until reading ends.
    async fn read_to_inbox(&self, reader: &mut WsReader) -> ReadEnd {
        let end = loop {
            if let Err(end) = self.read_one_to_inbox(reader).await {
                break end;
            }
        };
        // At once: the handler may be busy for long.
        self.begin_close(end);
        end
    }

    async fn read_one_to_inbox(&self, reader: &mut WsReader) -> Result<(), ReadEnd> {
        poll_fn(|cx| {
            ready!(self.session.poll_inbox(cx));
            self.poll_ws()
        })
        .await?;
        let wanted = match self.next(reader)? {
            Input::Message(message) => {
                self.session.push_inbox(message);
                return Ok(());
            }
            Input::Handled => return Ok(()),
            Input::Need(n) => n,
        };
        self.ws.receive(reader, wanted).await
    }

    /// Backpressure: waits while the client does not receive its messages, or the handler does not keep up.
    async fn wait_for_room(&self) -> Result<(), ReadEnd> {
        poll_fn(|cx| {
            ready!(self.poll_ws())?;
            // Not for a probe: messages that wait for polling may be sent after the upgrade.
            if self.session.transport() == Transport::WebSocket {
                ready!(self.session.poll_room(cx));
                ready!(self.session.poll_inbox(cx));
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Whether reading may continue without waiting. Called for each message, and mostly true.
    #[inline]
    fn has_no_backlog(&self) -> bool {
        let sender = &self.ws.sender;
        let high_water = self.shard.state.config.outbound_high_water;
        sender.is_open() && sender.queued() < high_water && self.session.has_no_backlog()
    }

    fn poll_ws(&self) -> Poll<Result<(), ReadEnd>> {
        if !self.ws.sender.is_open() {
            return Poll::Ready(Err(self.ws.read_end()));
        }
        self.ws.poll_room().map(Ok)
    }

    fn is_current(&self) -> bool {
        self.session.is_current_ws(&self.ws.sender)
    }

    /// Decodes the next frame, and handles all but messages.
    #[inline]
    fn next<'b>(&self, reader: &'b mut WsReader) -> Result<Input<'b>, ReadEnd> {
        let ready = match reader.poll() {
            Ok(ws::Step::Ready(ready)) => ready,
            Ok(ws::Step::Need(n)) => return Ok(Input::Need(n)),
            Err(error) => {
                self.session.log(Cause::WebSocketViolation, error);
                return Err(ReadEnd::Violation(error.close_code(), error.close_reason()));
            }
        };
        match ready.kind() {
            Kind::Text | Kind::Binary => return self.handle(reader, ready),
            Kind::Ping => self.ws.pong(reader, ready),
            Kind::Pong => {}
            Kind::Close => return Err(ReadEnd::CloseFrame(reader.close_code(ready))),
        }
        Ok(Input::Handled)
    }

    /// One packet per WebSocket message (docs/protocol.md 2.6).
    fn handle<'b>(&self, reader: &'b mut WsReader, ready: Ready) -> Result<Input<'b>, ReadEnd> {
        let payload = reader.payload_mut(ready);
        let packet = if ready.kind() == Kind::Binary {
            Packet::parse_binary(payload)
        } else {
            Packet::parse_text(payload).map_err(|error| {
                self.session.log(Cause::InvalidPacket, error);
                ReadEnd::Violation(error.close_code(), error.close_reason())
            })?
        };
        // The state machine has handled a violation; the WebSocket ends with it.
        match self.session.handle_packet(Lane::WebSocket, packet) {
            Ok(Some(message)) => Ok(Input::Message(message)),
            Ok(None) => Ok(Input::Handled),
            Err(violation) => {
                self.session.log_violation(violation);
                Err(ReadEnd::Local)
            }
        }
    }

    /// Starts the closing handshake if it is due, and notifies the session.
    fn begin_close(&self, end: ReadEnd) {
        let current = self.is_current();
        self.ws.begin_close(&end);
        if matches!(end, ReadEnd::Closed) && current && self.session.closed().is_none() {
            self.session.log(Cause::WebSocketLost, "");
        }
        if matches!(end, ReadEnd::OverBudget) {
            self.session.log(Cause::MemoryBudget, "");
        }
        match end {
            ReadEnd::OverBudget if current => {
                self.session.fail(Lane::WebSocket, CloseReason::TransportError);
            }
            ReadEnd::Closed | ReadEnd::CloseFrame(_) if current => {
                self.session.lost(Lane::WebSocket)
            }
            ReadEnd::Violation(_, reason) if current => self.session.fail(Lane::WebSocket, reason),
            _ => {}
        }
    }
}
