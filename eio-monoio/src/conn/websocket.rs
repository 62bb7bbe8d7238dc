//! A WebSocket connection: one task that polls a reader and a writer.
//!
//! The reader parses frames where they were received. Whatever code of this core wants to send something appends
//! frames to the connection's [`Link`]; the writer takes all there is in one send. In one turn of the task the
//! reader goes first, so that the answers to everything one receive brought leave together.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use eio_core::buffer::RecvBuffer;
use eio_core::packet::{Message, Packet};
use eio_core::session::{CloseReason, Lane};
use eio_core::ws::{self, CloseCode, Decoder, Kind, Ready, Role, encode, encode_close};

use crate::conn::{Conn, Deadline, Parts, Registered, dispatch, make_room, rest};
use crate::handler::Handler;
use crate::message::never_full;
use crate::session::Session;
use crate::session::link::{Ending, Link};
use crate::shard::Shard;
use crate::shard::pool::SCRATCH;
use crate::shard::tasks::poll_once;

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
    conn: Conn<H::Session>,
    session: Rc<Session<H::Session>>,
    begin: Begin,
) {
    let Parts { socket, rx, out, deadline } = conn.into_parts();
    deadline.clear();
    let link = Rc::new(Link::new(out));
    session.set_link(link.clone());
    let tasks = shard.clone();
    tasks.core.tasks.spawn(run(shard, Lines { socket, link, deadline }, session, rx, begin));
}

/// The connection without what the reader owns.
struct Lines<T> {
    socket: Registered<T>,
    link: Rc<Link>,
    deadline: Deadline<T>,
}

async fn run<H: Handler>(
    shard: Rc<Shard<H>>,
    lines: Lines<H::Session>,
    session: Rc<Session<H::Session>>,
    rx: RecvBuffer<Vec<u8>>,
    begin: Begin,
) {
    let max = shard.core.config.max_payload;
    let reader = Reader {
        shard: &shard,
        lines: &lines,
        session: &session,
        rx,
        decoder: Decoder::new(Role::Server, max),
    };
    let mut reading = pin!(reader.run(begin));
    let mut writing = pin!(write(&lines, &session));
    let (mut read, mut wrote) = (false, false);
    poll_fn(|cx| {
        lines.link.turn(|| {
            read = read || reading.as_mut().poll(cx).is_ready();
            wrote = wrote || writing.as_mut().poll(cx).is_ready();
        });
        if !(read && wrote) {
            lines.poll_last_moments(cx);
        }
        if read && wrote { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

impl<T> Lines<T> {
    /// A peer that does not take part in the closing handshake is cut off.
    fn poll_last_moments(&self, cx: &mut Context<'_>) {
        if self.link.ending() == Ending::Open {
            return;
        }
        if self.link.begin_last_moments() {
            self.deadline.set(self.socket.core.config.close_timeout);
        }
        if self.link.ending() == Ending::Cut || self.deadline.poll(cx).is_ready() {
            self.socket.stream.shutdown_both();
            self.deadline.clear();
        }
    }
}

/// Sends whatever is appended, until the link ends.
async fn write<T>(lines: &Lines<T>, session: &Rc<Session<T>>) {
    let (link, pool) = (&lines.link, &lines.socket.core.pool);
    loop {
        poll_fn(|cx| link.poll_work(cx)).await;
        let out = link.take();
        if link.ending() == Ending::Cut {
            let _ = lines.socket.stream.try_send(&out);
            pool.give_send(out);
            return lines.socket.stream.shutdown_both();
        }
        if out.is_empty() {
            // Nothing more to say: RFC 6455 7.1.1, the server closes TCP first.
            return lines.socket.stream.shutdown_write();
        }
        let (result, out) = lines.socket.stream.write_all(out).await;
        pool.give_send(out);
        link.sent();
        if result.is_err() {
            link.end(Ending::Cut);
            return lines.socket.stream.shutdown_both();
        }
        if session.has_link(link) {
            session.drained();
        }
    }
}

/// Why a reader is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The peer closed, or the connection broke.
    Closed,
    /// The peer sent a close frame, with this code.
    Asked(Option<CloseCode>),
    /// The peer broke a rule of RFC 6455, or a packet is none.
    Broke(CloseCode, CloseReason),
    /// Our side ended the link.
    Ours,
}

/// What a stretch of input brought.
enum Input<'b> {
    Message(Message<'b>),
    /// A message that nobody is to have: the session is closing.
    Nothing,
    /// So much more is announced.
    Need(usize),
}

struct Reader<'r, H: Handler> {
    shard: &'r Rc<Shard<H>>,
    lines: &'r Lines<H::Session>,
    session: &'r Rc<Session<H::Session>>,
    rx: RecvBuffer<Vec<u8>>,
    decoder: Decoder,
}

impl<H: Handler> Reader<'_, H> {
    async fn run(mut self, begin: Begin) {
        let end = match self.read(begin).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        self.conclude(end);
        self.rx.clear();
        rest(&self.shard.core, &mut self.rx);
        // A peer that is still sending after we are done is heard out, for a moment: see `poll_last_moments`.
        if end != End::Closed {
            self.wait_for_eof().await;
        }
        self.lines.link.end(Ending::Cut);
    }

    async fn read(&mut self, begin: Begin) -> Result<Infallible, End> {
        if begin == Begin::Open {
            let (shard, session) = (self.shard, self.session);
            let mut opened = pin!(dispatch::opened(shard, session));
            if poll_once(opened.as_mut()).await.is_pending() {
                self.read_beside(opened.as_mut()).await?;
            }
        }
        loop {
            self.wait_for_room().await?;
            let (shard, session) = (self.shard, self.session);
            match self.next()? {
                Input::Need(n) => self.receive(n).await?,
                Input::Nothing => {}
                Input::Message(message) if session.is_busy() => session.stash(message),
                Input::Message(message) if dispatch::is_concurrent(shard) => {
                    dispatch::spawn_message(shard, session, message);
                }
                Input::Message(message) => {
                    let mut handled = pin!(dispatch::message(shard, session, message));
                    if poll_once(handled.as_mut()).await.is_pending() {
                        self.read_beside(handled.as_mut()).await?;
                    }
                }
            }
        }
    }

    /// Goes on reading while the handler is busy: heartbeats are answered, messages wait in the inbox.
    async fn read_beside(
        &mut self,
        handled: std::pin::Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), End> {
        let (shard, session) = (self.shard, self.session);
        session.set_busy();
        let mut catching_up = pin!(dispatch::catch_up(shard, session, handled));
        let mut stashing = pin!(self.stash());
        let mut end = None;
        poll_fn(|cx| {
            let caught_up = catching_up.as_mut().poll(cx);
            if end.is_none()
                && let Poll::Ready(stashed) = stashing.as_mut().poll(cx)
            {
                end = Some(stashed);
            }
            caught_up
        })
        .await;
        end.map_or(Ok(()), Err)
    }

    /// Reads into the inbox, as far as that goes.
    async fn stash(&mut self) -> End {
        let end = loop {
            poll_fn(|cx| self.session.poll_inbox(cx)).await;
            let session = self.session;
            let result = match self.next() {
                Ok(Input::Message(message)) => {
                    session.stash(message);
                    Ok(())
                }
                Ok(Input::Nothing) => Ok(()),
                Ok(Input::Need(n)) => self.receive(n).await,
                Err(end) => Err(end),
            };
            if let Err(end) = result {
                break end;
            }
        };
        // The handler may take its time; the peer and the session hear of the end at once.
        self.conclude(end);
        end
    }

    /// A peer that does not take what it causes is not read from.
    async fn wait_for_room(&self) -> Result<(), End> {
        poll_fn(|cx| {
            let room = if self.session.is_slow() && self.is_current() {
                self.session.poll_room(cx)
            } else {
                Poll::Ready(())
            };
            if self.lines.link.ending() != Ending::Open {
                return Poll::Ready(Err(End::Ours));
            }
            room.map(Ok)
        })
        .await
    }

    fn is_current(&self) -> bool {
        self.session.has_link(&self.lines.link)
    }

    /// Decodes up to the next message. Frames and packets that are none take effect on the way.
    fn next(&mut self) -> Result<Input<'_>, End> {
        let ready = loop {
            let ready = match self.decoder.poll(&mut self.rx) {
                Ok(ws::Step::Ready(ready)) => ready,
                Ok(ws::Step::Need(n)) => return Ok(Input::Need(n)),
                Err(error) => return Err(broke(error)),
            };
            match ready.kind() {
                Kind::Text | Kind::Binary if self.is_message(ready) => break ready,
                Kind::Text | Kind::Binary => {
                    self.handle(ready)?;
                    if self.lines.link.ending() != Ending::Open {
                        return Err(End::Ours);
                    }
                }
                Kind::Ping => self.pong(ready),
                Kind::Pong => {}
                Kind::Close => return Err(self.asked(ready)),
            }
        };
        Ok(self.handle(ready)?.map_or(Input::Nothing, Input::Message))
    }

    /// Whether a data frame can be a message: asked first, because a loop cannot lend what it may go on with.
    fn is_message(&mut self, ready: Ready) -> bool {
        let first = self.decoder.payload_mut(&mut self.rx, ready).first();
        ready.kind() == Kind::Binary || matches!(first, Some(b'4' | b'b'))
    }

    /// Protocol 2.6: one packet per WebSocket message.
    fn handle(&mut self, ready: Ready) -> Result<Option<Message<'_>>, End> {
        let payload = self.decoder.payload_mut(&mut self.rx, ready);
        let packet = if ready.kind() == Kind::Binary {
            Packet::parse_binary(payload)
        } else {
            Packet::parse_text(payload).map_err(|error| {
                let code = if error.is_utf8() {
                    CloseCode::INVALID_PAYLOAD
                } else {
                    CloseCode::PROTOCOL_ERROR
                };
                End::Broke(code, CloseReason::ParseError)
            })?
        };
        // What a violation does, the machine has done; the link ends with it.
        self.session.handle_packet(Lane::WebSocket, packet).map_err(|_| End::Ours)
    }

    /// RFC 6455 5.5.3: "A Pong frame sent in response to a Ping frame must have identical 'Application data'".
    fn pong(&mut self, ready: Ready) {
        let data = self.decoder.payload_mut(&mut self.rx, ready);
        self.lines.ensure_buffer();
        self.lines.link.write(|out| never_full(encode(out, ws::Opcode::Pong, b"", data, None)));
    }

    fn asked(&self, ready: Ready) -> End {
        match self.decoder.event(&self.rx, ready) {
            Ok(ws::Event::Close(code, _)) => End::Asked(code),
            Ok(_) => End::Asked(None),
            Err(error) => broke(error),
        }
    }

    /// Waits for input, owning no buffer meanwhile unless a message is unfinished.
    async fn receive(&mut self, wanted: usize) -> Result<(), End> {
        let core = &self.shard.core;
        rest(core, &mut self.rx);
        let stream = &self.lines.socket.stream;
        loop {
            poll_fn(|cx| {
                if self.lines.link.ending() != Ending::Open {
                    return Poll::Ready(Err(End::Ours));
                }
                stream.poll_readable(cx).map(|result| result.map_err(|_| End::Closed))
            })
            .await?;
            make_room(core, &mut self.rx, wanted);
            match stream.try_recv(self.rx.spare_mut(wanted.min(SCRATCH))) {
                Ok(Some(0)) | Err(_) => return Err(End::Closed),
                Ok(Some(n)) => {
                    self.rx.fill(n);
                    return Ok(());
                }
                Ok(None) => rest(core, &mut self.rx),
            }
        }
    }

    /// Lets the session and the peer know that the reader is done.
    fn conclude(&self, end: End) {
        let link = &self.lines.link;
        let current = self.is_current();
        let say = |code| {
            self.lines.ensure_buffer();
            link.write(|out| never_full(encode_close(out, code, "", None)));
            link.end(Ending::Flush);
        };
        match end {
            End::Ours => {}
            End::Closed => {
                link.end(Ending::Cut);
                if current {
                    self.session.lost(Lane::WebSocket);
                }
            }
            // RFC 6455 5.5.1: "the endpoint typically echos the status code it received".
            End::Asked(code) => {
                say(code);
                if current {
                    self.session.lost(Lane::WebSocket);
                }
            }
            End::Broke(code, reason) => {
                say(Some(code));
                if current {
                    self.session.fail(Lane::WebSocket, reason);
                }
            }
        }
    }

    /// RFC 6455 7.1.1: the peer closes its side after our close frame. `poll_last_moments` bounds the wait.
    async fn wait_for_eof(&mut self) {
        let stream = &self.lines.socket.stream;
        let core = &self.shard.core;
        loop {
            if poll_fn(|cx| stream.poll_readable(cx)).await.is_err() {
                return;
            }
            let mut void = core.pool.take_receive(SCRATCH);
            let received = stream.try_recv(&mut void);
            core.pool.give_receive(void);
            if !matches!(received, Ok(None | Some(1..))) {
                return;
            }
        }
    }
}

impl<T> Lines<T> {
    fn ensure_buffer(&self) {
        if !self.link.has_buffer() {
            self.link.set_buffer(self.socket.core.pool.take_send());
        }
    }
}

fn broke(error: ws::Error) -> End {
    let code = error.close_code();
    let reason = if code == CloseCode::TOO_BIG {
        CloseReason::PayloadTooLarge
    } else {
        CloseReason::ParseError
    };
    End::Broke(code, reason)
}
