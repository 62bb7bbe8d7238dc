//! Long-polling: the GET that is held until there is something, the POST that brings packets.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use eio_core::http::{Error as HttpError, header_line};
use eio_core::packet::Message;
use eio_core::payload;
use eio_core::session::{CloseReason, Lane, Violation};

use crate::io::http_conn::{HttpConn, RecvError};
use crate::message::OutBuf;
use crate::server::conn::Body;
use crate::server::conn::reply::{Answer, OK};
use crate::server::conn::request::{KEPT, Next, Resume};
use crate::server::conn::{Conn, dispatch};
use crate::server::handler::Handler;
use crate::server::session::Session;
use crate::server::shard::{Shard, ShardState};
use crate::web::compress::Coding;
use crate::web::persistence::Persistence;
use crate::worker::future_pool::{FuturePool, Pooled};
use crate::worker::yield_now::YieldBudget;

/// Answers a GET of a session, now or when there is something (protocol 2.4).
pub(crate) async fn poll<T>(
    mut conn: Box<Conn<T>>,
    session: Rc<Session<T>>,
    after: Persistence,
) -> Next<T> {
    if let Err(violation) = session.attach(Lane::Get) {
        conn.reply(Answer::violation(violation), after);
        return Next::Continue(conn, after);
    }
    match respond(&mut conn, &session, after).await {
        Ok(()) => send(conn, session, after).await,
        Err(_) => {
            session.lost(Lane::Get);
            Next::Gone
        }
    }
}

/// Sends the response to a GET. From here on the packets in it are the peer's: if it does not get them, the
/// session cannot go on.
pub(crate) async fn send<T>(
    mut conn: Box<Conn<T>>,
    session: Rc<Session<T>>,
    after: Persistence,
) -> Next<T> {
    session.detach(Lane::Get);
    if conn.flush().await.is_err() {
        session.abort(CloseReason::TransportError);
        return Next::Gone;
    }
    Next::Continue(conn, after)
}

/// Writes the response to a GET as soon as the session has something for it. An error: the peer is gone.
pub(crate) async fn respond<T>(
    conn: &mut Conn<T>,
    session: &Rc<Session<T>>,
    after: Persistence,
) -> Result<(), RecvError> {
    loop {
        let ready = poll_fn(|cx| {
            let extra = std::mem::take(&mut conn.extra);
            let date = conn.state.date();
            let out = conn.out_mut();
            let head = write_head(out, after, &date, &extra);
            let ready = session.poll_get(cx, out);
            if ready {
                let Conn { state, http: HttpConn { out, .. }, coding, .. } = &mut *conn;
                if !coding.is_some_and(|coding| head.shrink(out, coding, state)) {
                    head.finish(out);
                }
            } else {
                // A parked GET owns no buffer.
                out.0.clear();
                conn.state.pool.give_send(std::mem::take(&mut conn.http.out.0));
            }
            conn.extra = extra;
            Poll::Ready(ready)
        });
        if ready.await {
            return Ok(());
        }
        conn.shrink_rx();
        // Pipelined requests are kept, up to a point, so that the end behind them is seen.
        let watch = conn.rx.unread().len() <= conn.state.config.max_head_size;
        // The session's waker was left by `poll_get`: it, or input, brings this task back.
        let mut parked = false;
        let readable = poll_fn(|cx| {
            if watch && conn.stream().poll_readable(cx).is_ready() {
                return Poll::Ready(true);
            }
            if std::mem::replace(&mut parked, true) { Poll::Ready(false) } else { Poll::Pending }
        });
        if readable.await {
            conn.try_receive(1)?;
        }
    }
}

/// Where the Content-Length of a response is filled in once its body is written.
struct Head {
    length: usize,
    body: usize,
}

/// The head of a GET's response goes before the body into the same buffer, so that both leave in one send.
fn write_head(out: &mut OutBuf, after: Persistence, date: &[u8], extra: &[u8]) -> Head {
    const BEGIN: &[u8] = b"HTTP/1.1 200 OK\r\n\
        Content-Type: text/plain; charset=UTF-8\r\n\
        Cache-Control: no-store\r\n";
    // With room for a number.
    const LENGTH: &[u8] = b"Content-Length: 0\r\n\r\n";
    let out = &mut out.0;
    out.clear();
    for lines in [BEGIN, date, after.line(), extra, LENGTH] {
        out.extend_from_slice(lines);
    }
    Head { length: out.len() - b"0\r\n\r\n".len(), body: out.len() }
}

impl Head {
    /// Compresses the body and finishes the head, if that is worth while.
    fn shrink<T>(&self, out: &mut OutBuf, coding: Coding, state: &ShardState<T>) -> bool {
        if out.0.len() - self.body < state.config.compression_threshold {
            return false;
        }
        let mut coded = state.pool.take_send();
        let smaller = state.deflater.shrink(coding, &out.0[self.body..], &mut coded);
        if smaller {
            out.0.truncate(self.length - "Content-Length: ".len());
            let write = |out: &mut OutBuf| {
                header_line(out, "Content-Encoding", &[coding.name()])?;
                // RFC 9110 12.5.5: the answer depends on it.
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

    /// Fills in the length. What is behind its first digit moves up to make room for the others.
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

/// Takes a POST of a session (protocol 2.3).
pub(crate) fn push<H: Handler>(
    shard: &Rc<Shard<H>>,
    conn: Box<Conn<H::Session>>,
    session: Rc<Session<H::Session>>,
    body: Body,
    after: Persistence,
    resume: Resume<H>,
) -> Pooled<Post<H>, Next<H::Session>> {
    let pool = shard.state.per_worker::<Posts<H>>();
    pool.0.run(Post { shard: shard.clone(), conn, session, body, after, resume }, pushed)
}

/// What a POST takes.
pub(crate) struct Post<H: Handler> {
    shard: Rc<Shard<H>>,
    conn: Box<Conn<H::Session>>,
    session: Rc<Session<H::Session>>,
    body: Body,
    after: Persistence,
    resume: Resume<H>,
}

/// The memory of POSTs: more than all else of a connection, and not while a GET is held on it.
struct Posts<H: Handler>(Rc<FuturePool<Post<H>, Next<H::Session>>>);

impl<H: Handler> Default for Posts<H> {
    fn default() -> Self {
        Self(FuturePool::new(KEPT))
    }
}

async fn pushed<H: Handler>(post: Post<H>) -> Next<H::Session> {
    let Post { shard, mut conn, session, body, after, resume } = post;
    let shard = &shard;
    if let Err(violation) = session.attach(Lane::Post) {
        // Its body is still to come: nothing behind it can be understood.
        conn.reply(Answer::violation(violation), Persistence::Close);
        return Next::Continue(conn, Persistence::Close);
    }
    if let Err(why) = receive(&mut conn, &session, body).await {
        return refuse(conn, &session, why);
    }
    let fresh = conn.fresh;
    let mut records = payload::Decoder::new(conn.rx.kept_mut());
    let mut budget = YieldBudget::default();
    loop {
        budget.count().await;
        if session.is_slow() && records.is_message_next() {
            // Not before the peer has taken its answers: a client that does not read is not read from.
            poll_fn(|cx| session.poll_room(cx)).await;
        }
        if records.is_close_next() && !session.is_polled() {
            // Protocol 2.3.8: a "pending GET is answered `6`", also one that came first at another core.
            shard.state.barrier(fresh).await;
        }
        match next(&session, &mut records) {
            Step::Done => {}
            Step::Message(message) => {
                let Some(handled) = dispatch::deliver(shard, &session, message) else {
                    if dispatch::is_concurrent(shard) {
                        poll_fn(|cx| session.poll_inbox(cx)).await;
                    }
                    continue;
                };
                let mut handled = pin!(handled);
                if dispatch::begin(shard, &session, handled.as_mut()).await.is_pending() {
                    let outcome = push_rest_to_inbox(&session, &mut records);
                    // Neither waits for the other: heartbeats not for the handler, the handler not for a peer
                    // that takes its time with the answer.
                    let answering =
                        answer(shard.clone(), conn, session.clone(), outcome, after, resume);
                    shard.state.tasks.spawn(answering);
                    dispatch::drain_inbox(shard, &session, handled).await;
                    return Next::Gone;
                }
            }
            Step::End(outcome) => {
                if session.is_inbox_full() {
                    // The same for a handler that does not keep up.
                    poll_fn(|cx| session.poll_inbox(cx)).await;
                }
                session.detach(Lane::Post);
                conn.rx.release();
                conn.reply(outcome, after);
                return Next::Continue(conn, after);
            }
        }
    }
}

enum Step<'b> {
    Message(Message<'b>),
    /// A packet that is none, and has had its effect.
    Done,
    End(Answer<'static>),
}

/// Takes the next record. What is wrong with it ends the session and the body.
fn next<'b, T>(session: &Session<T>, records: &mut payload::Decoder<'b>) -> Step<'b> {
    let packet = match records.next() {
        None => return Step::End(OK),
        Some(Ok(packet)) => packet,
        Some(Err(_)) => {
            session.fail(Lane::Post, CloseReason::ParseError);
            return Step::End(Answer::empty(400));
        }
    };
    match session.handle_packet(Lane::Post, packet) {
        Ok(Some(message)) => Step::Message(message),
        Ok(None) => Step::Done,
        // What follows a close packet is nobody's; the close itself was right.
        Err(Violation::Ended) => Step::End(OK),
        Err(violation) => Step::End(Answer::violation(violation)),
    }
}

fn push_rest_to_inbox<T>(
    session: &Session<T>,
    records: &mut payload::Decoder<'_>,
) -> Answer<'static> {
    loop {
        match next(session, records) {
            Step::Message(message) => session.push_inbox(message),
            Step::Done => {}
            Step::End(answer) => return answer,
        }
    }
}

/// Answers a POST while its handler is still busy, and goes on with its connection.
async fn answer<H: Handler>(
    shard: Rc<Shard<H>>,
    mut conn: Box<Conn<H::Session>>,
    session: Rc<Session<H::Session>>,
    outcome: Answer<'static>,
    after: Persistence,
    resume: Resume<H>,
) {
    session.detach(Lane::Post);
    conn.rx.release();
    conn.reply(outcome, after);
    if after == Persistence::Close {
        conn.http.close_lingering().await;
    } else if conn.flush().await.is_ok() {
        resume(shard, conn);
    }
}

/// Why there is no body of a POST to go through.
enum BodyError {
    Connection(RecvError),
    /// The session ended before the body was whole: it would be nobody's.
    Session,
}

/// Receives the body of a POST, if the head promises one that is allowed.
async fn receive<T>(conn: &mut Conn<T>, session: &Session<T>, body: Body) -> Result<(), BodyError> {
    let mut receiving = pin!(conn.receive_body(body));
    poll_fn(|cx| {
        let received = receiving.as_mut().poll(cx);
        match session.poll_closed(cx) {
            Poll::Ready(()) => Poll::Ready(Err(BodyError::Session)),
            Poll::Pending => received.map_err(BodyError::Connection),
        }
    })
    .await
}

/// Answers a POST whose body did not come, or is not wanted.
fn refuse<T>(mut conn: Box<Conn<T>>, session: &Session<T>, why: BodyError) -> Next<T> {
    let answer = match why {
        BodyError::Session => Answer::violation(Violation::Ended),
        BodyError::Connection(RecvError::Bad(error @ HttpError::BodyTooLarge)) => {
            // The session has done nothing wrong; protocol 2.3.10.
            session.detach(Lane::Post);
            Answer::empty(error.status())
        }
        BodyError::Connection(RecvError::Bad(error)) => {
            session.fail(Lane::Post, CloseReason::TransportError);
            Answer::empty(error.status())
        }
        BodyError::Connection(RecvError::TimedOut) => {
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
    fn the_length_is_the_body_s() {
        for len in [0, 1, 9, 10, 1_000_000] {
            let mut out = OutBuf::default();
            let head = write_head(&mut out, Persistence::Close, b"", b"Vary: Origin\r\n");
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
