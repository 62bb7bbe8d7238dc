//! The server under test, in this process.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use eio_monoio::{Config, Handler, Remote, Running, Server};

use super::app::App;
use super::configs::brief_shutdown;
use super::log::Log;
use super::wait::TIMEOUT;

/// A server in this process, on a free port; dropping it shuts it down.
pub(crate) struct TestServer {
    running: Running,
    pub(crate) log: Log,
}

impl TestServer {
    /// Runs an [`App`].
    #[track_caller]
    pub(crate) fn start(config: Config) -> Self {
        Self::run(config, App::new)
    }

    /// Runs another application, which may write to the log.
    #[track_caller]
    pub(crate) fn run<H: Handler>(
        config: Config,
        make: impl Fn(&Log) -> H + Send + Sync + 'static,
    ) -> Self {
        let log = Log::default();
        let shared = log.clone();
        let server = Server::new(move || make(&shared)).config(brief_shutdown(config));
        Self { running: server.bind("127.0.0.1:0").expect("the server starts"), log }
    }

    /// A server that runs already, whose application writes to `log`.
    pub(crate) fn of(running: Running, log: Log) -> Self {
        Self { running, log }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.running.local_addr()
    }

    /// The URL for a client.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/engine.io/", self.addr())
    }

    pub(crate) fn remote(&self) -> Remote {
        self.running.remote()
    }

    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    /// Waits until the numbers of sessions and connections are these.
    #[track_caller]
    pub(crate) fn wait_for_counts(&self, sessions: usize, connections: usize) {
        let remote = self.remote();
        let counts = || (remote.sessions(), remote.connections());
        let deadline = Instant::now() + TIMEOUT;
        while counts() != (sessions, connections) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(counts(), (sessions, connections), "sessions and connections");
    }

    /// Waits until no session and no connection is left.
    #[track_caller]
    pub(crate) fn wait_until_empty(&self) {
        self.wait_for_counts(0, 0);
    }
}
