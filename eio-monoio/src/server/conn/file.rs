//! Static files over HTTP.

use eio_core::http::{Target, WriteError, response};

use crate::io::http_conn::RecvError;
use crate::message::OutBuf;
use crate::server::conn::Body;
use crate::server::conn::Conn;
use crate::server::conn::head_ranges::HeadRanges;
use crate::server::conn::header_slots::HeaderSlots;
use crate::server::conn::reply::Answer;
use crate::server::shard::disk::{Disk, Found, Opened, Reply, Task, Wanted};
use crate::web::compress::Accepted;
use crate::web::conditional::{Conditions, Decision};
use crate::web::persistence::Persistence;

/// Whether a request was for a file.
pub(crate) enum Served {
    /// It was not, and is untouched.
    No,
    /// The answer, or its end, is written, to be flushed.
    Yes(Persistence),
    /// The connection ended.
    Gone,
}

/// Answers a request if it is for a file.
pub(crate) async fn serve<T>(
    conn: &mut Conn<T>,
    disk: &Disk,
    head: &HeadRanges,
    body: Body,
    after: Persistence,
) -> Served {
    let Some(request) = decide(conn, disk, head) else { return Served::No };
    let found = match ask(conn, disk, Task::Find(Box::new(request.wanted))).await {
        Some(Reply::Found(Found::Missing)) => return Served::No,
        Some(Reply::Found(found)) => Ok(found),
        Some(Reply::Failed(error)) => {
            tracing::warn!(%error, "a file could not be read");
            Err(500)
        }
        Some(Reply::Piece(..)) | None => Err(503),
    };
    // From here on the request is ours. Its body, if it has one, is nobody's.
    conn.rx.skip(head.len());
    let after = if body.is_empty() { after } else { Persistence::Close };
    let head_only = request.method == Method::Head;
    let plain = |status| Answer { head_only, ..Answer::empty(status) };
    let mut opened = match found {
        Err(status) => {
            conn.reply(plain(status), Persistence::Close);
            return Served::Yes(Persistence::Close);
        }
        Ok(_) if request.method == Method::Other => {
            // RFC 9110 15.5.6: "The origin server MUST generate an Allow header field in a 405 response".
            conn.reply(Answer { headers: &[("Allow", "GET, HEAD")], ..plain(405) }, after);
            return Served::Yes(after);
        }
        Ok(Found::File(opened)) => opened,
        Ok(Found::Directory | Found::Missing) => {
            redirect(conn, &request.location, after);
            return Served::Yes(after);
        }
    };
    let date = conn.state.date();
    let out = conn.out_mut();
    let start = out.0.len();
    if write_head(out, &opened, disk, &date, after).is_err() {
        tracing::error!("a file has a header that cannot be sent");
        out.0.truncate(start);
        conn.reply(plain(500), after);
        return Served::Yes(after);
    }
    out.0.extend_from_slice(&opened.first);
    let mut buffer = std::mem::take(&mut opened.first);
    let mut rest = opened.rest.take();
    // Before it is asked for more, the peer has taken what there was: one piece is all that is held for it.
    while let Some(source) = rest.take() {
        if conn.flush().await.is_err() {
            return Served::Gone;
        }
        let reply = ask(conn, disk, Task::Read(source, buffer)).await;
        let Some(Reply::Piece(bytes, more)) = reply else {
            // The length was promised; all that is left is not to pretend.
            tracing::warn!("a file could not be read to its end");
            return Served::Gone;
        };
        match conn.send(bytes).await {
            Ok(sent) => buffer = sent,
            Err(RecvError::Closed | RecvError::TimedOut | RecvError::Bad(_)) => {
                return Served::Gone;
            }
        }
        rest = more;
    }
    Served::Yes(after)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Get,
    Head,
    Other,
}

struct Request {
    method: Method,
    wanted: Wanted,
    /// Where it is sent to if it is for a directory.
    location: String,
}

/// `None`: no rule leads from the request to a file.
fn decide<T>(conn: &Conn<T>, disk: &Disk, head: &HeadRanges) -> Option<Request> {
    let config = &conn.state.config;
    let mut slots = HeaderSlots::new();
    let head = head.head(conn.rx.unread(), &mut slots);
    let target = Target::parse(head.target).ok()?;
    let candidate = disk.files.resolve(target.path)?;
    let method = match head.method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => Method::Other,
    };
    let wanted = Wanted {
        candidate,
        conditions: Conditions::new(&head.headers),
        accepted: Accepted::new(&head.headers),
        is_get: method == Method::Get,
        compress_from: config.http_compression.then_some(config.compression_threshold),
    };
    // The path has no empty segment, so it cannot be taken for "//host".
    let mut location = format!("{}/", target.path);
    if !target.query.is_empty() {
        location.push('?');
        location.push_str(target.query);
    }
    Some(Request { method, wanted, location })
}

/// Has a disk thread do something. `None`: it takes too long, or the server ends.
async fn ask<T>(conn: &Conn<T>, disk: &Disk, task: Task) -> Option<Reply> {
    let state = &conn.state;
    let asking = state.tasks.run(disk.ask(&state.reads, state.id, task));
    conn.limit(state.config.connect_timeout, asking).await.ok()?.ok()
}

fn write_head(
    out: &mut OutBuf,
    opened: &Opened,
    disk: &Disk,
    date: &[u8],
    after: Persistence,
) -> Result<(), WriteError> {
    let (status, length) = match &opened.decision {
        Decision::Whole => (200, Some(opened.len)),
        Decision::Part(range) => (206, Some(range.end - range.start)),
        // RFC 9110 15.4.5: no content, and no length that another response would have.
        Decision::NotModified => (304, None),
        Decision::Failed => (412, Some(0)),
        Decision::NotSatisfiable => (416, Some(0)),
    };
    let mut head = response(out, status)?.raw(date)?;
    match &opened.decision {
        Decision::Whole | Decision::Part(_) => {
            head = head.header("Content-Type", &opened.content_type)?;
            head = head.header("X-Content-Type-Options", "nosniff")?;
            head = head.header("Accept-Ranges", "bytes")?;
            if let Some(coding) = opened.coding {
                head = head.header("Content-Encoding", coding.name())?;
            }
        }
        Decision::NotSatisfiable => {
            head = head.header("Content-Range", &format!("bytes */{}", opened.len))?;
        }
        Decision::NotModified | Decision::Failed => {}
    }
    if let Decision::Part(range) = &opened.decision {
        let value = format!("bytes {}-{}/{}", range.start, range.end - 1, opened.len);
        head = head.header("Content-Range", &value)?;
    }
    if matches!(status, 200 | 206 | 304) {
        head = head.header("ETag", &opened.validators.etag)?;
        let modified = httpdate::fmt_http_date(opened.validators.modified);
        head = head.header("Last-Modified", &modified)?;
        head = head.raw(&disk.lines)?;
    }
    if opened.varies {
        head = head.header("Vary", "Accept-Encoding")?;
    }
    if let Some(length) = length {
        head = head.number("Content-Length", length)?;
    }
    head.raw(after.line())?.end()
}

/// Relative links of a page work only below the slash.
fn redirect<T>(conn: &mut Conn<T>, location: &str, after: Persistence) {
    let date = conn.state.date();
    let out = conn.out_mut();
    let start = out.0.len();
    let write = |out: &mut OutBuf| -> Result<(), WriteError> {
        let head = response(out, 301)?.raw(&date)?.header("Location", location)?;
        head.number("Content-Length", 0)?.raw(after.line())?.end()
    };
    if write(out).is_err() {
        // A target that was parsed is visible ASCII.
        out.0.truncate(start);
    }
}
