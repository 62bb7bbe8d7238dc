//! Resolves host names on threads of their own, because the system's resolver blocks.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::client::error::Fault;
use crate::worker::mailbox::{Mailbox, MailboxReceiver};

/// All addresses of `host` in the order in which they are tried (RFC 8305 section 4: the order of the resolver, with
/// alternating address families).
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Fault> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let failed = |error: io::Error| Fault::Resolve(error.to_string());
    let (mailbox, wake_rx) = Mailbox::new().map_err(failed)?;
    let (mailbox, receiver) = (Arc::new(mailbox), MailboxReceiver::new(wake_rx).map_err(failed)?);
    submit(Lookup { host: host.into(), port, result: mailbox.clone() }).map_err(failed)?;
    let mut results = Vec::new();
    mailbox.recv(&receiver, &mut results).await.map_err(failed)?;
    let addresses = results.pop().unwrap_or_else(|| Err("no answer".into()));
    match addresses.map(interleave) {
        Ok(addresses) if addresses.is_empty() => Err(Fault::Resolve("no address".into())),
        Ok(addresses) => Ok(addresses),
        Err(why) => Err(Fault::Resolve(why)),
    }
}

/// Alternates the address families, beginning with that of the first address.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first_family, mut other_family): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut order = Vec::with_capacity(first_family.len() + other_family.len());
    while !first_family.is_empty() || !other_family.is_empty() {
        order.extend(first_family.pop_front());
        order.extend(other_family.pop_front());
    }
    order
}

struct Lookup {
    host: String,
    port: u16,
    result: Arc<Mailbox<LookupResult>>,
}

type LookupResult = Result<Vec<SocketAddr>, String>;

/// The most threads. A name server that does not answer occupies a thread for half a minute; while all threads are
/// occupied, further lookups wait.
const MAX_THREADS: usize = 8;
/// The time after which an idle thread ends.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

struct ResolverPool {
    lookups: VecDeque<Lookup>,
    threads: usize,
    idle: usize,
}

static POOL: Mutex<ResolverPool> =
    Mutex::new(ResolverPool { lookups: VecDeque::new(), threads: 0, idle: 0 });
static SUBMITTED: Condvar = Condvar::new();

fn lock_pool() -> MutexGuard<'static, ResolverPool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Queues a lookup, and starts a thread if all are occupied.
fn submit(lookup: Lookup) -> io::Result<()> {
    let mut pool = lock_pool();
    pool.lookups.push_back(lookup);
    if pool.idle < pool.lookups.len() && pool.threads < MAX_THREADS {
        match std::thread::Builder::new().name("eio-resolver".into()).spawn(run_thread) {
            Ok(_) => pool.threads += 1,
            Err(error) if pool.threads == 0 => {
                pool.lookups.pop_back();
                return Err(error);
            }
            // Another thread takes the lookup later.
            Err(_) => {}
        }
    }
    SUBMITTED.notify_one();
    Ok(())
}

/// Executes lookups. Ends after [`IDLE_TIMEOUT`] without one.
fn run_thread() {
    let mut pool = lock_pool();
    loop {
        while let Some(lookup) = pool.lookups.pop_front() {
            drop(pool);
            execute(&lookup);
            drop(lookup);
            pool = lock_pool();
        }
        pool.idle += 1;
        let (relocked, timeout) =
            SUBMITTED.wait_timeout(pool, IDLE_TIMEOUT).unwrap_or_else(PoisonError::into_inner);
        pool = relocked;
        pool.idle -= 1;
        if timeout.timed_out() && pool.lookups.is_empty() {
            pool.threads -= 1;
            return;
        }
    }
}

fn execute(lookup: &Lookup) {
    // The task that waits for the result may have been dropped.
    if Arc::strong_count(&lookup.result) > 1 {
        let addresses = (lookup.host.as_str(), lookup.port).to_socket_addrs();
        lookup.result.send(addresses.map(Iterator::collect).map_err(|error| error.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_families_alternate_and_the_first_address_stays_first() {
        let all = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|address| address.parse().unwrap()).collect()
        };
        let order = interleave(all(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]));
        assert_eq!(order, all(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]));
        assert_eq!(interleave(all(&["1.1.1.1:1", "[::1]:1"])), all(&["1.1.1.1:1", "[::1]:1"]));
        assert_eq!(interleave(Vec::new()), []);
    }
}
