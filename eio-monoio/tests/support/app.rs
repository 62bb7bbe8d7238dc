//! The application under test, in this process: an echo that also does what messages tell it, and that notes
//! what it hears.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use eio_monoio::{
    CloseReason, Config, ConnectRequest, Handler, Message, OwnedMessage, Refusal, Remote, Running,
    Server, Socket,
};

use super::wire::PATIENCE;

/// Echoes, but obeys these texts and does not note them: `!ack` sends `ack`, `!close` disconnects, `!abort` aborts, `!burst N` sends the texts `0` to
/// N - 1, `!fill N` sends messages of 1000 bytes until N are queued or the session is full,
/// `!panic` panics. The query `refuse=KIND` of a handshake refuses it.
pub(crate) struct App {
    log: Log,
}

impl App {
    pub(crate) fn new(log: &Log) -> Self {
        Self { log: log.clone() }
    }

    fn obey(socket: &Socket<()>, order: &str) {
        let (verb, count) = order.split_once(' ').unwrap_or((order, "0"));
        let count: usize = count.parse().expect("a count");
        match verb {
            "ack" => socket.try_send("ack").expect("room"),
            "close" => socket.disconnect(),
            "abort" => socket.abort(),
            "burst" => {
                (0..count).for_each(|n| socket.try_send(n.to_string().as_str()).expect("room"));
            }
            "fill" => {
                let kilobyte = "x".repeat(1000);
                (0..count).find(|_| socket.try_send(kilobyte.as_str()).is_err());
            }
            "panic" => panic!("as told by a message"),
            other => panic!("unknown order {other:?}"),
        }
    }
}

impl Handler for App {
    type Session = ();

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<(), Refusal> {
        match request.query("refuse") {
            None => Ok(()),
            Some("unauthorized") => Err(Refusal::unauthorized()),
            Some("forbidden") => Err(Refusal::forbidden()),
            Some("json") => Err(Refusal::with_json(r#"{"why":"not today"}"#)),
            Some(_) => Err(Refusal::unavailable()),
        }
    }

    async fn open(&self, socket: &Socket<()>) {
        self.log.push(socket, Entry::Opened);
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        match message {
            Message::Text(text) if text.starts_with('!') => Self::obey(socket, &text[1..]),
            echo => {
                self.log.push(socket, Entry::Message(echo.into()));
                // Never full: a client that does not read its echoes is not read from.
                _ = socket.try_send(echo);
            }
        }
        async {}
    }

    async fn disconnect(&self, socket: &Socket<()>, reason: CloseReason) {
        self.log.push(socket, Entry::Closed(reason));
    }
}

/// What an application was told, and of which session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Opened,
    Message(OwnedMessage),
    Closed(CloseReason),
}

/// What the application of every core was told, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<(String, Entry)>>>);

impl Log {
    pub(crate) fn push<T>(&self, socket: &Socket<T>, entry: Entry) {
        self.lock().push((socket.sid().to_string(), entry));
    }

    /// What concerns no session.
    pub(crate) fn note(&self, what: &str) {
        let text = OwnedMessage::Text(what.to_owned());
        self.lock().push((String::new(), Entry::Message(text)));
    }

    /// What was [noted](Self::note).
    pub(crate) fn notes(&self) -> Vec<String> {
        let texts = self.messages("").into_iter().filter_map(|message| match message {
            OwnedMessage::Text(text) => Some(text),
            OwnedMessage::Binary(_) => None,
        });
        texts.collect()
    }

    /// Everything.
    pub(crate) fn all(&self) -> Vec<(String, Entry)> {
        self.lock().clone()
    }

    /// Everything about one session.
    pub(crate) fn of(&self, sid: &str) -> Vec<Entry> {
        let log = self.lock();
        log.iter().filter(|(of, _)| of == sid).map(|(_, entry)| entry.clone()).collect()
    }

    /// The messages of one session.
    pub(crate) fn messages(&self, sid: &str) -> Vec<OwnedMessage> {
        let messages = self.of(sid).into_iter().filter_map(|entry| match entry {
            Entry::Message(message) => Some(message),
            _ => None,
        });
        messages.collect()
    }

    /// Why a session ended, once, as soon as it has.
    #[track_caller]
    pub(crate) fn close_reason(&self, sid: &str) -> CloseReason {
        let reasons = || -> Vec<_> {
            let reasons = self.of(sid).into_iter().filter_map(|entry| match entry {
                Entry::Closed(reason) => Some(reason),
                _ => None,
            });
            reasons.collect()
        };
        eventually("the session's disconnect", || !reasons().is_empty());
        let reasons = reasons();
        assert_eq!(reasons.len(), 1, "{sid} ended more than once: {reasons:?}");
        reasons[0]
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, Entry)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server in this process, on a free port; dropping it shuts it down.
pub(crate) struct Host {
    running: Running,
    pub(crate) log: Log,
}

impl Host {
    /// Runs an [`App`].
    #[track_caller]
    pub(crate) fn start(config: Config) -> Self {
        Self::run(config, App::new)
    }

    /// Runs another application, which may note things in the log.
    #[track_caller]
    pub(crate) fn run<H: Handler>(
        config: Config,
        make: impl Fn(&Log) -> H + Send + Sync + 'static,
    ) -> Self {
        let log = Log::default();
        let theirs = log.clone();
        // Tests that fail do not wait for clients they have not closed.
        let config = config.shutdown_timeout(Duration::from_millis(100));
        let server = Server::new(move || make(&theirs)).config(config);
        Self { running: server.bind("127.0.0.1:0").expect("a server"), log }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.running.local_addr()
    }

    pub(crate) fn remote(&self) -> Remote {
        self.running.remote()
    }

    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    /// Waits until there are exactly so many sessions and connections.
    #[track_caller]
    pub(crate) fn settles_at(&self, sessions: usize, connections: usize) {
        let remote = self.remote();
        let counts = || (remote.sessions(), remote.connections());
        let deadline = Instant::now() + PATIENCE;
        while counts() != (sessions, connections) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(counts(), (sessions, connections), "sessions and connections left");
    }

    /// Waits until no session and no connection is left: everything was freed.
    #[track_caller]
    pub(crate) fn empties(&self) {
        self.settles_at(0, 0);
    }
}

/// Waits for what another thread brings about.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
