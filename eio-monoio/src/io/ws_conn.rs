//! A WebSocket connection before it means anything: one task that polls a reader and a writer.
//!
//! Whatever code of this core wants to send something appends frames to the connection's [`WsSender`]; the writer
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
use crate::io::http_conn::{HttpConn, Parts, RegisteredStream, make_room, shrink_rx};
use crate::io::limits::Limits;
use crate::io::recv_mode::RecvMode;
use crate::io::send_buffer::Batch;
use crate::io::stream::Write;
use crate::io::ws_reader::WsReader;
use crate::io::ws_sender::{CloseMode, WsSender};
use crate::message::{OutBuf, never_full};
use crate::metrics::{BYTES_RECEIVED, BYTES_SENT};
use crate::worker::context::WorkerContext;
use crate::worker::deadline::Deadline;
use crate::worker::net::Socket;
use crate::worker::pool::{Pool, SCRATCH};

/// The connection, without what its reader owns.
pub(crate) struct WsConn {
    socket: RegisteredStream,
    pub(crate) sender: Rc<WsSender>,
    deadline: Deadline,
    limits: Rc<Limits>,
    role: Role,
    /// A write has failed: there is no peer any more.
    broken: Cell<bool>,
    /// The peer has nothing more to say, and its reader is done.
    peer_done: Cell<bool>,
    pace: RecvMode,
}

/// Who has a connection and wants to know how sending goes on.
pub(crate) trait SendObserver {
    fn ws(&self) -> &WsConn;

    /// What is to be sent may have to wait.
    fn waits(&self) {}

    /// Something was sent.
    fn sent(&self) {}
}

impl SendObserver for WsConn {
    fn ws(&self) -> &WsConn {
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
pub(crate) enum ReadEnd<R> {
    /// The peer closed, or the connection broke.
    Closed,
    /// The peer sent a close frame, with this code.
    CloseFrame(Option<CloseCode>),
    /// The peer broke a rule.
    Violation(CloseCode, R),
    /// Our side ended the link.
    Local,
}

/// What a receive operation may bring, in bytes.
const RECV_OP_SIZE: usize = 4096;

/// Polls reader and writer to their ends. The reader comes pinned: by value it would take its room twice.
pub(crate) fn drive<'w, W: SendObserver>(
    watch: &'w W,
    mut reading: Pin<&'w mut impl Future<Output = ()>>,
) -> impl Future<Output = ()> {
    let mut writer = Writer::Idle;
    let mut read = false;
    poll_fn(move |cx| {
        let ws = watch.ws();
        ws.sender.while_polled(cx, |cx| {
            read = read || reading.as_mut().poll(cx).is_ready();
            ws.poll_write(cx, &mut writer, watch);
        });
        if read && matches!(writer, Writer::Done) {
            return Poll::Ready(());
        }
        ws.poll_close_timeout(cx);
        Poll::Pending
    })
}

impl WsConn {
    /// Leaves HTTP behind; also gives what was received behind what ended it. `deflate`: what compresses messages.
    pub(crate) fn new(
        line: HttpConn,
        role: Role,
        deflate: Option<Box<Outward>>,
    ) -> (Self, RecvBuffer<Vec<u8>>) {
        let Parts { socket, rx, out, deadline, limits } = line.into_parts();
        deadline.disarm();
        let sender = Rc::new(WsSender::new(out, deflate));
        (
            Self {
                socket,
                sender,
                deadline,
                limits,
                role,
                broken: Cell::new(false),
                peer_done: Cell::new(false),
                pace: RecvMode::default(),
            },
            rx,
        )
    }

    /// A peer that does not take part in the closing handshake is cut off.
    fn poll_close_timeout(&self, cx: &mut Context<'_>) {
        if self.sender.ending() == CloseMode::Open {
            return;
        }
        if self.sender.start_close_timer() {
            self.deadline.set_millis(self.limits.close_timeout);
        }
        if self.sender.ending() == CloseMode::Cut || self.deadline.poll(cx).is_ready() {
            self.socket.stream.shutdown_both();
            self.deadline.clear();
        }
    }

    /// Sends whatever is appended, until the link ends.
    fn poll_write<'w>(
        &'w self,
        cx: &mut Context<'_>,
        writer: &mut Writer<'w>,
        watch: &impl SendObserver,
    ) {
        loop {
            *writer = match writer {
                Writer::Done => return,
                Writer::Idle if !self.sender.has_work() => return,
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
    fn begin_write<'w>(&'w self, watch: &impl SendObserver) -> Writer<'w> {
        /// So much is sent by a call of its own, which is less than an operation needs, whose end wakes the task;
        /// more only from where it lies, which an operation cannot.
        const SMALL: usize = 4096;
        let (sender, stream) = (&self.sender, &self.socket.stream);
        let batch = sender.take();
        if sender.ending() == CloseMode::Cut {
            let _ = stream.try_send(&batch);
            batch.free(self.pool());
            stream.shutdown_both();
            return Writer::Done;
        }
        if batch.is_empty() {
            // Nothing more to say: RFC 6455 7.1.1, the server closes TCP first. Where the peer was heard out the
            // socket is closed now.
            if self.role == Role::Server && !self.peer_done.get() {
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
    fn wrote(
        &self,
        result: io::Result<()>,
        len: usize,
        watch: &impl SendObserver,
    ) -> Writer<'static> {
        self.sender.sent();
        if result.is_err() {
            self.broken.set(true);
            self.sender.end(CloseMode::Cut);
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
        self.sender.poll_room(self.limits.high_water)
    }

    /// Waits for input, owning no buffer meanwhile unless a message is unfinished, or the peer is a busy one.
    pub(crate) fn receive<'w, R>(
        &'w self,
        rx: &'w mut RecvBuffer<Vec<u8>>,
        wanted: usize,
    ) -> impl Future<Output = Result<(), ReadEnd<R>>> + use<'w, R> {
        let uses_recv_op = self.uses_recv_op(rx);
        if !uses_recv_op {
            shrink_rx(self.worker(), rx);
        }
        // What this holds an idle session keeps.
        poll_fn(move |cx| {
            let (worker, stream) = (self.worker(), &self.socket.stream);
            ready!(stream.poll_budget(cx));
            loop {
                if self.sender.ending() != CloseMode::Open {
                    return Poll::Ready(Err(self.ended()));
                }
                if uses_recv_op && let Some(stream) = stream.plain() {
                    let n = ready!(self.poll_recv_op(cx, stream, rx));
                    return Poll::Ready(if n > 0 { Ok(()) } else { Err(ReadEnd::Closed) });
                }
                ready!(stream.poll_readable(cx)).map_err(|_| ReadEnd::Closed)?;
                let room = make_room(worker, rx, wanted);
                match stream.try_recv(rx.spare_mut(room)) {
                    Ok(Some(0)) | Err(_) => return Poll::Ready(Err(ReadEnd::Closed)),
                    Ok(Some(n)) => {
                        self.limits.count(BYTES_RECEIVED, n);
                        rx.fill(n);
                        return Poll::Ready(Ok(()));
                    }
                    Ok(None) => shrink_rx(worker, rx),
                }
            }
        })
    }

    /// Whether what comes next is to be received by an operation.
    fn uses_recv_op(&self, rx: &RecvBuffer<Vec<u8>>) -> bool {
        let Some(stream) = self.socket.stream.plain() else { return false };
        if stream.has_recv_op() {
            return true;
        }
        if self.pace.is_busy(self.worker().cached_now()) {
            return rx.is_empty() && stream.may_recv_op();
        }
        if self.pace.has_paused() {
            stream.drop_recv_op();
        }
        false
    }

    /// How much was received. Nothing: the peer closed, or the connection broke.
    fn poll_recv_op(
        &self,
        cx: &mut Context<'_>,
        stream: &Socket,
        rx: &mut RecvBuffer<Vec<u8>>,
    ) -> Poll<usize> {
        let pool = self.pool();
        let (result, storage) = ready!(stream.poll_recv_op(cx, || {
            // Mostly the last one's.
            let storage = std::mem::replace(rx, RecvBuffer::new(Vec::new())).into_storage();
            if storage.len() == RECV_OP_SIZE {
                return storage;
            }
            if !storage.is_empty() {
                pool.give_receive(storage);
            }
            pool.take_receive(RECV_OP_SIZE)
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
    pub(crate) fn ended<R>(&self) -> ReadEnd<R> {
        if self.broken.get() { ReadEnd::Closed } else { ReadEnd::Local }
    }

    /// Says goodbye as `end` demands.
    pub(crate) fn conclude<R>(&self, end: &ReadEnd<R>) {
        let say = |code| {
            self.sender
                .write(self.pool(), |out| never_full(encode_close(out, code, "", self.mask())));
            self.sender.end(CloseMode::Flush);
        };
        match end {
            ReadEnd::Local => {}
            ReadEnd::Closed => self.sender.end(CloseMode::Cut),
            // RFC 6455 5.5.1: "the endpoint typically echos the status code it received".
            ReadEnd::CloseFrame(code) => say(*code),
            ReadEnd::Violation(code, _) => say(Some(*code)),
        }
    }

    /// The last of a reader: hears the peer out, unless there is nothing left to hear.
    ///
    /// > After both sending and receiving a Close message, an endpoint considers the WebSocket connection closed and
    /// > MUST close the underlying TCP connection.  The server MUST close the underlying TCP connection immediately;
    /// > the client SHOULD wait for the server to close the connection (RFC 6455 5.5.1)
    pub(crate) async fn finish<R>(&self, end: &ReadEnd<R>, rx: &mut RecvBuffer<Vec<u8>>) {
        rx.clear();
        shrink_rx(self.worker(), rx);
        match end {
            ReadEnd::Closed => {}
            // TLS has a close of its own to send, and the peer one to answer it with.
            ReadEnd::CloseFrame(_)
                if self.role == Role::Server && !self.socket.stream.is_secure() =>
            {
                return self.peer_done.set(true);
            }
            _ => self.wait_for_eof().await,
        }
        self.sender.end(CloseMode::Cut);
    }

    /// RFC 6455 7.1.1: the peer closes its side after our close frame. `poll_close_timeout` bounds the wait.
    /// A receive operation that still waits may have what comes meanwhile, and hears of the end as this does.
    async fn wait_for_eof(&self) {
        let (worker, stream) = (self.worker(), &self.socket.stream);
        poll_fn(|cx| {
            loop {
                ready!(stream.poll_budget(cx));
                if ready!(stream.poll_readable(cx)).is_err() {
                    return Poll::Ready(());
                }
                let mut void = worker.pool.take_receive(SCRATCH);
                let received = stream.try_recv(&mut void);
                worker.pool.give_receive(void);
                if !matches!(received, Ok(None | Some(1..))) {
                    return Poll::Ready(());
                }
            }
        })
        .await;
    }

    /// RFC 6455 5.5.3: "A Pong frame sent in response to a Ping frame must have identical 'Application data'".
    pub(crate) fn pong(&self, reader: &mut WsReader, rx: &mut RecvBuffer<Vec<u8>>, ready: Ready) {
        let data = reader.payload_mut(rx, ready);
        let encode = |out: &mut OutBuf| encode(out, Opcode::Pong, b"", data, self.mask());
        self.sender.write(self.pool(), |out| never_full(encode(out)));
    }

    /// RFC 6455 5.1: "a client MUST mask all frames", and a server none.
    fn mask(&self) -> Option<[u8; 4]> {
        (self.role == Role::Client).then(|| self.worker().mask())
    }

    fn worker(&self) -> &WorkerContext {
        self.socket.worker()
    }

    fn pool(&self) -> &Pool {
        &self.worker().pool
    }
}

/// What a close frame asks for.
pub(crate) fn asked<R>(reader: &WsReader, rx: &RecvBuffer<Vec<u8>>, ready: Ready) -> ReadEnd<R> {
    match reader.event(rx, ready) {
        Ok(ws::Event::Close(code, _)) => ReadEnd::CloseFrame(code),
        Ok(_) | Err(_) => ReadEnd::CloseFrame(None),
    }
}
