//! Starts a server: checks its options, listens, creates the state that workers share, and spawns the workers.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use crate::error::{ConfigError, ServeError};
use crate::log;
use crate::metrics::LimitMetrics;
use crate::server::Server;
#[cfg(feature = "nats")]
use crate::server::cluster::local::LocalSessions;
#[cfg(feature = "nats")]
use crate::server::cluster::node::{Joining, random_tag};
use crate::server::config::Config;
use crate::server::handler::Handler;
use crate::server::listener::{Sharing, Sockets};
use crate::server::running::{Running, Started};
use crate::server::shard::disk::Disk;
use crate::server::shard::plan::Plan;
use crate::server::shard::run::run;
use crate::server::shard::shared::{ServerShared, SessionType};
use crate::server::signals::SignalWatch;
#[cfg(feature = "tls")]
use crate::server::tls::Identity;
use crate::server::watch::Watch;
use crate::web::files::Files;
use crate::worker::budget::FlushOnDrop;
use crate::worker::mailbox::Mailbox;
use crate::worker::net::{self, Runtime};

impl<H, F> Server<F>
where
    H: Handler,
    F: Fn() -> H + Send + Sync + 'static,
{
    /// Starts the server on the sockets that `listen` creates for this number of workers.
    #[cfg_attr(not(feature = "nats"), expect(unused_mut, reason = "a node gets a tag"))]
    pub(super) fn start(
        mut self,
        listen: impl FnOnce(&Config, usize) -> io::Result<Sockets>,
    ) -> Result<Running, ServeError> {
        self.config.check()?;
        self.files.as_ref().map(check_files).transpose()?;
        #[cfg(feature = "tls")]
        let identity = self.tls.map(Identity::new).transpose()?;
        let workers = self.config.workers.unwrap_or_else(available_cpus);
        let Sockets { endpoints, listening, file } = listen(&self.config, workers)?;
        #[cfg(feature = "nats")]
        let mut joining = match self.cluster {
            Some(cluster) => {
                let tag = match self.config.sid_tag() {
                    Some(tag) => tag,
                    None => random_tag()?,
                };
                self.config.tag = Some(tag.to_string());
                Some(Joining::new(cluster, tag, workers, self.config.backlog)?)
            }
            None => None,
        };

        let mailboxes: io::Result<Vec<_>> = (0..workers).map(|_| Mailbox::new()).collect();
        let (mailboxes, wake_rxs): (Vec<_>, Vec<_>) = mailboxes?.into_iter().unzip();
        let session_type = SessionType::of::<H::Session>();
        let generates_sids = self.hooks.ids.is_some();
        let shared = ServerShared::new(&self.config, generates_sids, session_type, mailboxes)?;
        #[cfg(feature = "tls")]
        let shared = ServerShared { identity, ..shared };
        #[cfg(feature = "nats")]
        let cluster = joining.as_ref().map(|joining| joining.hub.clone());
        #[cfg(feature = "nats")]
        let shared = ServerShared { cluster, ..shared };
        let sharing = listening.iter().flatten().map(|listening| listening.sharing);
        let shares_listeners = sharing.clone().all(|sharing| sharing != Sharing::No);
        let max_connections = max_connections(&self.config, workers);
        let limits =
            LimitMetrics { max_connections: max_connections as u64, ..shared.limits.clone() };
        let shared = Arc::new(ServerShared { shares_listeners, limits, ..shared });
        let signals = self.config.handle_signals;
        let signals = signals.then(|| SignalWatch::start(&shared, &self.config)).transpose()?;
        let disk = self.files.map(|files| Disk::start(files, &shared)).transpose()?.map(Arc::new);

        let config = Arc::new(self.config);
        let new_handler = Arc::new(self.new_handler);
        let (started_tx, started) = mpsc::channel();
        // From here on an error shuts down the workers that run already: it drops `running`.
        let mut running = Running::new(endpoints, file, shared.clone(), signals);
        for (id, (listening, wake_rx)) in listening.into_iter().zip(wake_rxs).enumerate() {
            let plan = Plan {
                id: id as u16,
                config: config.clone(),
                shared: shared.clone(),
                wake_rx,
                listening,
                max_connections,
                on_raw_websocket: self.on_raw_websocket.clone(),
                hooks: self.hooks.clone(),
                disk: disk.clone(),
                #[cfg(feature = "nats")]
                links: joining.as_mut().and_then(|joining| joining.listeners.get_mut(id)?.take()),
            };
            running.add_worker(spawn_worker(plan, new_handler.clone(), started_tx.clone())?);
        }
        // Only the workers hold these now. The threads that read files end with the last worker.
        drop((started_tx, disk));
        #[cfg_attr(not(feature = "nats"), expect(unused_mut, reason = "a node is added to it"))]
        let mut running = running.wait_for_start(&started)?;
        #[cfg(feature = "nats")]
        if let Some(joining) = joining {
            let local: Arc<dyn LocalSessions> = shared.clone();
            running.set_node(joining.start(Arc::downgrade(&local))?);
        }
        Ok(running.watched_by(Watch::start(&shared, &config)?))
    }
}

/// A path that is missing is reported now, and served when it exists.
fn check_files(files: &Files) -> Result<(), ServeError> {
    files.check().map_err(|problem| ConfigError::new("files", problem))?;
    for (path, error) in files.missing() {
        log::warn!(path = %path.display(), %error, "static files cannot be read; requests get 404");
    }
    Ok(())
}

/// Starts the thread of a worker. It sends a message when it accepts connections.
fn spawn_worker<H: Handler>(
    plan: Plan,
    new_handler: Arc<impl Fn() -> H + Send + Sync + 'static>,
    started: mpsc::Sender<Started>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let thread = std::thread::Builder::new().name(format!("eio-{}", plan.id));
    thread.spawn(move || {
        let _held = FlushOnDrop;
        // A worker that ends for any reason ends the others too: its part of the sessions is lost.
        let _guard = ShutdownOnDrop(plan.shared.clone());
        let (mut runtime, refused) = Runtime::build(plan.config.driver)?;
        let driver = runtime.driver();
        plan.shared.counters[usize::from(plan.id)].set_driver(driver);
        log::debug!(worker = plan.id, %driver, "worker started");
        runtime.block_on(run(plan, &*new_handler, || {
            // The receiver is gone if another worker failed to start.
            let _ = started.send(Started { driver, refused });
        }))
    })
}

struct ShutdownOnDrop(Arc<ServerShared>);

impl Drop for ShutdownOnDrop {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

fn available_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// By default the limit on open descriptors, less a reserve for listeners, logs, the application's own files and the
/// workers, each of which has a ring, a timer and sockets that wake it.
fn max_connections(config: &Config, workers: usize) -> usize {
    const LEAST: u64 = 64;
    const SHARED: u64 = 32;
    const FOR_WORKER: u64 = 8;
    let reserve = LEAST.max(SHARED + FOR_WORKER * workers as u64);
    let descriptors = net::descriptor_limit();
    let available = usize::try_from(descriptors.saturating_sub(reserve)).unwrap_or(usize::MAX);
    let max = config.max_connections.unwrap_or(available.max(1));
    if max > available {
        log::warn!(
            max_connections = max,
            descriptors,
            "fewer open descriptors than connections and {reserve} more: raise `ulimit -n` or LimitNOFILE"
        );
    }
    max
}
