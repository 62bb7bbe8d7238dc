//! [`LinkPool`]: links that this worker has opened to other nodes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use eio_core::cluster::link::DELIVERED;
use eio_core::cluster::members::NodeId;
use eio_core::sid::Sid;
use eio_core::time::Instant;
use slab::Slab;

use crate::io::http_conn::HttpConn;
use crate::worker::context::{Activity, WorkerContext};
use crate::worker::deadline::millis;
use crate::worker::net;
use crate::worker::task::sleep_on;
use crate::worker::yield_now;

/// The most unused links to one node: as many as a worker with 128 busy polling sessions of that node uses, since a
/// handshake costs as much as ten requests. Unused ones close after `link_idle_timeout`.
const MAX_IDLE: usize = 256;

/// At the end of a turn with this many unconfirmed responses, they wait for another turn, which follows at once: its requests
/// carry most of the confirmations.
const MANY_UNCONFIRMED: usize = 8;

/// The links of one worker: unused ones, and the sockets of those in use.
#[derive(Default)]
pub(crate) struct LinkPool {
    idle: RefCell<HashMap<NodeId, Vec<Idle>>>,
    used: RefCell<Slab<Used>>,
    /// Unused links whose last response is not confirmed yet.
    unconfirmed: Cell<usize>,
    /// A task confirms them at the end of this turn of the worker.
    confirming: Cell<bool>,
    /// A task closes links that nobody uses.
    sweeping: Cell<bool>,
    /// Spreads links over the addresses of a node.
    pub(super) turn: Cell<usize>,
}

/// The entry of a link in use.
struct Used {
    node: NodeId,
    fd: RawFd,
    /// Of the session whose WebSocket is a tunnel over this link.
    sid: Option<Box<str>>,
}

struct Idle {
    link: HttpConn,
    since: Instant,
    /// [`DELIVERED`] is not sent yet.
    confirms: bool,
}

/// A link in use. Dropping it closes the link, unless it was [given](LinkPool::give) back.
pub(super) struct UsedLink {
    pub(super) node: NodeId,
    /// It may have ended before the request reached the other node.
    pub(super) was_idle: bool,
    /// Always `Some` until it is taken out.
    link: Option<HttpConn>,
    pool: Rc<LinkPool>,
    entry: usize,
}

impl LinkPool {
    /// An unused link, if there is one that is still open. The confirmation of its last response leaves with the next
    /// request.
    pub(super) fn take(self: &Rc<Self>, node: NodeId) -> Option<UsedLink> {
        loop {
            let idle = self.idle.borrow_mut().get_mut(&node)?.pop()?;
            let mut link = idle.link;
            self.unconfirmed.update(|count| count - usize::from(idle.confirms));
            if is_open(&mut link) {
                if idle.confirms {
                    link.out_mut().0.push(DELIVERED);
                }
                return Some(self.begin(node, link, true));
            }
        }
    }

    /// Registers a link as used. `was_idle`: requests have passed over it.
    pub(super) fn begin(self: &Rc<Self>, node: NodeId, link: HttpConn, was_idle: bool) -> UsedLink {
        link.set_activity(Activity::Busy);
        let used = Used { node, fd: link.stream().raw(), sid: None };
        let entry = self.used.borrow_mut().insert(used);
        UsedLink { node, was_idle, link: Some(link), pool: self.clone(), entry }
    }

    /// Returns a link whose exchange is complete. `confirms`: the response is confirmed, with the next request if one
    /// follows in this turn of the worker, else at its end; see also [`MANY_UNCONFIRMED`].
    pub(super) fn give(
        self: &Rc<Self>,
        mut used: UsedLink,
        confirms: bool,
        idle_timeout: Duration,
    ) {
        let Some(mut link) = used.link.take() else { return };
        let worker = link.worker.clone();
        let count = self.idle.borrow().get(&used.node).map_or(0, Vec::len);
        link.release();
        // From now on the driver notices the end.
        if worker.is_shutting_down() || count >= MAX_IDLE || !is_open(&mut link) {
            if confirms {
                confirm(&link);
            }
            return;
        }
        link.clear_deadline();
        link.set_activity(Activity::Idle);
        let since = worker.cached_now();
        let mut idle = self.idle.borrow_mut();
        let links = idle.entry(used.node).or_default();
        links.push(Idle { link, since, confirms });
        drop(idle);
        self.unconfirmed.update(|count| count + usize::from(confirms));
        if confirms && !self.confirming.replace(true) {
            let pool = self.clone();
            // It runs after the tasks that are ready now.
            worker.tasks.spawn(async move {
                if pool.unconfirmed.get() >= MANY_UNCONFIRMED {
                    // The next requests of these clients are here already, or are about to be.
                    yield_now::yield_now().await;
                }
                pool.confirm_all();
            });
        }
        if !self.sweeping.replace(true) {
            let (pool, owned) = (self.clone(), worker.clone());
            // A shutdown aborts it.
            worker.background.spawn(async move {
                let sweeping = sweep(pool, owned.clone(), idle_timeout);
                _ = owned.background.run(sweeping).await;
            });
        }
    }

    /// Confirms the responses that have reached the sockets of their clients.
    fn confirm_all(&self) {
        self.confirming.set(false);
        let mut left = self.unconfirmed.take();
        // Dropped after the borrow.
        let mut ended = Vec::new();
        for links in self.idle.borrow_mut().values_mut() {
            // The newest are at the end.
            for at in (0..links.len()).rev() {
                if left == 0 {
                    break;
                }
                if std::mem::take(&mut links[at].confirms) {
                    left -= 1;
                    if !confirm(&links[at].link) {
                        ended.push(links.remove(at));
                    }
                }
            }
        }
    }

    /// Closes every unused link: the worker ends.
    pub(crate) fn close(&self) {
        self.confirm_all();
        let idle = self.idle.take();
        drop(idle);
    }

    /// A node is lost: its unused links close, and those in use end.
    pub(crate) fn end(&self, node: NodeId) {
        self.confirm_all();
        let idle = self.idle.borrow_mut().remove(&node);
        drop(idle);
        for (_, used) in self.used.borrow().iter() {
            if used.node == node {
                net::abort(used.fd);
            }
        }
    }

    /// The sids of the sessions whose WebSockets are tunnels of this worker.
    pub(crate) fn tunnels(&self) -> Vec<Sid> {
        let used = self.used.borrow();
        used.iter().filter_map(|(_, used)| Sid::new(used.sid.as_deref()?).ok()).collect()
    }

    /// Closes links that have been unused since `until`. True if none is left.
    fn close_unused(&self, until: Instant) -> bool {
        self.confirm_all();
        let mut closing = Vec::new();
        let mut idle = self.idle.borrow_mut();
        for links in idle.values_mut() {
            // The oldest are in front.
            let old = links.iter().take_while(|idle| idle.since <= until).count();
            closing.extend(links.drain(..old));
        }
        idle.retain(|_, links| !links.is_empty());
        let is_empty = idle.is_empty();
        drop(idle);
        is_empty
    }
}

/// Whether an unused link has not ended, as far as the driver knows: a receive would be a system call for each request. No
/// bytes may arrive between two requests; the end may, and records of TLS.
fn is_open(link: &mut HttpConn) -> bool {
    // No task waits: the next call asks again. The wait is that for the next response.
    let readable = link.stream().poll_readable(&mut Context::from_waker(Waker::noop()));
    match readable {
        Poll::Pending => true,
        Poll::Ready(Ok(())) => {
            let is_open = matches!(link.try_receive(1), Ok(false));
            link.shrink_rx();
            is_open
        }
        Poll::Ready(Err(_)) => false,
    }
}

/// Confirms a response. False: the link has ended, and the other node ends the session.
pub(super) fn confirm(link: &HttpConn) -> bool {
    link.stream().try_send(&[DELIVERED]).is_ok()
}

async fn sweep(pool: Rc<LinkPool>, worker: Rc<WorkerContext>, idle_timeout: Duration) {
    loop {
        sleep_on(&worker, idle_timeout / 2).await;
        let until = worker.now().as_millis().saturating_sub(u64::from(millis(idle_timeout)));
        if pool.close_unused(Instant::from_millis(until)) {
            pool.sweeping.set(false);
            return;
        }
    }
}

impl UsedLink {
    /// Takes the connection out, which another protocol uses from now on. `UsedLink` keeps it registered.
    pub(super) fn take(&mut self) -> Option<HttpConn> {
        self.link.take()
    }

    /// Registers the session of a tunnel.
    pub(super) fn set_sid(&self, sid: Option<Box<str>>) {
        if let Some(used) = self.pool.used.borrow_mut().get_mut(self.entry) {
            used.sid = sid;
        }
    }

    pub(super) fn conn(&mut self) -> Option<&mut HttpConn> {
        self.link.as_mut()
    }
}

impl Drop for UsedLink {
    fn drop(&mut self) {
        self.pool.used.borrow_mut().try_remove(self.entry);
    }
}
