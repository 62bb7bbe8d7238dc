//! A tunnel: the bytes of a client's WebSocket, in both directions between the client and the node of its session.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::io::http_conn::HttpConn;
use crate::io::permit::ConnectionPermit;
use crate::io::registered_stream::RegisteredStream;
use crate::io::stream::Stream;
use crate::server::cluster::hub::Hub;
use crate::server::conn::relay::pool::UsedLink;
use crate::worker::context::{Activity, WorkerContext};
use crate::worker::deadline::Deadline;

/// The most bytes that are read before they are written: what a slow receiver may hold of this node's memory.
const PIECE: usize = 64 * 1024;

/// The ends of a tunnel.
pub(super) struct Tunnel {
    client: RegisteredStream,
    link: RegisteredStream,
    /// Keeps the link registered, so that the loss of its node ends it.
    used: UsedLink,
    hub: Arc<Hub>,
    _permits: [Option<ConnectionPermit>; 2],
    worker: Rc<WorkerContext>,
    /// See [`write_timeout`](crate::Config::write_timeout).
    write_timeout: Duration,
}

impl Tunnel {
    /// The connections of a client and of a link, which have switched protocols. Bytes that each has received already are
    /// for the other.
    pub(super) fn new(
        hub: Arc<Hub>,
        client: HttpConn,
        link: HttpConn,
        used: UsedLink,
        permits: [Option<ConnectionPermit>; 2],
        write_timeout: Duration,
    ) -> (Self, [Vec<u8>; 2]) {
        // Only the peers can continue it.
        client.set_activity(Activity::Receiving);
        link.set_activity(Activity::Receiving);
        let worker = client.worker.clone();
        let (client, link) = (client.into_parts(), link.into_parts());
        let received = [&client.rx, &link.rx].map(|rx| rx.unread().to_vec());
        for parts in [client.rx, link.rx] {
            worker.pool.give_receive(parts.into_storage().into_vec());
        }
        let (client, link) = (client.socket, link.socket);
        (Self { client, link, used, hub, _permits: permits, worker, write_timeout }, received)
    }

    /// Copies until both directions have ended, or one fails.
    pub(super) async fn run(self, [from_client, from_link]: [Vec<u8>; 2]) {
        let (client, link) = (&self.client.stream, &self.link.stream);
        let mut up = pin!(self.copy(client, link, from_client));
        let mut down = pin!(self.copy(link, client, from_link));
        let mut ended = [None, None];
        poll_fn(|cx| {
            if ended[0].is_none()
                && let Poll::Ready(result) = up.as_mut().poll(cx)
            {
                ended[0] = Some(result.is_ok());
            }
            if ended[1].is_none()
                && let Poll::Ready(result) = down.as_mut().poll(cx)
            {
                if ended[0].is_none() && !matches!(result, Ok(true)) {
                    // Not by the session: perhaps the process of its node has ended.
                    let node = self.used.node;
                    self.hub.input(|members, now| members.handle_link_broken(node, now));
                }
                ended[1] = Some(result.is_ok());
            }
            let failed = ended.contains(&Some(false));
            let all = ended.iter().all(Option::is_some);
            if failed && !all {
                // The other direction ends, too: a write in flight owns its buffer.
                client.shutdown_both();
                link.shutdown_both();
            }
            if all { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Tunnel {
    /// Copies in one direction until its end, which is passed on: true if it came after a close frame. It owns a buffer
    /// only while it has bytes.
    async fn copy(&self, from: &Stream, to: &Stream, received: Vec<u8>) -> io::Result<bool> {
        let mut is_closing = ends_with_close(&received);
        if !received.is_empty() {
            Box::pin(self.write(to, received)).await?;
        }
        let pool = &self.worker.pool;
        loop {
            // Another receive would find nothing.
            if from.is_drained() {
                poll_fn(|cx| from.poll_readable(cx)).await?;
            }
            poll_fn(|cx| from.poll_budget(cx)).await;
            let mut buffer = pool.take_receive(PIECE);
            let piece = buffer.len().min(PIECE);
            match from.try_recv(&mut buffer[..piece]) {
                Ok(Some(0)) => {
                    pool.give_receive(buffer);
                    to.shutdown_write();
                    return Ok(is_closing);
                }
                Ok(Some(n)) => {
                    is_closing = ends_with_close(&buffer[..n]);
                    let sent = to.send_now(&buffer[..n]);
                    let rest = (sent < n).then(|| buffer[sent..n].to_vec());
                    pool.give_receive(buffer);
                    if let Some(rest) = rest {
                        // Boxed: it is rare, and would add to the memory of every tunnel.
                        Box::pin(self.write(to, rest)).await?;
                    }
                }
                Ok(None) => {
                    pool.give_receive(buffer);
                    poll_fn(|cx| from.poll_readable(cx)).await?;
                }
                Err(error) => {
                    pool.give_receive(buffer);
                    return Err(error);
                }
            }
        }
    }

    /// Writes within the write timeout: a receiver that takes nothing ends the tunnel, as it would end a WebSocket.
    async fn write(&self, to: &Stream, bytes: Vec<u8>) -> io::Result<()> {
        let deadline = Deadline::new(self.worker.clone());
        deadline.set(self.write_timeout);
        let (written, _) =
            deadline.limit_or_cut(to.write_all(bytes, 0), || to.shutdown_both()).await;
        written.result
    }
}

/// Whether the last bytes are a close frame of a server, without a code or with a code alone (RFC 6455 5.5.1). It may be
/// the end of a message that looks like one, or be split: then the end of the link is taken for another reason.
fn ends_with_close(bytes: &[u8]) -> bool {
    matches!(bytes, [.., 0x88, 0] | [.., 0x88, 2, _, _])
}

/// Starts a tunnel in a task of its own, so that the memory of the HTTP loop is freed.
pub(super) fn start(worker: &Rc<WorkerContext>, (tunnel, received): (Tunnel, [Vec<u8>; 2])) {
    // Boxed parts are gone by then: the future holds two sockets and two waits.
    worker.tasks.spawn(tunnel.run(received));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_frame_is_known_at_the_end_of_the_bytes() {
        for closing in [&b"\x88\x00"[..], b"\x88\x02\x03\xe8", b"\x81\x01a\x88\x02\x03\xe9"] {
            assert!(ends_with_close(closing), "{closing:?}");
        }
        for other in [&b""[..], b"\x88", b"\x88\x02\x03", b"\x81\x014", b"\x88\x02\x03\xe8\x81\x00"]
        {
            assert!(!ends_with_close(other), "{other:?}");
        }
    }
}
