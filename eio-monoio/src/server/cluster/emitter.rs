//! [`Emitter`]: messages to the sessions of a cluster, from a process without a server.

use std::borrow::Borrow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

use eio_core::cluster::bus::{EXCEPT, MessageKind, Subjects, is_publishable, write_many};
use eio_core::packet::Message;
use eio_core::sid::{Sid, Tag};

use crate::error::{ConfigError, SendError, ServeError};
use crate::message::{AsMessage, OutBuf, check_separator, never_full};
use crate::server::cluster::engine::{Answer, Delivery, Engine, Exchange, Port, Publication};
use crate::server::cluster::hub::ORDER;

/// Sends to the sessions of a cluster from a process that has none: a job, a web application, a command.
///
/// It is `Sync`, and each call returns without waiting: a message waits until the engine is connected. Messages of one
/// emitter reach a session in the order of the calls. Dropping it sends the messages that wait, if the engine is there.
///
/// ```no_run
/// use eio_monoio::{Emitter, Nats, Sid};
///
/// fn notify(sid: &Sid) -> Result<(), Box<dyn std::error::Error>> {
///     let emitter = Emitter::connect("chat", Nats::new("nats://nats.example:4222"))?;
///     emitter.send(sid, "from a process without a server")?;
///     emitter.broadcast("to everybody")?;
///     Ok(())
/// }
/// ```
pub struct Emitter {
    shared: Arc<Shared>,
    subjects: Subjects,
    thread: Option<JoinHandle<()>>,
}

/// The most bytes that wait for the engine.
const HIGH_WATER: usize = 16 << 20;

struct Shared {
    state: Mutex<State>,
    max_payload: AtomicUsize,
    dropped: AtomicU64,
    /// Names this emitter in the header by which receivers sort.
    sender: u64,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Publication>,
    bytes: usize,
    order: u64,
    connected: bool,
    error: Option<String>,
    closed: bool,
    engine: Option<Waker>,
}

impl Emitter {
    /// Starts the engine's client for the cluster `name`, on a thread of its own. Returns without waiting for the
    /// connection, which is made, and made again after a failure, without limit.
    ///
    /// # Errors
    /// The name is not one of a cluster, an option of the engine is unusable, or the operating system gives no thread or random number.
    pub fn connect(name: &str, engine: impl Engine) -> Result<Self, ServeError> {
        let subjects = Subjects::new(name)
            .map_err(|error| ConfigError::new("cluster.name", error.to_string()))?;
        engine.check().map_err(|error| ConfigError::new("cluster.engine", error.to_string()))?;
        let mut sender = [0; 8];
        getrandom::fill(&mut sender).map_err(|error| std::io::Error::other(error.to_string()))?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            max_payload: AtomicUsize::new(1 << 20),
            dropped: AtomicU64::new(0),
            sender: u64::from_le_bytes(sender),
        });
        let port = Port::new(format!("eio {name} emitter"), Vec::new(), shared.clone());
        let thread = std::thread::Builder::new().name("eio-engine".into()).spawn(move || {
            if let Err(error) = engine.run(port) {
                crate::log::error!(%error, "the engine has ended; nothing is sent");
            }
        })?;
        Ok(Self { shared, subjects, thread: Some(thread) })
    }

    /// Whether the engine is connected. Messages may be sent before.
    pub fn is_connected(&self) -> bool {
        self.shared.lock().connected
    }

    /// Why the engine is not connected, as its client says; see [`ClusterView::engine_error`](crate::ClusterView).
    pub fn engine_error(&self) -> Option<String> {
        self.shared.lock().error.clone()
    }

    /// Messages that the engine's client refused.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Sends to one session. It is not known here whether it exists.
    ///
    /// # Errors
    /// - [`SendError::Closed`]: the sid has no tag, so that no node of a cluster has issued it.
    /// - [`SendError::Full`]: 16 MiB wait for the engine.
    /// - [`SendError::TooLarge`]: the message is larger than the engine's limit, 1 MiB for NATS without other settings.
    /// - [`SendError::Separator`]: text with U+001E.
    pub fn send(&self, sid: &Sid, message: impl AsMessage) -> Result<(), SendError> {
        let message = message.as_message();
        check_separator(message)?;
        if !is_publishable(sid) {
            return Err(SendError::Closed);
        }
        let (subject, payload) = match message {
            Message::Text(text) => (self.subjects.text(sid), text.as_bytes()),
            Message::Binary(bytes) => (self.subjects.binary(sid), bytes),
        };
        self.publish(subject.to_string(), Vec::new(), payload.to_vec())
    }

    /// Sends to some sessions, by one publication for each node that has some of them. Sids without a tag are ignored.
    ///
    /// # Errors
    /// As [`send`](Self::send), if that applies to at least one node; the sessions of other nodes receive the message.
    pub fn send_many(
        &self,
        sids: impl IntoIterator<Item = impl Borrow<Sid>>,
        message: impl AsMessage,
    ) -> Result<(), SendError> {
        let message = message.as_message();
        check_separator(message)?;
        let (kind, data) = match message {
            Message::Text(text) => (MessageKind::Text, text.as_bytes()),
            Message::Binary(bytes) => (MessageKind::Binary, bytes),
        };
        let mut result = Ok(());
        let max = self.shared.max_payload.load(Ordering::Relaxed);
        for (tag, sids) in by_node(sids) {
            for body in many_bodies(kind, &sids, data, max) {
                let subject = self.subjects.many(&tag).to_string();
                // After an error too: the other nodes receive it.
                result = result.and(self.publish(subject, Vec::new(), body));
            }
        }
        result
    }

    /// Sends to every session of every node.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn broadcast(&self, message: impl AsMessage) -> Result<(), SendError> {
        self.broadcast_except(std::iter::empty::<Sid>(), message)
    }

    /// Sends to every session of every node, except to these.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn broadcast_except(
        &self,
        except: impl IntoIterator<Item = impl Borrow<Sid>>,
        message: impl AsMessage,
    ) -> Result<(), SendError> {
        let message = message.as_message();
        check_separator(message)?;
        let (subject, payload) = match message {
            Message::Text(text) => (self.subjects.all_text(), text.as_bytes()),
            Message::Binary(bytes) => (self.subjects.all_binary(), bytes),
        };
        let sids: Vec<String> = except.into_iter().map(|sid| sid.borrow().to_string()).collect();
        let headers = if sids.is_empty() { Vec::new() } else { vec![(EXCEPT, sids.join(" "))] };
        self.publish(subject.to_string(), headers, payload.to_vec())
    }

    /// Ends one session, after its queued messages.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn disconnect(&self, sid: &Sid) -> Result<(), SendError> {
        if !is_publishable(sid) {
            return Err(SendError::Closed);
        }
        self.publish(self.subjects.close(sid).to_string(), Vec::new(), Vec::new())
    }

    /// Ends every session of every node.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn disconnect_all(&self) -> Result<(), SendError> {
        self.publish(self.subjects.all_close().to_string(), Vec::new(), Vec::new())
    }

    fn publish(
        &self,
        subject: String,
        mut headers: Vec<(&'static str, String)>,
        payload: Vec<u8>,
    ) -> Result<(), SendError> {
        const OVERHEAD: usize = 256;
        let fields: usize = headers.iter().map(|(_, value)| value.len()).sum();
        let (len, max) = (payload.len() + fields, self.shared.max_payload.load(Ordering::Relaxed));
        if len + OVERHEAD > max {
            return Err(SendError::TooLarge { len, max: max.saturating_sub(OVERHEAD) });
        }
        let mut state = self.shared.lock();
        if state.bytes >= HIGH_WATER {
            return Err(SendError::Full);
        }
        state.order += 1;
        headers.push((ORDER, format!("{:016x} {}", self.shared.sender, state.order)));
        state.bytes += len + OVERHEAD;
        state.queue.push_back(Publication { subject, headers, payload, question: None });
        if let Some(engine) = state.engine.take() {
            engine.wake();
        }
        Ok(())
    }
}

impl Drop for Emitter {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        if let Some(engine) = state.engine.take() {
            engine.wake();
        }
        drop(state);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            crate::log::error!("the thread of the engine panicked");
        }
    }
}

impl fmt::Debug for Emitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connected = self.is_connected();
        f.debug_struct("Emitter").field("is_connected", &connected).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exchange for Shared {
    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Publication>> {
        let mut state = self.lock();
        if state.connected
            && let Some(publication) = state.queue.pop_front()
        {
            if state.queue.is_empty() {
                state.bytes = 0;
            }
            return Poll::Ready(Some(publication));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.engine = Some(cx.waker().clone());
        Poll::Pending
    }

    fn connected(&self, max_payload: usize) {
        self.max_payload.store(max_payload, Ordering::Relaxed);
        let mut state = self.lock();
        state.connected = true;
        state.error = None;
        if let Some(engine) = state.engine.take() {
            engine.wake();
        }
    }

    fn disconnected(&self, reason: &dyn fmt::Display) {
        let text = reason.to_string();
        let mut state = self.lock();
        state.connected = false;
        let is_news = state.error.as_ref() != Some(&text);
        state.error = Some(text);
        drop(state);
        if is_news {
            crate::log::warn!(%reason, "no engine; messages wait");
        }
    }

    fn receive(&self, deliveries: &mut Vec<Delivery>) {
        deliveries.clear();
    }

    fn answered(&self, _: u64, _: Answer) {}

    fn dropped(&self, messages: u64) {
        self.dropped.fetch_add(messages, Ordering::Relaxed);
    }
}

/// The sids that can be published, by the tag of their node.
pub(crate) fn by_node(sids: impl IntoIterator<Item = impl Borrow<Sid>>) -> BTreeMap<Tag, Vec<Sid>> {
    let mut nodes: BTreeMap<Tag, Vec<Sid>> = BTreeMap::new();
    for sid in sids {
        let sid = sid.borrow();
        if let Some(tag) = sid.tag().and_then(|tag| Tag::new(tag).ok())
            && is_publishable(sid)
        {
            nodes.entry(tag).or_default().push(sid.clone());
        }
    }
    nodes
}

/// The bodies of a message to many sessions of a node, of at most about `max` bytes each: long lists of sids are split.
pub(crate) fn many_bodies(
    kind: MessageKind,
    sids: &[Sid],
    data: &[u8],
    max: usize,
) -> Vec<Vec<u8>> {
    const LINES: usize = 512;
    let room = max.saturating_sub(data.len() + LINES);
    let chunk = (room / (Sid::MAX + 1)).max(1);
    let bodies = sids.chunks(chunk).map(|sids| {
        let mut body = OutBuf::default();
        never_full(write_many(kind, sids, data, &mut body));
        body.0
    });
    bodies.collect()
}

#[cfg(test)]
mod tests {
    use eio_core::cluster::bus::Many;

    use super::*;

    #[test]
    fn long_lists_of_sids_are_split_by_node_and_size() {
        let sids: Vec<Sid> =
            (0..50).map(|n| Sid::new(&format!("n{}.{n:024}", n % 2)).unwrap()).collect();
        let untagged = Sid::new("untagged").unwrap();
        let nodes = by_node(sids.iter().chain([&untagged]));
        assert_eq!(nodes.values().map(Vec::len).collect::<Vec<_>>(), [25, 25]);
        for sids in nodes.values() {
            let bodies = many_bodies(MessageKind::Text, sids, b"hello", 1200);
            assert!(bodies.len() > 1 && bodies.iter().all(|body| body.len() <= 1200));
            let sids_of = |body: &Vec<u8>| Many::parse(body).unwrap().sids().collect::<Vec<_>>();
            assert_eq!(bodies.iter().flat_map(sids_of).collect::<Vec<_>>(), *sids);
        }
    }
}
