//! [`WsConn`]: a WebSocket connection without application semantics. One task polls its reader and its writer.
//!
//! Any task of the worker appends frames to the connection's [`WsSender`]; the writer takes all of them for one send. In
//! each poll of the connection's task the reader precedes the writer, so that the answers to everything that one receive
//! brought are sent together.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use eio_core::ws::{CloseCode, Opcode, Ready, Role, encode, encode_close};

use crate::deflate::Outward;
use crate::io::http_conn::{HttpConn, Parts};
use crate::io::registered_stream::{RecvFailure, RegisteredStream};
use crate::io::send_buffer::Batch;
use crate::io::stream::Write;
use crate::io::ws_reader::WsReader;
use crate::io::ws_sender::WsSender;
use crate::message::{OutBuf, never_full};
use crate::metrics::{BYTES_LOST, BYTES_SENT};
use crate::worker::budget::RecvBytes;
use crate::worker::context::WorkerContext;
use crate::worker::deadline::{BareDeadline, millis};
use crate::worker::net::Written;
use crate::worker::pool::{Pool, SCRATCH};

/// A connection, except for the receive buffer and the decoder, which its reader owns.
pub(crate) struct WsConn {
    socket: RegisteredStream,
    pub(crate) sender: Rc<WsSender>,
    /// The deadline of the closing handshake.
    deadline: BareDeadline,
    role: Role,
    /// A write has failed: the peer is gone.
    write_failed: Cell<bool>,
    /// The closing handshake is complete, and the peer need not close TCP first.
    closes_tcp: Cell<bool>,
    reader_ended: Cell<bool>,
}

impl Drop for WsConn {
    fn drop(&mut self) {
        // The session may live longer than its connection.
        self.sender.finish();
        self.deadline.disarm(self.worker());
    }
}

/// The owner of a connection, which is notified of writes.
pub(crate) trait SendObserver {
    fn ws(&self) -> &WsConn;

    /// A write does not complete at once.
    fn on_write_pending(&self) {}

    /// A write is complete.
    fn on_written(&self) {}

    /// Some bytes will never be sent.
    fn on_unsent(&self) {}
}

impl SendObserver for WsConn {
    fn ws(&self) -> &WsConn {
        self
    }
}

/// Why a reader ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadEnd<R> {
    /// The peer closed the connection, or it was lost.
    Closed,
    /// The peer sent a close frame, with this code.
    CloseFrame(Option<CloseCode>),
    /// The peer violated the protocol. `R`: the effect on the session.
    Violation(CloseCode, R),
    /// The process holds [`memory_budget`](crate::Config::memory_budget) bytes.
    OverBudget,
    /// This side closed the connection.
    Local,
}

/// Runs a connection until its reader and its writer have ended. `reading` is pinned: a future that takes another one by
/// value has twice its size.
pub(crate) fn run<'w, O: SendObserver>(
    observer: &'w O,
    mut reading: Pin<&'w mut impl Future<Output = ()>>,
) -> impl Future<Output = ()> {
    let mut writer = Writer::Idle;
    poll_fn(move |cx| {
        let ws = observer.ws();
        ws.sender.poll_task(cx, |cx| {
            if !ws.reader_ended.get() {
                ws.reader_ended.set(reading.as_mut().poll(cx).is_ready());
            }
            ws.poll_write(cx, &mut writer, observer);
        });
        if ws.reader_ended.get() && matches!(writer, Writer::Done) {
            return Poll::Ready(());
        }
        ws.poll_close_timeout(cx);
        Poll::Pending
    })
}

/// The state of the writer.
enum Writer<'w> {
    Idle,
    Busy(Write<'w>),
    Done,
}

impl WsConn {
    /// See [`Stream::failure`](crate::io::stream::Stream::failure).
    pub(crate) fn failure(&self) -> Option<&str> {
        self.socket.stream.failure()
    }

    /// Converts an HTTP connection after its opening handshake. Also returns the bytes that were received after the
    /// handshake. `deflate`: the compressor of messages.
    pub(crate) fn new(
        conn: HttpConn,
        role: Role,
        deflate: Option<Box<Outward>>,
    ) -> (Self, RecvBytes) {
        let Parts { socket, rx, out } = conn.into_parts();
        let this = Self {
            socket,
            sender: Rc::new(WsSender::new(out, deflate)),
            deadline: BareDeadline::default(),
            role,
            write_failed: Cell::new(false),
            closes_tcp: Cell::new(false),
            reader_ended: Cell::new(false),
        };
        (this, rx)
    }

    fn worker(&self) -> &WorkerContext {
        self.socket.worker()
    }

    fn pool(&self) -> &Pool {
        &self.worker().pool
    }

    /// RFC 6455 5.1: "a client MUST mask all frames that it sends to the server"; a server masks none.
    fn mask(&self) -> Option<[u8; 4]> {
        (self.role == Role::Client).then(|| self.worker().mask())
    }
}

/// Writing.
impl WsConn {
    /// Sends appended frames until the sender is closed and all of them are sent.
    fn poll_write<'w>(
        &'w self,
        cx: &mut Context<'_>,
        writer: &mut Writer<'w>,
        observer: &impl SendObserver,
    ) {
        loop {
            *writer = match writer {
                Writer::Done => return,
                Writer::Idle if !self.sender.has_work() => return,
                Writer::Idle => self.begin_write(observer),
                Writer::Busy(write) => match Pin::new(write).poll(cx) {
                    Poll::Pending => return,
                    Poll::Ready(written) => self.finish_write(written, observer),
                },
            };
        }
    }

    /// Sends all queued bytes, or closes.
    fn begin_write<'w>(&'w self, observer: &impl SendObserver) -> Writer<'w> {
        /// Up to this number of bytes, a system call costs less than an operation, whose completion wakes the task. More
        /// bytes are sent by a call only if they are shared: an operation must own its buffer.
        const SMALL: usize = 4096;
        let (sender, stream) = (&self.sender, &self.socket.stream);
        let batch = sender.take();
        if sender.is_aborted() {
            let sent = stream.try_send(&batch).unwrap_or(0);
            self.socket.limits().count(BYTES_LOST, batch.len() - sent);
            // TLS may drop records that the kernel does not accept.
            let sent = if stream.is_secure() { 0 } else { sent };
            sender.finish_with_unsent(batch.into_bytes(self.pool()), sent, self.pool());
            stream.shutdown_both();
            observer.on_unsent();
            return Writer::Done;
        }
        if batch.is_empty() {
            // RFC 6455 7.1.1: the server closes TCP first. After a complete closing handshake the socket is closed as
            // soon as the reader has ended, which needs no shutdown.
            if self.role == Role::Server && !self.closes_tcp.get() {
                stream.shutdown_write();
            }
            let usual = Duration::from_millis(self.socket.limits().close_timeout.into());
            let linger = self.socket.begin_linger(usual);
            if linger < usual {
                self.sender.start_close_timer();
                self.deadline.set(self.worker(), millis(linger));
            }
            return Writer::Done;
        }
        let len = batch.len();
        let direct = len <= SMALL || matches!(batch, Batch::Shared(_));
        // After a complete closing handshake the socket is closed next: the close frame leaves in the segment of the FIN.
        let last = self.closes_tcp.get() && !sender.is_open();
        let at_once = match direct {
            true if last => stream.send_last(&batch),
            true => stream.send_now(&batch),
            false => 0,
        };
        if at_once == len {
            batch.free(self.pool());
            return self.finish_batch(len, observer);
        }
        sender.confirm_sent(at_once);
        observer.on_write_pending();
        Writer::Busy(stream.write_all(batch.into_bytes(self.pool()), at_once))
    }

    fn finish_write(&self, written: Written, observer: &impl SendObserver) -> Writer<'static> {
        let Written { result, sent, buf } = written;
        if result.is_ok() {
            self.pool().give_send(buf);
            return self.finish_batch(sent, observer);
        }
        self.socket.limits().count(BYTES_SENT, sent);
        self.socket.limits().count(BYTES_LOST, buf.len() - sent);
        self.sender.finish_with_unsent(buf, sent, self.pool());
        self.sender.finish_batch();
        self.write_failed.set(true);
        self.sender.abort();
        self.socket.stream.shutdown_both();
        observer.on_unsent();
        Writer::Done
    }

    /// All bytes of a batch are sent.
    fn finish_batch(&self, len: usize, observer: &impl SendObserver) -> Writer<'static> {
        self.sender.finish_batch();
        self.socket.limits().count(BYTES_SENT, len);
        self.sender.confirm_sent(usize::MAX);
        observer.on_written();
        Writer::Idle
    }

    /// Shuts the socket down if the peer does not complete the closing handshake in time.
    fn poll_close_timeout(&self, cx: &mut Context<'_>) {
        if self.sender.is_open() {
            return;
        }
        if self.sender.start_close_timer() {
            self.deadline.set(self.worker(), self.socket.limits().close_timeout);
        }
        if self.sender.is_aborted() || self.deadline.poll(self.worker(), cx).is_ready() {
            self.socket.stream.shutdown_both();
            self.deadline.clear(self.worker());
        }
    }
}

/// Reading.
impl WsConn {
    /// Ready when there is room for the frames that the peer causes: its pings alone must not fill the send buffer.
    /// Only the reader may call it.
    pub(crate) fn poll_room(&self) -> Poll<()> {
        self.sender.poll_room(self.socket.limits().high_water)
    }

    /// Waits for input. Owns no buffer while it waits, unless a message is incomplete or the peer sends continuously.
    pub(crate) fn receive<'w, R>(
        &'w self,
        reader: &'w mut WsReader,
        wanted: usize,
    ) -> impl Future<Output = Result<(), ReadEnd<R>>> + use<'w, R> {
        let uses_recv_op = self.socket.uses_recv_op(reader.is_empty());
        if !self.socket.wait_needs_rx(uses_recv_op) {
            reader.shrink(self.worker());
        }
        // Each captured variable is memory of each idle session.
        poll_fn(move |cx| {
            let (worker, socket) = (self.worker(), &self.socket);
            loop {
                ready!(socket.stream.poll_budget(cx));
                if !self.sender.is_open() {
                    return Poll::Ready(Err(self.read_end()));
                }
                let received = if uses_recv_op {
                    let received = ready!(socket.poll_recv_op(cx, || reader.rx_mut(worker)));
                    socket.take_recv_op(received, reader.rx_mut(worker))
                } else {
                    ready!(socket.stream.poll_readable(cx)).map_err(|_| ReadEnd::Closed)?;
                    socket.try_receive(reader.rx_mut(worker), wanted)
                };
                match received {
                    Ok(true) => return Poll::Ready(Ok(())),
                    Ok(false) => reader.shrink(worker),
                    Err(RecvFailure::Closed) => return Poll::Ready(Err(ReadEnd::Closed)),
                    Err(RecvFailure::OverBudget) => return Poll::Ready(Err(ReadEnd::OverBudget)),
                }
            }
        })
    }

    /// The end of a reader whose sender is closed: a failed write shows first that the peer is gone.
    pub(crate) fn read_end<R>(&self) -> ReadEnd<R> {
        if self.write_failed.get() { ReadEnd::Closed } else { ReadEnd::Local }
    }

    /// RFC 6455 5.5.3: "A Pong frame sent in response to a Ping frame must have identical 'Application data'".
    pub(crate) fn pong(&self, reader: &mut WsReader, ready: Ready) {
        let data = reader.payload_mut(ready);
        let encode = |out: &mut OutBuf| encode(out, Opcode::Pong, b"", data, self.mask());
        self.sender.write(self.pool(), |out| never_full(encode(out)));
    }
}

/// Closing, by the reader when it has ended.
impl WsConn {
    /// Sends a close frame if `end` requires one, and closes the sender.
    pub(crate) fn begin_close<R>(&self, end: &ReadEnd<R>) {
        let send_close = |code| {
            let encode = |out: &mut OutBuf| encode_close(out, code, "", self.mask());
            self.sender.write(self.pool(), |out| never_full(encode(out)));
            self.sender.close();
        };
        match end {
            ReadEnd::Local => {}
            ReadEnd::Closed => self.sender.abort(),
            // RFC 6455 5.5.1: "the endpoint typically echos the status code it received".
            ReadEnd::CloseFrame(code) => send_close(*code),
            ReadEnd::Violation(code, _) => send_close(Some(*code)),
            ReadEnd::OverBudget => send_close(Some(CloseCode::TRY_AGAIN_LATER)),
        }
    }

    /// Completes the closing handshake: waits for the peer to close TCP, unless it is lost or need not.
    ///
    /// > After both sending and receiving a Close message, an endpoint considers the WebSocket connection closed and
    /// > MUST close the underlying TCP connection.  The server MUST close the underlying TCP connection immediately;
    /// > the client SHOULD wait for the server to close the connection (RFC 6455 5.5.1)
    pub(crate) async fn complete_close<R>(&self, end: &ReadEnd<R>, reader: &mut WsReader) {
        reader.discard(self.worker());
        match end {
            ReadEnd::Closed => {}
            // Over TLS, close_notify is sent first, and the peer may answer it.
            ReadEnd::CloseFrame(_)
                if self.role == Role::Server && !self.socket.stream.is_secure() =>
            {
                return self.closes_tcp.set(true);
            }
            _ => self.wait_for_eof(reader).await,
        }
        self.sender.abort();
    }

    /// RFC 6455 7.1.1: the peer closes its side after our close frame. `poll_close_timeout` bounds the wait.
    async fn wait_for_eof(&self, reader: &mut WsReader) {
        let (worker, stream) = (self.worker(), &self.socket.stream);
        poll_fn(|cx| {
            loop {
                ready!(stream.poll_budget(cx));
                if stream.socket().has_recv_op() {
                    // It takes the next bytes, without which TLS cannot decrypt those after them.
                    let received = ready!(self.socket.poll_recv_op(cx, || reader.rx_mut(worker)));
                    let received = self.socket.take_recv_op(received, reader.rx_mut(worker));
                    reader.discard(worker);
                    match received {
                        Ok(_) => continue,
                        Err(_) => return Poll::Ready(()),
                    }
                }
                if ready!(stream.poll_readable(cx)).is_err() {
                    return Poll::Ready(());
                }
                let mut scratch = worker.pool.take_receive(SCRATCH);
                let received = stream.try_recv(&mut scratch);
                worker.pool.give_receive(scratch);
                if !matches!(received, Ok(None | Some(1..))) {
                    return Poll::Ready(());
                }
            }
        })
        .await;
    }
}
