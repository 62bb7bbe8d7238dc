//! [`LinkPool`]: links that this worker has opened to other nodes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use eio_core::cluster::members::NodeId;
use eio_core::sid::Sid;
use eio_core::time::Instant;
use slab::Slab;

use crate::io::http_conn::HttpConn;
use crate::worker::context::{Activity, WorkerContext};
use crate::worker::deadline::millis;
use crate::worker::net;
use crate::worker::task::sleep_on;

/// The most unused links to one node.
const MAX_IDLE: usize = 64;

/// The links of one worker: unused ones, and the sockets of those in use.
#[derive(Default)]
pub(crate) struct LinkPool {
    idle: RefCell<HashMap<NodeId, Vec<Idle>>>,
    used: RefCell<Slab<Used>>,
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
}

/// A link in use. Dropping it closes the link, unless it was [given](LinkPool::give) back.
pub(super) struct UsedLink {
    pub(super) node: NodeId,
    /// Always `Some` until it is taken out.
    link: Option<HttpConn>,
    pool: Rc<LinkPool>,
    entry: usize,
}

impl LinkPool {
    /// An unused link, if there is one that is still open.
    pub(super) fn take(self: &Rc<Self>, node: NodeId) -> Option<UsedLink> {
        loop {
            let idle = self.idle.borrow_mut().get_mut(&node)?.pop()?;
            let mut link = idle.link;
            // No bytes may arrive between two requests; the end may.
            if matches!(link.try_receive(1), Ok(false)) {
                link.shrink_rx();
                return Some(self.begin(node, link));
            }
        }
    }

    /// Registers a link as used.
    pub(super) fn begin(self: &Rc<Self>, node: NodeId, link: HttpConn) -> UsedLink {
        link.set_activity(Activity::Busy);
        let used = Used { node, fd: link.stream().raw(), sid: None };
        let entry = self.used.borrow_mut().insert(used);
        UsedLink { node, link: Some(link), pool: self.clone(), entry }
    }

    /// Returns a link whose exchange is complete.
    pub(super) fn give(self: &Rc<Self>, mut used: UsedLink, idle_timeout: Duration) {
        let Some(mut link) = used.link.take() else { return };
        let worker = link.worker.clone();
        if worker.is_shutting_down() {
            return;
        }
        link.release();
        link.clear_deadline();
        link.set_activity(Activity::Idle);
        let since = worker.cached_now();
        let mut idle = self.idle.borrow_mut();
        let links = idle.entry(used.node).or_default();
        if links.len() < MAX_IDLE {
            links.push(Idle { link, since });
        }
        drop(idle);
        if !self.sweeping.replace(true) {
            let (pool, owned) = (self.clone(), worker.clone());
            // A shutdown aborts it.
            worker.background.spawn(async move {
                let sweeping = sweep(pool, owned.clone(), idle_timeout);
                _ = owned.background.run(sweeping).await;
            });
        }
    }

    /// Closes every unused link: the worker ends.
    pub(crate) fn close(&self) {
        let idle = self.idle.take();
        drop(idle);
    }

    /// A node is lost: its unused links close, and those in use end.
    pub(crate) fn end(&self, node: NodeId) {
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
