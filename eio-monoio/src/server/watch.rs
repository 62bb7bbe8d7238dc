//! [`Watch`]: a thread that measures the lag of each worker, and warns of a worker that does not respond.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use crate::log;
use crate::server::config::Config;
use crate::server::shard::shared::{ServerShared, ShardMessage};

/// The most warnings about one worker: one in this time.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Runs the thread until it is dropped.
pub(super) struct Watch {
    _stop: Sender<()>,
}

impl Watch {
    /// `None` if [`lag_interval`](Config::lag_interval) is zero.
    pub(super) fn start(shared: &Arc<ServerShared>, config: &Config) -> io::Result<Option<Self>> {
        if config.lag_interval.is_zero() {
            return Ok(None);
        }
        let (stop, stopped) = mpsc::channel();
        let (shared, interval, limit) = (shared.clone(), config.lag_interval, config.lag_warning);
        std::thread::Builder::new().name("eio-watch".into()).spawn(move || {
            let mut workers = vec![Warned::default(); shared.counters.len()];
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                if shared.is_shutting_down() {
                    // Workers end, and have a timeout of their own.
                    return;
                }
                for (id, warned) in workers.iter_mut().enumerate() {
                    match shared.heartbeats.waiting(id) {
                        Some(waiting) => warned.check(id, waiting, limit),
                        None => {
                            warned.responds(id);
                            shared.heartbeats.begin(id);
                            shared.post(id as u16, ShardMessage::Heartbeat);
                        }
                    }
                }
            }
        })?;
        Ok(Some(Self { _stop: stop }))
    }
}

/// The warnings about one worker.
#[derive(Clone, Default)]
struct Warned {
    last: Option<Instant>,
    is_blocked: bool,
}

impl Warned {
    fn check(&mut self, worker: usize, waiting: Duration, limit: Duration) {
        if waiting < limit || self.last.is_some_and(|last| last.elapsed() < WARNING_INTERVAL) {
            return;
        }
        self.last = Some(Instant::now());
        self.is_blocked = true;
        log::warn!(
            worker,
            ?waiting,
            "a worker does not respond, and its sessions wait: a handler blocks it (see `blocking`), or the machine is \
             overloaded"
        );
    }

    fn responds(&mut self, worker: usize) {
        if std::mem::take(&mut self.is_blocked) {
            log::info!(worker, "the worker responds again");
        }
    }
}
