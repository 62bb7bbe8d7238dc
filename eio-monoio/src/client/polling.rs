//! Polling: one request for each GET and POST the session asks for, over connections that are kept.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use eio_core::http::{BodyDecoder, Framing, WriteError};
use eio_core::payload;
use eio_core::session::{CloseReason, Lane};
use eio_core::transport::Transport;

use crate::client::dial::connect;
use crate::client::error::Fault;
use crate::client::http::{
    Failure, IdleConn, begin_request, fault, read_error_body, read_head, receive_body,
};
use crate::client::session::Session;
use crate::client::session::lanes::SocketGuard;
use crate::io::http_conn::{HttpConn, RecvError};
use crate::message::OutBuf;
use crate::worker::deadline::millis;

/// Receives once: a GET and what its response holds.
pub(crate) async fn get(session: Rc<Session>) {
    let mut conn = match exchange(&session, Lane::Get, None).await {
        Ok(answered) => answered,
        Err(fault) => return session.lost(Lane::Get, fault),
    };
    for packet in payload::Decoder::new(conn.conn.rx.kept_mut()) {
        let go_on = match packet {
            Ok(packet) => session.handle_packet(Lane::Get, packet),
            Err(error) => {
                session.fail(Lane::Get, CloseReason::ParseError, Fault::Packet(error));
                false
            }
        };
        if !go_on {
            break;
        }
    }
    conn.keep(&session);
    // An application that does not keep up is not polled for.
    poll_fn(|cx| session.poll_inbox(cx)).await;
    session.detach(Lane::Get);
}

/// Sends once: a POST of what was written into `body`.
pub(crate) async fn post(session: Rc<Session>, body: OutBuf) {
    match exchange(&session, Lane::Post, Some(body)).await {
        Ok(answered) => {
            answered.keep(&session);
            session.detach(Lane::Post);
        }
        Err(fault) => session.lost(Lane::Post, fault),
    }
}

/// A connection with the body of a 200 in what it keeps.
struct Answered {
    conn: HttpConn,
    reuse: Option<Duration>,
}

impl Answered {
    /// Gives the connection back for another request.
    fn keep(mut self, session: &Session) {
        self.conn.rx.release();
        if let Some(time) = self.reuse
            && self.conn.rx.unread().is_empty()
        {
            self.conn.release();
            self.conn.clear_deadline();
            self.conn.set_idle(true);
            let until = session.worker.now().after(millis(time));
            session.give_idle(IdleConn { conn: self.conn, until });
        }
    }
}

/// Runs one request of `lane` to its end.
async fn exchange(
    session: &Rc<Session>,
    lane: Lane,
    body: Option<OutBuf>,
) -> Result<Answered, Fault> {
    if session.is_unwanted(lane) {
        return Err(Fault::Lost);
    }
    let reused = session.take_idle();
    let retry = reused.is_some() && lane == Lane::Get;
    let conn = match reused {
        Some(conn) => conn,
        None => connect(session, lane).await?,
    };
    match attempt(session, lane, conn, body.as_ref()).await {
        // The server closed the connection before it saw the request. RFC 9110 9.2.2: a GET may be sent again;
        // a POST may not, and is not sent on a connection that was idle for long.
        Err(Failure { fault: _, untouched: true }) if retry && session.closed().is_none() => {
            let conn = connect(session, lane).await?;
            attempt(session, lane, conn, body.as_ref()).await.map_err(|failure| failure.fault)
        }
        outcome => outcome.map_err(|failure| failure.fault),
    }
}

async fn attempt(
    session: &Rc<Session>,
    lane: Lane,
    mut conn: HttpConn,
    body: Option<&OutBuf>,
) -> Result<Answered, Failure> {
    let _guard = SocketGuard::new(session, lane, &conn);
    let method = if lane == Lane::Post { "POST" } else { "GET" };
    // Over polling, POSTs are told apart by their bodies.
    let target =
        session.settings.target(Transport::Polling, session.sid().as_ref(), lane == Lane::Get);
    let body = body.map(|body| body.0.as_slice());
    write_request(session, conn.out_mut(), method, &target, body);
    let lost =
        |ended| Failure { untouched: matches!(ended, RecvError::Closed), fault: fault(ended) };
    conn.flush().await.map_err(lost)?;
    if lane == Lane::Get && session.is_open() {
        // It is held until there is something; pingInterval + pingTimeout bound it (protocol 3.17).
        conn.clear_deadline();
    } else {
        conn.set_deadline(session.request_timeout());
    }
    let head = read_head(&session.cookies, &mut conn, method).await?;
    let max = session.settings.options.max_payload;
    let mut decoder = BodyDecoder::new(head.framing, max);
    if head.status != 200 {
        let body = read_error_body(&mut conn, &mut decoder).await;
        return Err(Fault::Status { status: head.status, body }.into());
    }
    receive_body(&mut conn, &mut decoder).await?;
    let reuse = head.reuse.filter(|_| !matches!(head.framing, Framing::UntilClose));
    Ok(Answered { conn, reuse })
}

/// Writes the whole request of a polling lane.
fn write_request(
    session: &Session,
    out: &mut OutBuf,
    method: &str,
    target: &str,
    body: Option<&[u8]>,
) {
    let cookies = session.cookies.borrow();
    let write = |out: &mut OutBuf| -> Result<(), WriteError> {
        let mut head = begin_request(out, method, target, &session.settings, &cookies)?;
        if let Some(body) = body {
            head = head
                .header("Content-Type", "text/plain;charset=UTF-8")?
                .number("Content-Length", body.len() as u64)?;
        }
        head.end()
    };
    let written = write(out);
    debug_assert!(written.is_ok(), "all of it was checked before, cookies when they were read");
    out.0.extend_from_slice(body.unwrap_or_default());
}
