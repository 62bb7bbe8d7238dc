//! Answers requests for other paths: static files, then the application's [`Handler::respond`].

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use eio_core::http::{WriteError, response};

use crate::message::OutBuf;
use crate::metrics::HandlerCall;
use crate::server::cause::Cause;
use crate::server::conn::Body;
use crate::server::conn::head_ranges::HeadRanges;
use crate::server::conn::header_slots::FieldSlots;
use crate::server::conn::reply::{Answer, UNAVAILABLE};
use crate::server::conn::request::Next;
use crate::server::conn::{Conn, file};
use crate::server::handler::Handler;
use crate::server::request_body::{BodyLimits, HandlerDeadline, Progress, RequestBody};
use crate::server::shard::{Shard, ShardState};
use crate::web::compress::is_compressible;
use crate::web::persistence::Persistence;
use crate::web::request::RequestInfo;
use crate::worker::clock;
use crate::worker::deadline::Deadline;
use crate::worker::tasks::Stopped;

/// Answers a request for another path.
pub(crate) async fn answer<H: Handler>(
    shard: &Rc<Shard<H>>,
    mut conn: Box<Conn<H::Session>>,
    head: HeadRanges,
    body: Body,
    persistence: Persistence,
) -> Next<H::Session> {
    if let Some(disk) = conn.state.disk.clone() {
        match file::serve(&mut conn, &disk, &head, body, persistence).await {
            file::Served::NoFile => {}
            file::Served::Answered(persistence) => return Next::Continue(conn, persistence),
            file::Served::Closed => return Next::Gone,
        }
    }
    // Copies, because the handler receives the body into the buffer in which the head is.
    let bytes = conn.rx.unread().get(..head.len()).unwrap_or_default().to_vec();
    let (peer, secure, certificate) = {
        let mut slots = FieldSlots::new();
        let parsed = head.head(&bytes, &mut slots);
        let info = shard.state.info(parsed, conn.http.stream(), conn.peer, &conn.via);
        (info.peer, info.secure, info.certificate.map(<[u8]>::to_vec))
    };
    let mut slots = FieldSlots::new();
    let attached = std::mem::take(&mut conn.attached);
    let certificate = certificate.as_deref();
    let parsed = head.head(&bytes, &mut slots);
    let request =
        RequestInfo { head: parsed, peer, secure, certificate, attached, cookies: OnceCell::new() };
    conn.rx.skip(head.len());
    let (outcome, progress) = respond(shard, &mut conn, &request, body).await;
    conn.rx.release();
    conn.shrink_rx();
    let head_only = request.method() == "HEAD";
    let persistence = match progress {
        Progress::Complete => persistence,
        Progress::Closed => return Next::Gone,
        Progress::Failed(status) => {
            conn.log(
                match status {
                    408 => Cause::BodyTimeout,
                    413 => Cause::BodyTooLarge,
                    503 => Cause::MemoryBudget,
                    _ => Cause::MalformedBody,
                },
                "",
            );
            let answer = if status == 503 { UNAVAILABLE } else { Answer::empty(status) };
            conn.reply(answer, Persistence::Close);
            return Next::Continue(conn, Persistence::Close);
        }
        // The rest would be parsed as the next request.
        Progress::Unread => Persistence::Close,
    };
    match outcome {
        Ok(response) => write(&mut conn, &response, head_only, persistence),
        Err(Stopped::Panicked) => {
            crate::log::error!("handler panicked in request");
            conn.reply(Answer::empty(500), persistence);
        }
        Err(Stopped::Aborted) => {
            conn.log(Cause::RequestTimeout, "");
            conn.reply(Answer::empty(503), persistence);
        }
    }
    Next::Continue(conn, persistence)
}

/// Calls [`Handler::respond`], which has `connect_timeout` from the call or from its last read of the body.
async fn respond<H: Handler>(
    shard: &Shard<H>,
    conn: &mut Conn<H::Session>,
    request: &RequestInfo<'_>,
    body: Body,
) -> (Result<Response, Stopped>, Progress) {
    let config = &shard.state.config;
    let progress = Cell::new(Progress::Unread);
    let deadline = Deadline::new(conn.worker.clone());
    deadline.set(config.connect_timeout);
    let limits = BodyLimits {
        framing: body.framing,
        expects_continue: body.expects_continue,
        max: config.max_payload,
        timeout: config.body_timeout,
    };
    let handler = HandlerDeadline { deadline: &deadline, time: config.connect_timeout };
    let body = RequestBody::new(&mut conn.http, limits, handler, &progress);
    let started = clock::now();
    let answering = shard.state.tasks.start(|| shard.handler.respond(request, body));
    let outcome = deadline.limit(answering).await;
    shard.state.count_time(HandlerCall::Request, started);
    deadline.disarm();
    (outcome.unwrap_or(Err(Stopped::Aborted)), progress.get())
}

type Response = http::Response<Cow<'static, [u8]>>;

/// Writes the application's response. The server frames it, so header fields about framing are left out. The server may
/// compress it, unless the application has applied a content coding.
fn write<T>(
    conn: &mut Conn<T>,
    answer: &http::Response<Cow<'static, [u8]>>,
    head_only: bool,
    persistence: Persistence,
) {
    const RESERVED: [http::HeaderName; 4] = [
        http::header::CONTENT_LENGTH,
        http::header::TRANSFER_ENCODING,
        http::header::CONNECTION,
        http::header::DATE,
    ];
    let state = conn.state.clone();
    let (date, persistence_lines) = (state.date(), persistence.lines(&state.keep_alive));
    let status = answer.status().as_u16();
    conn.set_status(status);
    let may_code = is_worth_coding(&conn.state, answer);
    let mut coded = Vec::new();
    let coding = conn.coding.filter(|coding| {
        may_code && conn.state.deflater.shrink(*coding, answer.body(), &mut coded)
    });
    let body = if coding.is_some() { &coded } else { &**answer.body() };
    let write = |out: &mut OutBuf| -> Result<(), WriteError> {
        // RFC 9110 section 15.2: a client expects another head after an interim response, and would parse the body as
        // one.
        if status < 200 {
            return Err(WriteError::IllegalValue);
        }
        let mut head = response(out, status)?.raw(&date)?;
        for (name, value) in answer.headers().iter().filter(|(name, _)| !RESERVED.contains(name)) {
            let value = value.to_str().map_err(|_| WriteError::IllegalValue)?;
            // RFC 9110 section 8.8.3.3: a strong tag identifies these bytes, and compression changes them.
            let is_strong = *name == http::header::ETAG && value.starts_with('"');
            let weak = if is_strong && coding.is_some() { "W/" } else { "" };
            head = head.header_parts(name.as_str(), &[weak, value])?;
        }
        if let Some(coding) = coding {
            head = head.header("Content-Encoding", coding.name())?;
        }
        if may_code {
            head = head.header("Vary", "Accept-Encoding")?;
        }
        // RFC 9110 sections 8.6 and 15.4.5.
        if status != 204 && status != 304 {
            head = head.number("Content-Length", body.len() as u64)?;
        }
        head.raw(persistence_lines)?.end()
    };
    let out = conn.out_mut();
    let start = out.0.len();
    match write(out) {
        Ok(()) if !head_only && status != 204 && status != 304 => out.0.extend_from_slice(body),
        Ok(()) => {}
        Err(_) => {
            crate::log::error!(
                "a response of the application has a status or header that cannot be sent"
            );
            out.0.truncate(start);
            conn.reply(Answer::empty(500), persistence);
        }
    }
}

/// Whether a response of the application may be compressed for clients that accept it.
fn is_worth_coding<T>(state: &ShardState<T>, answer: &http::Response<Cow<'static, [u8]>>) -> bool {
    let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let may_transform = || {
        text(http::header::CACHE_CONTROL)
            .is_none_or(|value| !value.to_ascii_lowercase().contains("no-transform"))
    };
    state.config.http_compression
        && answer.status() == http::StatusCode::OK
        && answer.body().len() >= state.config.compression_threshold
        && !answer.headers().contains_key(http::header::CONTENT_ENCODING)
        && text(http::header::CONTENT_TYPE).is_some_and(is_compressible)
        && may_transform()
}
