//! The GET and POST lanes of a session: one HTTP request each, over persistent connections.

use std::future::poll_fn;
use std::rc::Rc;

use eio_core::http::{BodyDecoder, Framing, WriteError};
use eio_core::payload;
use eio_core::session::{CloseReason, Lane};
use eio_core::transport::Transport;

use crate::client::dial::dial_lane;
use crate::client::error::Fault;
use crate::client::http::{
    ContentFields, Failure, IdleConn, ReuseTime, begin_request, flush, read_error_body, read_head,
    receive_body,
};
use crate::client::session::Session;
use crate::client::session::lanes::SocketGuard;
use crate::io::http_conn::HttpConn;
use crate::message::OutBuf;
use crate::worker::context::Activity;

/// Sends one GET and handles the packets of its response.
pub(crate) async fn get(session: Rc<Session>) {
    let mut response = match exchange(&session, Lane::Get, None).await {
        Ok(response) => response,
        Err(fault) => return session.lost(Lane::Get, fault),
    };
    // Decoding overwrites the body.
    let content = response.content.classify(response.conn.rx.kept());
    for packet in payload::Decoder::new(response.conn.rx.kept_mut()) {
        let valid = match packet {
            Ok(packet) => session.handle_packet(Lane::Get, packet),
            Err(error) => {
                let fault = content.map_or(Fault::Packet(error), Fault::Content);
                session.fail(Lane::Get, CloseReason::ParseError, fault);
                false
            }
        };
        if !valid {
            break;
        }
    }
    response.keep_conn(&session);
    // Backpressure: the next GET is sent when the application has taken messages.
    poll_fn(|cx| session.poll_inbox(cx)).await;
    session.detach(Lane::Get);
}

/// Sends one POST with this body.
pub(crate) async fn post(session: Rc<Session>, mut body: OutBuf) {
    match exchange(&session, Lane::Post, Some(&body)).await {
        Ok(response) => {
            response.keep_conn(&session);
            session.detach(Lane::Post);
        }
        Err(fault) => {
            session.lost(Lane::Post, fault);
            session.keep_post(&mut body.0);
        }
    }
}

/// Sends the request of `lane` and receives its response, twice if a reused connection was closed.
async fn exchange(
    session: &Rc<Session>,
    lane: Lane,
    body: Option<&OutBuf>,
) -> Result<Response, Fault> {
    if session.is_cancelled(lane) {
        return Err(Fault::Lost);
    }
    let reused = session.take_idle_conn(lane);
    let may_repeat = reused.is_some() && lane == Lane::Get;
    let conn = match reused {
        Some(conn) => conn,
        None => dial_lane(session, lane).await?,
    };
    match exchange_on(session, lane, conn, body).await {
        // The server closed the connection before it read the request. RFC 9110 9.2.2: a GET may be repeated, a POST
        // may not; a POST is not sent on a connection that was idle for long.
        Err(Failure { fault: _, unanswered: true }) if may_repeat && session.closed().is_none() => {
            let conn = dial_lane(session, lane).await?;
            exchange_on(session, lane, conn, body).await.map_err(|failure| failure.fault)
        }
        outcome => outcome.map_err(|failure| failure.fault),
    }
}

/// Sends the request of `lane` on `conn` and receives its response.
async fn exchange_on(
    session: &Rc<Session>,
    lane: Lane,
    mut conn: HttpConn,
    body: Option<&OutBuf>,
) -> Result<Response, Failure> {
    let _guard = SocketGuard::new(session, lane, &conn);
    let method = if lane == Lane::Post { "POST" } else { "GET" };
    // A POST needs no timestamp: a cache must forward it (RFC 9111 section 4).
    let target =
        session.settings.target(Transport::Polling, session.sid().as_ref(), lane == Lane::Get);
    let body = body.map(|body| body.0.as_slice());
    write_request(session, conn.out_mut(), method, &target, body);
    flush(&mut conn).await?;
    if lane == Lane::Get && session.is_open() {
        // The server holds it until it has a packet; pingInterval + pingTimeout limit it (docs/protocol.md 3.17).
        conn.clear_deadline();
    } else {
        conn.set_deadline(session.request_timeout());
    }
    let head = read_head(&session.cookies, &mut conn, method).await?;
    let max = session.settings.options.max_payload;
    let mut decoder = BodyDecoder::new(head.framing, max);
    if head.status != 200 {
        if head.status == 407 && session.settings.forwarding_proxy().is_some() {
            return Err(Fault::Proxy(head.status).into());
        }
        let body = read_error_body(&mut conn, &mut decoder).await;
        return Err(head.refusal.fault(head.status, body).into());
    }
    receive_body(&mut conn, &mut decoder).await?;
    let reuse_time = head.reuse_time.filter(|_| !matches!(head.framing, Framing::UntilClose));
    Ok(Response { conn, reuse_time, content: head.content })
}

/// Writes the request of a polling lane.
fn write_request(
    session: &Session,
    out: &mut OutBuf,
    method: &str,
    target: &str,
    body: Option<&[u8]>,
) {
    let cookies = session.cookies.borrow();
    let write = |out: &mut OutBuf| -> Result<(), WriteError> {
        let settings = &session.settings;
        let mut head = match settings.forwarding_proxy() {
            None => begin_request(out, method, target, settings, &cookies)?,
            Some((proxy, origin)) => {
                let target = format!("{origin}{target}");
                begin_request(out, method, &target, settings, &cookies)?.raw(&proxy.lines)?
            }
        };
        if let Some(body) = body {
            head = head
                .header("Content-Type", "text/plain;charset=UTF-8")?
                .number("Content-Length", body.len() as u64)?;
        }
        head.end()
    };
    let written = write(out);
    debug_assert!(written.is_ok(), "options are checked, and cookies come from parsed heads");
    out.0.extend_from_slice(body.unwrap_or_default());
}

/// A response with status 200: its connection, whose `rx` keeps the body.
struct Response {
    conn: HttpConn,
    reuse_time: Option<ReuseTime>,
    content: ContentFields,
}

impl Response {
    /// Discards the body and keeps the connection for the next request, if it is persistent.
    fn keep_conn(mut self, session: &Session) {
        self.conn.rx.release();
        if let Some(reuse) = self.reuse_time
            && self.conn.rx.unread().is_empty()
        {
            self.conn.release();
            self.conn.clear_deadline();
            self.conn.set_activity(Activity::Idle);
            let since = session.worker.now();
            session.keep_idle_conn(IdleConn { conn: self.conn, since, reuse });
        }
    }
}
