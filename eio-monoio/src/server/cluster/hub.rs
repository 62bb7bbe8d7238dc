//! [`Hub`]: the part of a node that knows the other nodes, and the queue of messages for them.
//!
//! It is shared by the workers, the engine's thread, and a thread of its own that keeps time. The rules are those of
//! `eio_core::cluster`; here are only the queue and the calls.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use eio_core::cluster::bus::{EXCEPT, FROM, Stamp, Subjects};
use eio_core::cluster::hello::{Hello, Identity};
use eio_core::cluster::members::{
    Action, Channel, Event, Members, NodeId, NodeState, Peer as Slot,
};
use eio_core::sid::Sid;
use eio_core::time::Instant;
use eio_core::transport::Transport;

use crate::error::{ConfigError, SendError};
use crate::message::OutBuf;
use crate::metrics::cluster::{ClusterCounters, ClusterMetrics, by_state};
use crate::server::cluster::engine::{Answer, Publication};
#[cfg(feature = "tls")]
use crate::server::cluster::link_tls::LinkTls;
use crate::server::cluster::local::LocalSessions;
use crate::server::cluster::options::Options;
use crate::server::cluster::outbox::{Gate, Outbox, To};
use crate::server::cluster::table::{Peer, Place, Table};

/// The header with the sender and the number of a message among all that it has sent: the order of messages with
/// different subjects.
pub(crate) const ORDER: &str = "Eio-Order";

/// The state that the workers, the engine's thread and the timing thread share.
pub(crate) struct Hub {
    this: Weak<Self>,
    pub(crate) identity: Identity,
    pub(crate) options: Options,
    pub(crate) subjects: Subjects,
    pub(crate) counters: ClusterCounters,
    /// The addresses of the listeners for links.
    pub(crate) accepting: Vec<SocketAddr>,
    #[cfg(feature = "tls")]
    pub(crate) link_tls: Option<LinkTls>,
    origin: std::time::Instant,
    state: Mutex<HubState>,
    /// Notified when a deadline may have changed.
    changed: Condvar,
    table: RwLock<Arc<Table>>,
    is_ready: AtomicBool,
    /// Another node has the tag of this one, which takes no part in the cluster any more.
    is_duplicate: AtomicBool,
    max_payload: AtomicUsize,
    local: OnceLock<Weak<dyn LocalSessions>>,
}

struct HubState {
    members: Members<Box<[Slot]>>,
    outbox: Outbox<NodeId>,
    /// Messages of the membership itself, and answers, which wait for nothing but the engine.
    urgent: VecDeque<Publication>,
    questions: HashMap<u64, Question>,
    last_question: u64,
    /// The number of the last message.
    order: u64,
    /// The task of the engine that waits for messages.
    engine: Option<Waker>,
    /// Why the engine is not connected.
    engine_error: Option<String>,
    /// The server ends: the engine stops after the last messages.
    closed: bool,
}

/// A question that waits for its answer.
enum Question {
    Alive(NodeId),
    Transport(SyncSender<Option<Transport>>),
}

/// The consequences of an input, which happen without the lock.
#[derive(Default)]
struct Effects {
    pings: Vec<NodeId>,
    ended: Vec<NodeId>,
    lost: Vec<(NodeId, u64)>,
    table_changed: bool,
    tag_taken: bool,
    full: bool,
}

/// A message for sessions of other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content<'m> {
    Text(&'m str),
    Binary(&'m [u8]),
    Close,
}

/// Construction and end.
impl Hub {
    pub(crate) fn new(
        identity: Identity,
        options: Options,
        subjects: Subjects,
        accepting: Vec<SocketAddr>,
    ) -> Result<Arc<Self>, ConfigError> {
        #[cfg(feature = "tls")]
        let tls = options.tls.clone().map(|(tls, name)| LinkTls::new(tls, &name)).transpose()?;
        let slots: Box<[Slot]> = (0..options.max_nodes).map(|_| Slot::default()).collect();
        let timing = options.timing();
        let members = Members::new(identity.clone(), timing, slots, Instant::default());
        Ok(Arc::new_cyclic(|this| Self {
            this: this.clone(),
            identity,
            options,
            subjects,
            counters: ClusterCounters::default(),
            accepting,
            #[cfg(feature = "tls")]
            link_tls: tls,
            origin: std::time::Instant::now(),
            state: Mutex::new(HubState {
                members,
                outbox: Outbox::default(),
                urgent: VecDeque::new(),
                questions: HashMap::new(),
                last_question: 0,
                order: 0,
                engine: None,
                engine_error: None,
                closed: false,
            }),
            changed: Condvar::new(),
            table: RwLock::default(),
            is_ready: AtomicBool::new(false),
            is_duplicate: AtomicBool::new(false),
            max_payload: AtomicUsize::new(DEFAULT_MAX_PAYLOAD),
            local: OnceLock::new(),
        }))
    }

    pub(super) fn weak(&self) -> Weak<Self> {
        self.this.clone()
    }

    /// Sets the sessions of this node, before the engine starts.
    pub(crate) fn set_local(&self, local: Weak<dyn LocalSessions>) {
        let _ = self.local.set(local);
    }

    pub(crate) fn local(&self) -> Option<Arc<dyn LocalSessions>> {
        self.local.get()?.upgrade()
    }

    /// This node takes no new session: the others are told.
    pub(crate) fn leave(&self) {
        self.input(|members, _| members.leave());
    }

    /// This node ends: says so, and closes the connection to the engine when that is sent.
    pub(crate) fn finish(&self) {
        self.input(|members, _| members.finish());
        let mut state = self.lock();
        state.closed = true;
        wake(&mut state);
        drop(state);
        self.changed.notify_all();
    }

    /// Keeps time until the node has ended: the body of the timing thread.
    pub(crate) fn keep_time(&self) {
        /// How often the number of sessions is read.
        const LONGEST: Duration = Duration::from_millis(250);
        let mut state = self.lock();
        while !state.closed {
            let now = self.now();
            let due = state.members.poll_timeout();
            if due.is_some_and(|due| due <= now) {
                drop(state);
                let sessions = self.local().map_or(0, |local| local.sessions());
                self.input(|members, now| {
                    members.set_sessions(u32::try_from(sessions).unwrap_or(u32::MAX));
                    members.handle_timeout(now);
                });
                state = self.lock();
                continue;
            }
            let wait = due.map_or(LONGEST, |due| Duration::from_millis(due.millis_since(now)));
            let waited = self.changed.wait_timeout(state, wait.min(LONGEST));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn now(&self) -> Instant {
        Instant::from_millis(self.origin.elapsed().as_millis() as u64)
    }

    fn lock(&self) -> MutexGuard<'_, HubState> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// NATS without another setting; the engine says its own when it has connected.
const DEFAULT_MAX_PAYLOAD: usize = 1 << 20;

/// Membership.
impl Hub {
    /// Gives the members an input, and carries out what follows from it.
    pub(crate) fn input<R>(
        &self,
        input: impl FnOnce(&mut Members<Box<[Slot]>>, Instant) -> R,
    ) -> R {
        let mut state = self.lock();
        let now = self.now();
        let result = input(&mut state.members, now);
        let effects = self.pump(&mut state, now);
        if effects.tag_taken {
            // Silence: whatever it said would be taken for the other node's.
            state.closed = true;
            state.urgent.clear();
            self.is_duplicate.store(true, Ordering::Release);
        }
        let is_ready = state.members.is_ready() && !self.is_duplicate();
        self.is_ready.store(is_ready, Ordering::Release);
        if self.is_duplicate() {
            *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::default();
        } else if effects.table_changed {
            let table = Arc::new(Table::new(&state.members));
            *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
        }
        wake(&mut state);
        drop(state);
        self.changed.notify_all();
        self.apply(effects);
        result
    }

    /// Counts a message of another node. What is missing is noticed later, by the timing thread.
    pub(super) fn count(&self, channel: Channel, stamp: &Stamp) {
        self.lock().members.handle_stamp(channel, stamp);
    }

    fn pump(&self, state: &mut HubState, now: Instant) -> Effects {
        let mut effects = Effects::default();
        while let Some(action) = state.members.poll_action(now) {
            match action {
                Action::Hello => self.say_hello(state, self.subjects.hello().to_string()),
                Action::HelloTo(tag) => {
                    self.say_hello(state, self.subjects.hello_to(&tag).to_string());
                }
                Action::Ask(node) => {
                    if let Some(tag) = state.members.node(node).map(|node| node.tag().clone()) {
                        let subject = self.subjects.ask_alive(&tag).to_string();
                        ask(state, subject, Vec::new(), Question::Alive(node));
                    }
                }
                Action::Ping(node) => effects.pings.push(node),
                _ => debug_assert!(false, "an action of the core without an effect here"),
            }
        }
        while let Some(event) = state.members.poll_event() {
            effects.table_changed = true;
            match event {
                Event::Lost(node) => effects.ended.push(node),
                Event::MessagesLost { node, count } => effects.lost.push((node, count)),
                Event::TagTaken => effects.tag_taken = true,
                Event::Full => effects.full = true,
                _ => {}
            }
        }
        effects
    }

    /// Queues a hello; one that waits already is replaced.
    fn say_hello(&self, state: &mut HubState, subject: String) {
        let mut payload = OutBuf::default();
        crate::message::never_full(state.members.write_hello(&mut payload));
        state.urgent.retain(|waiting| waiting.subject != subject);
        let publication = Publication { subject, payload: payload.0, ..Publication::default() };
        state.urgent.push_back(publication);
    }

    fn apply(&self, effects: Effects) {
        for node in effects.pings {
            if let (Some(peer), Some(local)) = (self.peer(node), self.local()) {
                local.ping(peer);
            }
        }
        for node in effects.ended {
            if let Some(local) = self.local() {
                local.node_ended(node);
            }
        }
        for (node, count) in effects.lost {
            ClusterCounters::add(&self.counters.lost, count);
            let tag = self.peer(node).map(|peer| peer.identity.tag.to_string()).unwrap_or_default();
            crate::log::warn!(node = %tag, count, "messages of another node did not arrive");
            if let Some(on_lost) = &self.options.on_lost {
                on_lost(&tag, count);
            }
        }
        if effects.tag_taken {
            let tag = &self.identity.tag;
            crate::log::error!(
                %tag,
                "another node has this tag: this one opens no sessions; give each node its own"
            );
        }
        if effects.full {
            let max = self.options.max_nodes;
            crate::log::error!(max, "the cluster has more nodes than `max_nodes`");
        }
    }

    fn table(&self) -> Arc<Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn peer(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.table().peers().find(|peer| peer.id == node).cloned()
    }

    /// The node with this tag.
    pub(crate) fn find(&self, tag: &str) -> Option<Arc<Peer>> {
        self.table().find(tag).cloned()
    }

    /// The other nodes.
    pub(crate) fn peers(&self) -> Vec<Arc<Peer>> {
        let mut peers: Vec<_> = self.table().peers().cloned().collect();
        peers.sort_by(|a, b| a.identity.tag.cmp(&b.identity.tag));
        peers
    }

    /// Where the requests of a session go.
    pub(crate) fn place(&self, sid: &Sid) -> Place {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.place(sid, &self.identity.tag)
    }

    /// A node for a new session, while this one leaves.
    pub(crate) fn successor(&self, random: u32) -> Option<Arc<Peer>> {
        let node = self.lock().members.successor(random)?;
        self.peer(node)
    }

    /// Whether this node has joined: it knows the others, and the engine is connected.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }

    /// Whether another node has the tag of this one.
    pub(crate) fn is_duplicate(&self) -> bool {
        self.is_duplicate.load(Ordering::Acquire)
    }

    pub(crate) fn metrics(&self) -> ClusterMetrics {
        let state = self.lock();
        let mut states = [0; 5];
        for node in state.members.nodes() {
            states[by_state(node.state())] += 1;
        }
        self.counters.read(state.members.is_bus_up(), state.outbox.bytes(), states)
    }
}

/// Messages to other nodes.
impl Hub {
    /// Sends to a session of another node.
    pub(crate) fn send(
        &self,
        peer: &Peer,
        sid: &Sid,
        content: Content<'_>,
    ) -> Result<(), SendError> {
        let (subject, payload) = match content {
            Content::Text(text) => (self.subjects.text(sid), text.as_bytes()),
            Content::Binary(bytes) => (self.subjects.binary(sid), bytes),
            Content::Close => (self.subjects.close(sid), &[][..]),
        };
        self.publish(To::Node(peer.id), subject.to_string(), Vec::new(), payload.to_vec())
    }

    /// Sends to every session of every other node, except to these.
    pub(crate) fn send_all(&self, content: Content<'_>, except: &[Sid]) -> Result<(), SendError> {
        let (subject, payload) = match content {
            Content::Text(text) => (self.subjects.all_text(), text.as_bytes()),
            Content::Binary(bytes) => (self.subjects.all_binary(), bytes),
            Content::Close => (self.subjects.all_close(), &[][..]),
        };
        let mut headers = Vec::new();
        if !except.is_empty() {
            let sids: Vec<&str> = except.iter().map(Sid::as_str).collect();
            headers.push((EXCEPT, sids.join(" ")));
        }
        self.publish(To::All, subject.to_string(), headers, payload.to_vec())
    }

    /// Queues a message within [`engine_high_water`](crate::Cluster::engine_high_water).
    pub(crate) fn publish(
        &self,
        to: To<NodeId>,
        subject: String,
        headers: Vec<(&'static str, String)>,
        payload: Vec<u8>,
    ) -> Result<(), SendError> {
        let fields: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let (len, max) = (payload.len() + fields, self.max_publication());
        if len > max {
            return Err(SendError::TooLarge { len, max });
        }
        let publication = Publication { subject, headers, payload, question: None };
        let mut state = self.lock();
        if state.closed {
            return Err(SendError::Closed);
        }
        if !state.outbox.push(to, publication, self.options.engine_high_water) {
            ClusterCounters::add(&self.counters.dropped, 1);
            return Err(SendError::Full);
        }
        wake(&mut state);
        Ok(())
    }

    /// The largest message, with room for our header fields.
    pub(crate) fn max_publication(&self) -> usize {
        const HEADERS: usize = 256;
        self.max_payload.load(Ordering::Relaxed).saturating_sub(HEADERS)
    }

    /// Asks the node of a session for its transport. The answer is sent to `reply`, unless none comes.
    pub(crate) fn ask_transport(
        &self,
        peer: &Peer,
        sid: &Sid,
        reply: SyncSender<Option<Transport>>,
    ) {
        let subject = self.subjects.ask_transport(&peer.identity.tag).to_string();
        let mut state = self.lock();
        ask(&mut state, subject, sid.as_str().as_bytes().to_vec(), Question::Transport(reply));
        wake(&mut state);
    }

    /// Answers a question of another node.
    pub(crate) fn reply(&self, subject: String, payload: Vec<u8>) {
        let mut state = self.lock();
        let publication = Publication { subject, payload, ..Publication::default() };
        state.urgent.push_back(publication);
        wake(&mut state);
    }

    /// A hello of this node as it is now.
    pub(crate) fn hello(&self) -> Vec<u8> {
        let mut payload = OutBuf::default();
        crate::message::never_full(self.lock().members.write_hello(&mut payload));
        payload.0
    }

    pub(super) fn take_publication(&self, cx: &mut Context<'_>) -> Poll<Option<Publication>> {
        let mut state = self.lock();
        let HubState { members, outbox, urgent, order, .. } = &mut *state;
        if members.is_bus_up() {
            if let Some(publication) = urgent.pop_front() {
                return Poll::Ready(Some(publication));
            }
            let is_gone =
                |node| members.node(node).is_none_or(|node| node.state() == NodeState::Lost);
            let gate = |to| match to {
                To::All if members.may_publish_all() => Gate::Open,
                To::Node(node) if is_gone(node) => Gate::Gone,
                To::Node(node) if members.may_publish_to(node) => Gate::Open,
                _ => Gate::Closed,
            };
            let mut gone = 0;
            let taken = outbox.take(gate, &mut gone);
            ClusterCounters::add(&self.counters.dropped, gone);
            if let Some((to, mut publication)) = taken {
                let stamp = match to {
                    To::All => Some(members.stamp_all()),
                    To::Node(node) => members.stamp_to(node),
                };
                *order += 1;
                let number = format!("{:016x} {order}", self.identity.incarnation);
                publication.headers.extend(stamp.map(|stamp| (FROM, stamp.to_string())));
                publication.headers.push((ORDER, number));
                ClusterCounters::add(&self.counters.sent, 1);
                return Poll::Ready(Some(publication));
            }
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.engine = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The engine.
impl Hub {
    pub(super) fn engine_connected(&self, max_payload: usize) {
        self.max_payload.store(max_payload, Ordering::Relaxed);
        crate::log::info!(tag = %self.identity.tag, max_payload, "the engine is connected");
        self.lock().engine_error = None;
        self.input(|members, now| members.handle_bus(true, now));
    }

    /// Why the engine is not connected.
    pub(super) fn engine_error(&self) -> Option<String> {
        self.lock().engine_error.clone()
    }

    pub(super) fn engine_lost(&self, reason: &dyn fmt::Display) {
        let was_up = self.input(|members, now| {
            let was_up = members.is_bus_up();
            members.handle_bus(false, now);
            was_up
        });
        // Hellos are made again when it has returned.
        let text = reason.to_string();
        let (questions, is_news) = {
            let mut state = self.lock();
            state.urgent.clear();
            let is_news = state.engine_error.as_ref() != Some(&text);
            state.engine_error = Some(text);
            (std::mem::take(&mut state.questions), is_news)
        };
        // Those who wait for an answer get none, without a wait.
        drop(questions);
        if was_up {
            crate::log::warn!(%reason, "the engine is lost; links and sessions continue");
        } else if is_news {
            crate::log::warn!(%reason, "no engine; it is tried again");
        } else {
            crate::log::debug!(%reason, "no engine yet");
        }
    }

    pub(super) fn question_answered(&self, number: u64, answer: Answer) {
        let question = self.lock().questions.remove(&number);
        match (question, answer) {
            (Some(Question::Alive(node)), Answer::Reply(hello)) => match Hello::parse(&hello) {
                Ok(hello) => self.input(|members, now| members.handle_reply(node, &hello, now)),
                Err(error) => crate::log::warn!(?error, "a reply of another node is ignored"),
            },
            (Some(Question::Alive(node)), Answer::NoResponders) => {
                self.input(|members, now| members.handle_no_responders(node, now));
            }
            (Some(Question::Transport(reply)), Answer::Reply(name)) => {
                let all = [Transport::Polling, Transport::WebSocket];
                let named = |transport: &Transport| transport.to_string().as_bytes() == name;
                // The asking thread may have timed out.
                let _ = reply.try_send(all.into_iter().find(named));
            }
            // Without an answer: `reply` is dropped.
            _ => {}
        }
    }
}

fn ask(state: &mut HubState, subject: String, payload: Vec<u8>, question: Question) {
    state.last_question += 1;
    let number = state.last_question;
    state.questions.insert(number, question);
    let publication =
        Publication { subject, payload, question: Some(number), ..Publication::default() };
    state.urgent.push_back(publication);
}

fn wake(state: &mut HubState) {
    if let Some(engine) = state.engine.take() {
        engine.wake();
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("tag", &self.identity.tag).finish_non_exhaustive()
    }
}
