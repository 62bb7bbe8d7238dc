//! One connection: [`Conn`] receives, sends and waits; [`http`] decides what a request is; [`polling`] and
//! [`websocket`] carry sessions.

pub(crate) mod dispatch;
pub(crate) mod file;
pub(crate) mod handshake;
pub(crate) mod http;
pub(crate) mod other;
pub(crate) mod plain;
pub(crate) mod polling;
pub(crate) mod reply;
pub(crate) mod websocket;
pub(crate) mod wire;

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use eio_core::buffer::RecvBuffer;
use eio_core::http::{BodyDecoder, Error as HttpError, Step};

use crate::conn::http::Body;
use crate::message::OutBuf;
use crate::net::Stream;
use crate::shard::mesh::{Moved, Permit};
use crate::shard::pool::SCRATCH;
use crate::shard::timers::{Target, TimerId};
use crate::shard::{ConnectionId, Core};
use crate::web::compress::Coding;

/// A connection between requests: its socket, what came on it and what is to be sent on it.
pub(crate) struct Conn<T> {
    pub(crate) core: Rc<Core<T>>,
    pub(crate) rx: RecvBuffer<Vec<u8>>,
    pub(crate) out: OutBuf,
    pub(crate) peer: Option<SocketAddr>,
    /// Header lines the answer to the current request must have (CORS, cookie, the application's).
    pub(crate) extra: Vec<u8>,
    /// How the client wants the answer to the current request coded, if it is worth while.
    pub(crate) coding: Option<Coding>,
    socket: Registered<T>,
    deadline: Deadline<T>,
}

/// A connection that is not HTTP any more.
pub(crate) struct Parts<T> {
    pub(crate) socket: Registered<T>,
    /// Bytes received behind the request that ended HTTP.
    pub(crate) rx: RecvBuffer<Vec<u8>>,
    /// The answer to it, not sent yet.
    pub(crate) out: OutBuf,
    pub(crate) deadline: Deadline<T>,
}

/// Why waiting for input ended without any.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The peer closed, or the connection broke.
    Closed,
    TimedOut,
    /// What came is not HTTP, or more than is allowed.
    Bad(HttpError),
}

impl<T> Conn<T> {
    pub(crate) fn new(
        core: Rc<Core<T>>,
        stream: Stream,
        peer: Option<SocketAddr>,
        permit: Permit,
    ) -> Self {
        Self {
            rx: RecvBuffer::new(Vec::new()),
            out: OutBuf::default(),
            peer,
            extra: Vec::new(),
            coding: None,
            deadline: Deadline::new(core.clone()),
            socket: Registered::new(core.clone(), stream, permit),
            core,
        }
    }

    /// Takes over a connection from another shard.
    pub(crate) fn from_moved(core: Rc<Core<T>>, moved: Moved) -> io::Result<Self> {
        let mut conn = Self::new(core, Stream::from_fd(moved.fd)?, moved.peer, moved.permit);
        let storage = conn.core.pool.take_receive(moved.unread.len().max(SCRATCH));
        conn.rx = RecvBuffer::new(storage);
        // The storage was made for it.
        let _ = conn.rx.append(&moved.unread);
        Ok(conn)
    }

    /// Gives the connection up, to be taken over by another shard. Nothing must wait to be sent.
    pub(crate) fn into_moved(mut self) -> io::Result<Moved> {
        debug_assert!(self.out.0.is_empty());
        let unread = self.rx.unread().to_vec();
        self.release();
        let (stream, permit) = self.socket.into_parts();
        Ok(Moved { fd: stream.into_fd()?, unread, peer: self.peer, permit })
    }

    /// Splits the connection into what a WebSocket needs.
    pub(crate) fn into_parts(self) -> Parts<T> {
        Parts { socket: self.socket, rx: self.rx, out: self.out, deadline: self.deadline }
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.socket.stream
    }

    /// Until when the next wait may last.
    pub(crate) fn set_deadline(&self, after: std::time::Duration) {
        self.deadline.set(after);
    }

    /// Ready when the deadline has passed.
    pub(crate) fn poll_deadline(&self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        self.deadline.poll(cx)
    }

    /// Says whether closing the connection now would lose nothing.
    pub(crate) fn set_idle(&self, idle: bool) {
        self.core.set_connection_idle(self.socket.entry.id, idle);
    }

    /// Receives something: at once if it is there, else waits for it until the deadline, owning no buffer
    /// that is empty. `wanted`: how much is still announced.
    pub(crate) async fn receive(&mut self, wanted: usize) -> Result<(), Ended> {
        self.socket.stream.take_turn().await;
        loop {
            if self.try_receive(wanted)? {
                return Ok(());
            }
            self.rest();
            poll_fn(|cx| {
                if let Poll::Ready(result) = self.socket.stream.poll_readable(cx) {
                    return Poll::Ready(result.map_err(|_| Ended::Closed));
                }
                self.deadline.poll(cx).map(|()| Err(Ended::TimedOut))
            })
            .await?;
        }
    }

    /// Receives what is there. False if nothing is.
    pub(crate) fn try_receive(&mut self, wanted: usize) -> Result<bool, Ended> {
        let wanted = make_room(&self.core, &mut self.rx, wanted);
        match self.socket.stream.try_recv(self.rx.spare_mut(wanted)) {
            Ok(Some(0)) | Err(_) => Err(Ended::Closed),
            Ok(Some(n)) => {
                self.rx.fill(n);
                Ok(true)
            }
            Ok(None) => Ok(false),
        }
    }

    /// Receives a body, if the head promises one that is allowed, until it is whole; it is then what `rx` keeps.
    /// A client that waits to be asked for it is asked.
    pub(crate) async fn receive_body(&mut self, body: Body) -> Result<(), Ended> {
        let mut decoder = BodyDecoder::new(body.framing, self.core.config.max_payload);
        let first = decoder.poll(&mut self.rx).map_err(Ended::Bad)?;
        if body.expects_continue && first != Step::Done && self.rx.is_empty() {
            self.answer().0.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.flush().await?;
        }
        self.set_deadline(self.core.config.body_timeout);
        loop {
            match decoder.poll(&mut self.rx).map_err(Ended::Bad)? {
                Step::Done => return Ok(()),
                Step::Need(n) => self.receive(n).await?,
            }
        }
    }

    /// Gives receive memory back, or shrinks it to what an unfinished message needs.
    pub(crate) fn rest(&mut self) {
        rest(&self.core, &mut self.rx);
    }

    /// Gives all memory back.
    pub(crate) fn release(&mut self) {
        self.rx.clear();
        self.rest();
        self.core.pool.give_send(std::mem::take(&mut self.out.0));
    }

    /// A buffer to answer into.
    pub(crate) fn answer(&mut self) -> &mut OutBuf {
        if self.out.0.capacity() == 0 {
            self.out.0 = self.core.pool.take_send();
        }
        &mut self.out
    }

    /// Sends what was answered. A peer that does not take it in time is cut off.
    pub(crate) async fn flush(&mut self) -> Result<(), Ended> {
        if self.out.0.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out.0);
        let sent = self.send(out).await?;
        self.core.pool.give_send(sent);
        Ok(())
    }

    /// The same with bytes that did not come from the pool, which are given back.
    pub(crate) async fn send(&mut self, out: Vec<u8>) -> Result<Vec<u8>, Ended> {
        // While the answer is under way others can use the memory: a pool has less than connections that write.
        self.rest();
        self.deadline.set(self.core.config.write_timeout);
        let mut cut = false;
        let (result, out) = {
            let mut write = pin!(self.socket.stream.write_all(out));
            poll_fn(|cx| {
                if let Poll::Ready(done) = write.as_mut().poll(cx) {
                    return Poll::Ready(done);
                }
                if !cut && self.deadline.poll(cx).is_ready() {
                    // The operation owns its buffer until the kernel lets go: end the socket, not the future.
                    self.socket.stream.shutdown_both();
                    cut = true;
                }
                Poll::Pending
            })
            .await
        };
        result.map(|()| out).map_err(|_| Ended::Closed)
    }

    /// Sends what was answered, then closes without cutting off the answer: an unread request in the socket
    /// would turn the close into a reset that overtakes it. RFC 9112 9.6.
    pub(crate) async fn close_lingering(mut self) {
        if self.flush().await.is_err() {
            return;
        }
        self.socket.stream.shutdown_write();
        self.set_deadline(LINGER);
        let mut allowance = self.core.config.max_payload.saturating_mul(4).max(1 << 20);
        loop {
            self.rx.clear();
            if self.receive(SCRATCH).await.is_err() {
                return;
            }
            allowance = allowance.saturating_sub(self.rx.unread().len());
            if allowance == 0 {
                return;
            }
        }
    }
}

/// How long a refused peer may go on sending into the void.
const LINGER: std::time::Duration = std::time::Duration::from_secs(2);

/// Makes sure that what is announced can be received, or else a fair piece, and says how much that is. Memory
/// doubles as it grows, so that a message in a thousand fragments is not copied a thousand times.
pub(crate) fn make_room<T>(core: &Core<T>, rx: &mut RecvBuffer<Vec<u8>>, wanted: usize) -> usize {
    const FAIR: usize = 1024;
    let wanted = wanted.max(FAIR);
    if rx.capacity() == 0 {
        *rx = RecvBuffer::new(core.pool.take_receive(wanted.max(SCRATCH)));
    } else if rx.room() < wanted.max(rx.len() / 4) {
        move_to(core, rx, rx.len() + wanted.max(rx.len()));
    }
    wanted.min(SCRATCH)
}

/// Gives receive memory back when it is empty, or shrinks it to what is in it.
pub(crate) fn rest<T>(core: &Core<T>, rx: &mut RecvBuffer<Vec<u8>>) {
    if rx.is_empty() {
        if rx.capacity() > 0 {
            let empty = std::mem::replace(rx, RecvBuffer::new(Vec::new()));
            core.pool.give_receive(empty.into_storage());
        }
    } else if rx.capacity() >= SCRATCH && rx.len() <= SCRATCH / 8 {
        move_to(core, rx, rx.len() * 2);
    }
}

fn move_to<T>(core: &Core<T>, rx: &mut RecvBuffer<Vec<u8>>, size: usize) {
    let old = std::mem::replace(rx, RecvBuffer::new(Vec::new()));
    match old.transfer(core.pool.take_receive(size)) {
        Ok((new, storage)) => {
            *rx = new;
            core.pool.give_receive(storage);
        }
        // Only storage smaller than its content is refused, and `size` never is.
        Err((old, _)) => *rx = old,
    }
}

/// A socket that a shutdown can find.
pub(crate) struct Registered<T> {
    pub(crate) core: Rc<Core<T>>,
    pub(crate) stream: Stream,
    entry: Entry<T>,
    permit: Permit,
}

/// A place in the shard's list of connections; given back when dropped.
struct Entry<T> {
    core: Rc<Core<T>>,
    id: ConnectionId,
}

impl<T> Drop for Entry<T> {
    fn drop(&mut self) {
        self.core.remove_connection(self.id);
    }
}

impl<T> Registered<T> {
    fn new(core: Rc<Core<T>>, stream: Stream, permit: Permit) -> Self {
        let entry = Entry { id: core.add_connection(stream.raw()), core: core.clone() };
        Self { core, stream, entry, permit }
    }

    /// Dissolves it: the shard forgets the socket.
    fn into_parts(self) -> (Stream, Permit) {
        (self.stream, self.permit)
    }
}

/// A deadline of a connection, one entry of the timer wheel.
pub(crate) struct Deadline<T> {
    core: Rc<Core<T>>,
    id: TimerId,
}

impl<T> Deadline<T> {
    fn new(core: Rc<Core<T>>) -> Self {
        let id = core.timers.insert(Target::Task(None));
        Self { core, id }
    }

    pub(crate) fn set(&self, after: std::time::Duration) {
        let due = self.core.now().after(crate::config::millis(after));
        self.core.timers.set(self.id, due);
    }

    pub(crate) fn clear(&self) {
        self.core.timers.clear(self.id);
    }

    pub(crate) fn poll(&self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        self.core.timers.poll_expired(self.id, cx)
    }
}

impl<T> Drop for Deadline<T> {
    fn drop(&mut self) {
        self.core.timers.remove(self.id);
    }
}
