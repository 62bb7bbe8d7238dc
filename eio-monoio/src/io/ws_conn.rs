//! A WebSocket connection before it means anything: one task that polls a reader and a writer.
//!
//! Whatever code of this core wants to send something appends frames to the connection's [`Link`]; the writer
//! takes all there is in one send. In one turn of the task the reader goes first, so that the answers to
//! everything one receive brought leave together.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use eio_core::buffer::RecvBuffer;
use eio_core::ws::{self, CloseCode, Opcode, Ready, Role, encode, encode_close};

use crate::deflate::Outward;
use crate::io::http_conn::{Line, Parts, Registered, make_room, rest};
use crate::io::limits::Limits;
use crate::io::recv_mode::Pace;
use crate::io::send_buffer::Batch;
use crate::io::stream::Write;
use crate::io::ws_reader::Inbound;
use crate::io::ws_sender::{Ending, Link};
use crate::message::{OutBuf, never_full};
use crate::metrics::{BYTES_RECEIVED, BYTES_SENT};
use crate::worker::context::Local;
use crate::worker::deadline::Deadline;
use crate::worker::net::Stream;
use crate::worker::pool::{Pool, SCRATCH};

/// The connection, without what its reader owns.
pub(crate) struct Wire {
    socket: Registered,
    pub(crate) link: Rc<Link>,
    deadline: Deadline,
    limits: Rc<Limits>,
    role: Role,
    /// A write has failed: there is no peer any more.
    broken: Cell<bool>,
    /// The peer has nothing more to say, and its reader is done.
    heard_out: Cell<bool>,
    pace: Pace,
}

/// Who has a connection and wants to know how sending goes on.
pub(crate) trait Watch {
    fn wire(&self) -> &Wire;

    /// What is to be sent may have to wait.
    fn waits(&self) {}

    /// Something was sent.
    fn sent(&self) {}
}

impl Watch for Wire {
    fn wire(&self) -> &Wire {
        self
    }
}

/// How sending goes on.
enum Writer<'w> {
    Idle,
    Busy(Write<'w>),
    Done,
}

/// Why a reader is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End<R> {
    /// The peer closed, or the connection broke.
    Closed,
    /// The peer sent a close frame, with this code.
    Asked(Option<CloseCode>),
    /// The peer broke a rule.
    Broke(CloseCode, R),
    /// Our side ended the link.
    Ours,
}

/// What a receive operation may bring, in bytes.
const FETCH: usize = 4096;

/// Polls reader and writer to their ends. The reader comes pinned: by value it would take its room twice.
pub(crate) fn drive<'w, W: Watch>(
    watch: &'w W,
    mut reading: Pin<&'w mut impl Future<Output = ()>>,
) -> impl Future<Output = ()> {
    let mut writer = Writer::Idle;
    let mut read = false;
    poll_fn(move |cx| {
        let wire = watch.wire();
        wire.link.turn(cx, |cx| {
            read = read || reading.as_mut().poll(cx).is_ready();
            wire.poll_write(cx, &mut writer, watch);
        });
        if read && matches!(writer, Writer::Done) {
            return Poll::Ready(());
        }
        wire.poll_last_moments(cx);
        Poll::Pending
    })
}

impl Wire {
    /// Leaves HTTP behind; also gives what was received behind what ended it. `deflate`: what compresses messages.
    pub(crate) fn new(
        line: Line,
        role: Role,
        deflate: Option<Box<Outward>>,
    ) -> (Self, RecvBuffer<Vec<u8>>) {
        let Parts { socket, rx, out, deadline, limits } = line.into_parts();
        deadline.disarm();
        let link = Rc::new(Link::new(out, deflate));
        (
            Self {
                socket,
                link,
                deadline,
                limits,
                role,
                broken: Cell::new(false),
                heard_out: Cell::new(false),
                pace: Pace::default(),
            },
            rx,
        )
    }

    /// A peer that does not take part in the closing handshake is cut off.
    fn poll_last_moments(&self, cx: &mut Context<'_>) {
        if self.link.ending() == Ending::Open {
            return;
        }
        if self.link.begin_last_moments() {
            self.deadline.set_millis(self.limits.close_timeout);
        }
        if self.link.ending() == Ending::Cut || self.deadline.poll(cx).is_ready() {
            self.socket.stream.shutdown_both();
            self.deadline.clear();
        }
    }

    /// Sends whatever is appended, until the link ends.
    fn poll_write<'w>(&'w self, cx: &mut Context<'_>, writer: &mut Writer<'w>, watch: &impl Watch) {
        loop {
            *writer = match writer {
                Writer::Done => return,
                Writer::Idle if !self.link.has_work() => return,
                Writer::Idle => self.begin_write(watch),
                Writer::Busy(write) => match Pin::new(write).poll(cx) {
                    Poll::Pending => return,
                    Poll::Ready((result, out)) => {
                        let len = out.len();
                        self.pool().give_send(out);
                        self.wrote(result, len, watch)
                    }
                },
            };
        }
    }

    /// Sends what there is.
    fn begin_write<'w>(&'w self, watch: &impl Watch) -> Writer<'w> {
        /// So much is sent by a call of its own, which is less than an operation needs, whose end wakes the task;
        /// more only from where it lies, which an operation cannot.
        const SMALL: usize = 4096;
        let (link, stream) = (&self.link, &self.socket.stream);
        let batch = link.take();
        if link.ending() == Ending::Cut {
            let _ = stream.try_send(&batch);
            batch.free(self.pool());
            stream.shutdown_both();
            return Writer::Done;
        }
        if batch.is_empty() {
            // Nothing more to say: RFC 6455 7.1.1, the server closes TCP first. Where the peer was heard out the
            // socket is closed now.
            if self.role == Role::Server && !self.heard_out.get() {
                stream.shutdown_write();
            }
            return Writer::Done;
        }
        let len = batch.len();
        let direct = len <= SMALL || matches!(batch, Batch::Shared(_));
        let at_once = if direct { stream.send_now(&batch) } else { 0 };
        if at_once == len {
            batch.free(self.pool());
            return self.wrote(Ok(()), len, watch);
        }
        self.limits.count(BYTES_SENT, at_once);
        watch.waits();
        Writer::Busy(stream.write_all(batch.into_rest(at_once, self.pool())))
    }

    /// What was to be sent is, or will never be.
    fn wrote(&self, result: io::Result<()>, len: usize, watch: &impl Watch) -> Writer<'static> {
        self.link.sent();
        if result.is_err() {
            self.broken.set(true);
            self.link.end(Ending::Cut);
            self.socket.stream.shutdown_both();
            return Writer::Done;
        }
        self.limits.count(BYTES_SENT, len);
        watch.sent();
        Writer::Idle
    }

    /// Ready when there is room for what the peer causes: its pings alone must not fill the link. To be asked by
    /// the reader.
    pub(crate) fn poll_room(&self) -> Poll<()> {
        self.link.poll_room(self.limits.high_water)
    }

    /// Waits for input, owning no buffer meanwhile unless a message is unfinished, or the peer is a busy one.
    pub(crate) fn receive<'w, R>(
        &'w self,
        rx: &'w mut RecvBuffer<Vec<u8>>,
        wanted: usize,
    ) -> impl Future<Output = Result<(), End<R>>> + use<'w, R> {
        let fetches = self.fetches(rx);
        if !fetches {
            rest(self.local(), rx);
        }
        // What this holds an idle session keeps.
        poll_fn(move |cx| {
            let (local, stream) = (self.local(), &self.socket.stream);
            ready!(stream.poll_turn(cx));
            loop {
                if self.link.ending() != Ending::Open {
                    return Poll::Ready(Err(self.ended()));
                }
                if fetches && let Some(stream) = stream.plain() {
                    let n = ready!(self.poll_fetch(cx, stream, rx));
                    return Poll::Ready(if n > 0 { Ok(()) } else { Err(End::Closed) });
                }
                ready!(stream.poll_readable(cx)).map_err(|_| End::Closed)?;
                let room = make_room(local, rx, wanted);
                match stream.try_recv(rx.spare_mut(room)) {
                    Ok(Some(0)) | Err(_) => return Poll::Ready(Err(End::Closed)),
                    Ok(Some(n)) => {
                        self.limits.count(BYTES_RECEIVED, n);
                        rx.fill(n);
                        return Poll::Ready(Ok(()));
                    }
                    Ok(None) => rest(local, rx),
                }
            }
        })
    }

    /// Whether what comes next is to be received by an operation.
    fn fetches(&self, rx: &RecvBuffer<Vec<u8>>) -> bool {
        let Some(stream) = self.socket.stream.plain() else { return false };
        if stream.is_fetching() {
            return true;
        }
        if self.pace.is_busy(self.local().turn_time()) {
            return rx.is_empty() && stream.may_fetch();
        }
        if self.pace.has_paused() {
            stream.cease_fetching();
        }
        false
    }

    /// How much was received. Nothing: the peer closed, or the connection broke.
    fn poll_fetch(
        &self,
        cx: &mut Context<'_>,
        stream: &Stream,
        rx: &mut RecvBuffer<Vec<u8>>,
    ) -> Poll<usize> {
        let pool = self.pool();
        let (result, storage) = ready!(stream.poll_fetch(cx, || {
            // Mostly the last one's.
            let storage = std::mem::replace(rx, RecvBuffer::new(Vec::new())).into_storage();
            if storage.len() == FETCH {
                return storage;
            }
            if !storage.is_empty() {
                pool.give_receive(storage);
            }
            pool.take_receive(FETCH)
        }));
        let n = result.unwrap_or(0);
        self.limits.count(BYTES_RECEIVED, n);
        if n == storage.len() {
            // Much at once is better received by a call, into a large buffer.
            self.pace.relax();
        }
        *rx = RecvBuffer::with_unread(storage, n);
        Poll::Ready(n)
    }

    /// What the end of the link means to its reader. The writer may be the first to find out that the peer is gone.
    pub(crate) fn ended<R>(&self) -> End<R> {
        if self.broken.get() { End::Closed } else { End::Ours }
    }

    /// Says goodbye as `end` demands.
    pub(crate) fn conclude<R>(&self, end: &End<R>) {
        let say = |code| {
            self.link
                .write(self.pool(), |out| never_full(encode_close(out, code, "", self.mask())));
            self.link.end(Ending::Flush);
        };
        match end {
            End::Ours => {}
            End::Closed => self.link.end(Ending::Cut),
            // RFC 6455 5.5.1: "the endpoint typically echos the status code it received".
            End::Asked(code) => say(*code),
            End::Broke(code, _) => say(Some(*code)),
        }
    }

    /// The last of a reader: hears the peer out, unless there is nothing left to hear.
    ///
    /// > After both sending and receiving a Close message, an endpoint considers the WebSocket connection closed and
    /// > MUST close the underlying TCP connection.  The server MUST close the underlying TCP connection immediately;
    /// > the client SHOULD wait for the server to close the connection (RFC 6455 5.5.1)
    pub(crate) async fn finish<R>(&self, end: &End<R>, rx: &mut RecvBuffer<Vec<u8>>) {
        rx.clear();
        rest(self.local(), rx);
        match end {
            End::Closed => {}
            // TLS has a close of its own to send, and the peer one to answer it with.
            End::Asked(_) if self.role == Role::Server && !self.socket.stream.is_secure() => {
                return self.heard_out.set(true);
            }
            _ => self.wait_for_eof().await,
        }
        self.link.end(Ending::Cut);
    }

    /// RFC 6455 7.1.1: the peer closes its side after our close frame. `poll_last_moments` bounds the wait.
    /// A receive operation that still waits may have what comes meanwhile, and hears of the end as this does.
    async fn wait_for_eof(&self) {
        let (local, stream) = (self.local(), &self.socket.stream);
        poll_fn(|cx| {
            loop {
                ready!(stream.poll_turn(cx));
                if ready!(stream.poll_readable(cx)).is_err() {
                    return Poll::Ready(());
                }
                let mut void = local.pool.take_receive(SCRATCH);
                let received = stream.try_recv(&mut void);
                local.pool.give_receive(void);
                if !matches!(received, Ok(None | Some(1..))) {
                    return Poll::Ready(());
                }
            }
        })
        .await;
    }

    /// RFC 6455 5.5.3: "A Pong frame sent in response to a Ping frame must have identical 'Application data'".
    pub(crate) fn pong(&self, inbound: &mut Inbound, rx: &mut RecvBuffer<Vec<u8>>, ready: Ready) {
        let data = inbound.payload_mut(rx, ready);
        let encode = |out: &mut OutBuf| encode(out, Opcode::Pong, b"", data, self.mask());
        self.link.write(self.pool(), |out| never_full(encode(out)));
    }

    /// RFC 6455 5.1: "a client MUST mask all frames", and a server none.
    fn mask(&self) -> Option<[u8; 4]> {
        (self.role == Role::Client).then(|| self.local().mask())
    }

    fn local(&self) -> &Local {
        self.socket.local()
    }

    fn pool(&self) -> &Pool {
        &self.local().pool
    }
}

/// What a close frame asks for.
pub(crate) fn asked<R>(inbound: &Inbound, rx: &RecvBuffer<Vec<u8>>, ready: Ready) -> End<R> {
    match inbound.event(rx, ready) {
        Ok(ws::Event::Close(code, _)) => End::Asked(code),
        Ok(_) | Err(_) => End::Asked(None),
    }
}
