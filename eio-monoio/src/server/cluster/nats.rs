//! [`Nats`]: the engine NATS, by its official client on a runtime of its own.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::{
    Client, ConnectOptions, Event, HeaderMap, Message, Request, ServerAddr, Subscriber,
};
use futures_util::stream::{FuturesUnordered, Stream};
use tokio::sync::mpsc;

use crate::server::cluster::engine::{Answer, Delivery, Engine, Port, Publication};
use crate::web::query;

/// The engine [NATS](https://nats.io): its servers, and how a node authenticates.
///
/// Messages travel through core NATS (no JetStream), with at most once. The client runs on a thread of its own.
///
/// ```no_run
/// # use eio_monoio::{Cluster, Nats, Server};
/// # fn server<H: eio_monoio::Handler>(make: impl Fn() -> H + Send + Sync + 'static) -> Result<(), eio_monoio::ServeError> {
/// let engine = Nats::new("nats://a.example:4222,nats://b.example:4222").credentials("/etc/eio/node.creds");
/// let running = Server::new(make).cluster(Cluster::new("chat", engine)).bind("0.0.0.0:3000")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Nats {
    servers: String,
    credentials: Option<PathBuf>,
    user: Option<(String, String)>,
    token: Option<String>,
    authorities: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
    require_tls: bool,
}

impl Nats {
    /// The servers of NATS, as URLs separated by commas: `nats://HOST:PORT`, or `tls://HOST:PORT`. A URL may contain a
    /// user and a password. Without a scheme `nats` is meant, without a port 4222. More servers of the same NATS cluster
    /// are discovered.
    #[must_use]
    pub fn new(servers: impl Into<String>) -> Self {
        Self {
            servers: servers.into(),
            credentials: None,
            user: None,
            token: None,
            authorities: None,
            certificate: None,
            require_tls: false,
        }
    }

    /// A file with a user's JWT and seed, as `nsc generate creds` writes it. It is read when the server starts.
    ///
    /// **Default:** none.
    #[must_use]
    pub fn credentials(mut self, file: impl Into<PathBuf>) -> Self {
        self.credentials = Some(file.into());
        self
    }

    /// A user and a password.
    ///
    /// **Default:** those of the URL, if it has them.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some((name.into(), password.into()));
        self
    }

    /// A token.
    ///
    /// **Default:** none.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// A file with the certificate authorities that sign the servers' certificates, as PEM.
    ///
    /// **Default:** those of the operating system.
    #[must_use]
    pub fn authorities(mut self, file: impl Into<PathBuf>) -> Self {
        self.authorities = Some(file.into());
        self
    }

    /// Files with a certificate and its private key, as PEM, for servers that ask for one.
    ///
    /// **Default:** none.
    #[must_use]
    pub fn certificate(mut self, file: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certificate = Some((file.into(), key.into()));
        self
    }

    /// Whether a server without TLS is refused.
    ///
    /// **Default:** false; a URL with `tls://` requires TLS anyway.
    #[must_use]
    pub fn require_tls(mut self, require: bool) -> Self {
        self.require_tls = require;
        self
    }

    fn servers(&self) -> io::Result<Vec<ServerAddr>> {
        let names = self.servers.split(',').map(str::trim).filter(|name| !name.is_empty());
        let servers: Vec<ServerAddr> = names.map(str::parse).collect::<io::Result<_>>()?;
        if servers.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no server of NATS is named"));
        }
        Ok(servers)
    }

    /// The user and password of the first URL that has them, which the client does not read itself.
    fn user_of_url(&self) -> Option<(String, String)> {
        // A plus sign is a space in a query, and itself here.
        let decode = |text: &str| query::decode(&text.replace('+', "%2B")).into_owned();
        let servers = self.servers().ok()?;
        servers.iter().find_map(|server| {
            Some((decode(server.username()?), decode(server.password().unwrap_or_default())))
        })
    }

    fn options(
        &self,
        name: &str,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> io::Result<ConnectOptions> {
        let failures = notices.clone();
        let mut options = ConnectOptions::new()
            .name(name)
            .no_echo()
            .retry_on_initial_connect()
            .max_reconnects(None)
            .ping_interval(PING_INTERVAL)
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(Some(ANSWER_TIMEOUT))
            .reconnect_delay_callback(|attempts| {
                (FIRST_DELAY * u32::try_from(attempts).unwrap_or(u32::MAX)).min(LONGEST_DELAY)
            })
            .event_callback(move |event| {
                // The receiver is gone if the server ends.
                let _ = notices.send(Notice::Event(event));
                std::future::ready(())
            })
            // Called before each attempt. It leaves the choice of the server to the client, and learns why the last attempt
            // failed, of which an event has only the kind.
            .reconnect_to_server_callback(move |servers, _| {
                for server in servers {
                    if let Some(cause) = server.last_error {
                        let _ = failures.send(Notice::Failed(cause));
                    }
                }
                std::future::ready(None)
            });
        if let Some(file) = &self.credentials {
            let named = |error: io::Error| named("credentials", file, &error);
            let text = std::fs::read_to_string(file).map_err(named)?;
            options = options.credentials(&text).map_err(named)?;
        }
        if let Some((name, password)) = self.user.clone().or_else(|| self.user_of_url()) {
            options = options.user_and_password(name, password);
        }
        if let Some(token) = &self.token {
            options = options.token(token.clone());
        }
        if let Some(file) = &self.authorities {
            options = options.add_root_certificates(file.clone());
        }
        if let Some((certificate, key)) = &self.certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        Ok(options.require_tls(self.require_tls))
    }

    /// The cause of a failure, with the option that decides about it.
    fn explain(&self, cause: &str) -> String {
        let lower = cause.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        let option = if has(&["authorization", "authentication"]) {
            if self.credentials.is_some() {
                "`Nats::credentials`"
            } else if self.token.is_some() {
                "`Nats::token`"
            } else if self.user.is_some() {
                "`Nats::user`"
            } else if self.user_of_url().is_some() {
                "the user and password of the URL"
            } else {
                "`Nats::user`, `Nats::token` or `Nats::credentials`, of which none is set"
            }
        } else if has(&["alert", "certificate required"]) {
            // Sent by the server, about the certificate of this end.
            "`Nats::certificate`"
        } else if has(&["peer certificate", "unknownissuer"]) {
            "`Nats::authorities`, and the name of the server in the URL"
        } else if has(&["corrupt message", "tls"]) {
            // The server may not speak TLS.
            "`Nats::require_tls` and `tls://` in the URL"
        } else {
            return cause.to_owned();
        };
        format!("{cause}: see {option}")
    }
}

/// What the client reports.
enum Notice {
    Event(Event),
    /// Why an attempt to connect has failed.
    Failed(String),
}

/// An error that says which option and which file it is about.
fn named(option: &str, file: &Path, error: &dyn fmt::Display) -> io::Error {
    let text = format!("Nats::{option}: {}: {error}", file.display());
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Fails unless the file has at least one certificate, as PEM.
fn check_certificates(option: &str, file: &Path) -> io::Result<()> {
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let certificates: Vec<_> = certificates.map_err(|error| named(option, file, &error))?;
    if certificates.is_empty() {
        return Err(named(option, file, &"it has no certificate"));
    }
    Ok(())
}

/// A server that does not answer two of these is given up.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The time for an answer of another node.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Delays between attempts grow from one to the other: a short absence of the engine is noticed as short.
const FIRST_DELAY: Duration = Duration::from_millis(25);
const LONGEST_DELAY: Duration = Duration::from_millis(250);
/// The most messages in one call of [`Port::receive`].
const BATCH: usize = 4096;

impl Engine for Nats {
    fn check(&self) -> io::Result<()> {
        self.servers()?;
        let (events, _) = mpsc::unbounded_channel();
        self.options("", events)?;
        if let Some(file) = &self.authorities {
            check_certificates("authorities", file)?;
        }
        if let Some((certificate, key)) = &self.certificate {
            check_certificates("certificate", certificate)?;
            PrivateKeyDer::from_pem_file(key).map_err(|error| named("certificate", key, &error))?;
        }
        Ok(())
    }

    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let servers = self.servers()?;
        let mut addresses = Vec::new();
        let mut failure = None;
        for server in &servers {
            match (server.host(), server.port()).to_socket_addrs() {
                Ok(found) => addresses.extend(found),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if addresses.is_empty() => Err(error),
            _ => Ok(addresses),
        }
    }

    fn run(&self, port: Port) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (events_tx, events) = mpsc::unbounded_channel();
        let options = self.options(port.name(), events_tx)?;
        let servers = self.servers()?;
        let result = runtime.block_on(async {
            let client = options.connect(servers).await.map_err(io::Error::other)?;
            let mut subscribers = Vec::new();
            for subject in port.subjects() {
                // Before the connection exists, too: the client subscribes when it has one.
                let subscribed = client.subscribe(subject.clone()).await;
                subscribers.push(subscribed.map_err(io::Error::other)?);
            }
            let questions = FuturesUnordered::new();
            let engine = self.clone();
            let carrier = Carrier {
                engine,
                port,
                client,
                subscribers,
                events,
                questions,
                connected: false,
                failure: String::new(),
            };
            carrier.run().await;
            Ok(())
        });
        runtime.shutdown_timeout(CONNECT_TIMEOUT);
        result
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the URL nor the token, which may be secrets.
        f.debug_struct("Nats").field("require_tls", &self.require_tls).finish_non_exhaustive()
    }
}

type Question = Pin<Box<dyn Future<Output = (u64, Answer)> + Send>>;

/// The client with everything that waits for it.
struct Carrier {
    engine: Nats,
    port: Port,
    client: Client,
    subscribers: Vec<Subscriber>,
    events: mpsc::UnboundedReceiver<Notice>,
    questions: FuturesUnordered<Question>,
    connected: bool,
    /// Why the last attempt to connect has failed.
    failure: String,
}

impl Carrier {
    async fn run(mut self) {
        loop {
            // Without tokio's budget for a task, by which a queue could seem empty that is not: the order of messages of
            // several subscriptions depends on that.
            let waiting = poll_fn(|cx| self.poll(cx));
            match tokio::task::unconstrained(waiting).await {
                Some(publication) => self.publish(publication).await,
                None => break,
            }
        }
        // The last hello leaves before the connection closes.
        let _ = tokio::time::timeout(ANSWER_TIMEOUT, self.client.flush()).await;
    }

    /// Handles everything that has arrived, and returns the next message to publish, or `None` at the end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Publication>> {
        while let Poll::Ready(Some(notice)) = self.events.poll_recv(cx) {
            match notice {
                Notice::Event(event) => self.handle_event(&event),
                // Of an attempt before the one that succeeded, otherwise.
                Notice::Failed(cause) if !self.connected => self.fail(cause),
                Notice::Failed(_) => {}
            }
        }
        let mut deliveries = Vec::new();
        loop {
            for subscriber in &mut self.subscribers {
                while let Poll::Ready(Some(message)) = Pin::new(&mut *subscriber).poll_next(cx) {
                    deliveries.push(delivery(message));
                }
            }
            if deliveries.is_empty() {
                break;
            }
            self.port.receive(&mut deliveries);
            deliveries.clear();
            deliveries.shrink_to(BATCH);
        }
        while let Poll::Ready(Some((number, answer))) = Pin::new(&mut self.questions).poll_next(cx)
        {
            self.port.answered(number, answer);
        }
        self.port.poll_next(cx)
    }

    fn handle_event(&mut self, event: &Event) {
        match event {
            Event::Connected => {
                self.connected = true;
                self.port.connected(self.client.server_info().max_payload);
            }
            Event::Disconnected | Event::Closed => {
                self.connected = false;
                self.port.disconnected(event);
            }
            Event::SlowConsumer(_) => self.port.dropped(1),
            // An attempt to connect has failed.
            Event::ClientError(_) | Event::ServerError(_) if !self.connected => {
                let text = event.to_string();
                let kind = text.trim_start_matches("client error: nats: ");
                // Unless more than the kind is known.
                if !self.failure.starts_with(kind) {
                    self.fail(kind.to_owned());
                }
            }
            Event::ClientError(_) | Event::ServerError(_) => {
                crate::log::warn!(%event, "the engine reports an error");
            }
            Event::LameDuckMode | Event::Draining => {}
        }
    }

    /// An attempt to connect has failed.
    fn fail(&mut self, cause: String) {
        self.port.disconnected(&self.engine.explain(&cause));
        self.failure = cause;
    }

    async fn publish(&mut self, publication: Publication) {
        let Publication { subject, headers, payload, question } = publication;
        let payload = payload.into();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name, value.as_str());
        }
        if let Some(number) = question {
            let (client, request) = (self.client.clone(), Request::new().payload(payload));
            self.questions.push(Box::pin(async move {
                (number, outcome(client.send_request(subject, request).await))
            }));
            return;
        }
        let published = if map.is_empty() {
            self.client.publish(subject, payload).await
        } else {
            self.client.publish_with_headers(subject, map, payload).await
        };
        if let Err(error) = published {
            crate::log::warn!(%error, "a message to other nodes is not sent");
            self.port.dropped(1);
        }
    }
}

fn outcome(answer: Result<Message, async_nats::RequestError>) -> Answer {
    match answer {
        Ok(message) => Answer::Reply(message.payload.to_vec()),
        Err(error) if error.kind() == async_nats::RequestErrorKind::NoResponders => {
            Answer::NoResponders
        }
        Err(_) => Answer::TimedOut,
    }
}

fn delivery(message: Message) -> Delivery {
    let mut headers = Vec::new();
    for (name, values) in message.headers.iter().flat_map(HeaderMap::iter) {
        let name: &str = name.as_ref();
        if let Some(value) = values.first()
            && name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("eio-"))
        {
            headers.push((name.to_owned(), value.as_str().to_owned()));
        }
    }
    Delivery {
        subject: message.subject.as_str().to_owned(),
        headers,
        payload: message.payload.to_vec(),
        reply: message.reply.map(|reply| reply.as_str().to_owned()),
    }
}
