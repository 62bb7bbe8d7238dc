//! The owner's side of a link: preambles before requests, the confirmation after a response, and polls that are held for
//! clients at another node.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Waker};

use eio_core::cluster::link::{DELIVERED, LinkError, PONG, Preamble};
use eio_core::cluster::members::NodeId;
use slab::Slab;

use crate::io::http_conn::RecvError;
use crate::server::conn::Conn;
use crate::server::via::Stage;
use crate::worker::context::Activity;

/// How many times longer than the node that opened it this node keeps an unused link, so that it is not closed while a
/// request is on its way.
const IDLE_FACTOR: u32 = 3;

/// Completes the last request, then receives the preamble of the next one and answers pings before it. An error means that
/// the link has ended.
pub(crate) async fn next_request<T>(conn: &mut Conn<T>) -> Result<(), RecvError> {
    deliver(conn).await?;
    let idle = match conn.state.shared.cluster() {
        Some(hub) => hub.options.link_idle_timeout.saturating_mul(IDLE_FACTOR),
        None => return Err(RecvError::Closed),
    };
    conn.rx.release();
    conn.set_deadline(idle);
    loop {
        match read_preamble(conn) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => {
                crate::log::warn!(%error, "another node does not keep to the protocol of links");
                return Err(RecvError::Closed);
            }
        }
        conn.flush().await?;
        let begun = !conn.rx.unread().is_empty();
        conn.set_activity(if begun { Activity::Receiving } else { Activity::Idle });
        if begun {
            conn.set_deadline(conn.state.config.head_timeout);
        }
        conn.receive(1).await?;
    }
}

/// Parses the received bytes. True if a request follows.
fn read_preamble<T>(conn: &mut Conn<T>) -> Result<bool, LinkError> {
    while let Some((preamble, len)) = Preamble::parse(conn.http.rx.unread())? {
        let request = match preamble {
            Preamble::Request(origin) => {
                let certificate = origin.certificate;
                conn.peer = origin.peer;
                if let Some(link) = &mut conn.via.link {
                    link.stage = Stage::Request { is_confirmed: false };
                    link.secure = origin.secure;
                    link.certificate = (!certificate.is_empty()).then(|| certificate.to_vec());
                }
                true
            }
            Preamble::Ping => {
                conn.out_mut().0.push(PONG);
                false
            }
            _ => return Err(LinkError::Malformed),
        };
        conn.rx.skip(len);
        if request {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Sends the response. If it is one that the other node confirms, waits until that has handed it to the client's socket:
/// an error means that the client may not have received it. Has no effect if that is confirmed already.
pub(crate) async fn deliver<T>(conn: &mut Conn<T>) -> Result<(), RecvError> {
    conn.flush().await?;
    let stage = conn.via.link.as_ref().map(|link| link.stage);
    if let Some(Stage::Request { is_confirmed: true }) = stage {
        // The client's socket may take as long as one of this node, and the confirmation has a way of its own.
        let time = conn.state.config.write_timeout.saturating_mul(2);
        conn.set_deadline(time);
        while conn.rx.unread().is_empty() {
            conn.receive(1).await?;
        }
        if conn.rx.unread().first() != Some(&DELIVERED) {
            return Err(RecvError::Closed);
        }
        conn.rx.skip(1);
    }
    if let Some(link) = &mut conn.via.link {
        link.stage = Stage::Idle;
    }
    Ok(())
}

/// The polls of this worker's sessions that arrived over links and are held.
#[derive(Default)]
pub(crate) struct HeldPolls(RefCell<Slab<Held>>);

struct Held {
    /// The node that has the client's connection.
    from: NodeId,
    recalled: bool,
    waker: Option<Waker>,
}

impl HeldPolls {
    /// Ends the polls through a node that leaves: their clients poll at another one, and their sessions continue.
    pub(crate) fn recall(&self, from: NodeId) {
        let mut wakers = Vec::new();
        for (_, held) in self.0.borrow_mut().iter_mut().filter(|(_, held)| held.from == from) {
            held.recalled = true;
            wakers.extend(held.waker.take());
        }
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// One held poll.
pub(crate) struct Recall {
    polls: Rc<HeldPolls>,
    entry: usize,
}

impl Recall {
    /// `None` if the connection is that of a client. Boxed: it would add to the memory of every held poll.
    pub(crate) fn new<T>(conn: &Conn<T>) -> Option<Box<Self>> {
        let from = conn.via.link.as_ref()?.from;
        let polls = conn.state.per_worker::<HeldPolls>();
        let entry = polls.0.borrow_mut().insert(Held { from, recalled: false, waker: None });
        Some(Box::new(Self { polls, entry }))
    }

    /// Whether the poll ends now. If not, the task is woken when it does.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> bool {
        let mut polls = self.polls.0.borrow_mut();
        let Some(held) = polls.get_mut(self.entry) else { return false };
        held.waker = Some(cx.waker().clone());
        held.recalled
    }
}

impl Drop for Recall {
    fn drop(&mut self) {
        self.polls.0.borrow_mut().try_remove(self.entry);
    }
}
