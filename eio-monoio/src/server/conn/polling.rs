//! Long-polling: GETs, which are held until a packet is due, and POSTs with packets.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use eio_core::http::{Error as HttpError, header_line};
use eio_core::packet::Message;
use eio_core::payload;
use eio_core::session::{CloseReason, Lane, Violation};

use crate::io::http_conn::{HttpConn, RecvError};
use crate::io::receipt::Confirm;
use crate::message::OutBuf;
use crate::server::cause::Cause;
use crate::server::conn::Body;
#[cfg(feature = "nats")]
use crate::server::conn::link;
use crate::server::conn::reply::{Answer, UNAVAILABLE};
use crate::server::conn::request::{Next, POOLED, Resume};
use crate::server::conn::{Conn, dispatch};
use crate::server::handler::Handler;
use crate::server::session::Session;
use crate::server::session::effects::GetBody;
use crate::server::shard::{Shard, ShardState};
use crate::web::compress::Coding;
use crate::web::persistence::Persistence;
use crate::worker::future_pool::{FuturePool, Pooled};
use crate::worker::yield_now::YieldBudget;

/// Answers a GET of a session, as soon as a packet is due (docs/protocol.md 2.4).
pub(crate) async fn poll<T>(
    mut conn: Box<Conn<T>>,
    session: Rc<Session<T>>,
    persistence: Persistence,
) -> Next<T> {
    if let Err(violation) = session.attach(Lane::Get) {
        session.log_violation(violation);
        conn.reply(Answer::violation(violation), persistence);
        return Next::Continue(conn, persistence);
    }
    match respond(&mut conn, &session, persistence).await {
        Ok(()) => send(conn, session, persistence).await,
        Err(_) => {
            session.log(Cause::PollLost, "");
            session.lost(Lane::Get);
            Next::Gone
        }
    }
}

/// Sends the response to a GET. Its packets have left the queue: if sending fails they are lost, and the session ends.
pub(crate) async fn send<T>(
    mut conn: Box<Conn<T>>,
    session: Rc<Session<T>>,
    persistence: Persistence,
) -> Next<T> {
    session.detach(Lane::Get);
    // Before the await: the client may send its next GET on another connection.
    let confirms = session.take_response_confirms();
    #[cfg(feature = "nats")]
    let sent = if conn.via.is_link() {
        // Boxed: it would add to the memory of every held GET.
        Box::pin(link::deliver(&mut conn)).await
    } else {
        conn.flush().await
    };
    #[cfg(not(feature = "nats"))]
    let sent = conn.flush().await;
    if sent.is_err() {
        drop(confirms);
        session.log(Cause::ResponseNotReceived, "");
        session.abort(CloseReason::TransportError);
        session.keep_response(&mut conn.http.out.0);
        return Next::Gone;
    }
    confirms.into_iter().for_each(Confirm::sent);
    Next::Continue(conn, persistence)
}

/// Writes the response to a GET as soon as a packet is due. An error means that the connection has ended.
pub(crate) async fn respond<T>(
    conn: &mut Conn<T>,
    session: &Rc<Session<T>>,
    persistence: Persistence,
) -> Result<(), RecvError> {
    #[cfg(feature = "nats")]
    let recall = link::Recall::new(conn);
    loop {
        let uses_recv_op = conn.uses_recv_op();
        let ready = poll_fn(|cx| {
            let Conn { state, http: HttpConn { out, .. }, extra, coding, .. } = &mut *conn;
            let persistence = persistence.lines(&state.keep_alive);
            let begin = |out: &mut OutBuf| {
                if out.0.capacity() == 0 {
                    out.0 = state.pool.take_send();
                }
                write_head(out, persistence, &state.date(), extra)
            };
            let mut head = None;
            let body = session.poll_get(cx, out, |out| head = Some(begin(out)));
            #[cfg(feature = "nats")]
            let body = match &recall {
                Some(recall) if body == GetBody::Held && recall.poll(cx) => {
                    head = Some(begin(out));
                    out.0.push(b'6');
                    GetBody::Uncompressed
                }
                _ => body,
            };
            if let Some(head) = head {
                let coding = coding.filter(|_| body != GetBody::Uncompressed);
                if !coding.is_some_and(|coding| head.compress(out, coding, state)) {
                    head.finish(out);
                }
                return Poll::Ready(Ok(true));
            }
            // `poll_get` has registered this task with the session, which wakes it, or input does. Pipelined requests
            // are received and kept up to this limit, so that the end of the connection is noticed.
            conn.shrink_before_wait(uses_recv_op);
            if conn.rx.unread().len() > conn.state.config.max_head_size {
                return Poll::Pending;
            }
            conn.poll_input(cx, uses_recv_op, 1).map_ok(|()| false)
        });
        if ready.await? {
            conn.set_status(200);
            return Ok(());
        }
    }
}

/// The head of a response to GET, whose Content-Length is written after the body.
struct ResponseHead {
    /// Position of the value of Content-Length.
    length: usize,
    /// Position of the body.
    body: usize,
}

/// Writes the head of a response to GET. The body follows in the same buffer, so that one operation sends both.
fn write_head(out: &mut OutBuf, persistence: &[u8], date: &[u8], extra: &[u8]) -> ResponseHead {
    const START: &[u8] = b"HTTP/1.1 200 OK\r\n\
        Content-Type: text/plain; charset=UTF-8\r\n\
        Cache-Control: no-store\r\n";
    // With a placeholder of one digit.
    const LENGTH: &[u8] = b"Content-Length: 0\r\n\r\n";
    let out = &mut out.0;
    out.clear();
    for lines in [START, date, persistence, extra, LENGTH] {
        out.extend_from_slice(lines);
    }
    ResponseHead { length: out.len() - b"0\r\n\r\n".len(), body: out.len() }
}

impl ResponseHead {
    /// Compresses the body and completes the head. False, without a change, if the body is small or would not become
    /// smaller.
    fn compress<T>(&self, out: &mut OutBuf, coding: Coding, state: &ShardState<T>) -> bool {
        if out.0.len() - self.body < state.config.compression_threshold {
            return false;
        }
        let mut coded = state.pool.take_send();
        let smaller = state.deflater.shrink(coding, &out.0[self.body..], &mut coded);
        if smaller {
            out.0.truncate(self.length - "Content-Length: ".len());
            let write = |out: &mut OutBuf| {
                header_line(out, "Content-Encoding", &[coding.name()])?;
                // RFC 9110 section 12.5.5: the response depends on Accept-Encoding.
                header_line(out, "Vary", &["Accept-Encoding"])?;
                header_line(out, "Content-Length", &[&coded.len().to_string()])
            };
            let written = write(out);
            debug_assert!(written.is_ok(), "constants and a number");
            out.0.extend_from_slice(b"\r\n");
            out.0.extend_from_slice(&coded);
        }
        state.pool.give_send(coded);
        smaller
    }

    /// Writes the Content-Length. Bytes after its first digit move to make room for the other digits.
    fn finish(&self, out: &mut OutBuf) {
        let len = out.0.len() - self.body;
        let more = len.checked_ilog10().unwrap_or(0) as usize;
        let end = out.0.len();
        out.0.resize(end + more, 0);
        out.0.copy_within(self.length + 1..end, self.length + 1 + more);
        let mut rest = len;
        for digit in out.0[self.length..=self.length + more].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
}

/// Handles a POST of a session (docs/protocol.md 2.3).
pub(crate) fn push<H: Handler>(
    shard: &Rc<Shard<H>>,
    conn: Box<Conn<H::Session>>,
    session: Rc<Session<H::Session>>,
    body: Body,
    persistence: Persistence,
    resume: Resume<H>,
) -> Pooled<PostArgs<H>, Next<H::Session>> {
    let pool = shard.state.per_worker::<PostPool<H>>();
    let args = PostArgs { shard: shard.clone(), conn, session, body, persistence, resume };
    pool.0.run(args, handle_post)
}

/// The arguments of [`handle_post`].
pub(crate) struct PostArgs<H: Handler> {
    shard: Rc<Shard<H>>,
    conn: Box<Conn<H::Session>>,
    session: Rc<Session<H::Session>>,
    body: Body,
    persistence: Persistence,
    resume: Resume<H>,
}

/// Futures of POSTs. One is larger than the rest of a connection, which does not need it while it holds a GET.
struct PostPool<H: Handler>(Rc<FuturePool<PostArgs<H>, Next<H::Session>>>);

impl<H: Handler> Default for PostPool<H> {
    fn default() -> Self {
        Self(FuturePool::new(POOLED))
    }
}

async fn handle_post<H: Handler>(args: PostArgs<H>) -> Next<H::Session> {
    let PostArgs { shard, mut conn, session, body, persistence, resume } = args;
    let shard = &shard;
    if let Err(violation) = session.attach(Lane::Post) {
        session.log_violation(violation);
        // Its body is not read, so that nothing after it can be parsed.
        conn.reply(Answer::violation(violation), Persistence::Close);
        return Next::Continue(conn, Persistence::Close);
    }
    if let Err(error) = receive(&mut conn, &session, body).await {
        return refuse(conn, &session, error);
    }
    let fresh = conn.fresh;
    let mut records = payload::Decoder::new(conn.rx.kept_mut());
    let mut budget = YieldBudget::default();
    loop {
        budget.count().await;
        if session.is_slow() && records.is_message_next() {
            // Backpressure: a client that does not receive its messages is not read from.
            poll_fn(|cx| session.poll_room(cx)).await;
        }
        if records.is_close_next() && !session.is_polled() {
            // A "pending GET is answered `6`" (docs/protocol.md 2.3.8), including one that another worker received
            // earlier.
            shard.state.barrier(fresh).await;
        }
        match next(&session, &mut records) {
            Step::Handled => {}
            Step::Message(message) => {
                let Some(handling) = dispatch::deliver(shard, &session, message) else {
                    if dispatch::is_concurrent(shard) {
                        poll_fn(|cx| session.poll_inbox(cx)).await;
                    }
                    continue;
                };
                let mut handling = pin!(handling);
                if dispatch::poll_once(shard, &session, handling.as_mut()).await.is_pending() {
                    let outcome = push_rest_to_inbox(&session, &mut records);
                    // In two tasks: heartbeats do not wait for the handler, and the handler does not wait for a client
                    // that is slow to receive the response.
                    let answering =
                        answer(shard.clone(), conn, session.clone(), outcome, persistence, resume);
                    shard.state.tasks.spawn(answering);
                    dispatch::drain_inbox(shard, &session, handling).await;
                    return Next::Gone;
                }
            }
            Step::End(outcome) => {
                if session.is_inbox_full() {
                    // Backpressure: the handler does not keep up.
                    poll_fn(|cx| session.poll_inbox(cx)).await;
                }
                session.detach(Lane::Post);
                conn.rx.release();
                reply(&mut conn, outcome, persistence);
                return Next::Continue(conn, persistence);
            }
        }
    }
}

/// The response to a POST: `ok`, or a refusal.
type Outcome = Result<(), Answer<'static>>;

fn reply<T>(conn: &mut Conn<T>, outcome: Outcome, persistence: Persistence) {
    match outcome {
        Ok(()) => conn.reply_ok(persistence),
        Err(answer) => conn.reply(answer, persistence),
    }
}

/// The result of one record of a POST's body.
enum Step<'b> {
    Message(Message<'b>),
    /// Another packet, which was handled.
    Handled,
    /// The end of the body, or of the session. The response is known.
    End(Outcome),
}

/// Handles the next record. One that does not parse ends the session.
fn next<'b, T>(session: &Session<T>, records: &mut payload::Decoder<'b>) -> Step<'b> {
    let packet = match records.next() {
        None => return Step::End(Ok(())),
        Some(Ok(packet)) => packet,
        Some(Err(error)) => {
            session.log(Cause::InvalidPacket, error);
            session.fail(Lane::Post, CloseReason::ParseError);
            return Step::End(Err(Answer::empty(400)));
        }
    };
    match session.handle_packet(Lane::Post, packet) {
        Ok(Some(message)) => Step::Message(message),
        Ok(None) => Step::Handled,
        // Packets after a close packet are ignored; the close itself was valid.
        Err(Violation::Ended) if session.ignores_later_packets() => Step::End(Ok(())),
        Err(violation) => {
            session.log_violation(violation);
            Step::End(Err(Answer::violation(violation)))
        }
    }
}

/// Handles the remaining records while the handler is busy, and returns the response.
fn push_rest_to_inbox<T>(session: &Session<T>, records: &mut payload::Decoder<'_>) -> Outcome {
    loop {
        match next(session, records) {
            Step::Message(message) => session.push_inbox(message),
            Step::Handled => {}
            Step::End(outcome) => return outcome,
        }
    }
}

/// Answers a POST while the handler is still busy, and continues the connection.
async fn answer<H: Handler>(
    shard: Rc<Shard<H>>,
    mut conn: Box<Conn<H::Session>>,
    session: Rc<Session<H::Session>>,
    outcome: Outcome,
    persistence: Persistence,
    resume: Resume<H>,
) {
    session.detach(Lane::Post);
    conn.rx.release();
    reply(&mut conn, outcome, persistence);
    if persistence == Persistence::Close {
        conn.close_lingering().await;
    } else if conn.flush().await.is_ok() {
        resume(shard, conn);
    }
}

/// Why the body of a POST was not received.
enum BodyError {
    Connection(RecvError),
    /// The session ended before the body was complete.
    SessionEnded,
}

/// Receives the body of a POST, unless the session ends before.
async fn receive<T>(conn: &mut Conn<T>, session: &Session<T>, body: Body) -> Result<(), BodyError> {
    let mut receiving = pin!(conn.receive_body(body));
    poll_fn(|cx| {
        match receiving.as_mut().poll(cx) {
            _ if session.closed().is_some() => Poll::Ready(Err(BodyError::SessionEnded)),
            Poll::Ready(received) => Poll::Ready(received.map_err(BodyError::Connection)),
            // Registered only while the body is incomplete: mostly it arrives with the head.
            Poll::Pending => session.poll_closed(cx).map(|()| Err(BodyError::SessionEnded)),
        }
    })
    .await
}

/// Answers a POST whose body was not received.
fn refuse<T>(mut conn: Box<Conn<T>>, session: &Session<T>, error: BodyError) -> Next<T> {
    let answer = match error {
        BodyError::SessionEnded => Answer::violation(Violation::Ended),
        BodyError::Connection(RecvError::Bad(error @ HttpError::BodyTooLarge)) => {
            // The session continues (docs/protocol.md 2.3.10).
            session.log(Cause::BodyTooLarge, "");
            session.detach(Lane::Post);
            Answer::empty(error.status())
        }
        BodyError::Connection(RecvError::Bad(error)) => {
            session.log(Cause::MalformedBody, error);
            session.fail(Lane::Post, CloseReason::TransportError);
            Answer::empty(error.status())
        }
        BodyError::Connection(RecvError::OverBudget) => {
            session.log(Cause::MemoryBudget, "");
            session.fail(Lane::Post, CloseReason::TransportError);
            UNAVAILABLE
        }
        BodyError::Connection(RecvError::TimedOut) => {
            session.log(Cause::BodyTimeout, "");
            session.lost(Lane::Post);
            Answer::empty(408)
        }
        BodyError::Connection(RecvError::Closed) => {
            session.lost(Lane::Post);
            return Next::Gone;
        }
    };
    conn.reply(answer, Persistence::Close);
    Next::Continue(conn, Persistence::Close)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_length_matches_body() {
        for len in [0, 1, 9, 10, 1_000_000] {
            let mut out = OutBuf::default();
            let head = write_head(&mut out, b"Connection: close\r\n", b"", b"Vary: Origin\r\n");
            out.0.resize(out.0.len() + len, b'x');
            head.finish(&mut out);
            let text = String::from_utf8(out.0).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert_eq!(body.len(), len);
            let length =
                head.lines().find_map(|http| http.strip_prefix("Content-Length:")).unwrap();
            assert_eq!(length.trim().parse(), Ok(len));
            assert!(
                head.contains("\r\nVary: Origin\r\n") && head.contains("\r\nConnection: close")
            );
        }
    }
}
