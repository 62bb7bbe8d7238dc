//! [`Engine`]: the messaging system between the nodes of a cluster, as this crate uses it.
//!
//! An engine carries bytes under subjects and knows nothing of sessions. [`Nats`](super::nats::Nats) is one; another
//! implements the same trait. It runs on a thread of its own with any runtime, so that a worker never waits for it.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A messaging system that connects the nodes of a cluster.
///
/// At most once is enough: the nodes count lost messages. Within one subject, the messages of one sender must arrive in the
/// order in which it published them, and a sender must not receive its own.
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// The addresses of its servers. The local address of the route to the first one is where the other nodes open
    /// their links, unless [`Cluster::link_address`](crate::Cluster::link_address) says another.
    ///
    /// # Errors
    /// The name of a server cannot be resolved.
    fn addresses(&self) -> io::Result<Vec<SocketAddr>>;

    /// Checks the options, before a server or an [`Emitter`](crate::Emitter) starts.
    ///
    /// # Errors
    /// An option that makes every attempt to connect fail, such as a file of credentials that cannot be read.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    /// Connects, and carries messages until [`Port::next`] returns `None`. It is called once, on a thread of its own, and
    /// connects again after a failure, without limit.
    ///
    /// # Errors
    /// An option that makes every attempt fail, such as a file of credentials that cannot be read.
    fn run(&self, port: Port) -> io::Result<()>;
}

/// The side of the server that an [`Engine`] serves.
pub struct Port {
    name: String,
    subjects: Vec<String>,
    hub: Arc<dyn Exchange>,
}

/// A message from the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// The complete subject.
    pub subject: String,
    /// The header fields whose names begin with `Eio-`.
    pub headers: Vec<(String, String)>,
    /// The content.
    pub payload: Vec<u8>,
    /// The subject for an answer, if one is expected.
    pub reply: Option<String>,
}

impl Delivery {
    /// A message without header fields.
    pub fn new(subject: impl Into<String>, payload: Vec<u8>) -> Self {
        Self { subject: subject.into(), payload, ..Self::default() }
    }

    /// The value of a header field.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A message for the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Publication {
    /// The complete subject.
    pub subject: String,
    /// Header fields.
    pub headers: Vec<(&'static str, String)>,
    /// The content.
    pub payload: Vec<u8>,
    /// The number of a question, whose outcome [`Port::answered`] reports. `None`: no answer is expected.
    pub question: Option<u64>,
}

/// The outcome of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A member has answered with this.
    Reply(Vec<u8>),
    /// The engine itself says that no member has subscribed.
    NoResponders,
    /// No answer came in time.
    TimedOut,
}

/// The server as the engine uses it.
pub(crate) trait Exchange: Send + Sync {
    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Publication>>;
    fn connected(&self, max_payload: usize);
    fn disconnected(&self, reason: &dyn fmt::Display);
    fn receive(&self, deliveries: &mut Vec<Delivery>);
    fn answered(&self, question: u64, answer: Answer);
    fn dropped(&self, messages: u64);
}

impl Port {
    pub(crate) fn new(name: String, subjects: Vec<String>, hub: Arc<dyn Exchange>) -> Self {
        Self { name, subjects, hub }
    }

    /// The name of this connection, for the engine's own monitoring.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The subjects to subscribe, each time the engine has connected. A `*` stands for one part of a subject, a `>` for
    /// the rest.
    pub fn subjects(&self) -> &[String] {
        &self.subjects
    }

    /// The next message to publish; `None` when the server ends. While the engine is not connected, messages wait in the
    /// server, within [`Cluster::engine_high_water`](crate::Cluster::engine_high_water).
    pub async fn next(&self) -> Option<Publication> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`next`](Self::next), for an engine that polls.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Publication>> {
        self.hub.poll_next(cx)
    }

    /// The engine has connected, all subjects are subscribed, and payloads of at most `max_payload` bytes may be
    /// published.
    pub fn connected(&self, max_payload: usize) {
        self.hub.connected(max_payload);
    }

    /// The connection is lost, or could not be made.
    pub fn disconnected(&self, reason: &dyn fmt::Display) {
        self.hub.disconnected(reason);
    }

    /// Messages have arrived. If the engine's client has a queue for each subscription, all of them are emptied into one
    /// call: messages of one sender are then handled in the order in which it sent them, whatever their subjects.
    /// The vector is emptied.
    pub fn receive(&self, deliveries: &mut Vec<Delivery>) {
        self.hub.receive(deliveries);
    }

    /// The outcome of the question with this number.
    pub fn answered(&self, question: u64, answer: Answer) {
        self.hub.answered(question, answer);
    }

    /// The engine or its client has dropped messages.
    pub fn dropped(&self, messages: u64) {
        self.hub.dropped(messages);
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("name", &self.name).finish_non_exhaustive()
    }
}
