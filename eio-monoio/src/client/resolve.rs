//! Names into addresses, on threads of their own: the system's resolver blocks.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::client::error::Fault;
use crate::worker::mailbox::{Mailbox, MailboxReceiver};

/// Every address of `host`, in the order they are to be tried (RFC 8305 section 4: the resolver's order, the
/// two families taking turns).
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Fault> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let failed = |error: io::Error| Fault::Resolve(error.to_string());
    let (mailbox, wake_rx) = Mailbox::new().map_err(failed)?;
    let (mailbox, bell) = (Arc::new(mailbox), MailboxReceiver::new(wake_rx).map_err(failed)?);
    ask(Question { host: host.into(), port, answer: mailbox.clone() }).map_err(failed)?;
    let mut answers = Vec::new();
    mailbox.recv(&bell, &mut answers).await.map_err(failed)?;
    let addresses = answers.pop().unwrap_or_else(|| Err("no answer".into()));
    match addresses.map(interleave) {
        Ok(addresses) if addresses.is_empty() => Err(Fault::Resolve("no address".into())),
        Ok(addresses) => Ok(addresses),
        Err(why) => Err(Fault::Resolve(why)),
    }
}

fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let mut order = Vec::with_capacity(one.len() + other.len());
    while !one.is_empty() || !other.is_empty() {
        order.extend(one.pop_front());
        order.extend(other.pop_front());
    }
    order
}

type Answer = Result<Vec<SocketAddr>, String>;

struct Question {
    host: String,
    port: u16,
    answer: Arc<Mailbox<Answer>>,
}

/// A resolver that does not answer holds up a thread for half a minute: this many names may do that before
/// others have to wait.
const MAX_THREADS: usize = 8;
/// How long a thread waits for another question.
const REST: Duration = Duration::from_secs(5);

#[derive(Default)]
struct ResolverPool {
    questions: VecDeque<Question>,
    threads: usize,
    resting: usize,
}

static RESOLVERS: Mutex<ResolverPool> =
    Mutex::new(ResolverPool { questions: VecDeque::new(), threads: 0, resting: 0 });
static ASKED: Condvar = Condvar::new();

fn ask(question: Question) -> io::Result<()> {
    let mut pool = RESOLVERS.lock().unwrap_or_else(PoisonError::into_inner);
    pool.questions.push_back(question);
    if pool.resting < pool.questions.len() && pool.threads < MAX_THREADS {
        match std::thread::Builder::new().name("eio-resolver".into()).spawn(answer_all) {
            Ok(_) => pool.threads += 1,
            Err(error) if pool.threads == 0 => {
                pool.questions.pop_back();
                return Err(error);
            }
            // Another thread will come to it.
            Err(_) => {}
        }
    }
    ASKED.notify_one();
    Ok(())
}

fn answer_all() {
    let mut pool = RESOLVERS.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        while let Some(question) = pool.questions.pop_front() {
            drop(pool);
            answer(&question);
            drop(question);
            pool = RESOLVERS.lock().unwrap_or_else(PoisonError::into_inner);
        }
        pool.resting += 1;
        let (woken, timeout) =
            ASKED.wait_timeout(pool, REST).unwrap_or_else(PoisonError::into_inner);
        pool = woken;
        pool.resting -= 1;
        if timeout.timed_out() && pool.questions.is_empty() {
            pool.threads -= 1;
            return;
        }
    }
}

fn answer(question: &Question) {
    // Whoever asked may have given up.
    if Arc::strong_count(&question.answer) > 1 {
        let addresses = (question.host.as_str(), question.port).to_socket_addrs();
        question.answer.send(addresses.map(Iterator::collect).map_err(|error| error.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_take_turns_and_the_resolvers_first_stays_first() {
        let all = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|address| address.parse().unwrap()).collect()
        };
        let order = interleave(all(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]));
        assert_eq!(order, all(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]));
        assert_eq!(interleave(all(&["1.1.1.1:1", "[::1]:1"])), all(&["1.1.1.1:1", "[::1]:1"]));
        assert_eq!(interleave(Vec::new()), []);
    }
}
