//! The response to a forwarded request, from a link to the client.

use std::future::poll_fn;
use std::task::{Poll, ready};

use eio_core::http::{EMPTY, Framing, HeadScanner, ResponseHead};

use crate::io::http_conn::HttpConn;
use crate::server::conn::Conn;

/// The most header fields of a response.
const MAX_FIELDS: usize = 128;
/// The most bytes of the head of a response.
const MAX_HEAD: usize = 64 * 1024;
/// The most bytes of a response that wait for the client's socket.
const PIECE: usize = 64 * 1024;

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Response {
    /// All of it is in the client's socket.
    Complete {
        /// Both connections stay open.
        keep_alive: bool,
    },
    /// The connections speak another protocol from now on.
    Switched,
    /// The link had ended before a byte of the request was sent.
    NotSent,
    /// The link ended before the response began: the client can still be answered.
    NotBegun,
    /// The link ended in the response.
    Broken,
    /// The client has left.
    ClientGone,
}

/// What the head of a response says.
struct Head {
    len: usize,
    switches: bool,
    body: u64,
    keep_alive: bool,
}

/// Waits for the response and writes it to the client, in pieces. A client that leaves in the meantime ends the wait.
pub(super) async fn forward<T>(conn: &mut Conn<T>, link: &mut HttpConn, method: &str) -> Response {
    let head = match receive_head(conn, link, method).await {
        Ok(head) => head,
        Err(response) => return response,
    };
    take(conn, link, head.len);
    if head.switches {
        // The tunnel sends bytes that follow.
        return if conn.flush().await.is_ok() { Response::Switched } else { Response::ClientGone };
    }
    let mut left = head.body;
    loop {
        let available = link.rx.unread().len().min(usize::try_from(left).unwrap_or(usize::MAX));
        take(conn, link, available);
        left -= available as u64;
        if left > 0 && conn.out.0.len() < PIECE {
            let wanted = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            if link.receive(wanted).await.is_err() {
                return Response::Broken;
            }
            continue;
        }
        if conn.flush().await.is_err() {
            return Response::ClientGone;
        }
        if left == 0 {
            return Response::Complete { keep_alive: head.keep_alive };
        }
    }
}

/// Moves received bytes to those that are written to the client.
fn take<T>(conn: &mut Conn<T>, link: &mut HttpConn, len: usize) {
    let bytes = link.rx.unread().get(..len).unwrap_or_default();
    conn.out_mut().0.extend_from_slice(bytes);
    link.rx.skip(len);
}

async fn receive_head<T>(
    conn: &mut Conn<T>,
    link: &mut HttpConn,
    method: &str,
) -> Result<Head, Response> {
    let mut scanner = HeadScanner::new();
    // Right after the request was sent there is no response yet.
    let mut may_receive = !link.stream().is_drained();
    loop {
        let begun = !link.rx.unread().is_empty();
        if begun {
            match scanner.poll(link.rx.unread(), MAX_HEAD) {
                Ok(Some(len)) => {
                    return parse(&link.rx.unread()[..len], method).ok_or(Response::Broken);
                }
                Ok(None) => {}
                Err(_) => return Err(Response::Broken),
            }
        }
        let ended = if begun { Response::Broken } else { Response::NotBegun };
        if may_receive {
            match link.try_receive(1) {
                Ok(true) => {
                    may_receive = !link.stream().is_drained();
                    continue;
                }
                Ok(false) => {}
                Err(_) => return Err(ended),
            }
        }
        // A forwarded GET waits here, and owns no buffer.
        link.shrink_rx();
        conn.shrink_rx();
        // Pipelined requests are received and kept up to this limit, so that the end of the connection is noticed.
        let watch = conn.rx.unread().len() <= conn.state.config.max_head_size;
        let from_client = poll_fn(|cx| {
            // Over TLS each may send records without application data.
            ready!(link.stream().poll_budget(cx));
            ready!(conn.http.stream().poll_budget(cx));
            if link.stream().poll_readable(cx).is_ready() {
                return Poll::Ready(false);
            }
            if watch && conn.http.stream().poll_readable(cx).is_ready() {
                return Poll::Ready(true);
            }
            Poll::Pending
        });
        may_receive = !from_client.await;
        if !may_receive && conn.try_receive(1).is_err() {
            return Err(Response::ClientGone);
        }
    }
}

/// `None`: the head is not one that a node writes.
fn parse(bytes: &[u8], method: &str) -> Option<Head> {
    let mut slots = [EMPTY; MAX_FIELDS];
    let head = ResponseHead::parse(bytes, &mut slots).ok()?;
    let body = match head.framing(method).ok()? {
        Framing::None => 0,
        Framing::Length(length) => length,
        Framing::Chunked | Framing::UntilClose => return None,
    };
    let switches = head.status == 101;
    // A node sends no other interim response: the request arrives whole.
    if head.status < 200 && !switches {
        return None;
    }
    Some(Head { len: bytes.len(), switches, body, keep_alive: head.keep_alive() })
}
