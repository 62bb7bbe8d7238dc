//! Resolves host names on threads of their own, because the system's resolver blocks.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, OnceLock};

use crate::client::error::Fault;
use crate::worker::task_waker::AnyThread;
use crate::worker::thread_pool::{DEFAULT_THREADS, ThreadPool};

/// All addresses of `host` in the order in which they are tried (RFC 8305 section 4: the order of the resolver, with
/// alternating address families).
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Fault> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let failed = |error: io::Error| Fault::Resolve(error.to_string());
    let name = host.to_owned();
    let resolving = resolvers().run(move || (name.as_str(), port).to_socket_addrs());
    let addresses = AnyThread::new(resolving.map_err(failed)?).await;
    let addresses = addresses.unwrap_or_else(|_| Err(io::Error::other("the resolver panicked")));
    match addresses.map(|addresses| interleave(addresses.collect())) {
        Ok(addresses) if addresses.is_empty() => Err(Fault::Resolve("no address".into())),
        Ok(addresses) => Ok(addresses),
        Err(error) => Err(failed(error)),
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

/// The threads that resolve names. A name server that does not answer occupies one of them for half a minute; while all
/// are occupied, further lookups wait.
fn resolvers() -> &'static Arc<ThreadPool> {
    static RESOLVERS: OnceLock<Arc<ThreadPool>> = OnceLock::new();
    RESOLVERS.get_or_init(|| ThreadPool::new(DEFAULT_THREADS))
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
