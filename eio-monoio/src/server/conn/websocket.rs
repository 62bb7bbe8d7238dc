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

use crate::io::ws_conn::{self, Watch, Wire, asked, drive};
use crate::io::ws_reader::Inbound;
use crate::io::ws_sender::Ending;
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
    let (outward, inward) = shard.core.deflate(deflate);
    let (wire, rx) = Wire::new(conn.line, Role::Server, outward);
    session.set_link(wire.link.clone());
    let inbound = Inbound::new(Role::Server, shard.core.config.max_payload, inward);
    let mut incoming = Incoming { rx, inbound };
    let tasks = shard.clone();
    let ends = Ends { shard, session, wire };
    tasks.core.tasks.spawn(async move {
        // Lent: what a future moves it holds twice.
        drive(&ends, pin!(ends.run(&mut incoming, begin))).await;
    });
}

/// A session and the WebSocket that carries it.
struct Ends<H: Handler> {
    shard: Rc<Shard<H>>,
    session: Rc<Session<H::Session>>,
    wire: Wire,
}

impl<H: Handler> Watch for Ends<H> {
    fn wire(&self) -> &Wire {
        &self.wire
    }

    fn waits(&self) {
        self.session.recount_queued();
    }

    fn sent(&self) {
        if self.is_current() {
            self.session.drained();
        }
    }
}

/// What was received, and what makes messages of it.
struct Incoming {
    rx: RecvBuffer<Vec<u8>>,
    inbound: Inbound,
}

/// Why a reader is done, with what that means to the session.
type End = ws_conn::End<CloseReason>;

/// What a stretch of input brought.
enum Input<'b> {
    Message(Message<'b>),
    /// Nothing for the handler: what it was has taken effect.
    Nothing,
    /// So much more is announced.
    Need(usize),
}

/// Reading.
impl<H: Handler> Ends<H> {
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
            self.wire.finish(&end, &mut incoming.rx).await;
        }
    }

    #[expect(clippy::manual_async_fn, reason = "a function keeps room for what it is given twice")]
    fn read<'r>(
        &'r self,
        incoming: &'r mut Incoming,
        begin: Begin,
    ) -> impl Future<Output = Result<Infallible, End>> + use<'r, H> {
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
                if !self.is_calm() {
                    self.wait_for_room().await?;
                }
                let wanted = match self.next(incoming)? {
                    Input::Need(n) => n,
                    Input::Nothing => continue,
                    Input::Message(message) if self.session.is_busy() => {
                        self.session.stash(message);
                        continue;
                    }
                    Input::Message(message) if dispatch::is_concurrent(&self.shard) => {
                        dispatch::spawn_message(&self.shard, &self.session, message);
                        continue;
                    }
                    Input::Message(message) => {
                        handled.set(Some(dispatch::message(&self.shard, &self.session, message)));
                        0
                    }
                };
                let Some(mut handling) = handled.as_mut().as_pin_mut() else {
                    self.wire.receive(&mut incoming.rx, wanted).await?;
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
    ) -> Result<(), End> {
        let mut catching_up = pin!(dispatch::catch_up(&self.shard, &self.session, handled));
        let mut stashing = pin!(self.stash(incoming));
        let mut end = None;
        poll_fn(|cx| {
            // From then on messages go to the handler: in the inbox they would be overtaken.
            if catching_up.as_mut().poll(cx).is_ready() {
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
    async fn stash(&self, incoming: &mut Incoming) -> End {
        let end = loop {
            if let Err(end) = self.stash_some(incoming).await {
                break end;
            }
        };
        // The handler may take its time; the peer and the session hear of the end at once.
        self.conclude(end);
        end
    }

    async fn stash_some(&self, incoming: &mut Incoming) -> Result<(), End> {
        poll_fn(|cx| {
            ready!(self.session.poll_inbox(cx));
            self.poll_wire()
        })
        .await?;
        let wanted = match self.next(incoming)? {
            Input::Message(message) => {
                self.session.stash(message);
                return Ok(());
            }
            Input::Nothing => return Ok(()),
            Input::Need(n) => n,
        };
        self.wire.receive(&mut incoming.rx, wanted).await
    }

    /// A peer that does not take what it causes is not read from, nor one whose handler is behind.
    async fn wait_for_room(&self) -> Result<(), End> {
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
    fn is_calm(&self) -> bool {
        let link = &self.wire.link;
        let high_water = self.shard.core.config.outbound_high_water;
        link.ending() == Ending::Open && link.queued() < high_water && self.session.is_calm()
    }

    fn poll_wire(&self) -> Poll<Result<(), End>> {
        if self.wire.link.ending() != Ending::Open {
            return Poll::Ready(Err(self.wire.ended()));
        }
        self.wire.poll_room().map(Ok)
    }

    fn is_current(&self) -> bool {
        self.session.has_link(&self.wire.link)
    }

    /// Decodes the next frame. What is no message takes effect.
    #[inline]
    fn next<'b>(&self, incoming: &'b mut Incoming) -> Result<Input<'b>, End> {
        let Incoming { rx, inbound } = incoming;
        let ready = match inbound.poll(rx) {
            Ok(ws::Step::Ready(ready)) => ready,
            Ok(ws::Step::Need(n)) => return Ok(Input::Need(n)),
            Err(error) => return Err(broke(error)),
        };
        match ready.kind() {
            Kind::Text | Kind::Binary => return self.handle(incoming, ready),
            Kind::Ping => self.wire.pong(inbound, rx, ready),
            Kind::Pong => {}
            Kind::Close => return Err(asked(inbound, rx, ready)),
        }
        Ok(Input::Nothing)
    }

    /// Protocol 2.6: one packet per WebSocket message.
    fn handle<'b>(&self, incoming: &'b mut Incoming, ready: Ready) -> Result<Input<'b>, End> {
        let payload = incoming.inbound.payload_mut(&mut incoming.rx, ready);
        let packet = if ready.kind() == Kind::Binary {
            Packet::parse_binary(payload)
        } else {
            Packet::parse_text(payload)
                .map_err(|error| End::Broke(error.close_code(), error.close_reason()))?
        };
        // What a violation does, the machine has done; the link ends with it.
        match self.session.handle_packet(Lane::WebSocket, packet) {
            Ok(Some(message)) => Ok(Input::Message(message)),
            Ok(None) => Ok(Input::Nothing),
            Err(_) => Err(End::Ours),
        }
    }

    /// Lets the peer and the session know that the reader is done.
    fn conclude(&self, end: End) {
        let current = self.is_current();
        self.wire.conclude(&end);
        match end {
            End::Closed | End::Asked(_) if current => self.session.lost(Lane::WebSocket),
            End::Broke(_, reason) if current => self.session.fail(Lane::WebSocket, reason),
            _ => {}
        }
    }
}

fn broke(error: ws::Error) -> End {
    End::Broke(error.close_code(), error.close_reason())
}
