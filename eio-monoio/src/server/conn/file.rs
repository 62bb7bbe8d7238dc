//! Serves static files: conditional requests, ranges, redirects of directories.

use eio_core::http::{Target, WriteError, response};

use crate::message::OutBuf;
use crate::server::conn::Body;
use crate::server::conn::Conn;
use crate::server::conn::head_ranges::HeadRanges;
use crate::server::conn::header_slots::FieldSlots;
use crate::server::conn::reply::Answer;
use crate::server::shard::disk::{Disk, Found, Opened, Reply, Task, Wanted};
use crate::web::compress::Accepted;
use crate::web::conditional::{Conditions, Decision};
use crate::web::persistence::Persistence;

/// The result of [`serve`].
pub(crate) enum Served {
    /// The request is not for a file; it was not consumed.
    NoFile,
    /// The end of the response is written, to be flushed.
    Answered(Persistence),
    /// The connection has ended.
    Closed,
}

/// Answers the request if it is for a file.
pub(crate) async fn serve<T>(
    conn: &mut Conn<T>,
    disk: &Disk,
    head: &HeadRanges,
    body: Body,
    persistence: Persistence,
) -> Served {
    let Some(request) = decide(conn, disk, head) else { return Served::NoFile };
    let found = match ask(conn, disk, Task::Find(Box::new(request.wanted))).await {
        Some(Reply::Found(Found::Missing)) => return Served::NoFile,
        Some(Reply::Found(found)) => Ok(found),
        Some(Reply::Failed(error)) => {
            crate::log::warn!(%error, "a file could not be read");
            Err(500)
        }
        Some(Reply::Piece(..)) | None => Err(503),
    };
    // From here on the request is consumed. Its body, if it has one, is not read, so the connection must close.
    conn.rx.skip(head.len());
    let persistence = if body.is_empty() { persistence } else { Persistence::Close };
    let head_only = request.method == Method::Head;
    let empty = |status| Answer { head_only, ..Answer::empty(status) };
    let mut opened = match found {
        Err(status) => {
            conn.reply(empty(status), Persistence::Close);
            return Served::Answered(Persistence::Close);
        }
        Ok(_) if request.method == Method::Other => {
            // RFC 9110 section 15.5.6: "The origin server MUST generate an Allow header field in a 405 response".
            conn.reply(Answer { headers: &[("Allow", "GET, HEAD")], ..empty(405) }, persistence);
            return Served::Answered(persistence);
        }
        Ok(Found::File(opened)) => opened,
        Ok(Found::Directory | Found::Missing) => {
            redirect(conn, &request.location, persistence);
            return Served::Answered(persistence);
        }
    };
    let state = conn.state.clone();
    let (date, persistence_lines) = (state.date(), persistence.lines(&state.keep_alive));
    let out = conn.out_mut();
    let start = out.0.len();
    if write_head(out, &opened, disk, &date, persistence_lines).is_err() {
        crate::log::error!("a file has a header that cannot be sent");
        out.0.truncate(start);
        conn.reply(empty(500), persistence);
        return Served::Answered(persistence);
    }
    out.0.extend_from_slice(&opened.first);
    conn.set_status(status(&opened.decision));
    let mut buffer = std::mem::take(&mut opened.first);
    let mut rest = opened.rest.take();
    // The next piece is read after the peer has received this one, so that only one is in memory.
    while let Some(source) = rest.take() {
        if conn.flush().await.is_err() {
            return Served::Closed;
        }
        let reply = ask(conn, disk, Task::Read(source, buffer)).await;
        let Some(Reply::Piece(bytes, more)) = reply else {
            // The response is incomplete for its Content-Length: only closing the connection tells the client.
            crate::log::warn!("a file could not be read to its end");
            return Served::Closed;
        };
        match conn.send(bytes, 0).await {
            Ok(sent) => buffer = sent,
            Err(_) => {
                return Served::Closed;
            }
        }
        rest = more;
    }
    Served::Answered(persistence)
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
    /// The target of the redirect if this is a directory.
    location: String,
}

/// Reads the request. `None` if no rule maps its path to a file.
fn decide<T>(conn: &Conn<T>, disk: &Disk, head: &HeadRanges) -> Option<Request> {
    let config = &conn.state.config;
    let mut slots = FieldSlots::new();
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

/// Runs a task on a disk thread. `None` if that exceeds the timeout, or the server ends.
async fn ask<T>(conn: &Conn<T>, disk: &Disk, task: Task) -> Option<Reply> {
    let state = &conn.state;
    let asking = state.tasks.run(disk.ask(&state.reads, state.id, task));
    conn.limit(state.config.connect_timeout, asking).await.ok()?.ok()
}

fn status(decision: &Decision) -> u16 {
    match decision {
        Decision::Whole => 200,
        Decision::Part(_) => 206,
        Decision::NotModified => 304,
        Decision::Failed => 412,
        Decision::NotSatisfiable => 416,
    }
}

fn write_head(
    out: &mut OutBuf,
    opened: &Opened,
    disk: &Disk,
    date: &[u8],
    persistence: &[u8],
) -> Result<(), WriteError> {
    let status = status(&opened.decision);
    let length = match &opened.decision {
        Decision::Whole => Some(opened.len),
        Decision::Part(range) => Some(range.end - range.start),
        // RFC 9110 section 15.4.5: no content, and no length of the full response.
        Decision::NotModified => None,
        Decision::Failed | Decision::NotSatisfiable => Some(0),
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
    head.raw(persistence)?.end()
}

/// Redirects to the path with a final slash: relative links of the page resolve against it.
fn redirect<T>(conn: &mut Conn<T>, location: &str, persistence: Persistence) {
    conn.set_status(301);
    let state = conn.state.clone();
    let (date, persistence) = (state.date(), persistence.lines(&state.keep_alive));
    let out = conn.out_mut();
    let start = out.0.len();
    let write = |out: &mut OutBuf| -> Result<(), WriteError> {
        let head = response(out, 301)?.raw(&date)?.header("Location", location)?;
        head.number("Content-Length", 0)?.raw(persistence)?.end()
    };
    if write(out).is_err() {
        // Not reached: a parsed target is visible ASCII.
        out.0.truncate(start);
    }
}
